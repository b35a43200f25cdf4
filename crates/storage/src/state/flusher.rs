//! Flushes the state so that a restart replays a bounded part of the log.
//!
//! A flush starts after a number of bytes of changes, or a time after the first change. The number
//! of bytes differs from member to member, because all members write the same bytes at the same
//! time and should not all flush at once.

use super::shared::StateShared;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// Ends when the sender is dropped.
pub(super) fn run(state: &StateShared, wakeups: &Receiver<()>) {
    let mut due: Option<Instant> = None;
    loop {
        let heard = match due {
            Some(at) => wakeups.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => wakeups.recv().map_err(|_| RecvTimeoutError::Disconnected),
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
