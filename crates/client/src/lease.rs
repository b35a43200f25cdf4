//! Leases as such. Programs that hold something use a [`Session`](crate::Session), which keeps its
//! lease alive and says when it is lost.

use crate::Channel;
use crate::{
    Client, Error, ErrorKind,
    api::etcdserverpb::{self as pb, lease_client::LeaseClient},
    call::{Opened, Pauses},
    clock::Moment,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

/// A lease as it was granted.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use std::time::Duration;
///
/// let lease = client.grant(Duration::from_secs(1), 0).await?;
/// println!("{:x} lives {:?} after each keep-alive", lease.id, lease.ttl); // raised to the cluster's minimum
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Its name in the cluster; never 0.
    pub id: i64,
    /// How long it lives after each keep-alive, at least. The cluster raises what is asked for to
    /// its minimum.
    pub ttl: Duration,
}

/// What is known of a lease.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// for id in client.leases().await? {
///     let lease = client.lease_info(id, true).await?;
///     println!("{:?} of {:?} left, for {} keys", lease.remaining, lease.granted, lease.keys.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// Its name in the cluster.
    pub id: i64,
    /// How long it still lives unless kept alive.
    pub remaining: Duration,
    /// How long it lives after each keep-alive.
    pub granted: Duration,
    /// The keys that go with it; empty unless asked for.
    pub keys: Vec<Bytes>,
}

impl Client {
    /// Grants a lease that lives at least `ttl` after each keep-alive (whole seconds, rounded up;
    /// the cluster has a minimum of a few of its election time-outs). `id` 0 lets the member
    /// choose.
    ///
    /// Never sent twice if `id` is 0; with an id of the caller's own it is repeated after an
    /// unknown outcome only by the caller.
    ///
    /// # Errors
    /// Final: [`ErrorKind::AlreadyExists`], [`ErrorKind::Invalid`] (longer than 9,000,000,000 s).
    /// Outcome unknown: a lease may be there; it ends by itself.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a lease behind, which ends after its time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Put;
    /// use std::time::Duration;
    ///
    /// let lease = client.grant(Duration::from_secs(30), 0).await?;
    /// client.put_with(Put::new("here/me", "").lease(lease.id)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn grant(&self, ttl: Duration, id: i64) -> Result<Lease, Error> {
        let call = |channel, request| async move { LeaseClient::new(channel).lease_grant(request).await };
        let whole = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        let request = pb::LeaseGrantRequest { ttl: i64::try_from(whole).unwrap_or(i64::MAX), id };
        let response = self.write(request, call).await?;
        if !response.error.is_empty() {
            return Err(Error::new(ErrorKind::Refused, response.error));
        }
        Ok(Lease { id: response.id, ttl: seconds(response.ttl) })
    }

    /// Ends a lease at once; its keys go in one revision. The same if it happens twice, so it is
    /// tried again like a read.
    ///
    /// # Errors
    /// Final: [`ErrorKind::LeaseNotFound`], also when an earlier attempt of this very call ended
    /// it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::ErrorKind;
    ///
    /// match client.revoke(0x1234).await {
    ///     Err(error) if error.kind() == ErrorKind::LeaseNotFound => println!("it had ended before"),
    ///     result => result?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, id: i64) -> Result<(), Error> {
        let call = |channel, request| async move { LeaseClient::new(channel).lease_revoke(request).await };
        self.repeatable(pb::LeaseRevokeRequest { id }, call).await.map(drop)
    }

    /// Keeps a lease alive once: it lives at least the returned time from when this was called, if
    /// it was granted in whole seconds. Etcd's wire rounds up the TTL of one granted in
    /// milliseconds; [`Session::resume`](crate::Session::resume) is told it as it is.
    ///
    /// # Errors
    /// Final: [`ErrorKind::LeaseNotFound`]. Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use std::time::Duration;
    ///
    /// let lease = client.grant(Duration::from_secs(30), 0).await?;
    /// let lives = client.keep_alive_once(lease.id).await?;
    /// println!("for {lives:?} from before the call");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keep_alive_once(&self, id: i64) -> Result<Duration, Error> {
        let patience = self.attempt_timeout();
        let once = || async move { KeepAliveStream::open(self, id, patience).await?.keep_alive(patience).await };
        Ok(kept(self, once).await?.1)
    }

    /// What is left of a lease; with `keys`, also which keys go with it.
    ///
    /// # Errors
    /// Final: [`ErrorKind::LeaseNotFound`]. Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// println!("{:?} left", client.lease_info(0x1234, false).await?.remaining);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lease_info(&self, id: i64, keys: bool) -> Result<LeaseInfo, Error> {
        let call = |channel, request| async move { lease(channel).lease_time_to_live(request).await };
        let response = self.read(pb::LeaseTimeToLiveRequest { id, keys }, call).await?;
        if response.ttl < 0 {
            return Err(gone());
        }
        let (remaining, granted) = (seconds(response.ttl), seconds(response.granted_ttl));
        Ok(LeaseInfo { id: response.id, remaining, granted, keys: response.keys })
    }

    /// The leases that the member asked knows: not linearizable.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// println!("{} leases", client.leases().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn leases(&self) -> Result<Vec<i64>, Error> {
        let call = |channel, request| async move { lease(channel).lease_leases(request).await };
        let response = self.read(pb::LeaseLeasesRequest {}, call).await?;
        Ok(response.leases.into_iter().map(|lease| lease.id).collect())
    }
}

/// Tries until a member answers a keep-alive; with the moment before the attempt that was answered.
pub(crate) async fn kept<F>(client: &Client, once: impl Fn() -> F) -> Result<(Moment, Duration), Error>
where
    F: Future<Output = Result<Duration, Error>>,
{
    let end = Instant::now() + client.timeout();
    let mut pauses = Pauses::new(client.endpoints_ref());
    loop {
        let sent = client.clock().now();
        match once().await {
            Ok(ttl) => return Ok((sent, ttl)),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                let pause = pauses.next();
                if Instant::now() + pause >= end {
                    return Err(error.of_read());
                }
                sleep(pause).await;
            }
        }
    }
}

/// A stream of keep-alives of one lease, with one request under way at a time: so each answer
/// belongs to the request before it.
#[derive(Debug)]
pub(crate) struct KeepAliveStream {
    client: Client,
    id: i64,
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    opened: Opened<Streaming<pb::LeaseKeepAliveResponse>>,
    /// The request that opened the stream has not been answered yet.
    first: bool,
}

impl KeepAliveStream {
    /// Opens one with a first request on it: some members accept the stream only with their first
    /// answer.
    pub(crate) async fn open(client: &Client, id: i64, patience: Duration) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(1);
        // There is room for one.
        let _ = requests.try_send(pb::LeaseKeepAliveRequest { id });
        let call = |channel, request| async move { lease(channel).lease_keep_alive(request).await };
        let opened = client.open(patience, Request::new(ReceiverStream::new(queue)), call).await?;
        Ok(Self { client: client.clone(), id, requests, opened, first: true })
    }

    /// Asks and waits for the answer: how long the lease lives from when it was asked.
    pub(crate) async fn keep_alive(&mut self, patience: Duration) -> Result<Duration, Error> {
        if !std::mem::take(&mut self.first) {
            let request = pb::LeaseKeepAliveRequest { id: self.id };
            self.requests.try_send(request).map_err(|_| Error::unsent("the keep-alive stream has ended"))?;
        }
        let answer = match timeout(patience, self.opened.answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => {
                return Err(self.client.blame(&self.opened.choice, Error::unsent("the keep-alive stream ended")));
            }
            Ok(Err(status)) => return Err(self.client.blame(&self.opened.choice, status.into())),
            Err(_) => return Err(self.client.blame(&self.opened.choice, late())),
        };
        self.client.praise(&self.opened.choice);
        if answer.ttl <= 0 { Err(gone()) } else { Ok(seconds(answer.ttl)) }
    }
}

fn late() -> Error {
    Status::deadline_exceeded("no answer to a keep-alive within the deadline").into()
}

fn gone() -> Error {
    Error::new(ErrorKind::LeaseNotFound, "etcdserver: requested lease not found")
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn lease(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(usize::MAX)
}
