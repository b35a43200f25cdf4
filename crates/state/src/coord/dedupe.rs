//! The last answers of each session, for retries of requests whose answer was lost.
//!
//! A client that gets no answer does not know whether its request was executed. It sends the
//! request again, with the same dedupe id. The answer to each id is a row of the session, so the
//! retry gets the answer of the first request, and nothing happens twice.
//!
//! 1. An answered request is not executed again while its answer is remembered. A rejected request
//!    had no effect and is not remembered: a retry is decided again.
//! 2. A session's memory is a ring of [`SESSION`] answers and ends with its lease. Operators
//!    without a session share a ring of [`SHARED`].
//! 3. An answer is repeated only to the same operation by the same party: the memory records what
//!    was asked. If two operations use one id, the second is rejected, so that no caller gets the
//!    grant of another one.

use super::field::fields;
use super::row::Dependent;
use super::{
    Acquire, Anoint, Claim, CoordBody, CoordResponse, Demote, Enter, Evict, EvictEverywhere, Leave, Name, Pin,
    ProclaimTerm, Promote, Release, RequestTransfer, Revoke, SetLimits, Transfer, Unclaim, Unpin, keys,
};
use crate::attempt::PlaceRow;
use crate::digest::Digest;
use crate::machine::{Batch, Stop};
use crate::view::{Fault, View};
use crate::{Command, LeaseId, Rejection};
use bytes::Bytes;

/// Answers remembered for one session.
const SESSION: u64 = 32;
/// Answers remembered for all requests without a session.
const SHARED: u64 = 1024;

/// A remembered answer.
pub(super) struct Memo {
    /// What was asked ([`about`]).
    about: u64,
    pub(super) answer: CoordResponse,
    /// Of the store when it was given: a client that goes on from there misses nothing.
    pub(super) revision: i64,
}

fields!(Memo { about, answer, revision });

impl<V: View> Batch<'_, V> {
    /// Whether the command is a retry of an answered one and will only repeat that answer.
    pub(crate) fn is_remembered(&self, command: &Command) -> Result<bool, Fault> {
        match command {
            Command::Coord(coord) => match &coord.dedupe {
                Some(id) => Ok(self.memo(coord.session, id)?.is_some()),
                None => match &coord.body {
                    CoordBody::Acquire(acquire) => Ok(self.fence_of(coord.session, acquire.attempt)?.is_some()),
                    _ => Ok(false),
                },
            },
            _ => Ok(false),
        }
    }

    /// An answer is given again to an operation that asks for a place. Its attempt may be another
    /// one.
    pub(super) fn found_by_dedupe(
        &mut self,
        session: LeaseId,
        body: &CoordBody,
        answer: &CoordResponse,
    ) -> Result<(), Fault> {
        let (place, attempt) = match (body, answer) {
            (CoordBody::Enter(Enter { election, candidate, instance, attempt, .. }), _) => {
                // Another party may have taken the candidacy over since.
                if !self.candidate(election, candidate)?.is_some_and(|row| row.is_of(session, instance)) {
                    return Ok(());
                }
                (Dependent::Candidate { election: election.clone(), id: candidate.clone() }, *attempt)
            }
            (CoordBody::Acquire(acquire), CoordResponse::Lock { fence, .. }) => {
                (Dependent::Lock { fence: *fence }, acquire.attempt)
            }
            _ => return Ok(()),
        };
        self.attempt_found(PlaceRow::of_dependent(session, &place), attempt)
    }

    /// The fence that an Acquire was answered with under a dedupe id; 0 if none.
    pub(super) fn fence_remembered(&self, session: LeaseId, id: &[u8; 16]) -> Result<i64, Fault> {
        Ok(match self.memo(session, id)?.map(|memo| memo.answer) {
            Some(CoordResponse::Lock { fence, .. }) => fence,
            _ => 0,
        })
    }

    fn memo(&self, session: LeaseId, id: &[u8; 16]) -> Result<Option<Memo>, Fault> {
        self.get_row(&keys::memo(session, id))
    }

    /// The earlier answer to the operation under this id.
    pub(super) fn recall(&self, session: LeaseId, id: &[u8; 16], body: &CoordBody) -> Result<Option<Memo>, Stop> {
        match self.memo(session, id)? {
            None => Ok(None),
            Some(memo) if memo.about == about(body) => Ok(Some(memo)),
            Some(_) => Err(Rejection::DedupeReused.into()),
        }
    }

    pub(super) fn remember(
        &mut self,
        session: LeaseId,
        id: &[u8; 16],
        body: &CoordBody,
        answer: &CoordResponse,
    ) -> Result<(), Fault> {
        let next = keys::memo_next(session);
        let number: u64 = self.get_row(&next)?.unwrap_or(0);
        let slot = keys::memo_slot(session, number % if session == 0 { SHARED } else { SESSION });
        if let Some(old) = self.get_row::<Bytes>(&slot)?
            && let Ok(old) = <&[u8; 16]>::try_from(&old[..])
        {
            self.delete_row(keys::memo(session, old));
        }
        self.put_row(slot, &Bytes::copy_from_slice(id));
        self.put_row(next, &(number + 1));
        let memo = Memo { about: about(body), answer: answer.clone(), revision: self.seen() };
        self.put_row(keys::memo(session, id), &memo);
        Ok(())
    }
}

/// A hash of the operation, its name and its party. Options are left out, and so is the attempt,
/// which differs from member to member.
fn about(body: &CoordBody) -> u64 {
    let none = "";
    match body {
        CoordBody::Enter(Enter { election, candidate, instance, .. }) => said(1, election, &[candidate, instance]),
        CoordBody::Leave(Leave { election, candidate, instance, .. }) => {
            said(2, election, &[candidate, instance.as_deref().unwrap_or(none)])
        }
        CoordBody::Anoint(Anoint { election, candidate, .. }) => said(3, election, &[candidate]),
        CoordBody::Promote(Promote { election, candidate, .. }) => said(4, election, &[candidate]),
        CoordBody::Demote(Demote { election, candidate, .. }) => said(5, election, &[candidate]),
        CoordBody::Evict(Evict { election, candidate, .. }) => said(6, election, &[candidate]),
        CoordBody::EvictEverywhere(EvictEverywhere { namespace, candidate, .. }) => {
            let namespace = namespace.clone().unwrap_or_default();
            said(7, &Name { namespace, name: String::new() }, &[candidate])
        }
        CoordBody::ProclaimTerm(ProclaimTerm { election, .. }) => said(8, election, &[]),
        CoordBody::RequestTransfer(RequestTransfer { election, to, .. }) => said(9, election, &[to]),
        CoordBody::Transfer(Transfer { election, to, .. }) => said(10, election, &[to]),
        CoordBody::DeleteElection(election) => said(11, election, &[]),
        CoordBody::Acquire(Acquire { parts, owner, .. }) => {
            all(12, parts.iter().map(|part| said(0, &part.lock, &[owner])))
        }
        CoordBody::Release(Release { fence, .. }) => all(13, [fence.cast_unsigned()].into_iter()),
        CoordBody::Claim(items) => {
            let one = |Claim { claim, holder, instance, .. }: &Claim| said(0, claim, &[holder, instance]);
            all(14, items.iter().map(one))
        }
        CoordBody::Unclaim(Unclaim { claim, holder, instance }) => said(15, claim, &[holder, instance]),
        CoordBody::Revoke(Revoke { claim, holder, instance }) => {
            said(16, claim, &[holder.as_deref().unwrap_or(none), instance.as_deref().unwrap_or(none)])
        }
        CoordBody::Pin(Pin { claim, entity, .. }) => said(17, claim, &[entity]),
        CoordBody::Unpin(Unpin { claim, entity }) => said(18, claim, &[entity]),
        CoordBody::SetLimits(SetLimits { namespace, .. }) => {
            said(19, &Name { namespace: namespace.clone(), name: String::new() }, &[])
        }
    }
}

fn said(operation: i64, on: &Name, of: &[&str]) -> u64 {
    let mut digest = Digest::EMPTY;
    digest.number(operation);
    digest.bytes(on.namespace.as_bytes());
    digest.bytes(on.name.as_bytes());
    of.iter().for_each(|text| digest.bytes(text.as_bytes()));
    digest.0
}

fn all(operation: i64, of: impl Iterator<Item = u64>) -> u64 {
    let mut digest = Digest::EMPTY;
    digest.number(operation);
    of.for_each(|one| digest.number(one.cast_signed()));
    digest.0
}
