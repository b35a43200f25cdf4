//! Brings commands into the log and their outcomes back to the callers.
//!
//! Queued commands are joined into *segments*. The leader joins its own segments and those that
//! followers forwarded into one entry. While one entry is in flight the next fills ([`batching`]),
//! so under load entries are large and few:
//!
//! ```text
//! member 1 (follower)   segment a ──┐ forward
//! member 2 (leader)     segment b ──┴─► entry [a b] ─► log ─► apply on each member
//! member 1              apply finds segment a by its origin and answers its callers
//! ```
//!
//! A segment is named by the random origin of its process and a sequence number. Its outcomes come
//! from the local apply ([`Proposer::observe`]), never from the leader's reply, so a caller that is
//! answered can read its own write on this member.
//!
//! 1. A segment is sent for one term, and the leader proposes it in exactly that term or not at
//!    all. Once an entry of a later term is applied here, a segment of an earlier term that has not
//!    been applied never will be. It is sent again only then, or when the leader answered that it
//!    proposed nothing. So a command is applied at most once.
//! 2. A command that could not be answered in time says whether it was never sent
//!    ([`ProposeError::NoLeader`]) or sent with unknown outcome ([`ProposeError::TimedOut`]).
//! 3. When a snapshot replaces the state, the outcome of everything in flight is unknown.
//! 4. Admission is bounded by bytes and by the lag of apply. A refused command was certainly not
//!    proposed.
//! 5. On the leader, local and forwarded segments take turns, so neither waits for the other to run
//!    out.

mod batching;
mod flow;
mod forwarding;
mod state;

use crate::context::NodeContext;
use crate::sink::ApplyObserver;
use conclave_state::{Command, Outcome, Size};
use conclave_storage::{Answer, AppliedBatch};
use parking_lot::Mutex;
use state::{ProposerState, Whose};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// An outcome and its log position.
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
    /// Whether the command may have been applied or may still be.
    pub fn outcome_unknown(self) -> bool {
        matches!(self, ProposeError::LeaderFailed | ProposeError::ConnectionLost | ProposeError::TimedOut)
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest single command.
    pub command_bytes: usize,
    /// Bytes of all unanswered commands of this node.
    pub waiting_bytes: usize,
    /// Bytes of forwarded segments that wait to be proposed here.
    pub forwarded_bytes: usize,
    /// Bytes at which a segment or an entry is closed. A single larger command goes alone.
    pub pack_bytes: usize,
    /// Entries (as leader) or forwarded batches (as follower) in flight.
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
    context: NodeContext,
    state: Mutex<ProposerState>,
    wake: Notify,
    /// Apply was too far behind when the proposer's task looked last: callers do not ask consensus,
    /// whose figures stand under a lock of its own.
    lagging: AtomicBool,
    failed: AtomicU64,
}

impl Proposer {
    pub fn new(origin: u64, limits: Limits, context: NodeContext) -> Proposer {
        let state = Mutex::new(ProposerState::new(origin, limits.pack_bytes, limits.timeout));
        Proposer(Arc::new(Inner {
            limits,
            context,
            state,
            wake: Notify::new(),
            lagging: AtomicBool::new(false),
            failed: AtomicU64::new(0),
        }))
    }

    /// Proposes a command and returns its outcome. Dropping the future stops the wait, not the
    /// command.
    pub async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.propose_as(command, Whose::Clients).await
    }

    /// The same for the node itself: the outcome does not wait for the clients' runtime.
    pub(crate) async fn propose_own(&self, command: Command) -> Result<Applied, ProposeError> {
        self.propose_as(command, Whose::Node).await
    }

    /// Answers what the node itself proposed; the observer of the rest is the proposer.
    pub(crate) fn own_answers(&self) -> OwnAnswers {
        OwnAnswers(self.clone())
    }

    async fn propose_as(&self, command: Command, whose: Whose) -> Result<Applied, ProposeError> {
        let outcome = self.enqueue(&command, whose)?;
        // The sender is dropped only when the node stops.
        let outcome = outcome.await.unwrap_or(Err(ProposeError::Stopped));
        if outcome.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Commands that were taken and ended without an outcome, for metrics.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    fn enqueue(
        &self,
        command: &Command,
        whose: Whose,
    ) -> Result<oneshot::Receiver<Result<Applied, ProposeError>>, ProposeError> {
        let inner = &*self.0;
        let weight = weight(command);
        if weight > inner.limits.command_bytes {
            return Err(ProposeError::TooLarge);
        }
        if inner.lagging.load(Ordering::Relaxed) {
            return Err(ProposeError::TooManyRequests);
        }
        let mut state = inner.state.lock();
        if state.is_closed() {
            return Err(ProposeError::Stopped);
        }
        if state.waiting_bytes() + weight > inner.limits.waiting_bytes {
            return Err(ProposeError::TooManyRequests);
        }
        state.write_as(inner.context.versions.command_form());
        let (outcome, wake) = state.push(command, Instant::now(), whose);
        drop(state);
        if wake {
            inner.wake.notify_one();
        }
        Ok(outcome)
    }

    /// Called by the apply sink after all other observers. `last_term` is the term of the batch's
    /// last entry.
    pub fn observe(&self, answers: Vec<Answer>, last_term: u64) {
        if self.0.state.lock().observe(answers, last_term) {
            self.0.wake.notify_one();
        }
    }

    /// Called by the apply sink when a snapshot replaced the state (invariant 3).
    pub fn reset(&self) {
        self.0.state.lock().fail_in_flight();
    }

    /// Number and bytes of unanswered commands of this node.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.waiting_commands(), state.waiting_bytes())
    }

    /// Refuses new commands and fails waiting ones when the node stops.
    pub fn close(&self) {
        self.0.state.lock().close();
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

/// See [`Proposer::own_answers`]. Called where commands are applied, after the other observers of
/// the node.
pub(crate) struct OwnAnswers(Proposer);

impl ApplyObserver for OwnAnswers {
    fn applied(&self, batch: &mut AppliedBatch) {
        if !batch.answers.is_empty() {
            self.0.0.state.lock().observe_own(&mut batch.answers);
        }
    }

    fn reset(&self) {
        self.0.0.state.lock().fail_own_in_flight();
    }
}

impl Inner {
    fn look_at_lag(&self) {
        let applied = self.context.state.applied_index();
        let lag = self.context.leadership.committed_index().saturating_sub(applied);
        self.lagging.store(lag > self.limits.apply_lag, Ordering::Relaxed);
    }
}

/// Approximate bytes of a command in the log.
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
