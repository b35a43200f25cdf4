//! Removes the rows that compaction made unreadable, in small steps in the background.
//!
//! Progress is written together with each removal, so a restart continues there. The sweeper works
//! at most half of the time: after each step it pauses for as long as the step took.

use super::rocks::StateDb;
use super::shared::StateShared;
use super::view::Rows;
use crate::codec::SweepProgress;
use crate::error::fault_io;
use crate::failpoint::failpoint;
use conclave_state::sweep::sweep;
use std::io;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// Ends when the sender is dropped, or between two steps.
pub(super) fn run(state: &StateShared, wakeups: &Receiver<()>) {
    while wakeups.recv().is_ok() {
        // One sweep serves all wake-ups so far.
        while wakeups.try_recv().is_ok() {}
        while !state.stopping() {
            let begin = Instant::now();
            match step(&state.db(), state.compacted(), state.limits.sweep_changes) {
                Ok(None) => break,
                Ok(Some(bytes)) => state.wrote(bytes),
                Err(e) => {
                    state.fatal.raise("sweeping compacted history", e);
                    return;
                }
            }
            std::thread::sleep(begin.elapsed());
        }
    }
}

/// One step for the compaction up to `compacted`; `None` if nothing is left to remove.
fn step(db: &StateDb, compacted: i64, changes: usize) -> io::Result<Option<usize>> {
    let SweepProgress { from, done } = db.sweep_progress()?;
    if done >= compacted {
        return Ok(None);
    }
    let (rows, next) = sweep(&Rows::now(db), from, compacted, changes).map_err(|e| fault_io(&e))?;
    let progress = match next {
        Some(from) => SweepProgress { from, done },
        None => SweepProgress { from: compacted, done: compacted },
    };
    failpoint!("sweep-before-write");
    db.write_swept(&rows, &progress).map(Some)
}
