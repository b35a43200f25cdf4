//! What all guards have in common: leaderships, locks, permits, claims.
//!
//! 1. A guard that is not [lost](Held::lost) is held: the cluster has given it to nobody else.
//! 2. That is known here only up to a moment ago. What must not happen after a loss is put behind
//!    the [token](Held::token): in the cluster's store by [`Held::txn`], elsewhere by the
//!    [fence](Held::fence).
//! 3. A guard gives back what it holds exactly once: by its own method, which can be repeated if it
//!    fails, or when it is dropped, in the background, until the cluster has confirmed it or the
//!    session is lost.

use crate::{
    Client, Error, ErrorKind, Header, LostReason, Session, SessionState, Token, Validity,
    clock::Moment,
    session::Reservation,
    txn::{Compare, Op, OpAnswer, Txn, TxnAnswer},
};
use futures::future::BoxFuture;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle};

/// Something held in the cluster by this process. Implemented by every guard of this crate.
///
/// # Examples
/// ```
/// use conclave_client::Held;
///
/// /// Whatever holds it: a leadership, a lock, a claim.
/// fn stamp(guard: &impl Held, document: &mut Vec<String>) {
///     document.push(format!("fence: {}", guard.fence()));
/// }
/// ```
pub trait Held: Send + Sync {
    /// A number greater than that of every earlier holder of the same name. Hand it to services
    /// outside of the cluster with each request, and let them refuse a smaller one than they have
    /// seen.
    fn fence(&self) -> i64;

    /// The fence, and the conditions that prove the tenure in a transaction.
    fn token(&self) -> Token;

    /// The session that holds it; `None` for a claim, which needs none.
    fn session(&self) -> Option<&Session>;

    /// Its time, apart from the guard: for tasks that work under it.
    fn validity(&self) -> Validity;

    /// Until when it is surely held, on the client's clock; moves on with each keep-alive, or
    /// extension of a claim. The tenure may end before if it is taken away, for example if its key
    /// is deleted by hand.
    fn valid_until(&self) -> Moment {
        self.validity().until()
    }

    /// How long it is surely held from now on, unless it is taken away; zero if it is lost.
    fn remaining(&self) -> Duration {
        if self.why_lost().is_some() { Duration::ZERO } else { self.validity().remaining() }
    }

    /// Why it is held no longer; `None` while it is. Looks at the clock, asks nobody.
    fn why_lost(&self) -> Option<LostReason>;

    /// Ends when it is held no longer: at [`Held::valid_until`] at the latest, with or without a
    /// network, and not before without reason.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(guard: conclave_client::LockGuard) {
    /// use conclave_client::Held;
    ///
    /// tokio::select! {
    ///     reason = guard.lost() => println!("stopped: {reason}"),
    ///     () = tokio::time::sleep(std::time::Duration::from_secs(1)) => println!("still held: {:?}", guard.remaining()),
    /// }
    /// # }
    /// ```
    fn lost(&self) -> BoxFuture<'static, LostReason>;

    /// A transaction that has an effect only while this is held.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(guard: conclave_client::LockGuard) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Cmp, Compare, Held, Put};
    ///
    /// let answer = guard
    ///     .txn()
    ///     .when([Compare::value("state", Cmp::Equal, "ready")])
    ///     .then([Put::new("state", "running")])
    ///     .commit()
    ///     .await?; // an error if the lock is lost
    /// if !answer.succeeded {
    ///     println!("still holding the lock, but not ready");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn txn(&self) -> GuardedTxn;

    /// Gives it back. When this returns without error it is held no longer, and the cluster gives
    /// it to the next in line.
    ///
    /// If it was lost before, there is nothing to give back, and this returns at once. What was
    /// lost by the clock alone ([`LostReason::Expired`]) may not be free in the cluster yet: there
    /// it ends with its lease, or with the claim's duration.
    ///
    /// # Errors
    /// No member confirmed it in time; it may be held still. The guard keeps its state: the call
    /// can be repeated, and dropping the guard goes on trying in the background.
    ///
    /// # Cancel safety
    /// A dropped future leaves the guard as after an error.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut guard: conclave_client::LockGuard) {
    /// use conclave_client::Held;
    ///
    /// while let Err(error) = guard.release().await {
    ///     println!("held still, perhaps: {error}");
    /// }
    /// # }
    /// ```
    fn release(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends when somebody asks the holder to hand over, with the name of the one who is to follow.
    /// Never ends for what cannot be handed over: only a [queue leadership](crate::QueueLeadership)
    /// can.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    fn asked_to_transfer(&self) -> BoxFuture<'static, String> {
        Box::pin(std::future::pending())
    }

    /// Gives it back; to the one who is to follow, if a hand-over is asked for at this moment. As
    /// [`Held::release`] otherwise.
    ///
    /// # Errors
    /// As [`Held::release`].
    ///
    /// # Cancel safety
    /// As [`Held::release`].
    fn hand_over(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.release()
    }
}

/// Implements [`Held`] for a guard that has a `tenure`.
macro_rules! held {
    ($guard:ty) => {
        impl $crate::Held for $guard {
            fn fence(&self) -> i64 {
                self.tenure.token().fence
            }

            fn token(&self) -> $crate::Token {
                self.tenure.token().clone()
            }

            fn session(&self) -> Option<&$crate::Session> {
                Some(self.tenure.session())
            }

            fn validity(&self) -> $crate::Validity {
                self.tenure.session().into()
            }

            fn why_lost(&self) -> Option<$crate::LostReason> {
                self.tenure.why_lost()
            }

            fn lost(&self) -> futures::future::BoxFuture<'static, $crate::LostReason> {
                self.tenure.lost()
            }

            fn txn(&self) -> $crate::GuardedTxn {
                self.tenure.txn()
            }

            fn release(&mut self) -> futures::future::BoxFuture<'_, Result<(), $crate::Error>> {
                Box::pin(self.tenure.release())
            }
        }

        $crate::held::by_session!($guard);
    };
}

/// What a guard has that is always held by a session.
macro_rules! by_session {
    ($guard:ty) => {
        impl $guard {
            /// The session that holds it.
            #[must_use]
            pub fn session(&self) -> &$crate::Session {
                self.tenure.session()
            }
        }
    };
}
pub(crate) use by_session;
pub(crate) use held;

/// Gives something back in the cluster; the same if it happens twice.
pub(crate) type Release = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// The common part of all guards.
pub(crate) struct Tenure {
    session: Session,
    token: Token,
    /// What using it after a loss is called.
    not_held: ErrorKind,
    over: watch::Sender<Option<LostReason>>,
    release: Release,
    watcher: Option<AbortHandle>,
    /// Kept until the cluster has confirmed that it is given back.
    reservation: Option<Reservation>,
    /// It is being given back, so what the cluster says of its end is no news.
    leaving: Arc<AtomicBool>,
}

impl Tenure {
    pub(crate) fn new(session: &Session, token: Token, not_held: ErrorKind, release: Release) -> Self {
        let over = watch::Sender::new(None);
        Self {
            session: session.clone(),
            token,
            not_held,
            over,
            release,
            watcher: None,
            reservation: None,
            leaving: Arc::default(),
        }
    }

    pub(crate) fn reserving(mut self, reservation: Option<Reservation>) -> Self {
        self.reservation = reservation;
        self
    }

    /// Follows `gone`, which ends when the cluster has taken the tenure away.
    pub(crate) fn watched_by(mut self, gone: impl Future<Output = LostReason> + Send + 'static) -> Self {
        let (over, session, leaving) = (self.over.clone(), self.session.downgrade(), Arc::clone(&self.leaving));
        let watcher = self.session.in_background(async move {
            let mut gone = gone.await;
            if leaving.load(Ordering::SeqCst) {
                gone = LostReason::Released;
            }
            // What goes because the session was closed is lost for that reason.
            let reason = session.upgrade().and_then(|session| lost_with(&session)).unwrap_or(gone);
            over.send_if_modified(|known| known.is_none().then(|| *known = Some(reason)).is_some());
        });
        self.watcher = Some(watcher.abort_handle());
        self
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn why_lost(&self) -> Option<LostReason> {
        let over = *self.over.borrow();
        over.or_else(|| lost_with(&self.session))
    }

    pub(crate) fn lost(&self) -> BoxFuture<'static, LostReason> {
        let (mut over, session) = (self.over.subscribe(), self.session.lost());
        Box::pin(async move {
            tokio::select! {
                biased;
                reason = told(&mut over) => reason,
                reason = session => reason,
            }
        })
    }

    /// An error if it is held no longer.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.why_lost() {
            None => Ok(()),
            Some(_) => Err(not_held(self.not_held)),
        }
    }

    /// The cluster has said that it is held no longer.
    pub(crate) fn lose(&self, reason: LostReason) {
        self.over.send_if_modified(|known| known.is_none().then(|| *known = Some(reason)).is_some());
    }

    pub(crate) fn txn(&self) -> GuardedTxn {
        GuardedTxn {
            client: self.session.client().clone(),
            token: self.token.clone(),
            not_held: self.not_held,
            tenure: Some((self.session.clone(), self.over.clone())),
            txn: Txn::new(),
        }
    }

    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        if self.why_lost().is_none() {
            self.leaving.store(true, Ordering::SeqCst);
            match self.session.during((self.release)()).await {
                // With the session's end it is given back, whatever became of the request.
                Err(error) if error.kind() == ErrorKind::SessionLost => {}
                result => result?,
            }
        }
        self.end();
        self.reservation = None;
        Ok(())
    }

    fn end(&mut self) {
        self.lose(LostReason::Released);
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        let held = self.why_lost().is_none();
        self.end();
        if held {
            let (session, release, reservation) =
                (self.session.clone(), Arc::clone(&self.release), self.reservation.take());
            self.session.in_background(async move {
                give_back(&session, || release()).await;
                drop(reservation);
            });
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("token", &self.token).field("lost", &self.why_lost()).finish_non_exhaustive()
    }
}

/// Tries until it is done, refused, or needless because the session is lost.
pub(crate) async fn give_back<F>(session: &Session, release: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    const PAUSE: Duration = Duration::from_millis(200);
    let tries = async {
        loop {
            match release().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_final() => {
                    tracing::warn!(%error, "what a dropped guard held is left to its lease");
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    // Refusals are logged; after the session's end its lease gives everything back.
    drop(session.during(tries).await);
}

fn lost_with(session: &Session) -> Option<LostReason> {
    match session.state() {
        SessionState::Lost(reason) => Some(reason),
        SessionState::Safe | SessionState::Jeopardy => None,
    }
}

async fn told(over: &mut watch::Receiver<Option<LostReason>>) -> LostReason {
    match over.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(reason)) => *reason,
        // The guard was dropped: it has released what it held.
        _ => LostReason::Released,
    }
}

fn not_held(kind: ErrorKind) -> Error {
    let text = if kind == ErrorKind::NotLeader { "election: not leader" } else { "no longer held" };
    Error::new(kind, text)
}

/// A transaction behind a token; made by [`Held::txn`] or [`Client::guarded`].
///
/// One round tells apart that the tenure is lost ([`ErrorKind::NotLeader`] or
/// [`ErrorKind::NotHeld`], an error) from that an own condition does not hold
/// ([`TxnAnswer::succeeded`] is false): the own transaction is nested in one that checks the token.
///
/// # Examples
/// ```no_run
/// # async fn example(leadership: conclave_client::Leadership) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Cmp, Compare, ErrorKind, Get, Held, Put};
///
/// let ready = Compare::value("state", Cmp::Equal, "ready");
/// let txn = leadership.txn().when([ready]).then([Put::new("state", "running")]).or_else([Get::new("state")]);
/// match txn.commit().await {
///     Ok(answer) if answer.succeeded => println!("running"),
///     Ok(answer) => println!("still leading, but it is {:?}", answer.found(0)),
///     Err(error) if error.kind() == ErrorKind::NotLeader => println!("leading no longer; nothing was done"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `commit`"]
pub struct GuardedTxn {
    client: Client,
    token: Token,
    not_held: ErrorKind,
    tenure: Option<(Session, watch::Sender<Option<LostReason>>)>,
    txn: Txn,
}

/// Its parts, as in the [example](GuardedTxn#examples).
impl GuardedTxn {
    /// Adds own conditions; see [`Txn::when`].
    pub fn when(mut self, compares: impl IntoIterator<Item = impl Into<Compare>>) -> Self {
        self.txn = self.txn.when(compares);
        self
    }

    /// Adds what to do if they hold; see [`Txn::then`].
    pub fn then(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.txn = self.txn.then(ops);
        self
    }

    /// Adds what to do if one does not hold; see [`Txn::or_else`].
    pub fn or_else(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Self {
        self.txn = self.txn.or_else(ops);
        self
    }

    /// Runs it. Its own operations have been done only if the tenure lasted at that moment.
    ///
    /// # Errors
    /// Final: the tenure was over, and nothing was done ([`ErrorKind::NotLeader`] of a leadership,
    /// else [`ErrorKind::NotHeld`]). Others as [`Client::txn`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// That of the [type](GuardedTxn#examples).
    pub async fn commit(self) -> Result<TxnAnswer, Error> {
        let lost = self.tenure.as_ref().is_some_and(|(session, over)| session.is_lost() || over.borrow().is_some());
        if lost {
            return Err(not_held(self.not_held));
        }
        let outer = Txn::new().when(self.token.compares).then([self.txn]);
        let TxnAnswer { header, succeeded, answers } = self.client.txn(outer).await?;
        if !succeeded {
            if let Some((_, over)) = self.tenure {
                over.send_if_modified(|known| known.is_none().then(|| *known = Some(LostReason::KeyGone)).is_some());
            }
            return Err(not_held(self.not_held));
        }
        match answers.into_iter().next() {
            Some(OpAnswer::Txn(inner)) => Ok(TxnAnswer { header: keep(inner.header, header), ..inner }),
            _ => Err(Error::new(ErrorKind::Refused, "a nested transaction was answered with something else")),
        }
    }
}

/// Inner answers have a header without the member, or none.
fn keep(inner: Header, outer: Header) -> Header {
    if inner.member_id == 0 { outer } else { inner }
}

impl Client {
    /// A transaction behind the token of a tenure that need not be this process's.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, token: conclave_client::Token) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Put;
    /// client.guarded(token).then([Put::new("result", "42")]).commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn guarded(&self, token: Token) -> GuardedTxn {
        GuardedTxn { client: self.clone(), token, not_held: ErrorKind::NotHeld, tenure: None, txn: Txn::new() }
    }
}
