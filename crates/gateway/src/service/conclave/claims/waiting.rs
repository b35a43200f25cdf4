//! Claims that wait in line.
//!
//! A claim that may wait is a call like those for locks and candidacies ([`crate::pending`]): its
//! command is proposed until it is decided. What is special here:
//!
//! 1. A place in line belongs to a session, and an instance in it, not to the call. A call that
//!    ends leaves it, and the next one finds it again. So the call owes nothing, and its command
//!    names no attempt.
//! 2. A claim that is proposed again finds the place or the tenure of the first proposal. Where
//!    that would not be the same (a take-over, an expectation), a dedupe id of the call's own makes
//!    it so.
//! 3. The revision of an answer after a wait is one at which the answer was true. The tenure may be
//!    over, by a revocation, when the answer is made.

use super::super::decide::look;
use super::taking::{Hold, Taking, Told, denied, is_same};
use crate::convert::conclave::Caller;
use crate::follow::Span;
use crate::pending::{Decided, Owed, Request};
use crate::service::{response, unexpected};
use crate::status::{dedupe_id_reused, internal, rejected, text, undecided};
use bytes::Bytes;
use conclave_node::keeper::whole_millis;
use conclave_node::proposer::ProposeError;
use conclave_state::coord::claim_waiter_key;
use conclave_state::coord::read::{self, HolderState};
use conclave_state::{
    Claim, ClaimAnswer, Command, CoordBody, CoordResponse, Outcome, Rejection, Response as Answer, Twin,
};
use std::time::Duration;
use tonic::Status;

/// One claim that may wait, and its answer.
pub(super) struct Bid {
    caller: Caller,
    item: Claim,
    /// Of the call: calls share nothing, since they owe nothing.
    id: [u8; 16],
    /// With the store's revision right after it.
    pub(super) answer: Option<(i64, ClaimAnswer)>,
}

impl Bid {
    pub(super) fn new(caller: &Caller, item: Claim) -> Bid {
        let (mut caller, id) = (caller.clone(), rand::random());
        if caller.dedupe.is_none() && (caller.expect.is_some() || item.twin == Twin::TakeOver) {
            caller.dedupe = Some(id);
        }
        Bid { caller, item, id, answer: None }
    }
}

impl Request for Bid {
    const KIND: &'static str = "claim";
    type Error = Status;

    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id)
    }

    fn command(&self, _attempt: u64) -> Command {
        self.caller.clone().command(CoordBody::Claim(vec![self.item.clone()]))
    }

    fn decided(&mut self, outcome: Outcome, _unknown: bool) -> Decided<Status> {
        let revision = outcome.revision;
        match response(outcome) {
            Ok(Answer::Coord(CoordResponse::Claims { mut items })) if items.len() == 1 => {
                self.answer = items.pop().map(|answer| (revision, answer));
                Decided::Taken(None)
            }
            Ok(Answer::Coord(_)) => Decided::Refused(dedupe_id_reused()),
            Ok(other) => Decided::Refused(unexpected(&other)),
            Err(status) => Decided::Refused(status),
        }
    }

    /// A caller whose wait has an end prefers an answer to a place in line.
    fn gives_up(&self, _error: ProposeError) -> bool {
        self.item.wait_ms != 0
    }

    fn release(&self, _attempt: u64, _owed: Owed) -> Option<Command> {
        None
    }
}

impl Taking<'_> {
    /// Has a claim decided that may wait. If its wait has an end, so has this, also without a
    /// leader.
    pub(super) async fn propose_to_wait(
        &self,
        caller: &Caller,
        item: Claim,
    ) -> Result<(i64, Vec<ClaimAnswer>), Status> {
        let longest = Duration::from_millis(item.wait_ms).saturating_add(self.gateway.node.config.request_timeout());
        let timed = item.wait_ms != 0;
        let decided = self.gateway.calls.ask(Bid::new(caller, item));
        let mut pending = if timed {
            let in_time = tokio::time::timeout(longest, decided).await;
            in_time.map_err(|_| undecided(ProposeError::TimedOut, true))??
        } else {
            decided.await?
        };
        let answer = pending.request_mut().answer.take();
        let (revision, answer) = answer.ok_or_else(|| internal("a claim was decided without an answer"))?;
        Ok((revision, vec![answer]))
    }

    /// Waits until the place in line is gone, and tells what it became, with the revision at which
    /// it was so.
    pub(super) async fn wait(&self, caller: &Caller, item: &Claim, ticket: u64) -> Result<(i64, Told), Status> {
        let own = Span::key(claim_waiter_key(&item.claim, ticket));
        let mut place = self.gateway.feed.subscribe(own, None);
        loop {
            let name = item.claim.clone();
            let (first, revision) = look(self.gateway, true, false, move |view| {
                read::claim_waiting(view, &name, ticket.saturating_sub(1), 1)
            })
            .await?;
            if first.first().is_none_or(|waiter| waiter.ticket != ticket) {
                break;
            }
            place.skip(revision);
            tokio::select! {
                _ = place.recent() => {}
                () = self.gateway.node.stopping.cancelled() => return Err(text::STOPPED.status()),
            }
        }
        drop(place);
        // Before the tenure is extended: so long the call has lasted at least when the guaranteed
        // time begins, by any clock.
        let waited = self.began.elapsed();
        let waited = whole_millis(waited - waited / 50);
        let is_own = |tenure: &HolderState| tenure.holder == item.holder && is_same(caller, item, tenure);
        let (at, held) = self.hold(item, is_own).await?;
        match held {
            Ok(Hold { fence, millis }) => {
                Ok((at, Told { answer: ClaimAnswer::Taken { fence, timer: 0 }, guaranteed_ms: waited + millis }))
            }
            Err(holder) => {
                let session = caller.session;
                let ended = move |view: &_| conclave_state::read::lease_ttl(view, session);
                if session != 0 && look(self.gateway, true, false, ended).await?.0.is_none() {
                    return Err(rejected(Rejection::LeaseNotFound));
                }
                Ok((at, Told { answer: denied(holder), guaranteed_ms: 0 }))
            }
        }
    }
}
