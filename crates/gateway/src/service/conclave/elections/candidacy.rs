//! What a campaign asks for: to be a candidate, until it is told that it won.
//!
//! That no candidate is left behind is the work of [`crate::pending`]. What is special here:
//!
//! 1. Entering again finds what the first command did, so a command of unknown outcome is simply
//!    proposed again. Where that would not be the same (a take-over, an expectation), a dedupe id
//!    of the call's own makes it so.
//! 2. Whether a candidate that was found again is released is decided by `apply`, which knows who
//!    else entered it.
//! 3. A candidate belongs to one session and one instance in it. Calls of two sessions under one id
//!    are counted apart, and neither releases what the other entered.
//! 4. With `stay` the call owes nothing: its candidate stays when the call ends. The command names
//!    no attempt, so no other call that finds the candidate ends it either.

use super::state::{Seen, State};
use crate::convert::conclave::{Caller, election::Campaign};
use crate::pending::{Decided, Owed, Request};
use crate::service::{response, unexpected};
use crate::status::fault;
use bytes::Bytes;
use conclave_state::coord::{candidate_key, instance_of, read::CandidateState};
use conclave_state::{
    Cancel, Command, CoordBody, CoordResponse, Enter, LeaseId, Name, Outcome, PlaceId, Response as Answer,
};
use std::sync::Arc;
use tonic::Status;

/// One call's candidate: what it asks for, and the result.
pub(super) struct Candidacy {
    state: Arc<dyn State>,
    caller: Caller,
    enter: Enter,
    /// The session's own if the caller named none.
    instance: String,
    stay: bool,
    /// Which life of the candidate was entered; 0 if it was over at once.
    pub(super) joined: i64,
    /// What entering came to, and at which revision.
    pub(super) changed: bool,
    pub(super) revision: i64,
}

impl Candidacy {
    pub(super) fn new(state: Arc<dyn State>, campaign: Campaign) -> Candidacy {
        let Campaign { mut caller, enter, stay, .. } = campaign;
        if caller.dedupe.is_none() && (caller.expect.is_some() || enter.takeover) {
            caller.dedupe = Some(rand::random());
        }
        let instance = instance_of(caller.session, &enter.instance);
        Candidacy { state, caller, enter, instance, stay, joined: 0, changed: false, revision: 0 }
    }

    pub(super) fn election(&self) -> &Name {
        &self.enter.election
    }

    pub(super) fn candidate(&self) -> &str {
        &self.enter.candidate
    }

    pub(super) fn session(&self) -> LeaseId {
        self.caller.session
    }

    pub(super) fn seen(&self) -> Result<Seen, Status> {
        self.state.candidate(self.election(), self.candidate()).map_err(fault)
    }

    /// Whether the row is this call's: this instance, under this session.
    pub(super) fn is_own(&self, row: &CandidateState) -> bool {
        row.instance == self.instance && row.lease == self.caller.session
    }

    fn take(&mut self, changed: bool, revision: i64) -> Result<Option<i64>, Status> {
        (self.changed, self.revision) = (changed, revision);
        self.joined = self.seen()?.row.filter(|row| self.is_own(row)).map_or(0, |row| row.joined);
        Ok((!self.stay).then_some(self.joined))
    }
}

impl Request for Candidacy {
    const KIND: &'static str = "candidacy";
    type Error = Status;

    fn key(&self) -> Bytes {
        let key = candidate_key(self.election(), self.candidate());
        // No part of a projected key has the byte 0.
        [&key[..], b"\0", &self.session().to_be_bytes(), self.instance.as_bytes()].concat().into()
    }

    fn command(&self, attempt: u64) -> Command {
        let attempt = if self.stay { 0 } else { attempt };
        self.caller.clone().command(CoordBody::Enter(Enter { attempt, ..self.enter.clone() }))
    }

    fn decided(&mut self, outcome: Outcome, _unknown: bool) -> Decided<Status> {
        let revision = outcome.revision;
        let taken = response(outcome).and_then(|answer| match answer {
            Answer::Coord(CoordResponse::Election { changed, .. }) => self.take(changed, revision),
            other => Err(unexpected(&other)),
        });
        taken.map_or_else(Decided::Refused, Decided::Taken)
    }

    fn release(&self, attempt: u64, _owed: Owed) -> Option<Command> {
        let (election, candidate) = (self.election().clone(), self.candidate().to_owned());
        let place = PlaceId::Candidate { election, candidate };
        (!self.stay).then(|| Command::Cancel(Cancel { session: self.session(), attempt, place }))
    }
}
