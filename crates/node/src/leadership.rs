//! The current leader as this node knows it: a cheap view of openraft's metrics.
//!
//! 1. `is_me` is stronger than `leader == Some(me)`: the first entry of this term has also been
//!    applied here, so everything that earlier leaders committed is in the state. Lease expiry
//!    needs that; proposing does not.
//! 2. The information may be outdated at once. Nothing relies on it for safety: proposals name
//!    their term, and reads are confirmed by a quorum.
//! 3. A leader stays known until there is another one, even if it is not heard any more: with
//!    Pre-Vote a disconnected member changes no vote, and a leader without a quorum stays leader.
//!    `contact` shows the loss of contact.

use crate::fatal::Fatal;
use crate::sink::ApplyObserver;
use conclave_storage::AppliedBatch;
use conclave_storage::types::{C, MemberNode, Raft};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeadershipNow {
    pub leader: Option<u64>,
    pub term: u64,
    /// This node leads, and has applied the first entry of its term.
    pub is_me: bool,
}

/// What a leader knows of another voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    pub id: u64,
    /// Entries that it lacks; `None`: not known.
    pub lag: Option<u64>,
    /// How long ago it answered; `None`: it did not.
    pub heard_ago: Option<Duration>,
}

/// The consensus core, once it runs. The peer service starts earlier.
#[derive(Clone, Default)]
pub struct RaftCell(Arc<OnceLock<Raft>>);

impl RaftCell {
    pub fn get(&self) -> Option<&Raft> {
        self.0.get()
    }

    pub(crate) fn set(&self, raft: Raft) {
        // A second call would be a second node in this cell; the first stays.
        let _ = self.0.set(raft);
    }
}

#[derive(Clone)]
pub struct Leadership(Arc<Inner>);

struct Inner {
    me: u64,
    raft: RaftCell,
    now: watch::Sender<LeadershipNow>,
    applied_term: AtomicU64,
    leaders_seen: AtomicU64,
    contact: watch::Sender<bool>,
    learner: AtomicBool,
}

impl ApplyObserver for Leadership {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.applied_in(batch.last.committed_leader_id().term);
    }
}

impl Leadership {
    pub fn new(me: u64, raft: RaftCell) -> Leadership {
        Leadership(Arc::new(Inner {
            me,
            raft,
            now: watch::Sender::default(),
            applied_term: AtomicU64::new(0),
            leaders_seen: AtomicU64::new(0),
            contact: watch::Sender::new(false),
            learner: AtomicBool::new(false),
        }))
    }

    pub fn me(&self) -> u64 {
        self.0.me
    }

    pub fn current(&self) -> LeadershipNow {
        *self.0.now.borrow()
    }

    /// The number of times a leader became known, for metrics.
    pub fn leaders_seen(&self) -> u64 {
        self.0.leaders_seen.load(Ordering::Relaxed)
    }

    pub fn subscribe(&self) -> watch::Receiver<LeadershipNow> {
        self.0.now.subscribe()
    }

    /// Whether this node recently heard from the leader or, as the leader, from a quorum. Accurate
    /// to a fraction of an election timeout.
    pub fn contact(&self) -> watch::Receiver<bool> {
        self.0.contact.subscribe()
    }

    /// Whether this node knows a leader and recently heard from it.
    pub fn is_led(&self) -> bool {
        *self.0.contact.borrow()
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        self.0.learner.load(Ordering::Relaxed)
    }

    /// Every member: id, name and peer URLs, and whether it votes. By the membership in effect,
    /// which may not be committed yet.
    pub fn members(&self) -> Vec<(u64, MemberNode, bool)> {
        self.members_at().1
    }

    /// The members, and the index of the entry that made them.
    pub(crate) fn members_at(&self) -> (u64, Vec<(u64, MemberNode, bool)>) {
        let Some(raft) = self.0.raft.get() else { return (0, vec![]) };
        let membership = raft.server_metrics().borrow_watched().membership_config.clone();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let index = membership.log_id().as_ref().map_or(0, |id| id.index());
        let nodes = membership.membership().nodes();
        (index, nodes.map(|(id, node)| (*id, node.clone(), voters.contains(id))).collect())
    }

    pub fn last_log_index(&self) -> u64 {
        let Some(raft) = self.0.raft.get() else { return 0 };
        raft.data_metrics().borrow_watched().last_log.as_ref().map_or(0, |id| id.index())
    }

    pub fn committed_index(&self) -> u64 {
        let Some(raft) = self.0.raft.get() else { return 0 };
        raft.data_metrics().borrow_watched().local_committed.as_ref().map_or(0, |id| id.index())
    }

    /// The matching log index of each follower; empty unless this node leads.
    pub fn replicated(&self) -> Vec<(u64, u64)> {
        let Some(raft) = self.0.raft.get() else { return vec![] };
        let metrics = raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.iter().flatten();
        matched.map(|(id, matched)| (*id, matched.as_ref().map_or(0, |m| m.index()))).collect()
    }

    /// The other voters as this leader knows them; empty unless this node leads.
    pub fn followers(&self) -> Vec<Follower> {
        let Some(raft) = self.0.raft.get() else { return vec![] };
        let voters: Vec<u64> = self.members().into_iter().filter(|m| m.2 && m.0 != self.0.me).map(|m| m.0).collect();
        let metrics = raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log.as_ref().map_or(0, |id| id.index());
        let (matched, heard) = (metrics.replication.as_ref(), metrics.heartbeat.as_ref());
        let follower = |id: u64| Follower {
            id,
            lag: matched.and_then(|all| all.get(&id)?.as_ref()).map(|matched| last.saturating_sub(matched.index())),
            heard_ago: heard.and_then(|all| all.get(&id)?.as_deref().copied()).map(|at| at.elapsed()),
        };
        if matched.is_none() { vec![] } else { voters.into_iter().map(follower).collect() }
    }

    /// Whether the membership in effect is committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.members_at().0 <= self.committed_index()
    }

    /// Whether this node may stand for election by itself. A planned transfer to it works in any
    /// case.
    pub(crate) fn stand(&self, may: bool) {
        if let Some(raft) = self.0.raft.get() {
            raft.runtime_config().elect(may);
        }
    }

    /// Called by the apply sink: an entry of this term has been applied here.
    pub(crate) fn applied_in(&self, term: u64) {
        if self.0.applied_term.fetch_max(term, Ordering::AcqRel) < term {
            self.0.now.send_if_modified(|now| {
                let is_me = now.leader == Some(self.0.me) && now.term <= term;
                std::mem::replace(&mut now.is_me, is_me) != is_me
            });
        }
    }

    fn update(&self, metrics: &RaftServerMetrics<C>) {
        let membership = metrics.membership_config.membership();
        let learner = membership.get_node(&self.0.me).is_some() && !membership.voter_ids().any(|id| id == self.0.me);
        self.0.learner.store(learner, Ordering::Relaxed);
        // Term and leader must come from one vote, the one on disk. `current_leader` may be newer
        // than this vote, and that leader never led in this vote's term.
        let vote = &metrics.vote;
        let (leader, term) = (vote.committed.then_some(vote.leader_id.voted_for), vote.leader_id.term);
        self.0.now.send_if_modified(|now| {
            // Read inside the update, so that either this code or `applied_in` sees what the other
            // wrote.
            let applied = self.0.applied_term.load(Ordering::Acquire);
            let new = LeadershipNow { leader, term, is_me: leader == Some(self.0.me) && applied >= term };
            if new.leader != now.leader || new.term != now.term {
                match new.leader {
                    Some(leader) => {
                        self.0.leaders_seen.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(term, leader = %format_args!("{leader:x}"), "leader known");
                    }
                    None => tracing::info!(term, "no leader"),
                }
            }
            std::mem::replace(now, new) != new
        });
    }

    async fn in_contact(&self, raft: &Raft, patience: Duration) -> bool {
        let heard = match self.current().leader {
            None => None,
            // There is no other member to hear from.
            Some(leader) if leader == self.0.me && self.members().iter().filter(|(.., voter)| *voter).count() == 1 => {
                return true;
            }
            Some(leader) if leader == self.0.me => {
                raft.data_metrics().borrow_watched().last_quorum_acked.as_deref().copied()
            }
            Some(_) => {
                // A core that is too busy to answer counts as not in contact.
                let asked = raft.with_raft_state(|state| state.vote_last_modified());
                tokio::time::timeout(patience, asked).await.ok().and_then(Result::ok).flatten()
            }
        };
        heard.is_some_and(|at| at.elapsed() < patience)
    }

    /// Follows openraft until its core ends. An unexpected end is fatal.
    pub(crate) async fn run(self, raft: Raft, fatal: Fatal) {
        let mut metrics = raft.server_metrics();
        let patience = Duration::from_millis(raft.config().election_timeout_max);
        let mut look = tokio::time::interval(patience / 4);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // The guard blocks the core, so it is dropped first.
            let seen = metrics.borrow_and_update().clone();
            self.update(&seen);
            let contact = self.in_contact(&raft, patience).await;
            self.0.contact.send_if_modified(|known| std::mem::replace(known, contact) != contact);
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { break },
                _ = look.tick() => {}
            }
        }
        self.0.contact.send_if_modified(std::mem::take);
        self.0.now.send_if_modified(|now| std::mem::take(&mut now.leader).is_some() | std::mem::take(&mut now.is_me));
        let ended = raft.metrics().borrow_watched().running_state.clone();
        match ended {
            Err(openraft::errors::Fatal::Stopped) => {}
            Err(error) => fatal.report(format_args!("consensus stopped: {error}")),
            Ok(()) => fatal.report("consensus stopped without a reason"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_storage::types::vote;

    #[test]
    fn leader_and_term_are_of_one_vote() {
        let leadership = Leadership::new(1, RaftCell::default());
        let mut metrics = RaftServerMetrics::<C> {
            id: 1,
            vote: vote(1, 2, true),
            state: openraft::ServerState::Follower,
            current_leader: Some(2),
            membership_config: Arc::default(),
            committed_membership_config: Arc::default(),
        };
        leadership.update(&metrics);
        assert_eq!((leadership.current().leader, leadership.current().term), (Some(2), 1));
        // The next leader's vote is being written.
        metrics.current_leader = Some(3);
        leadership.update(&metrics);
        assert_eq!((leadership.current().leader, leadership.current().term), (Some(2), 1));
        metrics.vote = vote(2, 3, false);
        leadership.update(&metrics);
        assert_eq!((leadership.current().leader, leadership.current().term), (None, 2));
        metrics.vote = vote(2, 3, true);
        leadership.update(&metrics);
        assert_eq!((leadership.current().leader, leadership.current().term), (Some(3), 2));
    }
}
