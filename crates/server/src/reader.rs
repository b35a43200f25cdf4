//! Linearizable reads on any node: ask the leader how far the log is committed, wait until that is applied here, read here.
//!
//! One round at a time serves all reads that wait (a follower asks the leader for one; the leader's own reads and all followers'
//! rounds share its rounds), so that a read costs almost nothing in consensus.
//!
//! 1. A read is only served by a round that began after it arrived. The round has the leader's leadership confirmed by a quorum
//!    after it began: a leader that was deposed, or stopped and continued, cannot answer from the past.
//! 2. A round that fails is repeated, while anybody waits: a change of leaders costs a read time, not an error.
//! 3. A read takes its view once and reads it at one revision.

use crate::wiring::Wiring;
use conclave_state::read::{self, ReadStop};
use conclave_state::{RangeQuery, RangeResult, Rejection, mutant};
use openraft::raft::ReadPolicy;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

/// Rows that a range may visit on the event loop: about a millisecond's worth. Beyond, it starts again beside it.
const BUDGET: usize = 1_000;

/// How long one attempt at a round may take before the next one. A deposed or hanging leader is given up earlier, with the news.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Between two attempts without news of a leader.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("no leader")]
    NoLeader,
    #[error("the leader changed")]
    LeaderChanged,
    #[error("timed out")]
    TimedOut,
    #[error("the node is stopping")]
    Stopped,
    #[error("{0}")]
    Fault(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    Error(ReadError),
    Rejected(Rejection),
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> ReadFailure {
        ReadFailure::Error(error)
    }
}

#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    wiring: Wiring,
    timeout: Duration,
    waiting: Mutex<Vec<Want>>,
    wake: Notify,
}

/// What a round found out.
#[derive(Clone, Copy)]
struct Round {
    index: u64,
    /// The round was this node's own, as the leader of this term.
    led: Option<u64>,
}

enum Want {
    /// The read index, from whoever leads.
    Index(oneshot::Sender<u64>),
    /// A round of this node as the leader, or none.
    Own(oneshot::Sender<Result<Round, ReadError>>),
}

impl Want {
    fn is_closed(&self) -> bool {
        match self {
            Want::Index(tx) => tx.is_closed(),
            Want::Own(tx) => tx.is_closed(),
        }
    }
}

impl Reader {
    pub fn new(wiring: Wiring, timeout: Duration) -> Reader {
        Reader(Arc::new(Inner { wiring, timeout, waiting: Mutex::new(vec![]), wake: Notify::new() }))
    }

    /// Returns when everything that was committed before the call is applied here.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        let leads = |leader| leader == self.0.wiring.leadership.me();
        if mutant!("follower-read") && !self.0.wiring.leadership.current().leader.is_none_or(leads) {
            return Ok(());
        }
        let reached = async {
            let (tx, rx) = oneshot::channel();
            self.want(Want::Index(tx));
            let index = rx.await.map_err(|_| ReadError::Stopped)?;
            self.applied(index).await
        };
        self.in_time(reached).await
    }

    /// The term in which this node led when a quorum confirmed it, in a round that began after the call.
    pub async fn confirm_leadership(&self) -> Result<u64, ReadError> {
        let round = self.in_time(self.own_round()).await?;
        round.led.ok_or(ReadError::LeaderChanged)
    }

    /// The read index of a round of this node's own, for a follower that asks. `None`: not the leader.
    pub(crate) async fn index_as_leader(&self) -> Option<u64> {
        let round = self.in_time(self.own_round()).await.ok()?;
        round.led.map(|_| round.index)
    }

    async fn own_round(&self) -> Result<Round, ReadError> {
        let (tx, rx) = oneshot::channel();
        self.want(Want::Own(tx));
        rx.await.map_err(|_| ReadError::Stopped)?
    }

    async fn in_time<T>(&self, read: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        tokio::select! {
            biased;
            result = read => result,
            () = self.0.wiring.closing.cancelled() => Err(ReadError::Stopped),
            () = tokio::time::sleep(self.0.timeout) => Err(match self.0.wiring.leadership.current().leader {
                Some(_) => ReadError::TimedOut,
                None => ReadError::NoLeader,
            }),
        }
    }

    fn want(&self, want: Want) {
        let mut waiting = self.0.waiting.lock();
        waiting.push(want);
        if waiting.len() == 1 {
            self.0.wake.notify_one();
        }
    }

    async fn applied(&self, index: u64) -> Result<(), ReadError> {
        if self.0.wiring.state.applied_index() >= index {
            return Ok(());
        }
        let mut applied = self.0.wiring.state.applied();
        applied.wait_for(|applied| *applied >= index).await.map(|_| ()).map_err(|_| ReadError::Stopped)
    }

    /// A range at one point in time, and the store's revision at that point.
    pub async fn range(&self, query: RangeQuery, serializable: bool) -> Result<(RangeResult, i64), ReadFailure> {
        if !serializable {
            self.barrier().await?;
        }
        let view = self.0.wiring.state.view();
        let bounds = view.bounds();
        let found = match read::range(&view, &query, bounds, Some(BUDGET)) {
            Ok(Err(ReadStop::OverBudget)) => {
                let long = tokio::task::spawn_blocking(move || read::range(&view, &query, bounds, None));
                long.await.map_err(|_| ReadError::Stopped)?
            }
            found => found,
        };
        match found {
            Ok(Ok(result)) => Ok((result, bounds.current)),
            Ok(Err(ReadStop::Rejected(rejection))) => Err(ReadFailure::Rejected(rejection)),
            Ok(Err(ReadStop::OverBudget)) => Err(ReadError::Fault("a scan without budget ran out of it".into()).into()),
            Err(fault) => {
                self.0.wiring.fatal.report(format_args!("a read failed: {fault}"));
                Err(ReadError::Fault(fault.to_string()).into())
            }
        }
    }

    /// Makes rounds until the node stops.
    pub(crate) async fn run(self) {
        let closing = self.0.wiring.closing.clone();
        tokio::select! {
            () = self.rounds() => {}
            () = closing.cancelled() => {}
        }
    }

    async fn rounds(&self) {
        let mut leadership = self.0.wiring.leadership.subscribe();
        let mut served = vec![];
        loop {
            if served.is_empty() {
                self.0.wake.notified().await;
            }
            served.append(&mut self.0.waiting.lock());
            served.retain(|want| !want.is_closed());
            if served.is_empty() {
                continue;
            }
            leadership.borrow_and_update();
            let round = tokio::select! {
                round = self.round() => round,
                // The leader that was asked is gone; ask its successor.
                _ = leadership.changed() => None,
            };
            let Some(round) = round else {
                served = refuse_own(served);
                if !served.is_empty() {
                    let _ = tokio::time::timeout(PAUSE, leadership.changed()).await;
                }
                continue;
            };
            for want in served.drain(..) {
                match want {
                    Want::Index(tx) => drop(tx.send(round.index)),
                    Want::Own(tx) => drop(tx.send(Ok(round))),
                }
            }
        }
    }

    async fn round(&self) -> Option<Round> {
        let now = self.0.wiring.leadership.current();
        let leader = now.leader?;
        if leader != self.0.wiring.leadership.me() {
            let index = self.0.wiring.peers.read_index(leader, ATTEMPT).await.ok()?;
            return Some(Round { index, led: None });
        }
        if mutant!("unconfirmed-read") {
            return Some(Round { index: self.0.wiring.leadership.committed_index(), led: Some(now.term) });
        }
        let linearizer = self.0.wiring.raft.get()?.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        // Terms only rise: the same term before and after means that it was this one during the round.
        let after = self.0.wiring.leadership.current();
        let led = (after.leader == now.leader && after.term == now.term).then_some(now.term);
        Some(Round { index: linearizer.read_log_id().index(), led })
    }
}

/// After a failed round: who asked for this node's own round gets the refusal, the others stay.
fn refuse_own(served: Vec<Want>) -> Vec<Want> {
    let mut stay = Vec::with_capacity(served.len());
    for want in served {
        match want {
            Want::Own(tx) => drop(tx.send(Err(ReadError::LeaderChanged))),
            index @ Want::Index(_) => stay.push(index),
        }
    }
    stay
}
