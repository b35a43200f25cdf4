//! Makes the data directory of a member whose state does not come from a log: of a backup, or of a
//! lost cluster.
//!
//! The directory looks as if its member had installed a snapshot that ends with the first entry of
//! a new log. That entry is the first membership: where a new cluster writes it, a restored one has
//! it.
//!
//! 1. Everything is written under a temporary name beside the target, synced, and renamed. A
//!    failure leaves nothing.
//! 2. The ids of member and cluster are made of what is restored, too, so members that restored
//!    something else, or nothing, never talk to each other. A later start takes them from the
//!    directory.

use crate::codec;
use crate::error::OpenError;
use crate::files;
use crate::first_start::{self, FirstStart};
use crate::identity::{Identity, write_identity};
use crate::log::RocksLog;
use crate::log::disk::{LogDisk, LogOp, Slot};
use crate::open::{MARKER, log_dir, state_dir};
use crate::snapshot::{new_state_dir, set_pointer};
use crate::state::{Rows, StateDb, StateLimits};
use crate::types::{LogId, Membership, StoredMembership, log_id};
use conclave_state::{Fault, Writes, import};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that is being filled.
pub struct Restored {
    target: PathBuf,
    // Declared before the draft, so that the database is closed before its directory is removed.
    db: StateDb,
    first: LogId,
    identity: Identity,
    draft: Draft,
}

/// The directory under its temporary name; removed unless it was renamed.
struct Draft {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            // It is left behind if that fails, under a name that says what it is.
            let _ = files::remove_dir(&self.path);
        }
    }
}

impl Restored {
    /// Begins a directory. The target must not exist, or be empty.
    pub fn begin(target: &Path, identity: Identity, first_start: &FirstStart) -> Result<Restored, OpenError> {
        require_unused(target)?;
        let io = |doing| OpenError::io(doing, target);
        let name = target.file_name().and_then(|name| name.to_str()).unwrap_or("data");
        let path = target.with_file_name(format!("{name}.{}.restoring", std::process::id()));
        files::create_dir(&path).map_err(OpenError::io("create", path.clone()))?;
        let draft = Draft { path, renamed: false };
        first_start::write(&draft.path, first_start)?;
        write_identity(&draft.path, &identity)?;
        let states = state_dir(&draft.path);
        files::create_dir(&states).map_err(io("create"))?;
        let db = StateDb::open(&new_state_dir(&states).map_err(io("read"))?, &StateLimits::default())?;
        let first = log_id(0, 0);
        let members = first_start.members.clone();
        let voters: BTreeSet<u64> = members.keys().copied().collect();
        let membership =
            Membership::new(vec![voters], members).map_err(|e| io("make the membership of")(io::Error::other(e)))?;
        let membership = StoredMembership::new(Some(first), membership);
        db.write_applied(&Writes::default(), &first, Some(&membership)).map_err(io("write"))?;
        Ok(Restored { target: target.to_owned(), db, first, identity, draft })
    }

    /// Makes everything durable, and gives the directory its name.
    pub fn finish(self) -> Result<(), OpenError> {
        let Restored { target, db, first, identity, mut draft } = self;
        let io = |doing| OpenError::io(doing, draft.path.clone());
        db.flush().map_err(io("write"))?;
        let states = state_dir(&draft.path);
        set_pointer(&states, db.path()).map_err(io("write"))?;
        drop(db);
        write_log(&draft.path, &identity, &first)?;
        files::replace(&draft.path, MARKER, b"log and state were restored\n", || ()).map_err(io("write"))?;
        require_unused(&target)?;
        fs::rename(&draft.path, &target).map_err(OpenError::io("rename to", target.clone()))?;
        draft.renamed = true;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::sync_dir(parent).map_err(OpenError::io("sync", parent))
    }
}

impl import::Rows for Restored {
    type View<'a> = Rows<'a>;

    fn view(&self) -> Rows<'_> {
        Rows::now(&self.db)
    }

    fn write(&mut self, writes: &Writes) -> Result<(), Fault> {
        let written = self.db.write_applied(writes, &self.first, None);
        written.map(|_| ()).map_err(|e| Fault::Read(format!("the state cannot be written: {e}")))
    }
}

fn require_unused(target: &Path) -> Result<(), OpenError> {
    let in_use = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(OpenError::io("read", target)(e)),
    };
    if in_use { Err(OpenError::NotEmpty { path: target.to_owned() }) } else { Ok(()) }
}

/// A log whose first entry is purged, because the state has it.
fn write_log(dir: &Path, identity: &Identity, first: &LogId) -> Result<(), OpenError> {
    let path = log_dir(dir);
    files::create_dir(&path).map_err(OpenError::io("create", path.clone()))?;
    let log = RocksLog::open(&path)?;
    let id = || codec::encode_log_id(first);
    let set = |slot, record| LogOp::Set { slot, record };
    let ops = vec![
        set(Slot::Identity, codec::seal(identity)),
        set(Slot::Purged, id()),
        set(Slot::Committed, id()),
        set(Slot::Flushed, id()),
    ];
    log.write(ops).and_then(|()| log.sync()).map_err(OpenError::io("write", path))
}
