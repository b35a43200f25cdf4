//! How a session begins: with a lease of its own, or one that exists.
//!
//! 1. The id is chosen here, so that a repeated grant finds the lease of the one whose answer was
//!    lost: there is never a second lease.
//! 2. A lease that may have been granted while its caller has gone is revoked.

use super::{
    Session, SessionState, keeper,
    lifetime::Lifetime,
    shared::{Handle, Shared},
    wire::Wire,
};
use crate::{Client, Error, ErrorKind, clock::Moment};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{runtime::Handle as Runtime, sync::watch, time::sleep};

impl Session {
    /// Opens a session whose lease lives at least `ttl` after each keep-alive (whole milliseconds;
    /// the cluster raises it to its minimum, a few of its election time-outs). Failure of the
    /// process is noticed after the TTL; pauses shorter than that are survived.
    ///
    /// A TTL in whole seconds is kept on etcd's wire. Any other is kept on `conclave.v1`; a stock
    /// etcd does not have that, and is asked for the next whole second instead.
    ///
    /// Opening is tried again after lost answers, under the same lease id: there is never a second
    /// lease.
    ///
    /// # Errors
    /// Final: the TTL is refused. Retryable or outcome unknown: no member answered in time; a lease
    /// may be left, which ends by itself.
    ///
    /// # Cancel safety
    /// A dropped future revokes the lease in the background, for some seconds also one that is
    /// granted late. What is granted later still, or cannot be revoked, ends after its TTL.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Session;
    /// use std::time::Duration;
    ///
    /// let session = Session::open(&client, Duration::from_secs(10)).await?;
    /// println!("session {:x} lives {:?} after each keep-alive", session.lease(), session.ttl());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(client: &Client, ttl: Duration) -> Result<Self, Error> {
        if ttl.subsec_nanos() == 0 {
            return Self::open_on(Wire::Etcd, client, ttl).await;
        }
        match Self::open_on(Wire::Conclave, client, ttl).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Self::open_on(Wire::Etcd, client, ttl).await,
            opened => opened,
        }
    }

    /// [`Session::open`] on `conclave.v1`, also for whole seconds: the TTL need not be raised to
    /// etcd's minimum of some seconds.
    ///
    /// # Errors
    /// As [`Session::open`]; also final: [`ErrorKind::Unsupported`] by a stock etcd.
    ///
    /// # Cancel safety
    /// As [`Session::open`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Session;
    /// use std::time::Duration;
    ///
    /// let session = Session::open_precisely(&client, Duration::from_secs(1)).await?;
    /// assert_eq!(session.ttl(), Duration::from_secs(1));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_precisely(client: &Client, ttl: Duration) -> Result<Self, Error> {
        Self::open_on(Wire::Conclave, client, ttl).await
    }

    async fn open_on(wire: Wire, client: &Client, ttl: Duration) -> Result<Self, Error> {
        // Chosen here, so that a repeated grant finds the lease of the one whose answer was lost.
        let id = loop {
            match rand::random::<i64>() & i64::MAX {
                0 => {}
                id => break id,
            }
        };
        let mut unfinished = Unfinished(Some((client.clone(), id)));
        let granted = Self::grant(wire, client, ttl, id).await;
        // Refused, there is none; or it is somebody else's.
        if granted.as_ref().err().is_none_or(Error::is_final) {
            unfinished.0 = None;
        }
        let (sent, ttl) = granted?;
        Ok(Self::start(client, wire, id, sent, ttl))
    }

    /// Grants the lease; tells when the request was sent that was answered, and how long the lease
    /// lives from then on.
    async fn grant(wire: Wire, client: &Client, ttl: Duration, id: i64) -> Result<(Moment, Duration), Error> {
        let mut sent = client.clock().now();
        let granted = match wire.grant(client, ttl, id).await {
            Err(lost) if lost.outcome_unknown() => {
                sent = client.clock().now();
                match wire.grant(client, ttl, id).await {
                    // The lost one was granted, who knows when.
                    Err(again) if again.kind() == ErrorKind::AlreadyExists => Duration::ZERO,
                    granted => granted?,
                }
            }
            granted => granted?,
        };
        if client.clock().now().since(sent) < granted / 3 {
            return Ok((sent, granted));
        }
        // The answer took long, for example because there was no leader: nothing of the TTL may be
        // left.
        match wire.keep_alive_once(client, id).await {
            Err(gone) if gone.kind() == ErrorKind::LeaseNotFound => {
                Err(Error::unsent("the lease ended before its grant was answered"))
            }
            kept => kept,
        }
    }

    /// A session on a lease that exists, for example that of this program's last life. It is kept
    /// alive from now on, and revoked when the session ends.
    ///
    /// # Errors
    /// Final: [`ErrorKind::LeaseNotFound`]. Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Session;
    ///
    /// let lease = session.orphan(); // written down, and read by the next life of this program
    /// let session = Session::resume(&client, lease).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(client: &Client, lease: i64) -> Result<Self, Error> {
        // Etcd's wire would round a TTL of milliseconds up.
        let (wire, (sent, ttl)) = match Wire::Conclave.keep_alive_once(client, lease).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                (Wire::Etcd, Wire::Etcd.keep_alive_once(client, lease).await?)
            }
            kept => (Wire::Conclave, kept?),
        };
        Ok(Self::start(client, wire, lease, sent, ttl))
    }

    pub(super) fn start(client: &Client, wire: Wire, lease: i64, sent: Moment, ttl: Duration) -> Self {
        let shared = Arc::new(Shared {
            client: client.clone(),
            lease,
            wire,
            clock: Arc::clone(client.clock()),
            runtime: Runtime::current(),
            life: Mutex::new(Lifetime::new(sent, ttl)),
            state: watch::Sender::new(SessionState::Safe),
            keys: Mutex::default(),
        });
        shared.refresh();
        keeper::start(&shared);
        Self { handle: Arc::new(Handle(shared)) }
    }
}

/// When to revoke a lease whose grant may yet arrive. Longer than a member keeps a request.
const SWEEPS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// A lease that may have been granted while nobody knows of it yet.
struct Unfinished(Option<(Client, i64)>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let (Some((client, id)), Ok(runtime)) = (self.0.take(), Runtime::try_current()) {
            runtime.spawn(async move {
                for pause in SWEEPS {
                    sleep(pause).await;
                    if client.revoke(id).await.is_ok() {
                        return;
                    }
                }
            });
        }
    }
}
