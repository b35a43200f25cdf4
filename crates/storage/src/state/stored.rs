//! Reads the state in a directory that is not in use: of a checkpoint, or of a stopped member.

use super::ReplicaStatus;
use super::rocks::{RaftRows, StateDb, family_names, raft_rows};
use super::view::Rows;
use crate::error::{OpenError, fault_io, rocks_io};
use crate::log::quiet;
use crate::types::StoredMembership;
use conclave_state::{Machine, read};
use rocksdb::{DB, Options, ReadOptions};
use std::io;
use std::path::Path;

/// Reads the Raft metadata of a checkpoint without opening it for writing.
pub(crate) fn read_raft_rows(dir: &Path) -> io::Result<RaftRows> {
    let mut o = Options::default();
    quiet(&mut o);
    let db = DB::open_cf_for_read_only(&o, dir, family_names(), false).map_err(rocks_io)?;
    raft_rows(&db)
}

/// The same for files from another member. Opens and reads them as an installation will, but
/// read-only.
pub(crate) fn read_machine_rows(dir: &Path) -> io::Result<RaftRows> {
    let text = |e: OpenError| if let OpenError::Corrupt { reason, .. } = e { reason } else { e.to_string() };
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("it is not a state: {why}"));
    let db = StateDb::open_read_only(dir).map_err(|e| refused(text(e)))?;
    verify_blocks(&db).map_err(|e| refused(e.to_string()))?;
    Machine::load(&Rows::now(&db)).map_err(|e| refused(e.to_string()))?;
    db.raft_rows().map_err(|e| refused(e.to_string()))
}

/// Reads every row of a checkpoint and so verifies the checksum of every block. (The checksum of a
/// whole file is computed from what the disk returns, so it cannot reveal damage on this disk.)
pub(crate) fn verify(dir: &Path) -> io::Result<()> {
    verify_blocks(&StateDb::open_read_only(dir).map_err(OpenError::into_io)?)
}

fn verify_blocks(db: &StateDb) -> io::Result<()> {
    for name in family_names() {
        let mut once = ReadOptions::default();
        once.set_verify_checksums(true);
        once.fill_cache(false);
        once.set_total_order_seek(true);
        let mut rows = db.db().raw_iterator_cf_opt(db.family(name), once);
        rows.seek_to_first();
        while rows.valid() {
            rows.next();
        }
        rows.status().map_err(rocks_io)?;
    }
    Ok(())
}

/// Reads the status of the state in a directory without changing it.
pub(crate) fn stored_state(dir: &Path) -> Result<(ReplicaStatus, StoredMembership), OpenError> {
    let db = StateDb::open_read_only(dir)?;
    let unreadable = |e: io::Error| OpenError::reading("the state", dir, &e);
    let raft = db.raft_rows().map_err(unreadable)?;
    let meta = read::meta(&Rows::now(&db)).map_err(|e| unreadable(fault_io(&e)))?;
    Ok((ReplicaStatus::new(raft.applied.as_ref(), meta), raft.membership))
}
