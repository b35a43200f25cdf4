//! What is made of files, and replaced when they change.
//!
//! The files are compared by their contents every [`POLL`]: what replaces certificates swaps
//! symbolic links, or whole volumes, which notifications of the file system miss. A change counts
//! once it has stood for [`SETTLE`], since a key is written after its certificate.
//!
//! What cannot be used changes nothing: that before stays in force.

use crate::TlsError;
use crate::contents::Contents;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const POLL: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);

/// New files are in force, and connections that they end have ended, after this time. Twice what
/// the polls add up to.
pub const RELOAD_WITHIN: Duration = Duration::from_secs(12);

/// A value made of files.
pub struct Followed<T> {
    paths: Vec<PathBuf>,
    current: ArcSwap<T>,
    /// What was read last, valid or not.
    seen: Mutex<Result<Contents, TlsError>>,
    reloads: AtomicU64,
    failures: AtomicU64,
    /// The files are not what is in force.
    rejected: AtomicBool,
}

/// What a look at the files led to.
pub enum Reload<T> {
    Unchanged,
    /// It is in force.
    Replaced(Arc<T>),
    Rejected(TlsError),
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    pub reloads: u64,
    pub failures: u64,
    /// Whether the files were found invalid when they were last read, so that an earlier value is
    /// in force.
    pub rejected: bool,
}

impl<T> Followed<T> {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or used.
    pub fn open(
        paths: Vec<PathBuf>,
        make: impl FnOnce(&Contents) -> Result<T, TlsError>,
    ) -> Result<Followed<T>, TlsError> {
        let contents = Contents::read(&paths)?;
        let current = ArcSwap::from_pointee(make(&contents)?);
        Ok(Followed {
            paths,
            current,
            seen: Mutex::new(Ok(contents)),
            reloads: AtomicU64::default(),
            failures: AtomicU64::default(),
            rejected: AtomicBool::default(),
        })
    }

    /// What is in force.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    pub fn changed(&self) -> bool {
        Contents::read(&self.paths) != *self.seen.lock()
    }

    /// Takes the files as they are now, if they have changed and are valid. `make` sees what they
    /// replace.
    pub fn reload(&self, make: impl FnOnce(&Contents, &T) -> Result<T, TlsError>) -> Reload<T> {
        let contents = Contents::read(&self.paths);
        let mut seen = self.seen.lock();
        if *seen == contents {
            return Reload::Unchanged;
        }
        seen.clone_from(&contents);
        match contents.and_then(|contents| make(&contents, &self.current.load())) {
            Ok(value) => {
                let value = Arc::new(value);
                self.current.store(value.clone());
                self.reloads.fetch_add(1, Ordering::Relaxed);
                self.rejected.store(false, Ordering::Relaxed);
                Reload::Replaced(value)
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.rejected.store(true, Ordering::Relaxed);
                Reload::Rejected(error)
            }
        }
    }

    pub fn figures(&self) -> Reloads {
        Reloads {
            reloads: self.reloads.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

/// Calls `reload` when `changed` says so, for ever. Both may block.
pub async fn follow<T: Clone + Send + 'static>(of: T, changed: fn(&T) -> bool, reload: fn(&T)) {
    loop {
        tokio::time::sleep(POLL).await;
        let (look, take) = (of.clone(), of.clone());
        let seen = tokio::task::spawn_blocking(move || changed(&look)).await;
        if matches!(seen, Ok(true)) {
            tokio::time::sleep(SETTLE).await;
            let _ = tokio::task::spawn_blocking(move || reload(&take)).await;
        }
    }
}
