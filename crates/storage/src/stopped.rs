//! Reads the data directory of a stopped member without changing it.
//!
//! 1. A running member is refused: its disk contents would be outdated when shown. While the
//!    directory is open here, no member can start on it.
//! 2. Nothing is repaired or assumed: unreadable contents are an error that says so.

use crate::codec;
use crate::error::OpenError;
use crate::files;
use crate::identity::{Identity, read_identity};
use crate::log::disk::{LogDisk, Slot};
use crate::log::{DumpedEntry, Found, RocksLog, entries};
use crate::open::{log_dir, state_dir};
use crate::snapshot::pointed_to;
use crate::state::{ReplicaStatus, stored_state};
use crate::types::{LogId, StoredMembership, Vote};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened data directory.
pub struct Stopped {
    dir: PathBuf,
    identity: Identity,
    log: Arc<RocksLog>,
    /// Keeps a member from starting.
    _lock: File,
}

/// The positions of the log.
#[derive(Clone, Debug)]
pub struct StoredLog {
    /// The first index.
    pub first: Option<u64>,
    /// The last entry, which may be purged.
    pub last: Option<LogId>,
    /// The last purged entry.
    pub purged: Option<LogId>,
    /// Known to be committed. More entries may be.
    pub committed: Option<LogId>,
    /// The last entry in the state when it was last flushed.
    pub flushed: Option<LogId>,
    pub vote: Option<Vote>,
}

/// The state as of its last flush. The log has the rest.
#[derive(Clone, Debug)]
pub struct StoredState {
    pub status: ReplicaStatus,
    pub membership: StoredMembership,
}

impl Stopped {
    pub fn open(dir: &Path) -> Result<Stopped, OpenError> {
        let identity = read_identity(dir)?.ok_or_else(|| OpenError::NoMember { path: dir.to_owned() })?;
        let log = log_dir(dir);
        if !files::is_there(&log.join("CURRENT"))? {
            return Err(OpenError::Missing { path: dir.to_owned(), missing: "the log" });
        }
        // A running member holds this lock exclusively.
        let path = log.join("LOCK");
        let lock = files::lock(&path, false).map_err(OpenError::io("lock", path))?;
        let lock = lock.ok_or_else(|| OpenError::InUse { path: dir.to_owned() })?;
        let log = Arc::new(RocksLog::open_read_only(&log)?);
        Ok(Stopped { dir: dir.to_owned(), identity, log, _lock: lock })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn log(&self) -> Result<StoredLog, OpenError> {
        let read = || -> io::Result<StoredLog> {
            let found = Found::on(&*self.log)?;
            let flushed = self.log.slot(Slot::Flushed)?.map(|r| codec::decode_log_id(&r)).transpose()?;
            let Found { first, last, purged, committed, vote, .. } = found;
            Ok(StoredLog { first, last, purged, committed, flushed, vote })
        };
        read().map_err(|e| self.unreadable("the log", &e))
    }

    pub fn state(&self) -> Result<StoredState, OpenError> {
        let (status, membership) = stored_state(&self.state_path()?)?;
        Ok(StoredState { status, membership })
    }

    /// Where the state's database is.
    pub(crate) fn state_path(&self) -> Result<PathBuf, OpenError> {
        let current = pointed_to(&state_dir(&self.dir)).map_err(|e| self.unreadable("the state", &e))?;
        let missing = || OpenError::Missing { path: self.dir.clone(), missing: "the state" };
        let current = current.ok_or_else(missing)?;
        if !files::is_there(&current.join("CURRENT"))? {
            return Err(missing());
        }
        Ok(current)
    }

    /// The entries from index `from` on, read lazily. Purged entries that are still on disk are not
    /// shown.
    pub fn entries(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<DumpedEntry, OpenError>> + use<>, OpenError> {
        let from = from.max(self.log()?.first.unwrap_or(u64::MAX));
        let dir = self.dir.clone();
        let unreadable = move |e: io::Error| OpenError::reading("the log", &dir, &e);
        Ok(entries(self.log.clone(), from).map(move |entry| entry.map_err(&unreadable)))
    }

    fn unreadable(&self, what: &'static str, e: &io::Error) -> OpenError {
        OpenError::reading(what, &self.dir, e)
    }
}
