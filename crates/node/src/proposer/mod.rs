//! Commands on their way into the log, and their outcomes on the way back.
//!
//! Commands that wait are joined into *segments*; the leader joins segments, its own and those that followers forwarded, into one
//! proposal. While one proposal is under way the next fills ([`gather`]): under load entries are large and few.
//!
//! A segment is named by this process's random origin and a sequence number. Its outcomes come from this node's own apply
//! ([`Proposer::observe`]), never from a reply of the leader, so that whoever is answered can read what it wrote here.
//!
//! 1. A segment is sent for one term: the leader proposes it in exactly that term or not at all. Once an entry of a later term is
//!    applied here, a segment of an earlier term that has not been applied never will be. Only then, or when the leader said that
//!    it proposed nothing, is it sent again. So a command is applied at most once, and no write is repeated on suspicion.
//! 2. A command that could not be answered in time says which it was: never sent ([`ProposeError::NoLeader`]), or sent with the
//!    outcome unknown ([`ProposeError::TimedOut`]).
//! 3. After a snapshot replaced the state, what was sent before can no longer be judged: outcome unknown.
//! 4. Admission is bounded by bytes and by how far apply is behind; what is refused there was surely not proposed.
//! 5. A leader's own segments and forwarded ones come first by turns: neither waits for the other to run out.

mod flow;
mod forwarding;
mod gather;
mod work;

use crate::sink::ApplyObserver;
use crate::wiring::Wiring;
use conclave_state::{Command, Outcome, Size};
use conclave_storage::{Answer, AppliedBatch};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use work::Work;

/// An outcome, and where in the log it was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    pub index: u64,
    pub term: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error("no leader")]
    NoLeader,
    #[error("too many requests")]
    TooManyRequests,
    #[error("the command is too large")]
    TooLarge,
    #[error("the node is stopping")]
    Stopped,
    #[error("the leader failed; the outcome is unknown")]
    LeaderFailed,
    #[error("the connection to the leader was lost; the outcome is unknown")]
    ConnectionLost,
    #[error("timed out; the outcome is unknown")]
    TimedOut,
}

impl ProposeError {
    /// Whether the command can have been, or can still be, applied.
    pub fn outcome_unknown(self) -> bool {
        matches!(self, ProposeError::LeaderFailed | ProposeError::ConnectionLost | ProposeError::TimedOut)
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest single command.
    pub command_bytes: usize,
    /// All commands of this node that are not answered yet.
    pub waiting_bytes: usize,
    /// Segments of followers that wait to be proposed here.
    pub forwarded_bytes: usize,
    /// A segment or a proposal is closed when it has this much; a single larger command goes alone.
    pub pack_bytes: usize,
    /// Proposals (as leader) or forwarded batches (as follower) under way.
    pub in_flight: usize,
    /// Committed entries that are not applied here yet.
    pub apply_lag: u64,
    pub timeout: Duration,
}

impl Limits {
    pub fn new(command_bytes: usize, timeout: Duration) -> Limits {
        Limits {
            command_bytes,
            waiting_bytes: 64 << 20,
            forwarded_bytes: 64 << 20,
            pack_bytes: 1 << 20,
            in_flight: 2,
            apply_lag: 5_000,
            timeout,
        }
    }
}

#[derive(Clone)]
pub struct Proposer(Arc<Inner>);

struct Inner {
    limits: Limits,
    wiring: Wiring,
    work: Mutex<Work>,
    wake: Notify,
}

impl Proposer {
    pub fn new(origin: u64, limits: Limits, wiring: Wiring) -> Proposer {
        let work = Mutex::new(Work::new(origin, limits.pack_bytes, limits.timeout));
        Proposer(Arc::new(Inner { limits, wiring, work, wake: Notify::new() }))
    }

    /// Has the command decided by the cluster. Dropping the future stops waiting, not the command.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        let outcome = self.enqueue(&command)?;
        // The sender goes without a word only when the node does.
        outcome.await.unwrap_or(Err(ProposeError::Stopped))
    }

    fn enqueue(&self, command: &Command) -> Result<oneshot::Receiver<Result<Applied, ProposeError>>, ProposeError> {
        let inner = &*self.0;
        let weight = weight(command);
        if weight > inner.limits.command_bytes {
            return Err(ProposeError::TooLarge);
        }
        if inner.apply_lags() {
            return Err(ProposeError::TooManyRequests);
        }
        let mut work = inner.work.lock();
        if work.is_closed() {
            return Err(ProposeError::Stopped);
        }
        if work.waiting_bytes() + weight > inner.limits.waiting_bytes {
            return Err(ProposeError::TooManyRequests);
        }
        let (outcome, wake) = work.push(command, Instant::now());
        drop(work);
        if wake {
            inner.wake.notify_one();
        }
        Ok(outcome)
    }

    /// From the apply sink, after everybody else has seen the batch: `last_term` is the term of its last entry.
    pub fn observe(&self, answers: Vec<Answer>, last_term: u64) {
        if self.0.work.lock().observe(answers, last_term) {
            self.0.wake.notify_one();
        }
    }

    /// From the apply sink: a snapshot replaced the state (invariant 3).
    pub fn reset(&self) {
        self.0.work.lock().lose_sight();
    }

    /// Commands of this node that are not answered yet, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let work = self.0.work.lock();
        (work.waiting_commands(), work.waiting_bytes())
    }

    /// Refuses new commands and fails those that wait; for a node that stops.
    pub fn close(&self) {
        self.0.work.lock().close();
    }
}

impl ApplyObserver for Proposer {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(std::mem::take(&mut batch.answers), batch.last.committed_leader_id().term);
    }

    fn reset(&self) {
        Proposer::reset(self);
    }
}

impl Inner {
    fn apply_lags(&self) -> bool {
        let applied = self.wiring.state.applied_index();
        self.wiring.leadership.committed_index().saturating_sub(applied) > self.limits.apply_lag
    }
}

/// About how many bytes a command takes in the log.
fn weight(command: &Command) -> usize {
    match command.size() {
        Size::About(bytes) => bytes,
        Size::Encoded => encoded_len(command),
    }
}

fn encoded_len(command: &Command) -> usize {
    let mut encoded = Vec::new();
    conclave_storage::codec::encode_command(command, &mut encoded);
    encoded.len()
}
