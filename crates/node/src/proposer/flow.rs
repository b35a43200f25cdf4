//! The proposer's task: sends to the log if this node leads, otherwise to the leader.

use super::batching::When;
use super::forwarding::SentEntry;
use super::state::Batch;
use super::{Inner, Proposer};
use crate::leadership::LeadershipNow;
use crate::peer::Forwarded;
use bytes::Bytes;
use conclave_storage::proposal::Pack;
use conclave_storage::types::{C, Callback};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Pause after the leader answered that it is not the leader or cannot propose now.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// Interval of deadline checks, and the longest time for which a segment stays open without a free
/// slot.
const SWEEP: Duration = Duration::from_millis(100);

impl Proposer {
    /// Sends until the node stops.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.0.limits.in_flight));
        let closing = self.0.context.closing.clone();
        let send = async {
            loop {
                let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
                let (now, leader) = self.0.something_to_send().await;
                self.0.look_at_lag();
                if leader == self.0.context.leadership.me() {
                    self.propose_pack(now.term, permit).await;
                } else {
                    self.forward(leader, now.term, permit);
                }
            }
        };
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.0.look_at_lag();
                self.0.state.lock().expire(Instant::now(), SWEEP);
            }
        };
        tokio::select! {
            () = send => {}
            () = sweep => {}
            () = closing.cancelled() => {}
        }
    }

    /// Joins forwarded and local segments into one entry. The permit is released when the entry is
    /// applied or lost.
    async fn propose_pack(&self, term: u64, permit: OwnedSemaphorePermit) {
        let Some(raft) = self.0.context.raft.get() else { return };
        let Batch { seqs, local, forwarded, refused, .. } = self.0.state.lock().take_entry(term, Instant::now());
        refuse(refused);
        let entry = SentEntry { proposer: self.clone(), term, seqs, local, forwarded };
        if entry.is_empty() {
            return;
        }
        let pack = Pack::join(entry.segments());
        let in_flight = InFlight::new(self, permit);
        let done = move |result: ClientWriteResult<C>| {
            drop(in_flight);
            entry.done(match result {
                Ok(_) => Forwarded::Applied,
                Err(ClientWriteError::ForwardToLeader(_)) => Forwarded::NotLeader,
                Err(_) => Forwarded::Unknown,
            });
        };
        // An error means that the core has stopped. `Leadership` sees that too and ends the node.
        let _ = raft.write(pack).responder(Callback::new(done)).with_leader(term).await;
    }

    /// Forwards local segments to the leader in a separate task, so that the next batch may go
    /// meanwhile.
    fn forward(&self, leader: u64, term: u64, permit: OwnedSemaphorePermit) {
        let Batch { seqs, local: segments, .. } = {
            let mut state = self.0.state.lock();
            refuse(state.refuse_forwarded());
            state.take(term, Instant::now())
        };
        if !seqs.is_empty() {
            let in_flight = InFlight::new(self, permit);
            tokio::spawn(self.clone().forward_batch(leader, term, seqs, segments, in_flight));
        }
    }

    async fn forward_batch(self, leader: u64, term: u64, seqs: Vec<u64>, segments: Vec<Bytes>, in_flight: InFlight) {
        use crate::peer::PeerError;
        let mut leadership = self.0.context.leadership.subscribe();
        let reply = tokio::select! {
            biased;
            reply = self.0.context.peers.forward(leader, term, segments) => reply,
            // A hanging leader does not block the slot: the next term decides the fate of the
            // segments.
            _ = leadership.wait_for(|now| now.term > term) => Err(PeerError::Unknown),
            () = tokio::time::sleep(self.0.limits.timeout) => Err(PeerError::Unknown),
        };
        match reply {
            Ok(Forwarded::NotLeader) | Err(PeerError::NotLeader | PeerError::Unreachable | PeerError::Refused(_)) => {
                self.requeue(&seqs, term);
            }
            // The local apply delivers the outcomes, or the first entry of the next term proves
            // that there are none.
            Ok(Forwarded::Applied | Forwarded::Unknown) | Err(PeerError::Unknown) => {}
        }
        drop(in_flight);
    }

    /// Returns segments to the queue that were certainly not proposed in `term`.
    pub(super) fn requeue(&self, seqs: &[u64], term: u64) {
        if !seqs.is_empty() {
            self.0.state.lock().requeue(seqs, term, Instant::now(), PAUSE);
            self.0.wake.notify_one();
        }
    }
}

/// A batch in flight. When it is dropped, decided or lost, the next batch may go.
struct InFlight {
    proposer: Proposer,
    permit: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    fn new(proposer: &Proposer, permit: OwnedSemaphorePermit) -> InFlight {
        InFlight { proposer: proposer.clone(), permit: Some(permit) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.proposer.0.state.lock().batch_done(Instant::now());
        drop(self.permit.take());
        // The next batch may have waited for this one.
        self.proposer.0.wake.notify_one();
    }
}

fn refuse(forwarded: Vec<super::state::ForwardedBatch>) {
    for batch in forwarded {
        let _ = batch.reply.send(Forwarded::NotLeader);
    }
}

impl Inner {
    /// Waits until there are commands to send and a leader to send them to.
    async fn something_to_send(&self) -> (LeadershipNow, u64) {
        let mut leadership = self.context.leadership.subscribe();
        loop {
            // Registered before the state is read, so that no wake-up is missed.
            let woken = self.wake.notified();
            let now = *leadership.borrow_and_update();
            let (idle, pause, when) = {
                let state = self.state.lock();
                (state.is_idle(), state.pause(), state.when(Instant::now()))
            };
            match now.leader {
                _ if idle => woken.await,
                Some(leader) => {
                    if let Some(pause) = pause {
                        tokio::time::sleep_until(pause).await;
                        // The leader may have changed during the sleep.
                        self.state.lock().end_pause(pause);
                        continue;
                    }
                    match when {
                        When::Now => return (now, leader),
                        When::AfterThis => woken.await,
                        When::At(until) => tokio::select! {
                            () = woken => {}
                            () = tokio::time::sleep_until(until) => {}
                        },
                    }
                }
                None => {
                    refuse(self.state.lock().refuse_forwarded());
                    tokio::select! {
                        _ = leadership.changed() => {}
                        () = woken => {}
                        () = tokio::time::sleep(SWEEP) => {}
                    }
                }
            }
        }
    }
}
