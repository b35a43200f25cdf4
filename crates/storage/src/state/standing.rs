//! How far a member's state has come, in numbers that belong to one moment.
//!
//! Members that have applied the same entries have the same digest. To compare members that are under way, and so never stand at the
//! same entry when they are asked, each remembers the digests it had at round indexes.
//!
//! 1. All numbers of a [`Standing`] belong to one applied entry, the last one of a group.
//! 2. A mark's digest is the one right after the entry of that index, whatever the group.

use crate::types::LogId;
use conclave_state::read::Meta;
use std::collections::VecDeque;

/// The digest is remembered at every index that this divides.
pub const MARKED: u64 = 64;

/// So many are remembered.
const MARKS: usize = 64;

/// A moment of a member's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub applied_index: u64,
    pub applied_term: u64,
    pub revision: i64,
    pub compacted: i64,
    /// Of everything that was ever applied.
    pub digest: u64,
}

impl Standing {
    pub(super) fn new(applied: Option<&LogId>, meta: Meta) -> Standing {
        Standing {
            applied_index: applied.map_or(0, |id| id.index),
            applied_term: applied.map_or(0, |id| id.leader_id.term),
            revision: meta.revision,
            compacted: meta.compacted,
            digest: meta.digest,
        }
    }
}

/// A moment, and what was before.
#[derive(Debug, Default)]
pub(super) struct Standings {
    pub(super) now: Standing,
    /// Index and digest, oldest first.
    pub(super) marks: VecDeque<(u64, u64)>,
}

impl Standings {
    /// Moves on to another moment. After a snapshot the marks may lie apart, but each is still true.
    pub(super) fn advance(&mut self, now: Standing, marks: impl IntoIterator<Item = (u64, u64)>) {
        self.now = now;
        self.marks.extend(marks);
        let surplus = self.marks.len().saturating_sub(MARKS);
        self.marks.drain(..surplus);
    }
}
