//! Sessions: a lease kept alive, and the honest answer to how long it still lives.
//!
//! Everything held in the cluster (leaderships, locks, permits) is held by a session, and ends with
//! it at the latest. The session knows without asking anybody until when that is: see
//! [`SessionState`].
//!
//! ```text
//!            keep-alives answered          none for ⅔ of the TTL       none for the whole TTL
//! open ───────────► safe ──────────────────────► jeopardy ──────────────────► lost
//!                     ▲──────── an answer ──────────┘         the cluster says the lease is gone: lost
//! ```

mod keeper;
mod lifetime;
mod open;
mod reservation;
mod shared;
mod state;
mod wire;

pub use state::{LostReason, SessionState};

use crate::{Client, Error, ErrorKind, clock::Moment};
use futures::{StreamExt, future::BoxFuture, stream, stream::BoxStream};
pub(crate) use reservation::Reservation;
use shared::{Handle, Shared};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// A lease that is kept alive in the background, by which leaderships and locks are held. Clones
/// are handles on the same session.
///
/// When the last handle is dropped the lease is revoked in the background, and everything held by
/// it is free. A process that dies leaves it to the TTL.
///
/// # Guarantee
/// Until [`Session::valid_until`] the cluster does not end the lease, if clocks run at the same
/// rate to within 1 in 1000. The time counts while the machine is suspended; after a suspend over
/// the deadline the session is lost at once on resume.
///
/// # Source
/// etcd's `concurrency.Session`, with the states of Chubby's sessions.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::Session;
/// use std::time::Duration;
///
/// let session = Session::open(&client, Duration::from_secs(10)).await?;
/// let mutex = conclave_client::Mutex::new("report");
/// let mut guard = mutex.lock(&session).await?;
/// // … what only one may do …
/// guard.unlock().await?;
/// session.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    handle: Arc<Handle>,
}

impl Session {
    /// The lease.
    ///
    /// [`Session::open`] has an example.
    #[must_use]
    pub fn lease(&self) -> i64 {
        self.shared().lease
    }

    /// How long the session lives after a keep-alive.
    ///
    /// [`Session::open`] has an example.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.shared().ttl()
    }

    /// What it is worth at this moment. Looks at the clock, asks nobody.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::SessionState;
    ///
    /// if session.state() == SessionState::Safe {
    ///     println!("for {:?} at least, until {:?}", session.remaining(), session.valid_until());
    /// }
    /// assert_eq!(session.is_lost(), session.remaining().is_zero());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.shared().refresh()
    }

    /// Whether it is lost; then nothing is held by it.
    ///
    /// [`Session::state`] has an example.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.state(), SessionState::Lost(_))
    }

    /// Until when it surely lives, on the client's clock. Moves on with each answered keep-alive;
    /// in the past once it is lost.
    ///
    /// [`Session::state`] has an example.
    #[must_use]
    pub fn valid_until(&self) -> Moment {
        self.shared().life().until()
    }

    /// How long it surely lives from now on; zero if it is lost.
    ///
    /// [`Session::state`] has an example.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let shared = self.shared();
        if self.is_lost() { Duration::ZERO } else { self.valid_until().since(shared.clock.now()) }
    }

    /// Ends when the session is lost: at the deadline at the latest, with or without a network, and
    /// not before without reason.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time. It does not keep the session open.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// let lost = session.lost();
    /// tokio::spawn(async move {
    ///     eprintln!("ending this process: {}", lost.await);
    ///     std::process::exit(1);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lost(&self) -> BoxFuture<'static, LostReason> {
        self.shared().refresh();
        let shared = Arc::clone(self.shared());
        Box::pin(async move { shared.lost().await })
    }

    /// Ends when the session is in jeopardy or lost.
    ///
    /// # Cancel safety
    /// As [`Session::lost`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// session.in_jeopardy().await;
    /// println!("no member answers; {:?} left", session.remaining());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_jeopardy(&self) -> BoxFuture<'static, ()> {
        self.shared().refresh();
        let mut states = self.shared().state.subscribe();
        // Its sender lives in the session; if that is gone, so is everything held by it.
        Box::pin(async move { drop(states.wait_for(|state| *state != SessionState::Safe).await) })
    }

    /// Ends when no more than `margin` is left.
    pub(crate) async fn running_out(&self, margin: Duration) {
        loop {
            let left = self.remaining();
            if left <= margin {
                return;
            }
            let clock = &self.shared().clock;
            clock.sleep_until(clock.now() + (left - margin)).await;
        }
    }

    /// The present state, then each change; ends after the loss.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use futures::StreamExt;
    ///
    /// let mut states = session.states();
    /// while let Some(state) = states.next().await {
    ///     println!("{state:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn states(&self) -> BoxStream<'static, SessionState> {
        self.shared().refresh();
        let mut states = self.shared().state.subscribe();
        states.mark_changed();
        let each = stream::unfold(Some(states), async |states| {
            let mut states = states?;
            states.changed().await.ok()?;
            let state = *states.borrow_and_update();
            let more = !matches!(state, SessionState::Lost(_));
            Some((state, more.then_some(states)))
        });
        each.boxed()
    }

    /// Ends the session: first here, so that nobody believes any longer to hold something by it,
    /// then in the cluster, where everything it holds is free when this returns. Repeating it is
    /// harmless.
    ///
    /// # Errors
    /// Outcome unknown or retryable: no member confirmed it; the lease ends after its TTL if it is
    /// not closed again.
    ///
    /// # Cancel safety
    /// A dropped future has ended the session here; the lease ends after its TTL.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// session.close().await?;
    /// // Everything that it held is free.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) -> Result<(), Error> {
        self.shared().end(LostReason::Closed);
        match self.shared().client.revoke(self.lease()).await {
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(()),
            result => result,
        }
    }

    /// Ends the session here and leaves its lease, which can be [resumed](Session::resume) until
    /// its TTL is over.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// std::fs::write("lease", session.orphan().to_string()).expect("a place to write");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "nothing can use the lease without its id"]
    pub fn orphan(self) -> i64 {
        self.shared().end(LostReason::Released);
        self.lease()
    }

    /// An error if the session is lost.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.state() {
            SessionState::Lost(reason) => Err(lost_error(reason)),
            SessionState::Safe | SessionState::Jeopardy => Ok(()),
        }
    }

    /// Does `work` unless the session is lost before it is done.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.check()?;
        tokio::select! {
            biased;
            reason = self.shared().lost() => Err(lost_error(reason)),
            result = work => result,
        }
    }

    /// A handle that does not keep the session open.
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.handle))
    }

    /// The cluster has said that the lease is gone.
    pub(crate) fn lease_gone(&self) {
        self.shared().end(LostReason::LeaseGone);
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared().client
    }

    /// Runs something that must outlive its caller, on the session's runtime.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.shared().runtime.spawn(work)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }
}

/// See [`Session::downgrade`].
#[derive(Debug)]
pub(crate) struct WeakSession(Weak<Handle>);

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(|handle| Session { handle })
    }
}

pub(crate) fn lost_error(reason: LostReason) -> Error {
    Error::new(ErrorKind::SessionLost, format!("the session is lost: {reason}"))
}

#[cfg(test)]
pub(crate) mod tests;
