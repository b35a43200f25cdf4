//! What a stopped member holds, all of its log applied: for a cluster that lost its majority.
//!
//! 1. The member's directory is not changed. Its state is copied (files that never change are
//!    linked), and the log is applied to the copy.
//! 2. Every entry of the log counts as committed. Some may not have been: nobody can tell any more.

use crate::error::{OpenError, fault_io};
use crate::files;
use crate::log::{DumpedContent, DumpedPayload};
use crate::snapshot::take_over;
use crate::state::{Rows, StateDb, StateLimits};
use crate::stopped::Stopped;
use crate::types::log_id;
use conclave_state::{Changes, Machine, Position, Writes};
use std::io;
use std::path::{Path, PathBuf};

/// Entries that are applied in one write.
const ENTRIES: usize = 100;

pub struct Recovered {
    // Declared before the copy, so that the database is closed before its directory is removed.
    db: StateDb,
    index: u64,
    term: u64,
    _copy: Copy,
}

/// Removed when it is dropped.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // It is left behind if that fails, under a name that says what it is.
        let _ = files::remove_dir(&self.0);
    }
}

impl Recovered {
    /// `scratch` is a directory that does not exist yet.
    pub fn open(stopped: &Stopped, scratch: &Path) -> Result<Recovered, OpenError> {
        let io = || OpenError::io("copy the state to", scratch);
        let current = stopped.state_path()?;
        files::create_dir(scratch).map_err(io())?;
        let copy = Copy(scratch.to_owned());
        let path = scratch.join("db-1");
        take_over(&current, &path).map_err(io())?;
        let db = StateDb::open(&path, &StateLimits::default())?;
        let (index, term) = replay(stopped, &db)?;
        Ok(Recovered { db, index, term, _copy: copy })
    }

    pub fn view(&self) -> Rows<'_> {
        Rows::now(&self.db)
    }

    /// The last entry that was applied, and its term.
    pub fn last(&self) -> (u64, u64) {
        (self.index, self.term)
    }
}

/// Applies what the log has beyond the state.
fn replay(stopped: &Stopped, db: &StateDb) -> Result<(u64, u64), OpenError> {
    let unreadable = |e: io::Error| OpenError::reading("the log", db.path(), &e);
    let applied = db.raft_rows().map_err(unreadable)?.applied;
    let (mut index, mut term) = applied.map_or((0, 0), |id| (id.index, id.leader_id.term));
    let mut next = applied.map_or(0, |id| id.index + 1);
    let mut machine = Machine::load(&Rows::now(db)).map_err(|e| unreadable(fault_io(&e)))?;
    let mut piece: Vec<DumpedContent> = Vec::new();
    for entry in stopped.entries(next)? {
        let entry = entry?;
        if entry.index != next {
            return Err(OpenError::Contradiction { reason: format!("entry {next} is missing in the log") });
        }
        let content = entry.content.map_err(|e| unreadable(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        (index, term, next) = (entry.index, content.term, next + 1);
        piece.push(content);
        if piece.len() == ENTRIES {
            apply(&mut machine, db, index + 1 - ENTRIES as u64, std::mem::take(&mut piece)).map_err(unreadable)?;
        }
    }
    let first = next - piece.len() as u64;
    apply(&mut machine, db, first, piece).map_err(unreadable)?;
    Ok((index, term))
}

fn apply(machine: &mut Machine, db: &StateDb, first: u64, piece: Vec<DumpedContent>) -> io::Result<()> {
    let Some(last) = piece.last() else { return Ok(()) };
    let last = log_id(last.term, first + piece.len() as u64 - 1);
    let writes: Writes = {
        let rows = Rows::now(db);
        let mut batch = machine.begin(&rows);
        for (index, content) in (first..).zip(piece) {
            let DumpedPayload::Segments(segments) = content.payload else { continue };
            let at = Position { index, term: content.term };
            for command in segments.iter().flat_map(|segment| &segment.commands) {
                batch.apply(at, command, false).map_err(|e| fault_io(&e))?;
            }
        }
        let Changes { writes, .. } = batch.finish();
        writes
    };
    db.write_applied(&writes, &last, None).map(drop)
}
