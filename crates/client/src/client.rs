//! The handle that everything else is made from, and how it is configured.

use crate::{
    Credentials, Dialer, Error, ErrorKind, Login, Tls,
    clock::{BootClock, Clock},
    endpoints::{Connecting, EndpointHealth, Endpoints},
    wire,
};
use std::{sync::Arc, time::Duration};

/// A handle on a cluster: cheap to clone, all clones share the connections and what they know of
/// the members.
///
/// Calls go to one member until it fails, then to the next in the order of the endpoints. How
/// failures are treated:
///
/// | call | tried again | until |
/// |---|---|---|
/// | reads | after any failure of a member | [`Builder::timeout`] |
/// | writes | only if they surely had no effect | [`Builder::timeout`] |
/// | what waits (locks, elections, watches) | after any failure of a member | the future is dropped, the session is lost |
///
/// A write whose answer is lost is reported as [`ErrorKind::OutcomeUnknown`], never sent again.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), conclave_client::Error> {
/// use conclave_client::Client;
///
/// let client = Client::new(["http://10.0.0.1:2379", "http://10.0.0.2:2379", "http://10.0.0.3:2379"])?;
/// client.put("greeting", "hello").await?;
/// let found = client.get("greeting").await?;
/// assert_eq!(found.expect("just written").value, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    endpoints: Arc<Endpoints>,
    connecting: Connecting,
    tls: Option<Tls>,
    login: Login,
    attempt_timeout: Duration,
    clock: Arc<dyn Clock>,
}

/// How a [`Client`] is to behave; made by [`Client::builder`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), conclave_client::Error> {
/// use conclave_client::Client;
/// use std::time::Duration;
///
/// let client = Client::builder()
///     .endpoints(["127.0.0.1:2379", "127.0.0.1:2381"])
///     .timeout(Duration::from_secs(5))
///     .attempt_timeout(Duration::from_secs(1))
///     .connect_timeout(Duration::from_millis(500))
///     .probe(Duration::from_secs(6), Duration::from_secs(2))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    endpoints: Vec<String>,
    timeout: Duration,
    attempt_timeout: Duration,
    connecting: Connecting,
    tls: Option<Tls>,
    credentials: Option<Credentials>,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// A client of the members at `endpoints` (`http://host:port`, `https://host:port` or
    /// `host:port`), in order of preference, with default settings.
    ///
    /// Connects when first used, so it does not matter whether the members are up. Needs a Tokio
    /// runtime around it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: there is no endpoint, or one is not an address.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use conclave_client::{Client, ErrorKind};
    /// assert!(Client::new(["127.0.0.1:2379"]).is_ok());
    /// assert_eq!(Client::new(["no address"]).unwrap_err().kind(), ErrorKind::Invalid);
    /// # }
    /// ```
    pub fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        Self::builder().endpoints(endpoints).build()
    }

    /// Settings to change before a client is made.
    ///
    /// [`Builder`] has an example.
    pub fn builder() -> Builder {
        Builder {
            endpoints: Vec::new(),
            timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            connecting: Connecting {
                connect: Duration::from_secs(2),
                // etcd tolerates a probe every 5 s.
                probe_after: Duration::from_secs(6),
                probe_wait: Duration::from_secs(3),
            },
            tls: None,
            credentials: None,
            clock: Arc::new(BootClock),
        }
    }

    /// The same connections with another [`Builder::timeout`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use std::time::Duration;
    ///
    /// // Something that is of no use later.
    /// let quick = client.with_timeout(Duration::from_millis(300)).get("hint").await;
    /// # drop(quick);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), timeout }
    }

    /// A client of one member alone, with these settings and connections of its own: for questions
    /// that concern a member, such as its [`status`](Client::status).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not an address.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for endpoint in client.endpoints() {
    ///     let status = client.only(endpoint.url)?.status().await?;
    ///     println!("{} at index {}", status.version, status.raft_applied_index);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn only(&self, endpoint: impl Into<String>) -> Result<Self, Error> {
        let shared = &self.shared;
        let endpoints = endpoints(vec![endpoint.into()], shared.tls.as_ref(), &shared.login, shared.connecting)?;
        let (connecting, attempt_timeout, tls) = (shared.connecting, shared.attempt_timeout, shared.tls.clone());
        let shared = Shared {
            endpoints,
            connecting,
            tls,
            login: shared.login.clone(),
            attempt_timeout,
            clock: Arc::clone(&shared.clock),
        };
        Ok(Self { shared: Arc::new(shared), timeout: self.timeout })
    }

    /// What this client has seen of its endpoints, in their order. Asks nobody.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for endpoint in client.endpoints() {
    ///     println!("{}: in use: {}, failures in a row: {}", endpoint.url, endpoint.in_use, endpoint.failures);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        self.shared.endpoints.health()
    }

    /// The services of the wire, message in, message out, one attempt a call.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::api::etcdserverpb::PutRequest;
    ///
    /// let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    /// let answer = client.wire().kv().put(put).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn wire(&self) -> wire::Client {
        wire::Client::of(Arc::clone(&self.shared.endpoints), self.timeout)
    }

    /// The bound of a call that does not wait by its nature.
    ///
    /// Set by [`Builder::timeout`] or [`Client::with_timeout`].
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.shared.attempt_timeout.min(self.timeout)
    }

    pub(crate) fn endpoints_ref(&self) -> &Endpoints {
        &self.shared.endpoints
    }

    pub(crate) fn login(&self) -> &Login {
        &self.shared.login
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }
}

/// Settings, as in the [example](Builder#examples).
impl Builder {
    /// Where the members are: `http://host:port`, `https://host:port` or `host:port`, in order of
    /// preference. Adds to those given before.
    pub fn endpoints<S: AsRef<str>>(mut self, endpoints: impl IntoIterator<Item = S>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(|endpoint| endpoint.as_ref().to_owned()));
        self
    }

    /// The bound of one call with all its attempts: 10 s unless set, longer than a member's own
    /// bound for a proposal.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one member may take for what can be tried elsewhere (reads, keep-alives): 3 s
    /// unless set.
    ///
    /// A member that hangs is left after this time. Writes are not left before
    /// [`Builder::timeout`], because that would only make their outcome unknown.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long making a connection may take: 2 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connecting.connect = timeout;
        self
    }

    /// A connection in use that hears nothing for `after` is probed, and given up if the probe is
    /// not answered within `wait`: 6 s and 3 s unless set. It bounds how long a watch stays with a
    /// member that hangs.
    ///
    /// etcd tolerates a probe every 5 s unless it is told otherwise; one that is probed more often
    /// closes the connection.
    pub fn probe(mut self, after: Duration, wait: Duration) -> Self {
        self.connecting.probe_after = after;
        self.connecting.probe_wait = wait;
        self
    }

    /// How `https://` endpoints are verified, and what they are shown. With it, an endpoint without
    /// a scheme is `https://`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The user of all calls. A token is got before the first one, and again when a member does not
    /// take it any more.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Another clock for sessions, for tests. See [`Clock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The client. Connects when first used. Needs a Tokio runtime around it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: there is no endpoint, one is not an address, a duration is zero, or a file of [`Builder::tls`] cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let Connecting { connect, probe_after, probe_wait } = self.connecting;
        if [self.timeout, self.attempt_timeout, connect, probe_after, probe_wait].contains(&Duration::ZERO) {
            return Err(Error::new(ErrorKind::Invalid, "a timeout of zero"));
        }
        let login = Login::new(self.credentials);
        let endpoints = endpoints(self.endpoints, self.tls.as_ref(), &login, self.connecting)?;
        let (connecting, attempt_timeout, clock) = (self.connecting, self.attempt_timeout, self.clock);
        let shared = Shared { endpoints, connecting, tls: self.tls, login, attempt_timeout, clock };
        Ok(Client { shared: Arc::new(shared), timeout: self.timeout })
    }
}

fn endpoints(
    urls: Vec<String>,
    tls: Option<&Tls>,
    login: &Login,
    connecting: Connecting,
) -> Result<Arc<Endpoints>, Error> {
    let dialer = Dialer::new(tls, &urls)?.with_login(login);
    Endpoints::new(urls, &dialer, connecting).map(Arc::new)
}

impl wire::Client {
    /// A client of the members at `endpoints` (`http://host:port`), in order of preference.
    /// Connects when first used.
    ///
    /// # Errors
    /// An endpoint is not a URL, or there is none.
    pub fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<wire::Client, Error> {
        Ok(Client::new(endpoints)?.wire())
    }
}
