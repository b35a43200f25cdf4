//! Encrypted connections: `https://` endpoints.

use crate::{Channel, Error, ErrorKind, Login, LoginToken};
use conclave_tls::{ClientFiles, ClientStream, Connector, KeyPair};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::net::TcpStream;
use tonic::{
    codegen::{Service, http::Uri},
    transport::Endpoint,
};

/// How servers are verified and what they are shown, for [`Builder::tls`](crate::Builder::tls).
///
/// Without it, `https://` endpoints are verified by the authorities that the system trusts, and
/// shown no certificate. The files are read when the client is built, and again before each
/// connection: a renewed certificate needs no new client. Files that cannot be used then leave the
/// last good ones in force.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), conclave_client::Error> {
/// use conclave_client::{Client, Tls};
///
/// let tls = Tls::new().ca_file("/etc/app/ca.crt").identity_files("/etc/app/app.crt", "/etc/app/app.key");
/// let client = Client::builder().endpoints(["https://10.0.0.1:2379"]).tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Tls(ClientFiles);

/// Settings, as in the [example](Tls#examples).
impl Tls {
    /// Servers are verified by the authorities of the system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Servers are verified by the authorities in this file (PEM), and no others.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ca = Some(path.into());
        self
    }

    /// This certificate, with its chain, and its private key (PEM) are shown to servers that ask.
    pub fn identity_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.0.own = Some(KeyPair { cert: certificate.into(), key: key.into() });
        self
    }

    /// Servers must prove this name, instead of the host of their endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.0.server_name = Some(name.into());
        self
    }

    /// Accepts any server. The connection is encrypted, to whom is unknown.
    pub fn skip_verify(mut self) -> Self {
        self.0.skip_verify = true;
        self
    }
}

/// Makes connections, encrypted where the endpoint says so. For programs that need more than a
/// [`Client`](crate::Client).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), conclave_client::Error> {
/// use conclave_client::Dialer;
///
/// let dialer = Dialer::new(None, &["http://127.0.0.1:2379"])?;
/// let channel = dialer.connect_lazy(&dialer.endpoint("http://127.0.0.1:2379")?);
/// # drop(channel);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dialer {
    /// Whether endpoints without a scheme are encrypted.
    by_default: bool,
    connector: Option<Connector>,
    token: LoginToken,
}

/// What it does is in the [example](Dialer#examples).
impl Dialer {
    /// For these endpoints. With `tls`, an endpoint without a scheme is encrypted.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a file of `tls` cannot be read or used; says which, and why.
    pub fn new<S: AsRef<str>>(tls: Option<&Tls>, endpoints: &[S]) -> Result<Self, Error> {
        let needed = tls.is_some() || endpoints.iter().any(|endpoint| endpoint.as_ref().starts_with(HTTPS));
        let files = || tls.map_or_else(ClientFiles::default, |tls| tls.0.clone());
        let connector = needed.then(|| Connector::new(files())).transpose();
        let connector = connector.map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
        Ok(Self { by_default: tls.is_some(), connector, token: LoginToken::default() })
    }

    /// Its connections carry this login's token.
    #[must_use]
    pub fn with_login(mut self, login: &Login) -> Self {
        self.token = login.token().clone();
        self
    }

    /// `http://host:port`, `https://host:port`, `host:port`, or `unix://PATH` for a socket of this
    /// machine, to be connected to by this dialer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is no such address.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, Error> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, format!("endpoint {url:?}: {why}"));
        match url.split_once("://") {
            Some(("unix", "")) => return Err(invalid("it has no path".into())),
            Some(("unix", _)) => {
                return Endpoint::from_shared(url.to_owned()).map_err(|error| invalid(error.to_string()));
            }
            Some(("unixs", _)) => return Err(invalid("TLS over a socket file is not spoken here: use unix://".into())),
            _ => {}
        }
        let scheme = if self.by_default { HTTPS } else { HTTP };
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("{scheme}{url}") };
        match (with_scheme.starts_with(HTTP), with_scheme.starts_with(HTTPS)) {
            (false, false) => return Err(invalid("only http://, https:// and unix:// are supported".into())),
            (_, true) if self.connector.is_none() => {
                return Err(invalid("it is encrypted, and no TLS was set up for it".into()));
            }
            _ => {}
        }
        Endpoint::from_shared(with_scheme).map_err(|error| invalid(error.to_string()))
    }

    /// Connects when first used.
    #[must_use]
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        let channel = match self.secure(endpoint) {
            Some(secure) => endpoint.connect_with_connector_lazy(secure),
            None => endpoint.connect_lazy(),
        };
        Channel::new(channel, self.token.clone())
    }

    /// Connects now.
    ///
    /// # Errors
    /// There is no connection, or no handshake.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        let channel = match self.secure(endpoint) {
            Some(secure) => endpoint.connect_with_connector(secure).await?,
            None => endpoint.connect().await?,
        };
        Ok(Channel::new(channel, self.token.clone()))
    }

    fn secure(&self, endpoint: &Endpoint) -> Option<Secure> {
        let encrypted = endpoint.uri().scheme_str() == Some("https");
        self.connector.clone().filter(|_| encrypted).map(Secure)
    }
}

const HTTP: &str = "http://";
const HTTPS: &str = "https://";

/// Connects and encrypts.
#[derive(Clone)]
struct Secure(Connector);

impl Service<Uri> for Secure {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let bare = host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            connector.connect(host, stream).await.map(TokioIo::new)
        })
    }
}
