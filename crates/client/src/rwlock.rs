//! Read-write locks over etcd's wire.

use crate::{
    Error, ErrorKind, KeyRange, LockGuard, Session,
    place::{self, Line},
    rule::Rule,
};
use bytes::Bytes;
use std::time::Duration;

/// A lock that many share for reading and one has for writing, by name; first come, first served,
/// so writers do not starve.
///
/// Holders are keys `name/read/…` and `name/write/…`. A reader waits for the writers before it, a
/// writer for everybody before it. Holders of the Go client's experimental `RWMutex` stand in the
/// same line. One session may hold several read locks of one name.
///
/// # Source
/// The read-write lock among etcd's recipes.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::RwLock;
///
/// let catalogue = RwLock::new("catalogue");
/// let reading = catalogue.read(&session).await?;
/// drop(reading);
/// let mut writing = catalogue.write(&session).await?;
/// writing.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RwLock {
    name: String,
}

impl RwLock {
    /// The lock of this name. Makes no call.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Waits until no writer is before this reader. Errors and cancel safety as
    /// [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Errors
    /// See above.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::RwLock;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// let reading = catalogue.read(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, session: &Session) -> Result<LockGuard, Error> {
        LockGuard::wait(session, &self.reader(session)).await
    }

    /// Waits until nobody is before this writer. Errors and cancel safety as
    /// [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Errors
    /// See above.
    ///
    /// # Cancel safety
    /// A dropped future gives its place back in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::RwLock;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// let mut writing = catalogue.write(&session).await?;
    /// writing.unlock().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, session: &Session) -> Result<LockGuard, Error> {
        LockGuard::wait(session, &self.writer(session)).await
    }

    /// [`RwLock::read`] no longer than `patience`; see
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
    /// use conclave_client::RwLock;
    /// use std::time::Duration;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// let reading = catalogue.read_within(&session, Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_within(&self, session: &Session, patience: Duration) -> Result<LockGuard, Error> {
        LockGuard::within(session, &self.reader(session), patience).await
    }

    /// [`RwLock::write`] no longer than `patience`; see
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
    /// use conclave_client::RwLock;
    /// use std::time::Duration;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// let writing = catalogue.write_within(&session, Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_within(&self, session: &Session, patience: Duration) -> Result<LockGuard, Error> {
        LockGuard::within(session, &self.writer(session), patience).await
    }

    /// Shares the lock if no writer has it or waits for it; see
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
    /// use conclave_client::RwLock;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// if let Some(reading) = catalogue.try_read(&session).await? {
    ///     println!("no writer has it or waits");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_read(&self, session: &Session) -> Result<Option<LockGuard>, Error> {
        LockGuard::attempt(session, &self.reader(session)).await
    }

    /// Takes the lock if nobody has it or waits for it; see
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
    /// use conclave_client::RwLock;
    ///
    /// let catalogue = RwLock::new("catalogue");
    /// if let Some(writing) = catalogue.try_write(&session).await? {
    ///     println!("nobody has it or waits");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_write(&self, session: &Session) -> Result<Option<LockGuard>, Error> {
        LockGuard::attempt(session, &self.writer(session)).await
    }

    fn reader(&self, session: &Session) -> Line {
        self.line("read", session, KeyRange::prefix(format!("{}/write/", self.name)))
    }

    fn writer(&self, session: &Session) -> Line {
        self.line("write", session, KeyRange::prefix(format!("{}/", self.name)))
    }

    fn line(&self, mode: &str, session: &Session, before: KeyRange) -> Line {
        let key = place::unique_key(&format!("{}/{mode}", self.name), session.lease());
        Line { key, value: Bytes::new(), rule: Rule::Alone(before), gone: ErrorKind::NotHeld }
    }
}
