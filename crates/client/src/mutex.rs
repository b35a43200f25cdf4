//! Locks over etcd's wire: the guard, and the lock that one holds alone.

use crate::{
    Error, ErrorKind, KeyRange, Session,
    held::{Tenure, held},
    place::{self, Line, Place},
    rule::Rule,
};
use bytes::Bytes;
use std::time::Duration;

/// A lock that one session holds at a time, by name; first come, first served.
///
/// The holder is a key `name/<lease in hex>` attached to its session's lease. Holders of etcd's
/// other clients (`concurrency.Mutex` in Go, `etcdctl lock`, the `v3lock` service) stand in the
/// same line. Within one session the lock excludes as well: a second call waits until the first
/// guard is gone. Names must not lie inside each other (`a` and `a/b`).
///
/// A lock by itself protects nothing outside of the cluster: the holder may be delayed over its
/// session's end and not notice. Pass the [fence](crate::Held::fence) along, or write by
/// [`Held::txn`](crate::Held::txn).
///
/// # Source
/// etcd's `concurrency.Mutex`; beyond it: fenced unlocking that can be repeated, and guards that
/// know until when they hold.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Mutex, Session};
/// use std::time::Duration;
///
/// let session = Session::open(&client, Duration::from_secs(10)).await?;
/// let mut guard = Mutex::new("report").lock(&session).await?;
/// println!("writing with fence {}", guard.fence());
/// guard.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mutex {
    name: String,
    value: Bytes,
}

/// A lock, or permits, held. See [`Held`](crate::Held) for what all guards can do.
///
/// Dropping it unlocks in the background.
///
/// # Examples
/// ```no_run
/// # async fn example(guard: conclave_client::LockGuard) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Put};
///
/// guard.txn().then([Put::new("report/state", "running")]).commit().await?;
/// println!("held by {:?} with fence {}", guard.key(), guard.fence());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LockGuard {
    tenure: Tenure,
    key: Bytes,
}

held!(LockGuard);

impl Mutex {
    /// The lock of this name. Makes no call.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: Bytes::new() }
    }

    /// What the key of the lock holds, for people who look at it: who this is, for example. Empty
    /// unless set, as with etcd's own clients.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// let guard = conclave_client::Mutex::new("report").value("root@host-7/4711").lock(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Waits until the session holds the lock, through failures of members.
    ///
    /// # Errors
    /// Final: [`ErrorKind::SessionLost`], [`ErrorKind::LeaseNotFound`]; [`ErrorKind::NotHeld`] as
    /// soon as the place in the queue is deleted by somebody; a refusal such as
    /// [`ErrorKind::NoSpace`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// let guard = conclave_client::Mutex::new("report").lock(&session).await?;
    /// drop(guard); // unlocks in the background
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock(&self, session: &Session) -> Result<LockGuard, Error> {
        LockGuard::wait(session, &self.line(session)).await
    }

    /// Waits no longer than `patience`.
    ///
    /// # Errors
    /// As [`Mutex::lock`]; also final: [`ErrorKind::Deadline`], the place is given back in the
    /// background.
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{ErrorKind, Mutex};
    /// use std::time::Duration;
    ///
    /// match Mutex::new("report").lock_within(&session, Duration::from_secs(5)).await {
    ///     Err(error) if error.kind() == ErrorKind::Deadline => println!("somebody is at it; later, then"),
    ///     guard => guard?.unlock().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock_within(&self, session: &Session, patience: Duration) -> Result<LockGuard, Error> {
        LockGuard::within(session, &self.line(session), patience).await
    }

    /// Takes the lock if nobody has it or waits for it; `None` if somebody does. Then nothing is
    /// left behind.
    ///
    /// Another part of this process that has the lock by the same session, or is just giving it
    /// back, counts as somebody.
    ///
    /// # Errors
    /// As [`Mutex::lock`]. Outcome unknown: the place could not be given back for sure; it is tried
    /// in the background.
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// match conclave_client::Mutex::new("report").try_lock(&session).await? {
    ///     Some(mut guard) => guard.unlock().await?,
    ///     None => println!("somebody else makes the report"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_lock(&self, session: &Session) -> Result<Option<LockGuard>, Error> {
        LockGuard::attempt(session, &self.line(session)).await
    }

    fn line(&self, session: &Session) -> Line {
        let rule = Rule::Alone(KeyRange::prefix(format!("{}/", self.name)));
        let (key, value) = (place::key(&self.name, session.lease()), self.value.clone());
        Line { key, value, rule, gone: ErrorKind::NotHeld }
    }
}

impl LockGuard {
    /// The key that stands for it.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// Gives it back. When this returns without error, the next in line has it. Of one that was
    /// lost before, see [`Held::release`](crate::Held::release).
    ///
    /// # Errors
    /// No member confirmed it in time. The guard keeps its state: the call can be repeated, and
    /// dropping the guard goes on trying in the background.
    ///
    /// # Cancel safety
    /// A dropped future leaves the guard as after an error.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut guard: conclave_client::LockGuard) -> Result<(), conclave_client::Error> {
    /// guard.unlock().await?;
    /// // The next in line has it.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unlock(&mut self) -> Result<(), Error> {
        self.tenure.release().await
    }

    pub(crate) async fn wait(session: &Session, line: &Line) -> Result<Self, Error> {
        Ok(Self::new(session, place::wait(session, line).await?))
    }

    pub(crate) async fn within(session: &Session, line: &Line, patience: Duration) -> Result<Self, Error> {
        Ok(Self::new(session, place::within(session, line, patience).await?))
    }

    pub(crate) async fn attempt(session: &Session, line: &Line) -> Result<Option<Self>, Error> {
        Ok(place::attempt(session, line).await?.map(|place| Self::new(session, place)))
    }

    fn new(session: &Session, place: Place) -> Self {
        let (key, revision) = (place.key.clone(), place.revision());
        Self { tenure: place.into_tenure(session, revision, ErrorKind::NotHeld), key }
    }
}
