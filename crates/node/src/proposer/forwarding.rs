//! The leader's side of forwarding, and the result of an entry with segments of several members.

use super::Proposer;
use super::state::ForwardedBatch;
use crate::peer::Forwarded;
use bytes::Bytes;
use tokio::sync::oneshot;

impl Proposer {
    /// Proposes a follower's segments in `term`, or returns that it did not.
    pub(crate) async fn propose_for(&self, term: u64, segments: Vec<Bytes>, commands: usize) -> Forwarded {
        let now = self.0.context.leadership.current();
        if now.leader != Some(self.0.context.leadership.me()) || now.term != term {
            return Forwarded::NotLeader;
        }
        let (reply, outcome) = oneshot::channel();
        let pushed = self
            .0
            .state
            .lock()
            .push_forwarded(ForwardedBatch { term, segments, commands, reply }, self.0.limits.forwarded_bytes);
        match pushed {
            Err(_) => return Forwarded::NotLeader,
            Ok(true) => self.0.wake.notify_one(),
            Ok(false) => {}
        }
        // The reply channel was dropped: the Raft core stopped, so the outcome is unknown.
        outcome.await.unwrap_or(Forwarded::Unknown)
    }
}

/// The segments of one entry.
pub(super) struct SentEntry {
    pub(super) proposer: Proposer,
    pub(super) term: u64,
    pub(super) seqs: Vec<u64>,
    pub(super) local: Vec<Bytes>,
    pub(super) forwarded: Vec<ForwardedBatch>,
}

impl SentEntry {
    pub(super) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.forwarded.is_empty()
    }

    pub(super) fn segments(&self) -> Vec<Bytes> {
        self.forwarded.iter().flat_map(|i| &i.segments).chain(&self.local).cloned().collect()
    }

    /// Local segments are answered by apply; here only a refusal concerns them.
    pub(super) fn done(self, outcome: Forwarded) {
        if outcome == Forwarded::NotLeader {
            self.proposer.requeue(&self.seqs, self.term);
        }
        for batch in self.forwarded {
            let _ = batch.reply.send(outcome);
        }
    }
}
