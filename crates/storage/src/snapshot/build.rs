//! Builds a checkpoint of this member's state: flushes it and makes hard links.
//!
//! It is cheap, and takes extra space only as compaction replaces files.
//!
//! 1. A checkpoint is handed out only after the log has recorded, durably, that the state was
//!    flushed that far.

use super::checkpoint::{Checkpoint, Snapshot, fresh_dir};
use crate::error::rocks_io;
use crate::failpoint::failpoint;
use crate::log::disk::Slot;
use crate::state::{StateShared, read_raft_rows};
use crate::types::SnapshotMeta;
use std::io;

/// Flushes, links, records. Blocks.
pub(crate) fn build(shared: &StateShared) -> io::Result<Snapshot> {
    failpoint!("snapshot-before-checkpoint");
    // Flushes most of the state now; making the checkpoint flushes the rest.
    shared.flush()?;
    let path = fresh_dir(shared.snapshots.dir(), "built")?;
    let checkpoint = shared.without_flush(|db| {
        db.checkpoint(&path).map_err(rocks_io)?;
        Ok(Checkpoint::own_state(path, shared.fatal.clone()))
    })?;
    let rows = read_raft_rows(checkpoint.path())?;
    failpoint!("snapshot-before-record");
    if let Some(applied) = &rows.applied {
        shared.record(Slot::Flushed, applied)?;
    }
    let meta = SnapshotMeta { last_log_id: rows.applied, last_membership: rows.membership };
    let snapshot = Snapshot { meta, snapshot: checkpoint };
    shared.snapshots.keep(snapshot.clone());
    Ok(snapshot)
}
