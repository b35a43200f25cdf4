//! Attempts: who asked for locks, so that a call that gives up takes away from nobody else.
//!
//! One request may be asked for by way of several members: a connection breaks, the client asks again elsewhere with the same dedupe id, and
//! the first member learns only later that nobody listens. So each member's call names itself, by a number drawn at random, and gives
//! up in that name alone.
//!
//! 1. What is held stays as long as one attempt that asked for it has not given up: one of them may have told its client.
//! 2. What waits goes with the attempt that came last, or with the last that is left: a client that came back elsewhere after its member had
//!    died, and then gives up, means it.
//! 3. Who releases by fence alone releases, whoever asked.
//! 4. A request without a dedupe id is found again by its attempt for as long as it lasts. That costs one row, which goes with the request, and
//!    none of the answers that the session's client wants remembered. Given up before it was decided, it stays given up.

use super::row::LockRequest;
use super::{CoordBody, CoordResponse, Enter, Release, keys};
use crate::LeaseId;
use crate::machine::Batch;
use crate::view::{Fault, View};

/// So many are told apart. One more and the request goes by release or with its session.
const MOST: usize = 8;

impl<V: View> Batch<'_, V> {
    /// A request that was answered before is asked for again.
    pub(super) fn join(&mut self, session: LeaseId, body: &CoordBody, answer: &CoordResponse) -> Result<(), Fault> {
        if let CoordBody::Enter(enter) = body {
            return if enter.attempt == 0 { Ok(()) } else { self.enter_again(session, enter) };
        }
        let (CoordBody::Acquire(acquire), CoordResponse::Lock { fence, .. }) = (body, answer) else { return Ok(()) };
        let attempt = acquire.attempt;
        let Some(mut request) = self.get_row::<LockRequest>(&keys::request(*fence))? else { return Ok(()) };
        if attempt == 0 || request.attempts.contains(&attempt) || request.attempts.contains(&0) {
            return Ok(());
        }
        request.attempts.push(if request.attempts.len() < MOST { attempt } else { 0 });
        self.put_row(keys::request(*fence), &request);
        Ok(())
    }

    /// A candidacy that was taken over since is another's to give up.
    fn enter_again(&mut self, session: LeaseId, enter: &Enter) -> Result<(), Fault> {
        let Enter { election, candidate, instance, attempt, .. } = enter;
        let row = self.candidate(election, candidate)?;
        if !row.is_some_and(|row| row.is_of(session, instance)) {
            return Ok(());
        }
        let leader = self.election_head(election)?.and_then(|head| head.leader);
        self.attempt_again(election, candidate, *attempt, leader.as_ref() == Some(candidate))
    }

    /// What came of the attempt before, if it was decided.
    pub(super) fn found_again(&self, session: LeaseId, attempt: u64) -> Result<Option<CoordResponse>, Fault> {
        let Some(fence) = self.fence_of(session, attempt)? else { return Ok(None) };
        let request = self.get_row::<LockRequest>(&keys::request(fence))?;
        Ok(Some(CoordResponse::Lock { fence, held_since: request.map_or(0, |request| request.held_since) }))
    }

    /// The fence that an attempt has; 0 if it was given up before it came.
    pub(super) fn fence_of(&self, session: LeaseId, attempt: u64) -> Result<Option<i64>, Fault> {
        if attempt == 0 { Ok(None) } else { self.get_row(&keys::asked(session, attempt)) }
    }

    /// The request that is to be released.
    pub(super) fn meant(&mut self, session: LeaseId, release: &Release) -> Result<Option<(i64, LockRequest)>, Fault> {
        let Release { mut fence, attempt, .. } = *release;
        if fence == 0 && attempt != 0 && session != 0 {
            fence = match self.fence_of(session, attempt)? {
                Some(fence) => fence,
                None => {
                    self.put_row(keys::asked(session, attempt), &0_i64);
                    0
                }
            };
        }
        Ok(self.get_row(&keys::request(fence))?.map(|request| (fence, request)))
    }

    /// Takes an attempt out. Whether the request stays for the others.
    pub(super) fn others_want(&mut self, fence: i64, request: &mut LockRequest, attempt: u64) -> bool {
        let Some(at) = request.attempts.iter().position(|one| *one == attempt) else { return true };
        request.attempts.remove(at);
        let last = at == request.attempts.len();
        if request.attempts.is_empty() || (last && request.held_since == 0) {
            return false;
        }
        self.put_row(keys::request(fence), request);
        true
    }
}
