//! The task that sends: to the log if this node leads, else to the leader.

use super::forwarding::Batch;
use super::gather::When;
use super::work::Taken;
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

/// After a leader said that it is not one, or cannot propose now.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// How often deadlines are looked at, and the longest that commands wait for a place before their segment is closed.
const SWEEP: Duration = Duration::from_millis(100);

impl Proposer {
    /// Sends until the node stops.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.0.limits.in_flight));
        let closing = self.0.wiring.closing.clone();
        let send = async {
            loop {
                let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
                let (now, leader) = self.0.something_to_send().await;
                if leader == self.0.wiring.leadership.me() {
                    self.propose_pack(now.term, permit).await;
                } else {
                    self.forward(leader, now.term, permit);
                }
            }
        };
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                self.0.work.lock().expire(Instant::now(), SWEEP);
            }
        };
        tokio::select! {
            () = send => {}
            () = sweep => {}
            () = closing.cancelled() => {}
        }
    }

    /// Joins forwarded and own segments into one entry. The permit comes back when the entry is applied or lost.
    async fn propose_pack(&self, term: u64, permit: OwnedSemaphorePermit) {
        let Some(raft) = self.0.wiring.raft.get() else { return };
        let Taken { seqs, own, inbound, refused, .. } = self.0.work.lock().take_entry(term, Instant::now());
        refuse(refused);
        let batch = Batch { proposer: self.clone(), term, seqs, own, inbound };
        if batch.is_empty() {
            return;
        }
        let pack = Pack::join(batch.segments());
        let under_way = UnderWay::new(self, permit);
        let done = move |result: ClientWriteResult<C>| {
            drop(under_way);
            batch.done(match result {
                Ok(_) => Forwarded::Applied,
                Err(ClientWriteError::ForwardToLeader(_)) => Forwarded::NotLeader,
                Err(_) => Forwarded::Unknown,
            });
        };
        // An error here means that the core has stopped: whoever watches it ends the node.
        let _ = raft.write(pack).responder(Callback::new(done)).with_leader(term).await;
    }

    /// Hands own segments to the leader, beside this task: the next batch may go while this one is under way.
    fn forward(&self, leader: u64, term: u64, permit: OwnedSemaphorePermit) {
        let Taken { seqs, own: segments, .. } = {
            let mut work = self.0.work.lock();
            refuse(work.refuse_inbound());
            work.take(term, Instant::now())
        };
        if !seqs.is_empty() {
            let under_way = UnderWay::new(self, permit);
            tokio::spawn(self.clone().forward_batch(leader, term, seqs, segments, under_way));
        }
    }

    async fn forward_batch(self, leader: u64, term: u64, seqs: Vec<u64>, segments: Vec<Bytes>, under_way: UnderWay) {
        use crate::peer::PeerError;
        let mut leadership = self.0.wiring.leadership.subscribe();
        let reply = tokio::select! {
            biased;
            reply = self.0.wiring.peers.forward(leader, term, segments) => reply,
            // A leader that hangs does not keep the place: its successor decides what became of the segments.
            _ = leadership.wait_for(|now| now.term > term) => Err(PeerError::Unknown),
            () = tokio::time::sleep(self.0.limits.timeout) => Err(PeerError::Unknown),
        };
        match reply {
            Ok(Forwarded::NotLeader) | Err(PeerError::NotLeader | PeerError::Unreachable | PeerError::Refused(_)) => {
                self.give_back(&seqs, term);
            }
            // Our own apply brings the outcome, or the next term's first entry proves that there is none.
            Ok(Forwarded::Applied | Forwarded::Unknown) | Err(PeerError::Unknown) => {}
        }
        drop(under_way);
    }

    /// Surely not proposed in `term`.
    pub(super) fn give_back(&self, seqs: &[u64], term: u64) {
        if !seqs.is_empty() {
            self.0.work.lock().give_back(seqs, term, Instant::now(), PAUSE);
            self.0.wake.notify_one();
        }
    }
}

/// A batch from its sending until it is decided, or nobody will ever say: then the next one may go, perhaps a moment later.
struct UnderWay {
    proposer: Proposer,
    permit: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    fn new(proposer: &Proposer, permit: OwnedSemaphorePermit) -> UnderWay {
        UnderWay { proposer: proposer.clone(), permit: Some(permit) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.proposer.0.work.lock().batch_done(Instant::now());
        drop(self.permit.take());
        // The next one may have waited for this.
        self.proposer.0.wake.notify_one();
    }
}

fn refuse(inbound: Vec<super::work::Inbound>) {
    for inbound in inbound {
        let _ = inbound.reply.send(Forwarded::NotLeader);
    }
}

impl Inner {
    /// Waits until there is something to send and somebody to send it to.
    async fn something_to_send(&self) -> (LeadershipNow, u64) {
        let mut leadership = self.wiring.leadership.subscribe();
        loop {
            // Registered before the book is looked at, so that nothing slips between.
            let woken = self.wake.notified();
            let now = *leadership.borrow_and_update();
            let (idle, pause, when) = {
                let work = self.work.lock();
                (work.is_idle(), work.pause(), work.when(Instant::now()))
            };
            match now.leader {
                _ if idle => woken.await,
                Some(leader) => {
                    if let Some(pause) = pause {
                        tokio::time::sleep_until(pause).await;
                        // Sleeping may have changed who leads.
                        self.work.lock().end_pause(pause);
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
                    refuse(self.work.lock().refuse_inbound());
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
