//! Locks decided in the cluster's state machine: exclusive, shared, permits, several at once; with
//! a fence for each grant.
//!
//! Everything here needs a Conclave cluster (`conclave.v1`). For locks that etcd's own clients
//! share, see [`Mutex`](crate::Mutex), [`RwLock`](crate::RwLock) and
//! [`Semaphore`](crate::Semaphore).

mod acquire;
mod hold;
mod state;
mod want;
mod watch;

pub use acquire::{Acquiring, Progress};
pub use hold::LockHold;
pub use state::{Line, LockState, Request};
pub use want::{Mode, Want};
pub use watch::{LockChange, LockChangeKind, LockEvent, LockWatch};

use crate::{
    Client, Error, ErrorKind, Name, Session,
    api::conclave::v1 as pb,
    coord::{Acting, Expect, call, caller, millis, pages},
};
use futures::{StreamExt, stream::BoxStream};
use std::time::Duration;

/// The locks of a cluster, by name; first come, first served.
///
/// Nobody passes one who waits, also not who would fit. A [`Want`] of several locks takes its turn
/// in all lines at once and holds all or none, so wants cannot deadlock with each other. Names are
/// those of [`Name`]; they have nothing to do with keys or with the locks of etcd's wire.
///
/// # Guarantee
/// When a call returns a [`LockHold`], the locks were given to it and to nobody else in a
/// conflicting mode; they stay so until it is released, evicted, held too long ([`Want::max_hold`])
/// or its session ends, and the fence rises from holder to holder.
///
/// # Source
/// etcd's `v3lock`, Chubby's locks (try, lock-delay), Curator's multi-lock and semaphores,
/// Redisson's lease time.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Locks, Put, Session, locks::Want};
/// use std::time::Duration;
///
/// let session = Session::open(&client, Duration::from_millis(2500)).await?;
/// let locks = Locks::new(&client);
/// // Two accounts and one of four permits: all of them, or none, without a deadlock.
/// let want = Want::exclusive("account/7").and_exclusive("account/9").and_permits("transfers", 1, 4);
/// let mut hold = locks.acquire(&session, want).await?;
/// hold.txn().then([Put::new("ledger/last", "7 to 9")]).commit().await?;
/// hold.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Locks {
    acting: Acting,
}

/// Operations; what they are for is in the [example](Locks#examples).
impl Locks {
    /// The locks of this cluster. Makes no call.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self { acting: Acting::new(client) }
    }

    /// Waits until the session holds all that is wanted, through failures of members.
    ///
    /// # Errors
    /// Final: [`ErrorKind::SessionLost`], [`ErrorKind::LeaseNotFound`]; [`ErrorKind::NotHeld`] as
    /// soon as the place in line is evicted; [`ErrorKind::Refused`] if a semaphore is in use with
    /// another capacity (the message names it), or the owner was evicted and may not come back yet;
    /// [`ErrorKind::Invalid`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::locks::Want;
    ///
    /// let hold = locks.acquire(&session, Want::exclusive("report").lock_delay(std::time::Duration::from_secs(5))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self, session: &Session, want: Want) -> Result<LockHold, Error> {
        self.acquiring(session, want).held().await
    }

    /// Waits no longer than `patience`.
    ///
    /// # Errors
    /// As [`Locks::acquire`]; also final: [`ErrorKind::Deadline`]. Then the place is given up: the
    /// cluster ends the wait by itself, also if this process or its member is gone.
    ///
    /// # Cancel safety
    /// As [`Locks::acquire`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{ErrorKind, locks::Want};
    /// use std::time::Duration;
    ///
    /// match locks.acquire_within(&session, Want::permits("encoders", 2, 8), Duration::from_secs(30)).await {
    ///     Err(error) if error.kind() == ErrorKind::Deadline => println!("too busy"),
    ///     hold => hold?.unlock().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire_within(&self, session: &Session, want: Want, patience: Duration) -> Result<LockHold, Error> {
        /// For the cluster's own answer.
        const GRACE: Duration = Duration::from_secs(1);
        let held = Acquiring::new(session, want, Some(patience)).held();
        let late = || Err(Error::new(ErrorKind::Deadline, "not acquired in time"));
        tokio::time::timeout(patience.saturating_add(GRACE), held).await.unwrap_or_else(|_| late())
    }

    /// Takes what is wanted if it can be had at once; `None` if not. Then nothing is left behind.
    ///
    /// # Errors
    /// As [`Locks::acquire`].
    ///
    /// # Cancel safety
    /// As [`Locks::acquire`].
    ///
    /// # Source
    /// Chubby's `TryAcquire`.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::locks::Want;
    ///
    /// if let Some(hold) = locks.try_acquire(&session, Want::shared("catalogue")).await? {
    ///     println!("reading: {hold:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire(&self, session: &Session, want: Want) -> Result<Option<LockHold>, Error> {
        Acquiring::trying(session, want).tried().await
    }

    /// Waits as [`Locks::acquire`] does, and tells on the way how many are before.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Locks, locks::{Progress, Want}};
    ///
    /// let mut acquiring = Locks::new(&client).acquiring(&session, Want::exclusive("press"));
    /// let hold = loop {
    ///     match acquiring.next().await? {
    ///         Progress::Waiting { before, .. } => println!("{before} before us"),
    ///         Progress::Held(hold) => break hold,
    ///     }
    /// };
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquiring(&self, session: &Session, want: Want) -> Acquiring {
        Acquiring::new(session, want, None)
    }

    /// Who holds a lock, and who waits for it; linearizable.
    ///
    /// Gives up to 1000 holders and 1000 who wait; the counts are of all.
    ///
    /// # Errors
    /// Retryable: no member answered in time. Final: [`ErrorKind::Invalid`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks) -> Result<(), conclave_client::Error> {
    /// let state = locks.get("encoders").await?;
    /// let (used, capacity) = state.permits;
    /// println!("{} hold {used} of {capacity} permits; {} wait", state.holders.count, state.waiting.count);
    /// for request in &state.holders.requests {
    ///     println!("{} since {:?}, fence {}", request.owner, request.held_since, request.fence);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, name: impl Into<Name>) -> Result<LockState, Error> {
        const MOST: u32 = 1000;
        let request = pb::GetLockRequest { lock: name.into().wire(), limit: MOST, ..Default::default() };
        Ok(self.acting.client.read(request, call!(locks.get)).await?.into())
    }

    /// The names of locks that are held, waited for, or delayed, in order; of one namespace or of
    /// all.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks) -> Result<(), conclave_client::Error> {
    /// use futures::TryStreamExt;
    ///
    /// let names: Vec<_> = locks.list(None).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> BoxStream<'static, Result<Name, Error>> {
        let client = self.acting.client.clone();
        pages(namespace, move |request| {
            let client = client.clone();
            async move {
                client.read(request, call!(locks.list)).await.map(|page: pb::ListLocksResponse| (page.names, page.more))
            }
        })
    }

    /// Follows a lock: every change of its holders and its line, in order, over failures of
    /// members. Begins with how things stand.
    ///
    /// # Errors
    /// Retryable: no member took it within [`Builder::timeout`](crate::Builder::timeout). The
    /// stream ends after an error: [`ErrorKind::OutOfRange`] if history that it needs is compacted,
    /// or a refusal.
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks) -> Result<(), conclave_client::Error> {
    /// use conclave_client::locks::{LockChangeKind, LockWatch};
    /// use futures::TryStreamExt;
    ///
    /// let mut events = locks.watch(LockWatch::new("report").from_revision(42)).await?;
    /// while let Some(event) = events.try_next().await? {
    ///     for change in event.changes.iter().filter(|change| change.kind == LockChangeKind::Held) {
    ///         println!("{}: {} holds it with fence {}", event.revision, change.owner, change.fence);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(
        &self,
        watch: impl Into<LockWatch>,
    ) -> Result<BoxStream<'static, Result<LockEvent, Error>>, Error> {
        Ok(watch.into().begin(&self.acting.client).await?.boxed())
    }

    /// Takes the locks away from who holds them under this fence, or its place in line: an
    /// operator's means. The lock-delay applies. For `cooldown` that owner may not ask for these
    /// locks (zero: at once). Returns whether there was something to take.
    ///
    /// # Errors
    /// Outcome unknown: no member confirmed it in time. Final: [`ErrorKind::Invalid`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(locks: conclave_client::Locks) -> Result<(), conclave_client::Error> {
    /// use std::time::Duration;
    ///
    /// for request in locks.get("report").await?.holders.requests {
    ///     locks.evict(request.fence, Duration::from_secs(60)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn evict(&self, fence: i64, cooldown: Duration) -> Result<bool, Error> {
        let caller = caller(None, &Expect::default());
        let request = pb::ReleaseRequest { caller, fence, evict: true, cooldown_ms: millis(cooldown) };
        Ok(self.acting.client.repeatable(request, call!(locks.release)).await?.released)
    }
}
