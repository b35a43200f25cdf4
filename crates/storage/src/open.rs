//! Opens a data directory, and refuses one whose contents contradict each other.
//!
//! ```text
//! data dir ── FIRST           the cluster at the member's first start (`first_start`; written first)
//!          ├─ IDENTITY        which member it is (`identity`)
//!          ├─ PLACE           whether it is a copy (`location`)
//!          ├─ STORES          both databases were complete once
//!          ├─ log/            Raft log, vote, registry
//!          ├─ state/          CURRENT-STATE names db-<n>
//!          └─ snapshots/      emptied at each start
//! ```
//!
//! A member that lost a vote or an acknowledged entry can make the cluster lose writes. So these
//! signs of loss stop it here:
//!
//! 1. a directory that was in use without its log, its state or its identity; another member's log;
//! 2. a log that does not begin right after the purged entries, or cannot be read;
//! 3. a state behind the purge, or behind its recorded flush;
//! 4. a state ahead of the log, unless the installation of that snapshot is recorded;
//! 5. a state whose last entry has another term than the log's entry at that index.

use crate::codec;
use crate::error::{Fatal, OnFatal, OpenError};
use crate::failpoint::failpoint;
use crate::files;
use crate::identity::{self, Identity};
use crate::log::disk::{LogDisk, LogOp, Slot};
use crate::log::{Found, LogLimits, LogStore, Registry, RocksLog, Witness, entry_at};
use crate::snapshot::{LatestSnapshot, new_state_dir, pointed_to, set_pointer};
use crate::state::{ApplySink, Parts, State, StateDb, StateHandle, StateLimits, StateShared, StateStore};
use crate::types::{LogId, shown};
use crate::wal_dir;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const MARKER: &str = "STORES";

/// The folder that holds everything in a data directory of etcd's.
const ETCD: &str = "member";

/// How to open a data directory.
#[derive(Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Where the log is, if not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// `false` gives up durability of the log: for measurements only.
    pub sync: bool,
    pub log: LogLimits,
    pub state: StateLimits,
    /// Entries between two snapshots, for openraft's snapshot policy.
    pub snapshot_every_entries: u64,
    pub on_fatal: OnFatal,
}

impl Options {
    /// The defaults; a failure of the disk aborts the process.
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options {
            data_dir: data_dir.into(),
            wal_dir: None,
            sync: true,
            log: LogLimits::default(),
            state: StateLimits::default(),
            snapshot_every_entries: 100_000,
            on_fatal: Arc::new(|_| std::process::abort()),
        }
    }
}

/// An opened data directory.
pub struct Opened {
    pub log: LogStore,
    pub machine: StateStore,
    pub state: StateHandle,
    pub registry: Registry,
    pub witness: Witness,
}

pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

pub(crate) fn state_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("state")
}

/// Opens (or begins) the data directory of this member. `origin` marks the segments that this
/// process proposes.
pub fn open(options: Options, identity: Identity, origin: u64, sink: Arc<dyn ApplySink>) -> Result<Opened, OpenError> {
    let dir = options.data_dir.clone();
    let used = begin_or_recognize(&dir, &identity)?;
    if used && !files::is_there(&log_dir(&dir).join("CURRENT"))? {
        return Err(OpenError::Missing { path: dir, missing: "the log" });
    }
    if let Some(wal_dir) = &options.wal_dir {
        wal_dir::place(&log_dir(&dir), wal_dir)?;
    }
    files::create_dir(&log_dir(&dir)).map_err(OpenError::io("create", log_dir(&dir)))?;
    let disk = RocksLog::open(&log_dir(&dir))?;
    open_on(Arc::new(disk), options, &identity, origin, sink)
}

/// Like [`open`], with a log disk given by the caller, for tests and simulation.
pub fn open_on(
    disk: Arc<dyn LogDisk>,
    options: Options,
    identity: &Identity,
    origin: u64,
    sink: Arc<dyn ApplySink>,
) -> Result<Opened, OpenError> {
    let dir = &options.data_dir;
    let used = begin_or_recognize(dir, identity)?;
    let unreadable = |e: io::Error| OpenError::reading("the log", dir, &e);
    own_log(&*disk, dir, identity, used)?;
    let found = Found::on(&*disk).map_err(unreadable)?;
    let db = open_state(dir, &options.state, used)?;
    check(&*disk, &found, &db, dir)?;
    mark_complete(dir, used)?;

    let fatal = |dir: &Path| Fatal::new(options.on_fatal.clone(), dir);
    let thread = || OpenError::io("start a thread for", dir);
    let log = LogStore::start(disk.clone(), &found, options.log.clone(), options.sync, fatal(&log_dir(dir)));
    let log = log.map_err(thread())?;
    let registry = Registry::load(&*disk, log.clone()).map_err(unreadable)?;
    let snapshots = dir.join("snapshots");
    let keeper = LatestSnapshot::start(snapshots.clone()).map_err(OpenError::io("clear", snapshots))?;
    let shared = StateShared::new(db, log.clone(), options.state.clone(), keeper, state_dir(dir), fatal(dir));
    let shared = State::start(shared).map_err(thread())?;
    let machine = StateStore::load(Parts { shared: shared.clone(), sink, origin })
        .map_err(|e| OpenError::reading("the state", dir, &e))?;
    tracing::info!(
        last = %shown(found.last.as_ref()),
        purged = %shown(found.purged.as_ref()),
        committed = %shown(found.committed.as_ref()),
        "opened {}", dir.display()
    );
    let state = StateHandle::new(shared);
    let witness = Witness::new(log.clone(), state.clone());
    Ok(Opened { log, machine, state, registry, witness })
}

/// Writes the identity of a new directory, or compares that of a used one. Returns whether the
/// directory was complete before.
fn begin_or_recognize(dir: &Path, identity: &Identity) -> Result<bool, OpenError> {
    let mut leftover = false;
    for path in [log_dir(dir), state_dir(dir), dir.join(MARKER)] {
        leftover |= files::is_there(&path)?;
    }
    if leftover && identity::read_identity(dir)?.is_none() {
        return Err(OpenError::Missing { path: dir.to_owned(), missing: "the identity file" });
    }
    if identity::read_identity(dir)?.is_none() && files::is_there(&dir.join(ETCD))? {
        return Err(OpenError::OfEtcd { path: dir.to_owned() });
    }
    identity::write_identity(dir, identity)?;
    files::is_there(&dir.join(MARKER))
}

/// The log contains the identity too, so that a log directory from another member is recognized.
fn own_log(disk: &dyn LogDisk, dir: &Path, identity: &Identity, used: bool) -> Result<(), OpenError> {
    let io = || OpenError::io("use", log_dir(dir));
    let corrupt = |reason: String| OpenError::Corrupt { path: dir.to_owned(), what: "the log's identity", reason };
    match disk.slot(Slot::Identity).map_err(io())? {
        Some(record) => {
            let stored: Identity = codec::unseal(&record).map_err(|e| corrupt(e.to_string()))?;
            identity::require_same(&log_dir(dir), &stored, identity)
        }
        None if used => Err(OpenError::Missing { path: dir.to_owned(), missing: "the log" }),
        None => {
            let record = codec::seal(identity);
            disk.write(vec![LogOp::Set { slot: Slot::Identity, record }]).and_then(|()| disk.sync()).map_err(io())
        }
    }
}

/// Opens the state that the pointer file names, and removes the others.
fn open_state(dir: &Path, limits: &StateLimits, used: bool) -> Result<StateDb, OpenError> {
    let dir = state_dir(dir);
    let io = |doing| OpenError::io(doing, dir.clone());
    files::create_dir(&dir).map_err(io("create"))?;
    let current = match pointed_to(&dir).map_err(|e| OpenError::reading("the state", &dir, &e))? {
        Some(current) if files::is_there(&current.join("CURRENT"))? => current,
        Some(_) => return Err(OpenError::Missing { path: dir, missing: "the state" }),
        None if used => return Err(OpenError::Missing { path: dir, missing: "the state" }),
        None => {
            let first = new_state_dir(&dir).map_err(io("read"))?;
            // It must be complete before the pointer names it.
            drop(StateDb::open(&first, limits)?);
            set_pointer(&dir, &first).map_err(io("write"))?;
            first
        }
    };
    for entry in fs::read_dir(&dir).map_err(io("read"))? {
        let path = entry.map_err(io("read"))?.path();
        if path.is_dir() && path != current {
            files::remove_dir(&path).map_err(OpenError::io("remove", path))?;
        }
    }
    StateDb::open(&current, limits)
}

fn mark_complete(dir: &Path, used: bool) -> Result<(), OpenError> {
    if used {
        return Ok(());
    }
    failpoint!("open-before-marker");
    files::replace(dir, MARKER, b"log and state were created\n", || ())
        .map_err(OpenError::io("write", dir.join(MARKER)))
}

/// Refuses a log and a state that contradict each other.
fn check(disk: &dyn LogDisk, found: &Found, db: &StateDb, dir: &Path) -> Result<(), OpenError> {
    let unreadable = |e: io::Error| OpenError::reading("the log", dir, &e);
    let slot = |slot| -> Result<Option<LogId>, OpenError> {
        let record = disk.slot(slot).map_err(unreadable)?;
        record.map(|r| codec::decode_log_id(&r)).transpose().map_err(|e| unreadable(e.into()))
    };
    let rows = db.raft_rows().map_err(|e| OpenError::reading("the state", db.path(), &e))?;
    let in_log = match rows.applied {
        Some(applied)
            if found.first.is_some_and(|first| first <= applied.index)
                && found.last.is_some_and(|last| last.index >= applied.index) =>
        {
            Some(entry_at(disk, applied.index).map_err(unreadable)?.log_id)
        }
        _ => None,
    };
    let facts = Facts {
        first: found.first,
        last: found.last,
        purged: found.purged,
        applied: rows.applied,
        applied_in_log: in_log,
        flushed: slot(Slot::Flushed)?,
        installing: slot(Slot::Installing)?,
    };
    facts.contradiction().map_or(Ok(()), |reason| Err(OpenError::Contradiction { reason }))
}

/// The log positions found at the start. See [`crate::positions`] for their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) applied: Option<LogId>,
    /// The log's entry at the index of `applied`.
    pub(crate) applied_in_log: Option<LogId>,
    pub(crate) flushed: Option<LogId>,
    pub(crate) installing: Option<LogId>,
}

impl Facts {
    pub(crate) fn contradiction(&self) -> Option<String> {
        let says = |id: &Option<LogId>| shown(id.as_ref());
        let start = self.purged.map_or(0, |p| p.index + 1);
        if let Some(first) = self.first.filter(|first| *first != start) {
            return Some(format!("the log is purged up to {} but its first entry is {first}", says(&self.purged)));
        }
        if self.applied < self.purged {
            return Some(format!(
                "the log is purged up to {}, but the state holds only {}: entries in between are gone",
                says(&self.purged),
                says(&self.applied)
            ));
        }
        if self.applied < self.flushed {
            return Some(format!(
                "the state holds {}, but {} was already on the disk: the state directory has gone back in time",
                says(&self.applied),
                says(&self.flushed)
            ));
        }
        let index = |id: &Option<LogId>| id.map(|id| id.index);
        if index(&self.applied) > index(&self.last) && self.applied != self.installing {
            return Some(format!(
                "the state holds {}, but the log ends at {}: the end of the log is lost",
                says(&self.applied),
                says(&self.last)
            ));
        }
        if self.applied_in_log.is_some() && self.applied_in_log != self.applied {
            return Some(format!(
                "the state holds {}, but the log has {} there",
                says(&self.applied),
                says(&self.applied_in_log)
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn sound() -> Facts {
        let applied = Some(log_id(2, 50));
        Facts {
            first: Some(21),
            last: Some(log_id(2, 60)),
            purged: Some(log_id(1, 20)),
            applied,
            applied_in_log: applied,
            flushed: Some(log_id(2, 40)),
            installing: None,
        }
    }

    fn refused(facts: &Facts, word: &str) {
        let reason = facts.contradiction().unwrap_or_else(|| panic!("accepted: {facts:?}"));
        assert!(reason.contains(word), "{reason:?} does not say {word:?}");
    }

    #[test]
    fn sound_and_new_directories_are_served() {
        assert_eq!(sound().contradiction(), None);
        assert_eq!(Facts::default().contradiction(), None);
        // Everything up to the applied entry is purged.
        let purged = Some(log_id(2, 50));
        let facts = Facts { first: None, last: purged, purged, applied_in_log: None, ..sound() };
        assert_eq!(facts.contradiction(), None);
    }

    #[test]
    fn a_hole_at_the_front_is_refused() {
        refused(&Facts { first: Some(22), ..sound() }, "first entry is 22");
        refused(&Facts { purged: None, ..sound() }, "purged up to nothing");
    }

    #[test]
    fn a_state_behind_the_purge_is_refused() {
        refused(&Facts { applied: Some(log_id(1, 19)), flushed: None, ..sound() }, "in between are gone");
        refused(&Facts { applied: None, flushed: None, ..sound() }, "in between are gone");
    }

    #[test]
    fn a_state_that_went_back_in_time_is_refused() {
        refused(&Facts { flushed: Some(log_id(2, 51)), ..sound() }, "back in time");
    }

    #[test]
    fn a_state_ahead_of_the_log_is_refused_unless_a_snapshot_explains_it() {
        let applied = Some(log_id(3, 100));
        let ahead = Facts { applied, applied_in_log: None, ..sound() };
        refused(&ahead, "the end of the log is lost");
        refused(&Facts { installing: Some(log_id(3, 99)), ..ahead.clone() }, "the end of the log is lost");
        assert_eq!(Facts { installing: applied, ..ahead }.contradiction(), None);
    }

    #[test]
    fn another_history_is_refused() {
        refused(&Facts { applied_in_log: Some(log_id(1, 50)), ..sound() }, "the log has");
    }
}
