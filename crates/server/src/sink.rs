//! Where applied entries leave the storage: everybody on this node who follows the state is told here, in log order.
//!
//! The proposer comes last. Whoever is answered can rely on it that watchers, waiters and leases have seen what the answer tells.

use crate::coordination::Feed;
use crate::leadership::Leadership;
use crate::lease_keeper::LeaseKeeper;
use crate::proposer::Proposer;
use crate::timer_keeper::TimerKeeper;
use crate::waiters::Waiters;
use crate::watch::WatchHub;
use conclave_storage::{AppliedBatch, ApplySink};
use std::sync::OnceLock;

/// Everybody who is told.
pub struct Followers {
    pub watches: WatchHub,
    pub waiters: Waiters,
    pub coordination: Feed,
    pub leases: LeaseKeeper,
    pub timers: TimerKeeper,
    pub leadership: Leadership,
    pub proposer: Proposer,
}

/// Given to the storage when it is opened; the followers, which need the storage, join before anything is applied.
#[derive(Default)]
pub struct Sink(OnceLock<Followers>);

impl Sink {
    pub fn join(&self, followers: Followers) {
        // Only `Node::start` calls this, once.
        let _ = self.0.set(followers);
    }
}

impl ApplySink for Sink {
    fn applied(&self, batch: AppliedBatch) {
        let Some(followers) = self.0.get() else { return };
        let AppliedBatch { last, changes, answers } = batch;
        followers.watches.observe(&changes);
        followers.waiters.observe(&changes);
        followers.coordination.observe(&changes);
        followers.leases.observe(last.index, &changes.leases);
        followers.timers.observe(last.index, &changes.timers);
        let term = last.committed_leader_id().term;
        followers.leadership.applied_in(term);
        followers.proposer.observe(answers, term);
    }

    fn installed(&self) {
        let Some(followers) = self.0.get() else { return };
        followers.watches.reset();
        followers.waiters.reset();
        followers.coordination.reset();
        followers.leases.reset();
        followers.timers.reset();
        followers.proposer.reset();
    }
}

/// For tests of what stands below.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl ApplySink for Nobody {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}
