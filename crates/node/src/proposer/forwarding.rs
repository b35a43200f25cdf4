//! What followers forward, and the fate of a proposal that holds several nodes' segments.

use super::Proposer;
use super::work::Inbound;
use crate::peer::Forwarded;
use bytes::Bytes;
use tokio::sync::oneshot;

/// The leader's side of forwarding.
pub(crate) type Incoming = Vec<Bytes>;

impl Proposer {
    /// Proposes a follower's segments in `term`, or says that it did not.
    pub(crate) async fn propose_for(&self, term: u64, segments: Incoming, commands: usize) -> Forwarded {
        let now = self.0.wiring.leadership.current();
        if now.leader != Some(self.0.wiring.leadership.me()) || now.term != term {
            return Forwarded::NotLeader;
        }
        let (reply, outcome) = oneshot::channel();
        let pushed =
            self.0.work.lock().push_inbound(Inbound { term, segments, commands, reply }, self.0.limits.forwarded_bytes);
        match pushed {
            Err(_) => return Forwarded::NotLeader,
            Ok(true) => self.0.wake.notify_one(),
            Ok(false) => {}
        }
        // A sender that goes without a word went with the core: nobody knows.
        outcome.await.unwrap_or(Forwarded::Unknown)
    }
}

/// Segments that went into one entry.
pub(super) struct Batch {
    pub(super) proposer: Proposer,
    pub(super) term: u64,
    pub(super) seqs: Vec<u64>,
    pub(super) own: Vec<Bytes>,
    pub(super) inbound: Vec<Inbound>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.inbound.is_empty()
    }

    pub(super) fn segments(&self) -> Vec<Bytes> {
        self.inbound.iter().flat_map(|i| &i.segments).chain(&self.own).cloned().collect()
    }

    /// Own segments are answered by apply; only a refusal concerns them here.
    pub(super) fn done(self, outcome: Forwarded) {
        if outcome == Forwarded::NotLeader {
            self.proposer.give_back(&self.seqs, self.term);
        }
        for inbound in self.inbound {
            let _ = inbound.reply.send(outcome);
        }
    }
}
