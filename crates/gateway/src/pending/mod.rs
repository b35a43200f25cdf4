//! Calls that take a place through the log, wait for it, and never leave one behind.
//!
//! Lock and Campaign of etcd, the queue elections, locks and claims of Conclave all work alike: one
//! command asks for a place, the call waits until the place is first, and a call that ends without
//! its answer handed over must release what it took. What is the same for all of them is here: a
//! [`Pending`] call proposes its command until it is decided, remembers what it owes, and releases
//! it when it is dropped. What differs is a [`Request`]: the command, what its outcome means, and
//! the command that releases the place.
//!
//! 1. A call that ends without [`Pending::keep`] (cancelled, failed, its connection lost) releases
//!    its place, at whatever moment it ends: before its command was decided, while it waits, or
//!    right after the grant.
//! 2. The command is proposed by a task of its own. A caller that goes away does not stop it, so
//!    the task still learns what to release.
//! 3. A command whose outcome is unknown is proposed again: it finds what the first one did. A call
//!    that was cancelled meanwhile does not ask again. It releases, and the order of the two
//!    commands in the log does not matter: the state machine refuses an attempt that was cancelled.
//! 4. Calls of this node with the same key share one attempt. The last of them to end releases the
//!    place, unless one of them kept it. The release cancels the attempt alone: `apply` keeps the
//!    place if another member's attempt holds it.
//! 5. A node that stops releases nothing: the clients come back at another member and find their
//!    places again.

mod attempts;
mod error;
#[cfg(test)]
pub(crate) mod tests;

pub use error::CallError;

use crate::auth::carry;
use crate::charge;
use crate::limits::{Held, Kind};
use async_trait::async_trait;
use attempts::{Attempts, Left, Membership};
use bytes::Bytes;
use conclave_node::proposer::{Applied, ProposeError};
use conclave_state::{Command, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The log, as pending calls need it.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError>;

    /// The member's own: no user has to be there any more.
    async fn propose_own(&self, command: Command) -> Result<Applied, ProposeError> {
        self.propose(command).await
    }
}

/// What a call asks for, and how that is released.
pub trait Request: Send + 'static {
    /// Keys of different kinds of requests never mean the same place.
    const KIND: &'static str;
    type Error: From<CallError> + Send + 'static;

    /// Equal for calls that ask for the same place.
    fn key(&self) -> Bytes;

    /// The command that asks for the place. It must have the same effect twice as once.
    fn command(&self, attempt: u64) -> Command;

    /// Reads the outcome of the command. `unknown`: an earlier proposal of it may have had an
    /// effect.
    fn decided(&mut self, outcome: Outcome, unknown: bool) -> Decided<Self::Error>;

    /// Whether the caller prefers this error to another try. Errors that no try can mend never get
    /// here.
    fn gives_up(&self, _error: ProposeError) -> bool {
        false
    }

    /// The command that releases what the attempt took, or may yet take. It must be harmless if
    /// there is nothing to release. `None`: the place does not go with the call.
    fn release(&self, attempt: u64, owed: Owed) -> Option<Command>;

    /// What else is to be released, once the releasing command is decided.
    fn release_more(&self, _attempt: u64, _outcome: Outcome) -> Option<Command> {
        None
    }
}

/// What the outcome of a request's command means.
pub enum Decided<E> {
    /// The call has its place. It owes this incarnation of it (a revision), if it owes it at all.
    Taken(Option<i64>),
    /// Propose again: the request has changed its command.
    Again,
    Refused(E),
}

/// What a call that ended owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    Incarnation(i64),
    /// A command is undecided, or was decided without an answer.
    Unknown,
}

/// Where calls are made. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    log: Arc<dyn Log>,
    attempts: Attempts,
    stopping: CancellationToken,
}

/// A call whose place is released when this is dropped, unless it is kept.
pub struct Pending<R: Request> {
    calls: Calls,
    membership: Membership,
    /// Gone once the call has ended.
    request: Option<R>,
    /// An earlier proposal may have been decided, or may still be.
    unknown: bool,
    /// Its place among the calls that may wait.
    _waiting: Option<Held>,
}

impl Calls {
    #[must_use]
    pub fn new(log: Arc<dyn Log>, stopping: CancellationToken) -> Calls {
        Calls { log, attempts: Attempts::default(), stopping }
    }

    /// Whether no call is under way.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Proposes the request's command until it is decided. Dropping the future releases what the
    /// command took or may yet take.
    pub async fn ask<R: Request>(&self, request: R) -> Result<Pending<R>, R::Error> {
        let waiting = charge::hold(Kind::Waiting).map_err(CallError::Limited)?;
        let gone = CancellationToken::new();
        let _cancel = gone.clone().drop_guard();
        let key = [R::KIND.as_bytes(), b"/", &request.key()].concat();
        let membership = self.attempts.join(key.into());
        let pending =
            Pending { calls: self.clone(), membership, request: Some(request), unknown: false, _waiting: waiting };
        tokio::spawn(carry(pending.propose(gone))).await.map_err(|_| CallError::Stopped)?
    }

    async fn pause(&self, pause: &mut Duration, gone: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = gone.cancelled() => {}
            () = self.stopping.cancelled() => {}
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    /// Proposes until the command is decided; `None` if the node stops before.
    async fn until_decided(&self, command: Command) -> Option<Applied> {
        let (mut pause, never) = (FIRST_PAUSE, CancellationToken::new());
        while !self.stopping.is_cancelled() {
            match self.log.propose_own(command.clone()).await {
                Ok(applied) => return Some(applied),
                Err(ProposeError::Stopped | ProposeError::TooLarge) => return None,
                Err(_) => self.pause(&mut pause, &never).await,
            }
        }
        None
    }

    async fn release<R: Request>(self, request: R, attempt: u64, owed: Owed) {
        let mut next = request.release(attempt, owed);
        while let Some(command) = next {
            let Some(applied) = self.until_decided(command).await else { return };
            next = request.release_more(attempt, applied.outcome);
        }
    }
}

impl<R: Request> Pending<R> {
    pub fn request(&self) -> &R {
        self.request.as_ref().expect("only a call that has ended has no request")
    }

    pub fn request_mut(&mut self) -> &mut R {
        self.request.as_mut().expect("only a call that has ended has no request")
    }

    async fn propose(mut self, gone: CancellationToken) -> Result<Pending<R>, R::Error> {
        let attempt = self.membership.attempt();
        let calls = self.calls.clone();
        let mut pause = FIRST_PAUSE;
        loop {
            match calls.log.propose(self.request().command(attempt)).await {
                Ok(applied) => {
                    let unknown = self.unknown;
                    match self.request_mut().decided(applied.outcome, unknown) {
                        Decided::Taken(owed) => {
                            self.unknown = false;
                            owed.inspect(|incarnation| self.membership.owe(*incarnation));
                            return Ok(self);
                        }
                        Decided::Again => {}
                        Decided::Refused(error) => return Err(error),
                    }
                }
                Err(ProposeError::Stopped) => return Err(CallError::Stopped.into()),
                Err(error @ (ProposeError::TooManyRequests | ProposeError::TooLarge)) => {
                    return Err(CallError::NotProposed(error).into());
                }
                Err(error) => {
                    self.unknown |= error.outcome_unknown();
                    if !self.unknown && self.request().gives_up(error) {
                        return Err(CallError::NotProposed(error).into());
                    }
                    calls.pause(&mut pause, &gone).await;
                }
            }
            if calls.stopping.is_cancelled() {
                return Err(CallError::Stopped.into());
            }
            if gone.is_cancelled() {
                return Err(CallError::Cancelled.into());
            }
        }
    }

    /// The answer is about to be handed over: this incarnation of the place is the client's, and no
    /// call of this node releases it.
    pub fn keep(&mut self, incarnation: i64) {
        self.membership.keep(incarnation);
    }

    /// This incarnation of the place is gone: there is nothing to release.
    pub fn lost(&mut self, incarnation: i64) {
        self.membership.settle(incarnation);
    }

    /// Ends the call: releases what it owes, if no other call of this node wants it. The task ends
    /// when the release is decided; `None` if there is nothing to release.
    pub fn end(&mut self) -> Option<JoinHandle<()>> {
        let request = self.request.take()?;
        if self.unknown {
            self.membership.doubt();
        }
        let owed = match self.membership.leave() {
            Left::Nothing => return None,
            Left::Owing(incarnation) => Owed::Incarnation(incarnation),
            Left::InDoubt => Owed::Unknown,
        };
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        if self.calls.stopping.is_cancelled() {
            return None;
        }
        Some(runtime.spawn(self.calls.clone().release(request, self.membership.attempt(), owed)))
    }
}

impl<R: Request> Drop for Pending<R> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
