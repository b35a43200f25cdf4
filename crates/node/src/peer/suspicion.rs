//! Fast failure detection: a broken connection suggests that the leader is dead.
//!
//! When a process is killed, the kernel closes its connections and its peers notice at once.
//! openraft does not use that: it waits until the leader's lease is over, and then for a random
//! time that keeps candidates apart. Here the random time is skipped, and rank keeps the candidates
//! apart. This only starts a Pre-Vote round: members that still hear the leader refuse, and nothing
//! changes. If the connection broke for another reason, or this fails, the election timeout still
//! applies.

use crate::config::Config;
use crate::leadership::{Leadership, RaftCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Delay between two ranks: longer than an election when all members answer.
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
    /// Set while a task runs, so that there is at most one.
    busy: AtomicBool,
}

impl Suspicion {
    pub fn new(raft: RaftCell, leadership: Leadership, config: &Config) -> Suspicion {
        let heartbeat = Duration::from_millis(config.heartbeat_interval_ms);
        // openraft's leader lease is the longest election timeout.
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
        // Sorted by id, so that all members compute the same ranks.
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
