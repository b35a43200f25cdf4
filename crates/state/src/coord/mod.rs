//! Elections, locks and claims of conclave.v1, decided in the state machine.
//!
//! # The idea
//!
//! Every operation is one command and one decision in `apply`; no client reads first and decides
//! later. Waiting needs no further command: a command takes a place in line, and a later one (a
//! release, the end of a lease, a timer) grants it. Decisions are stored in rows of
//! [`Table::Coord`](crate::Table::Coord). In the same revision they are *projected* into ordinary
//! keys under `/_conclave/`, so that any etcd client can read, watch and compare them.
//!
//! | Projected key | Value | Lease | There while |
//! |---|---|---|---|
//! | `e/<ns>/<name>/term` | term, sequence, leader, cause (JSON) | – | the election was not deleted |
//! | `e/<ns>/<name>/leader/<term id>` | what the leader proclaims (its bytes) | leader's | that term lasts |
//! | `e/<ns>/<name>/q/<candidate>` | place, instance, priority, labels (JSON) | candidate's | it is a candidate |
//! | `l/<ns>/<name>/holder/<fence>` | owner, mode, cause (JSON) | session's | the lock is held under that fence |
//! | `l/<ns>/<name>/q/<fence>` | owner, mode (JSON) | session's | it waits |
//! | `c/<ns>/<name>/holder` | the holder's name | – | the claim is held |
//! | `c/<ns>/<name>/tenure/<fence>` | holder, instance, cause (JSON) | – | that tenure lasts |
//! | `c/<ns>/<name>/q/<ticket>` | holder, instance (JSON) | session's | it waits |
//! | `p/<ns>/<name>/<entity>` | reason (JSON) | pinner's | it pins |
//! | `n/<ns>` | limits (JSON) | – | they are not the defaults |
//!
//! The state has no clock. A *timer* is a row with an id and a number of milliseconds. The leader
//! measures its time and proposes its end ([`CoordTimer`]). An id is never reused, so an end for an
//! earlier timer has no effect.
//!
//! # Invariants
//!
//! 1. At most one leader per election and one tenure per claim. Holders of a lock have the same
//!    mode and fit its capacity.
//! 2. Fences are revisions: they rise with every grant of a name, also across its deletion. A term
//!    id, a tenure and a lock's fence belong to one grant for ever.
//! 3. Nothing depends on a lease that does not exist: the command that ends a lease also ends its
//!    candidacies, locks, places and pins, in one step for each election, lock and claim, in the
//!    order of their names.
//! 4. Only `project` writes keys under `/_conclave/`, once per command, in key order. A change of
//!    leader is: DELETE of the old leader's key, PUT of the new leader's key, PUT of the term.
//! 5. A term key contains the revision that wrote it, so every change of an election has an event.
//! 6. A command without effect takes no revision, and no row except the memory of its answer and
//!    its attempt.
//! 7. A fence belongs to one party for ever (`party`). Another party that takes the place gets a
//!    new fence, and the previous one is notified.
//! 8. The number of rows that a hand-over writes does not grow with the line.

mod check;
mod claim;
mod command;
mod dedupe;
mod election;
mod field;
#[cfg(test)]
pub(crate) mod fuzz;
pub(crate) mod keys;
mod lock;
mod outcome;
mod party;
mod pin;
mod project;
pub mod read;
pub(crate) mod renew;
mod row;
mod settle;
mod shown;
mod timers;
pub mod token;

pub use check::check_row;
pub use command::*;
pub(crate) use keys::projected;
pub use keys::{
    RESERVED, candidate_key, claim_holder_key, claim_waiter_key, is_reserved, leader_key, leader_prefix, limits_key,
    lock_holder_key, lock_waiter_key, pin_key, revoked_key, tenure_key, term_key,
};
pub(crate) use lock::lock_parts;
pub use outcome::*;
pub use party::instance_of;
pub(crate) use row::Dependent;
pub use row::{Cause, Purpose};
pub(crate) use settle::Due;
pub use shown::{Shown, claim_prefix, election_prefix, lock_prefix, lock_waiters_prefix, pins_prefix, tenures_prefix};

use crate::machine::{Batch, Stop};
use crate::view::{Fault, View};
use crate::{Rejection, Response};
use row::{ClaimHead, ElectionHead};

/// The kind of thing that a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Election = b'e' as isize,
    Lock = b'l' as isize,
    Claim = b'c' as isize,
}

impl CoordBody {
    /// The single election of the operation.
    pub fn election(&self) -> Option<&Name> {
        match self {
            CoordBody::Enter(Enter { election, .. })
            | CoordBody::Leave(Leave { election, .. })
            | CoordBody::Anoint(Anoint { election, .. })
            | CoordBody::Promote(Promote { election, .. })
            | CoordBody::Demote(Demote { election, .. })
            | CoordBody::Evict(Evict { election, .. })
            | CoordBody::ProclaimTerm(ProclaimTerm { election, .. })
            | CoordBody::RequestTransfer(RequestTransfer { election, .. })
            | CoordBody::Transfer(Transfer { election, .. })
            | CoordBody::DeleteElection(election) => Some(election),
            _ => None,
        }
    }

    /// The attempt that asks for a place; 0 if none does.
    fn attempt(&self) -> u64 {
        match self {
            CoordBody::Enter(enter) => enter.attempt,
            CoordBody::Acquire(acquire) => acquire.attempt,
            _ => 0,
        }
    }

    /// The single claim of the operation.
    fn claim(&self) -> Option<&Name> {
        match self {
            CoordBody::Claim(items) => match items.as_slice() {
                [Claim { claim, .. }] => Some(claim),
                _ => None,
            },
            CoordBody::Unclaim(Unclaim { claim, .. })
            | CoordBody::Revoke(Revoke { claim, .. })
            | CoordBody::Pin(Pin { claim, .. })
            | CoordBody::Unpin(Unpin { claim, .. }) => Some(claim),
            _ => None,
        }
    }
}

impl<V: View> Batch<'_, V> {
    pub(crate) fn coord(&mut self, coord: &Coord) -> Result<Response, Stop> {
        let Coord { session, dedupe, expect, body } = coord;
        if *session != 0 {
            self.lease(*session)?.ok_or(Rejection::LeaseNotFound)?.check_attempt(body.attempt())?;
        }
        if let Some(id) = dedupe
            && let Some(dedupe::Memo { answer, revision, .. }) = self.recall(*session, id, body)?
        {
            self.found_by_dedupe(*session, body, &answer)?;
            self.repeats = Some(revision);
            return Ok(Response::Coord(answer));
        }
        if let Some(expect) = expect {
            self.check_expect(expect, body)?;
        }
        let answer = self.coord_body(*session, body, dedupe.is_some())?;
        // Projecting makes the revision of the answer.
        self.project()?;
        if let Some(id) = dedupe {
            self.remember(*session, id, body, &answer)?;
        }
        Ok(Response::Coord(answer))
    }

    fn coord_body(&mut self, session: i64, body: &CoordBody, remembered: bool) -> Result<CoordResponse, Stop> {
        match body {
            CoordBody::Enter(enter) => self.enter(session, enter),
            CoordBody::Leave(leave) => self.leave(session, leave),
            CoordBody::Anoint(anoint) => self.anoint(anoint),
            CoordBody::Promote(promote) => self.promote(promote),
            CoordBody::Demote(demote) => self.demote(demote),
            CoordBody::Evict(evict) => self.evict(evict),
            CoordBody::EvictEverywhere(evict) => self.evict_everywhere(evict),
            CoordBody::ProclaimTerm(proclaim) => self.proclaim_term(proclaim),
            CoordBody::RequestTransfer(request) => self.request_transfer(request),
            CoordBody::Transfer(transfer) => self.transfer(transfer),
            CoordBody::DeleteElection(name) => self.delete_election(name),
            CoordBody::Acquire(acquire) => self.acquire(session, acquire, remembered),
            CoordBody::Release(release) => self.release(session, release),
            CoordBody::Claim(items) => self.claims(session, items),
            CoordBody::Unclaim(unclaim) => self.unclaim(session, unclaim),
            CoordBody::Revoke(revoke) => self.revoke_claim(revoke),
            CoordBody::Pin(pin) => self.pin(session, pin),
            CoordBody::Unpin(unpin) => self.unpin(unpin),
            CoordBody::SetLimits(set) => self.set_limits(set),
        }
    }

    /// Checks the precondition. The rejection contains the current state. A precondition on an
    /// operation without a single election or claim is never met.
    fn check_expect(&self, expect: &Expect, body: &CoordBody) -> Result<(), Stop> {
        let (fence, revision, holder) = match (body.election(), body.claim()) {
            (Some(name), _) => {
                let ElectionHead { term_id, changed, leader, .. } = self.election_head(name)?.unwrap_or_default();
                (term_id, changed, leader)
            }
            (None, Some(name)) => {
                let ClaimHead { tenure, changed, .. } = self.claim_head(name)?.unwrap_or_default();
                (tenure.as_ref().map_or(0, |tenure| tenure.fence), changed, tenure.map(|tenure| tenure.holder))
            }
            (None, None) => return Err(Rejection::Unexpected { fence: 0, revision: 0 }.into()),
        };
        let met = expect.fence.is_none_or(|expected| expected == fence)
            && expect.revision.is_none_or(|expected| expected == revision)
            && expect.holder.as_ref().is_none_or(|expected| *expected == holder.unwrap_or_default());
        if met { Ok(()) } else { Err(Rejection::Unexpected { fence, revision }.into()) }
    }

    fn get_row<T: field::Field>(&self, key: &[u8]) -> Result<Option<T>, Fault> {
        row::get(&self.rows, key)
    }

    fn put_row<T: field::Field>(&mut self, key: Vec<u8>, row: &T) {
        let row = field::encode(row);
        self.machine.digest.other(10, &key);
        self.machine.digest.bytes(&row);
        self.rows.put(crate::Table::Coord, key, row);
    }

    fn delete_row(&mut self, key: Vec<u8>) {
        self.machine.digest.other(11, &key);
        self.rows.delete(crate::Table::Coord, key);
    }
}
