//! What is counted of moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often this member handed leadership over for the policy or for maintenance.
#[derive(Clone, Debug, Default)]
pub struct Moves(Arc<AtomicU64>);

impl Moves {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
