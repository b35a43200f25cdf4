//! Bounds what a restart has to replay: flushes after so many bytes of changes, or so long after the first one; not in all members at once,
//! which change by the same bytes at the same time.

use super::handle::StateShared;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// Ends when nobody can tell it anything any more.
pub(super) fn run(state: &StateShared, told: &Receiver<()>) {
    let mut due: Option<Instant> = None;
    loop {
        let heard = match due {
            Some(at) => told.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if heard == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let unflushed = state.unflushed();
        let now = Instant::now();
        if unflushed >= state.flush_at() || (unflushed > 0 && due.is_some_and(|at| now >= at)) {
            if let Err(e) = state.flush() {
                state.fatal.raise("flushing the state", e);
                return;
            }
            due = None;
        } else if unflushed > 0 {
            due = due.or(Some(now + state.limits.flush_interval));
        } else {
            due = None;
        }
    }
}
