//! The status of a replica: what it applied last, and digests to compare replicas by.
//!
//! Members that have applied the same entries have the same digest. Two running members are rarely
//! asked at the same entry, so each also remembers the digests at multiples of [`DIGEST_EVERY`]:
//!
//! ```text
//! member 1   applied 1000   digests at … 896 960
//! member 2   applied  970   digests at … 896 960     both have 960: compare there
//! ```
//!
//! 1. All numbers of a [`ReplicaStatus`] belong to one applied entry, the last one of a group.
//! 2. A digest checkpoint is taken right after the entry of its index, also in the middle of a
//!    group.

use crate::types::LogId;
use conclave_state::read::Meta;
use std::collections::VecDeque;

/// The digest is remembered at every multiple of this index.
pub const DIGEST_EVERY: u64 = 64;

/// Number of digest checkpoints kept.
const DIGESTS_KEPT: usize = 64;

/// The numbers of a member's state as of one applied entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    pub applied_index: u64,
    pub applied_term: u64,
    pub revision: i64,
    pub compacted: i64,
    /// Covers everything ever applied.
    pub digest: u64,
}

impl ReplicaStatus {
    pub(super) fn new(applied: Option<&LogId>, meta: Meta) -> ReplicaStatus {
        ReplicaStatus {
            applied_index: applied.map_or(0, |id| id.index),
            applied_term: applied.map_or(0, |id| id.leader_id.term),
            revision: meta.revision,
            compacted: meta.compacted,
            digest: meta.digest,
        }
    }
}

/// The current status and earlier digests.
#[derive(Debug, Default)]
pub(super) struct StatusHistory {
    pub(super) now: ReplicaStatus,
    /// Index and digest, oldest first.
    pub(super) digests: VecDeque<(u64, u64)>,
}

impl StatusHistory {
    /// Sets the status and adds digests. After a snapshot there may be a gap between digests; each
    /// is still right.
    pub(super) fn advance(&mut self, now: ReplicaStatus, digests: impl IntoIterator<Item = (u64, u64)>) {
        self.now = now;
        self.digests.extend(digests);
        let surplus = self.digests.len().saturating_sub(DIGESTS_KEPT);
        self.digests.drain(..surplus);
    }
}
