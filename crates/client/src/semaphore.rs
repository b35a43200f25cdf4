//! Semaphores over etcd's wire.

use crate::{
    Error, ErrorKind, KeyRange, LockGuard, Session,
    place::{self, Line},
    rule::Rule,
};
use std::time::Duration;

/// A number of permits, by name; first come, first served, also for those who want many.
///
/// A holder is a key `name/<lease in hex>-<number>` whose value says how many permits it takes. The
/// first to wait is served first: nobody passes, even if there are enough permits for them. All
/// users of a name must give the same capacity.
///
/// # Source
/// Curator's semaphore with leases, by the queue of etcd's mutex.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::Semaphore;
///
/// let slots = Semaphore::new("downloads", 5);
/// let two = slots.acquire(&session, 2).await?;
/// drop(two);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    name: String,
    capacity: u32,
}

impl Semaphore {
    /// The semaphore of this name with so many permits. Makes no call.
    #[must_use]
    pub fn new(name: impl Into<String>, capacity: u32) -> Self {
        Self { name: name.into(), capacity }
    }

    /// Waits until so many permits are held. Errors and cancel safety as
    /// [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Errors
    /// See above; also final: [`ErrorKind::Invalid`], none or more than the capacity.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Semaphore;
    ///
    /// let slots = Semaphore::new("downloads", 5);
    /// let two = slots.acquire(&session, 2).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self, session: &Session, permits: u32) -> Result<LockGuard, Error> {
        LockGuard::wait(session, &self.line(session, permits)?).await
    }

    /// [`Semaphore::acquire`] no longer than `patience`; see
    /// [`Mutex::lock_within`](crate::Mutex::lock_within).
    ///
    /// # Errors
    /// See there.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Semaphore;
    /// use std::time::Duration;
    ///
    /// let slots = Semaphore::new("downloads", 5);
    /// let one = slots.acquire_within(&session, 1, Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire_within(
        &self,
        session: &Session,
        permits: u32,
        patience: Duration,
    ) -> Result<LockGuard, Error> {
        LockGuard::within(session, &self.line(session, permits)?, patience).await
    }

    /// Takes permits if so many are free and nobody waits; see
    /// [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Errors
    /// See there.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Semaphore;
    ///
    /// let slots = Semaphore::new("downloads", 5);
    /// if let Some(one) = slots.try_acquire(&session, 1).await? {
    ///     println!("one was free, and nobody waited");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire(&self, session: &Session, permits: u32) -> Result<Option<LockGuard>, Error> {
        LockGuard::attempt(session, &self.line(session, permits)?).await
    }

    fn line(&self, session: &Session, permits: u32) -> Result<Line, Error> {
        if permits == 0 || permits > self.capacity {
            let text = format!("{permits} permits of a semaphore that has {}", self.capacity);
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let range = KeyRange::prefix(format!("{}/", self.name));
        let rule = Rule::Room { range, capacity: self.capacity, weight: permits };
        let key = place::unique_key(&self.name, session.lease());
        Ok(Line { key, value: permits.to_string().into(), rule, gone: ErrorKind::NotHeld })
    }
}
