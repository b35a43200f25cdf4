//! Sessions: a lease kept alive, and the honest answer to how long it still lives.
//!
//! Everything held in the cluster (leaderships, locks, permits) is held by a session, and ends with it at the latest. The session knows
//! without asking anybody until when that is: see [`SessionState`].
//!
//! ```text
//!            keep-alives answered          none for ⅔ of the TTL       none for the whole TTL
//! open ───────────► safe ──────────────────────► jeopardy ──────────────────► lost
//!                     ▲──────── an answer ──────────┘         the cluster says the lease is gone: lost
//! ```

mod keeper;
mod lifetime;
mod wire;

use crate::{
    Cause, Client, Error, ErrorKind,
    clock::{Clock, Moment},
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream, stream::BoxStream};
use lifetime::Lifetime;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    runtime::Handle as Runtime,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use wire::Wire;

/// Why something is no longer held.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::LostReason;
///
/// match session.lost().await {
///     LostReason::Expired => println!("no member could be reached in time"),
///     LostReason::LeaseGone => println!("somebody revoked the lease"),
///     reason => println!("{reason}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// No keep-alive was answered for the whole TTL: the cluster may give away what was held.
    Expired,
    /// The cluster says that the lease is gone.
    LeaseGone,
    /// The session was closed, or its last handle was dropped.
    Closed,
    /// The key that stood for it was deleted or taken by somebody else.
    KeyGone,
    /// The cluster took it away from a holder whose session lives: evicted, deposed, handed over, revoked.
    TakenAway(Cause),
    /// It was given back by its holder.
    Released,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakenAway(cause) => return write!(f, "it was taken away: {cause}"),
            Self::Expired => "no keep-alive was answered in time",
            Self::LeaseGone => "the lease is gone",
            Self::Closed => "the session was closed",
            Self::KeyGone => "its key was deleted",
            Self::Released => "it was given back",
        })
    }
}

/// What a session is worth now. Decided by this process alone, from the time at which its keep-alives were sent.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::SessionState;
///
/// match session.state() {
///     SessionState::Safe => println!("begin"),
///     SessionState::Jeopardy => println!("better not begin anything"),
///     SessionState::Lost(reason) => println!("over: {reason}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// A keep-alive was answered recently.
    Safe,
    /// None was answered for two thirds of the TTL. What is held is still held, but work that cannot be interrupted should not begin.
    Jeopardy,
    /// Nothing is held any more. Final.
    Lost(LostReason),
}

/// A lease that is kept alive in the background, by which leaderships and locks are held. Clones are handles on the same session.
///
/// When the last handle is dropped the lease is revoked in the background, and everything held by it is free. A process that dies leaves
/// it to the TTL.
///
/// # Guarantee
/// Until [`Session::valid_until`] the cluster does not end the lease, if clocks run at the same rate to within 1 in 1000. The time counts
/// while the machine is suspended; after a suspend over the deadline the session is lost at once on resume.
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

#[derive(Debug)]
struct Handle(Arc<Shared>);

struct Shared {
    client: Client,
    lease: i64,
    wire: Wire,
    clock: Arc<dyn Clock>,
    runtime: Runtime,
    life: Mutex<Lifetime>,
    state: watch::Sender<SessionState>,
    /// Queue keys that this session uses; see [`Session::reserve`].
    keys: Mutex<HashMap<Bytes, Weak<Semaphore>>>,
}

impl Session {
    /// Opens a session whose lease lives at least `ttl` after each keep-alive (whole milliseconds; the cluster raises it to its minimum, a
    /// few of its election time-outs). Failure of the process is noticed after the TTL; pauses shorter than that are survived.
    ///
    /// A TTL in whole seconds is kept on etcd's wire. Any other is kept on `conclave.v1`; a stock etcd does not have that, and is asked for
    /// the next whole second instead.
    ///
    /// Opening is tried again after lost answers, under the same lease id: there is never a second lease.
    ///
    /// # Errors
    /// Final: the TTL is refused. Retryable or outcome unknown: no member answered in time; a lease may be left, which ends by itself.
    ///
    /// # Cancel safety
    /// A dropped future revokes the lease in the background, for some seconds also one that is granted late. What is granted later still,
    /// or cannot be revoked, ends after its TTL.
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

    /// [`Session::open`] on `conclave.v1`, also for whole seconds: the TTL need not be raised to etcd's minimum of some seconds.
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

    /// Grants the lease; tells when the request was sent that was answered, and how long the lease lives from then on.
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
        // The answer was long in coming, for example for want of a leader: there may be nothing left of it.
        match wire.keep_alive_once(client, id).await {
            Err(gone) if gone.kind() == ErrorKind::LeaseNotFound => {
                Err(Error::unsent("the lease ended before its grant was answered"))
            }
            kept => kept,
        }
    }

    /// A session on a lease that exists, for example that of this program's last life. It is kept alive from now on, and revoked when the
    /// session ends.
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

    /// Until when it surely lives, on the client's clock. Moves on with each answered keep-alive; in the past once it is lost.
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

    /// Ends when the session is lost: at the deadline at the latest, with or without a network, and not before without reason.
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

    /// Ends the session: first here, so that nobody believes any longer to hold something by it, then in the cluster, where everything it
    /// holds is free when this returns. Repeating it is harmless.
    ///
    /// # Errors
    /// Outcome unknown or retryable: no member confirmed it; the lease ends after its TTL if it is not closed again.
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

    /// Ends the session here and leaves its lease, which can be [resumed](Session::resume) until its TTL is over.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// std::fs::write("lease", session.orphan().to_string()).expect("a place to write");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the lease is of use only to whoever knows it"]
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

    /// Waits until no other part of this process uses this key of this session. A lease has one place in each queue, so whoever takes
    /// and gives it back must be alone.
    pub(crate) async fn reserve(&self, key: &Bytes) -> Reservation {
        let permit = self.slot(key).acquire_owned().await.expect("it is never closed");
        Reservation { _permit: permit }
    }

    /// The same without waiting.
    pub(crate) fn try_reserve(&self, key: &Bytes) -> Option<Reservation> {
        self.slot(key).try_acquire_owned().ok().map(|permit| Reservation { _permit: permit })
    }

    /// A handle that does not keep the session open.
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.handle))
    }

    /// The cluster has said that the lease is gone.
    pub(crate) fn lease_gone(&self) {
        self.shared().end(LostReason::LeaseGone);
    }

    fn slot(&self, key: &Bytes) -> Arc<Semaphore> {
        let mut keys = lock(&self.shared().keys);
        keys.retain(|_, slot| slot.strong_count() > 0);
        let slot = keys.get(key).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Semaphore::new(1)));
        keys.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared().client
    }

    /// Runs something that must outlive its caller, on the session's runtime.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.shared().runtime.spawn(work)
    }

    fn start(client: &Client, wire: Wire, lease: i64, sent: Moment, ttl: Duration) -> Self {
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

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }
}

/// The exclusive use of one key within one session.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Holds on to its semaphore, too.
    _permit: OwnedSemaphorePermit,
}

/// See [`Session::downgrade`].
#[derive(Debug)]
pub(crate) struct WeakSession(Weak<Handle>);

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(|handle| Session { handle })
    }
}

impl Shared {
    fn life(&self) -> MutexGuard<'_, Lifetime> {
        lock(&self.life)
    }

    fn ttl(&self) -> Duration {
        self.life().ttl()
    }

    fn renewal(&self) -> Moment {
        self.life().renewal()
    }

    fn renewed(&self, sent: Moment, ttl: Duration) {
        self.life().renewed(sent, ttl, self.clock.now());
        self.refresh();
    }

    fn end(&self, reason: LostReason) {
        self.life().end(reason, self.clock.now());
        self.refresh();
    }

    /// Looks at the clock, and tells everybody if the state has changed.
    fn refresh(&self) -> SessionState {
        // Published under the lock of what it is derived from, so that states are told in order.
        let mut life = self.life();
        let state = life.state(self.clock.now());
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
        state
    }

    /// When time changes the state next; `None` once it is lost.
    fn next_change(&self) -> Option<Moment> {
        if matches!(self.refresh(), SessionState::Lost(_)) {
            return None;
        }
        Some(self.life().next_change(self.clock.now()))
    }

    async fn lost(&self) -> LostReason {
        let mut states = self.state.subscribe();
        let lost = states.wait_for(|state| matches!(state, SessionState::Lost(_))).await;
        match lost.as_deref() {
            Ok(SessionState::Lost(reason)) => *reason,
            // The sender is in `self`, and `wait_for` waits for this variant.
            _ => LostReason::Closed,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.0);
        let open = !matches!(shared.refresh(), SessionState::Lost(_));
        shared.end(LostReason::Closed);
        if open {
            self.0.runtime.spawn(async move {
                if let Err(error) = shared.client.revoke(shared.lease).await {
                    tracing::debug!(lease = shared.lease, %error, "the lease of a dropped session is left to its TTL");
                }
            });
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("lease", &self.lease).field("life", &*self.life()).finish_non_exhaustive()
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn lost_error(reason: LostReason) -> Error {
    Error::new(ErrorKind::SessionLost, format!("the session is lost: {reason}"))
}

#[cfg(test)]
pub(crate) mod tests;
