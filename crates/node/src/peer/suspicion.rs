//! A leader whose connection breaks is probably dead: no need to wait out the whole election time-out.
//!
//! A process that is killed takes its connections along, and the kernel tells its peers at once. openraft does not know: it waits
//! until the leader's lease is over, and then a random time that keeps candidates apart. Here the random time is left out; the
//! candidates are kept apart by their rank instead. This only ever asks (a Pre-Vote round): while a member still hears the leader,
//! it says no, and nothing has changed. If the connection broke for another reason, or this fails, the time-out is still there.

use crate::config::Config;
use crate::leadership::{Leadership, RaftCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two ranks: more than an election takes when everybody answers.
const STAGGER: Duration = Duration::from_millis(50);
const BETWEEN: Duration = Duration::from_millis(25);
const ATTEMPTS: u32 = 6;

#[derive(Clone)]
pub struct Suspicion(Arc<Inner>);

struct Inner {
    raft: RaftCell,
    leadership: Leadership,
    heartbeat: Duration,
    lease: Duration,
    /// At most one task.
    busy: AtomicBool,
}

impl Suspicion {
    pub fn new(raft: RaftCell, leadership: Leadership, config: &Config) -> Suspicion {
        let heartbeat = Duration::from_millis(config.heartbeat_interval_ms);
        // openraft's leader lease is the longest election time-out.
        let lease = Duration::from_millis(config.election_timeout_max_ms());
        Suspicion(Arc::new(Inner { raft, leadership, heartbeat, lease, busy: AtomicBool::new(false) }))
    }

    /// The log stream from this member broke.
    pub(super) fn broken(&self, from: u64) {
        let inner = self.0.clone();
        if inner.leadership.current().leader == Some(from) && !inner.busy.swap(true, Ordering::AcqRel) {
            tokio::spawn(async move {
                inner.stand_for_election(from).await;
                inner.busy.store(false, Ordering::Release);
            });
        }
    }
}

impl Inner {
    async fn stand_for_election(&self, lost: u64) {
        let Some(raft) = self.raft.get() else { return };
        let before = self.leadership.current();
        let me = self.leadership.me();
        // Sorted by id, which all members see alike.
        let voters = self.leadership.members().into_iter().filter(|(id, _, voter)| *voter && *id != lost);
        let Some(rank) = voters.map(|(id, ..)| id).position(|id| id == me) else { return };
        // The last heartbeat came up to one interval before the connection broke.
        let first = self.lease.saturating_sub(self.heartbeat) + STAGGER * u32::try_from(rank).unwrap_or(u32::MAX);
        tokio::time::sleep(first).await;
        for _ in 0..ATTEMPTS {
            let now = self.leadership.current();
            if now.term != before.term || now.leader != before.leader || raft.trigger().elect(true).await.is_err() {
                return;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}
