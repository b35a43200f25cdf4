//! Records what a peer acknowledges to this member as its leader, and detects a peer that takes it
//! back.
//!
//! openraft must not see a log that became shorter under the same leader: it would never resend the
//! missing entries, and builds with assertions would panic. So the session with such a peer fails
//! here, slowly, until the peer has found out and stopped ([`crate::rollback`]).

use super::pb;
use super::transport::PeerError;
use conclave_storage::{Acknowledged, Witness};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Interval between two log messages about the same peer, and between two sessions with it.
const WORD_EVERY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Peer {
    id: u64,
    witness: Witness,
    /// The term in which this member leads.
    term: Arc<AtomicU64>,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Peer {
    pub(super) fn new(id: u64, witness: Witness) -> Peer {
        Peer { id, witness, term: Arc::default(), told: Arc::default() }
    }

    /// Sets the term of what is sent.
    pub(super) fn led_in(&self, term: u64) {
        self.term.store(term, Ordering::Relaxed);
    }

    /// The peer has installed a snapshot, or reports this last index.
    pub(super) fn has(&self, term: u64, index: u64) {
        self.witness.note(self.id, Acknowledged { term, index });
    }

    /// Passes a reply unless it takes back an acknowledgement of this term.
    pub(super) async fn check(&self, reply: pb::AppendReply) -> Result<pb::AppendReply, PeerError> {
        let term = self.term.load(Ordering::Relaxed);
        if let Some(matched) = &reply.matched {
            self.has(term, matched.index);
        }
        let Some(conflict) = &reply.conflict else { return Ok(reply) };
        let Some(known) = self.witness.noted(self.id) else { return Ok(reply) };
        if known.term != term || conflict.index > known.index {
            return Ok(reply);
        }
        self.say(conflict.index, known);
        tokio::time::sleep(PAUSE).await;
        let lost = format!("its log has lost entry {}, which it had acknowledged", conflict.index);
        Err(PeerError::Refused(lost))
    }

    fn say(&self, missing: u64, known: Acknowledged) {
        let mut told = self.told.lock();
        if told.is_none_or(|at| at.elapsed() >= WORD_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(
                peer = %format_args!("{:x}", self.id),
                missing,
                acknowledged = known.index,
                term = known.term,
                "a member lacks what it has acknowledged in this term: its directory is an older copy, or its disk has lost data; \
                 nothing is sent to it, and it must be stopped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Nobody;
    use conclave_storage::{Identity, Options};

    fn id(index: u64) -> Option<pb::LogId> {
        Some(pb::LogId { term: 1, index })
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_is_not_taken_back_in_the_same_term() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster_id: 1, member_id: 2, name: "a".into(), incarnation: 3 };
        let opened = conclave_storage::open(Options::new(dir.path()), identity, 4, Arc::new(Nobody)).unwrap();
        let peer = Peer::new(7, opened.witness.clone());
        let matched = |index| pb::AppendReply { matched: id(index), ..Default::default() };
        let conflict = |index| pb::AppendReply { conflict: id(index), ..Default::default() };
        peer.led_in(3);
        assert!(peer.check(conflict(2)).await.is_ok(), "where its log ends is asked for first");
        assert!(peer.check(matched(5)).await.is_ok());
        assert!(peer.check(conflict(6)).await.is_ok());
        assert!(matches!(peer.check(conflict(5)).await, Err(PeerError::Refused(_))));
        assert_eq!(opened.witness.noted(7), Some(Acknowledged { term: 3, index: 5 }));
        // In a later term its log may differ.
        peer.led_in(4);
        assert!(peer.check(conflict(5)).await.is_ok());
        assert!(peer.check(matched(4)).await.is_ok());
        assert_eq!(opened.witness.acknowledged(7).unwrap(), Some(Acknowledged { term: 4, index: 4 }));
        opened.witness.store().unwrap();
        opened.witness.note(7, Acknowledged { term: 4, index: 3 });
        assert_eq!(opened.witness.acknowledged(7).unwrap(), Some(Acknowledged { term: 4, index: 4 }));
    }
}
