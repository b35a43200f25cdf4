//! Replaces the state with a checkpoint, all or nothing.
//!
//! The state is in one of several directories. A pointer file names it and is replaced by a rename.
//! The steps are: link or copy the files into a new directory and open it; record in the log,
//! durably, which snapshot is being installed; move the pointer. A crash before the last step
//! leaves the old state, a crash after it the new state. The next start removes directories that
//! the pointer does not name.
//!
//! At the next start, the record tells a state that is rightly ahead of the log (its snapshot was
//! installed and the log not yet purged) from a log that lost its end.

use super::checkpoint::{Checkpoint, Snapshot, fresh_dir, require_announced};
use crate::error::{OpenError, damaged};
use crate::failpoint::failpoint;
use crate::files;
use crate::log::disk::Slot;
use crate::state::{StateDb, StateShared};
use crate::types::SnapshotMeta;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const POINTER: &str = "CURRENT-STATE";

const PREFIX: &str = "db-";

/// The directory that the pointer in `state_dir` names; `None` if there is no pointer.
pub(crate) fn pointed_to(state_dir: &Path) -> io::Result<Option<PathBuf>> {
    let text = match fs::read_to_string(state_dir.join(POINTER)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let number = text.strip_suffix('\n').and_then(|t| t.strip_prefix(PREFIX)).filter(|n| n.parse::<u64>().is_ok());
    let number = number.ok_or_else(|| damaged(format!("{POINTER} holds {text:?}, not the name of a directory")))?;
    Ok(Some(state_dir.join(format!("{PREFIX}{number}"))))
}

/// The next unused name of a state directory.
pub(crate) fn new_state_dir(state_dir: &Path) -> io::Result<PathBuf> {
    let mut next = 1;
    for entry in fs::read_dir(state_dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse::<u64>().ok());
        next = next.max(number.map_or(0, |n| n + 1));
    }
    Ok(state_dir.join(format!("{PREFIX}{next}")))
}

/// Makes `dir` the current state, durably.
pub(crate) fn set_pointer(state_dir: &Path, dir: &Path) -> io::Result<()> {
    let name = dir.file_name().and_then(|n| n.to_str()).expect("made by new_state_dir");
    files::replace(state_dir, POINTER, format!("{name}\n").as_bytes(), || failpoint!("install-before-pointer-rename"))
}

/// Links files that RocksDB never changes and copies the few others.
pub(crate) fn take_over(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let fixed = source.extension().is_some_and(|e| e == "sst" || e == "blob");
        if !(fixed && fs::hard_link(&source, &target).is_ok()) {
            fs::copy(&source, &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    files::sync_dir(to)
}

/// Installs on disk. The caller then replaces the database in memory. Blocks.
pub(crate) fn install(shared: &StateShared, meta: &SnapshotMeta, checkpoint: &Checkpoint) -> io::Result<StateDb> {
    let last = meta.last_log_id.ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
    let dir = new_state_dir(shared.state_dir())?;
    take_over(checkpoint.path(), &dir)?;
    let db = StateDb::open(&dir, &shared.limits).map_err(OpenError::into_io)?;
    db.raft_rows().and_then(|rows| require_announced(&rows, meta)).inspect_err(|_| db.retire())?;
    // Opening wrote a few rows, which must be on disk before the switch.
    db.flush()?;
    files::sync_dir(shared.state_dir())?;
    failpoint!("install-before-record");
    shared.record(Slot::Installing, &last)?;
    failpoint!("install-before-switch");
    set_pointer(shared.state_dir(), &dir)?;
    failpoint!("install-after-switch");
    // Kept for followers of this member: the caller may drop its checkpoint.
    let path = fresh_dir(shared.snapshots.dir(), "installed")?;
    take_over(checkpoint.path(), &path)?;
    shared.snapshots.keep(Snapshot { meta: meta.clone(), snapshot: Checkpoint::own_state(path, shared.fatal.clone()) });
    Ok(db)
}
