//! The ledger of attempts: which calls asked for a place, so that a call that gives up ends its own
//! place and no other.
//!
//! # The idea
//!
//! A call that waits for a place may end without its answer: its caller cancels, or the connection
//! breaks. Its member must then end the place. But the client may have asked for the same place
//! again at another member, and that call may have been answered. So the commands of a member carry
//! the number of their *attempt* ([`Cancel`] explains it), and a member that gives up cancels this
//! number.
//!
//! # Rows
//!
//! No place has a row for its attempts alone. The row that says that the place ends with its lease
//! (an attached key, a dependent of a session) holds them: the attempts that asked for the place
//! and were not cancelled, the oldest first, eight bytes each. It comes and goes with the place, so
//! there is nothing to clean up. The row of the lease holds the attempts that were cancelled.
//!
//! # Invariants
//!
//! 1. A place that is *held* stays while one attempt is left that asked for it and was not
//!    cancelled: that one may have told its client.
//! 2. A place that *waits* ends with the attempt that asked last, also while earlier ones are left.
//!    The member of an earlier one may be dead, and its client is the one that asked again.
//! 3. A request without an attempt (`Enter`, a campaign with `stay`, a put by hand) counts as one
//!    whose attempt cannot be cancelled, written as 0. So a place that it made and that is held
//!    stays, but one that waits goes with a later attempt. An empty row stands for it alone. Of
//!    more than [`MOST_ATTEMPTS`], the oldest count as one without an attempt.
//! 4. A cancelled attempt takes no place: its commands are refused while the lease remembers it,
//!    the last [`MOST_CANCELLED`] of each lease. So a call and its cancellation have the same
//!    result in either order, and a second copy of the call's command has none.
//! 5. A lease that is gone has no places, so there is nothing to remember for it.

use crate::coord::Dependent;
use crate::lease::{LeaseRow, MOST_CANCELLED};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, Table, View};
use crate::{Cancel, LeaseId, PlaceId, Rejection, Response, keys};

/// The most attempts recorded for one place.
const MOST_ATTEMPTS: usize = 8;

/// The row that links a place to its lease.
pub(crate) struct PlaceRow {
    table: Table,
    key: Vec<u8>,
}

impl PlaceRow {
    pub(crate) fn of_key(lease: LeaseId, key: &[u8]) -> PlaceRow {
        PlaceRow { table: Table::Lease, key: keys::attached_row(lease, key) }
    }

    pub(crate) fn of_dependent(lease: LeaseId, dependent: &Dependent) -> PlaceRow {
        PlaceRow { table: Table::Coord, key: dependent.row(lease) }
    }
}

/// Whether a place stays when one of its attempts is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    Yes,
    /// Only if it is held.
    IfHeld,
    No,
}

impl Stays {
    /// Calls `held` only if needed.
    pub(crate) fn decide(self, held: impl FnOnce() -> Result<bool, Fault>) -> Result<bool, Fault> {
        match self {
            Stays::Yes => Ok(true),
            Stays::IfHeld => held(),
            Stays::No => Ok(false),
        }
    }
}

/// The attempts that asked for a place and were not cancelled, oldest first. 0 is a request that
/// cannot be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempts(Vec<u64>);

impl Attempts {
    fn new(attempt: u64) -> Attempts {
        Attempts(vec![attempt])
    }

    fn add(&mut self, attempt: u64) {
        let Attempts(attempts) = self;
        if attempt == 0 {
            attempts.retain(|other| *other != 0);
        } else if attempts.contains(&attempt) {
            return;
        }
        attempts.push(attempt);
        if attempts.len() > MOST_ATTEMPTS {
            attempts.splice(..2, [0]);
        }
    }

    fn cancel(&mut self, attempt: u64) -> Stays {
        let Attempts(attempts) = self;
        if attempt == 0 {
            return Stays::Yes;
        }
        let Some(at) = attempts.iter().position(|other| *other == attempt) else { return Stays::Yes };
        attempts.remove(at);
        match attempts.len() {
            0 => Stays::No,
            left if at == left => Stays::IfHeld,
            _ => Stays::Yes,
        }
    }

    fn encode(&self) -> Vec<u8> {
        if self.0 == [0] {
            return Vec::new();
        }
        self.0.iter().flat_map(|attempt| attempt.to_be_bytes()).collect()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Attempts, Fault> {
        let (attempts, []) = row.as_chunks::<8>() else {
            return Err(Fault::Corrupt("the attempts of a place cannot be read".into()));
        };
        if attempts.is_empty() {
            return Ok(Attempts::new(0));
        }
        Ok(Attempts(attempts.iter().map(|attempt| u64::from_be_bytes(*attempt)).collect()))
    }
}

impl LeaseRow {
    /// Refuses an attempt that was cancelled.
    pub(crate) fn check_attempt(&self, attempt: u64) -> Result<(), Rejection> {
        if attempt != 0 && self.cancelled.contains(&attempt) { Err(Rejection::Cancelled) } else { Ok(()) }
    }
}

impl<V: View> Batch<'_, V> {
    /// A place was made for an attempt.
    pub(crate) fn attempt_made(&mut self, place: PlaceRow, attempt: u64) {
        self.put_attempts(place, &Attempts::new(attempt));
    }

    /// An attempt found a place that was there.
    pub(crate) fn attempt_found(&mut self, place: PlaceRow, attempt: u64) -> Result<(), Fault> {
        let Some(before) = self.attempts(&place)? else { return Ok(()) };
        let mut attempts = before.clone();
        attempts.add(attempt);
        if attempts != before {
            self.put_attempts(place, &attempts);
        }
        Ok(())
    }

    /// Removes an attempt from an existing place. The caller ends the place if it does not stay.
    pub(crate) fn attempt_cancelled(&mut self, place: PlaceRow, attempt: u64) -> Result<Stays, Fault> {
        let Some(mut attempts) = self.attempts(&place)? else { return Ok(Stays::Yes) };
        let before = attempts.0.len();
        let stays = attempts.cancel(attempt);
        if attempts.0.len() < before && stays != Stays::No {
            self.put_attempts(place, &attempts);
        }
        Ok(stays)
    }

    pub(crate) fn cancel(&mut self, cancel: &Cancel) -> Result<Response, Stop> {
        let Cancel { session, attempt, place } = cancel;
        if let PlaceId::Key(key) = place {
            self.check_raw(key)?;
        }
        let Some(lease) = self.lease(*session)?.filter(|_| *attempt != 0) else {
            return Ok(Response::Cancel { ended: false });
        };
        self.remember_cancelled(*session, lease, *attempt);
        let ended = match place {
            PlaceId::Key(key) => self.cancel_key(*session, *attempt, key)?,
            PlaceId::Candidate { election, candidate } => {
                self.cancel_candidate(*session, *attempt, election, candidate)?
            }
            PlaceId::Request { fence, dedupe } => self.cancel_request(*session, *attempt, *fence, dedupe.as_ref())?,
        };
        self.project()?;
        Ok(Response::Cancel { ended })
    }

    fn remember_cancelled(&mut self, session: LeaseId, mut lease: LeaseRow, attempt: u64) {
        let cancelled = &mut lease.cancelled;
        if cancelled.contains(&attempt) {
            return;
        }
        if cancelled.len() == MOST_CANCELLED {
            cancelled.remove(0);
        }
        cancelled.push(attempt);
        self.rows.put(Table::Lease, keys::lease_row(session).to_vec(), lease.encode());
        self.machine.digest.other(14, &keys::lease_row(session));
        self.machine.digest.number(attempt.cast_signed());
    }

    fn attempts(&self, place: &PlaceRow) -> Result<Option<Attempts>, Fault> {
        self.rows.get(place.table, &place.key)?.map(|row| Attempts::decode(&row)).transpose()
    }

    fn put_attempts(&mut self, place: PlaceRow, attempts: &Attempts) {
        let row = attempts.encode();
        self.machine.digest.other(13, &place.key);
        self.machine.digest.bytes(&row);
        self.rows.put(place.table, place.key, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(attempts: &[u64]) -> Attempts {
        let mut all = Attempts::new(attempts[0]);
        attempts[1..].iter().for_each(|attempt| all.add(*attempt));
        all
    }

    #[test]
    fn a_place_stays_or_goes_with_the_attempt_that_is_cancelled() {
        assert_eq!(asked_by(&[1]).cancel(1), Stays::No);
        assert_eq!(asked_by(&[1, 1]).cancel(1), Stays::No, "the same attempt asks again");
        assert_eq!(asked_by(&[1]).cancel(2), Stays::Yes, "it asked for nothing");
        let mut two = asked_by(&[1, 2]);
        assert_eq!((two.clone().cancel(1), two.cancel(2)), (Stays::Yes, Stays::IfHeld));
        assert_eq!(two.cancel(1), Stays::No, "the last that is left");
    }

    #[test]
    fn a_request_without_an_attempt_cannot_be_cancelled() {
        let mut place = asked_by(&[0]);
        assert_eq!((place.cancel(0), place.cancel(1)), (Stays::Yes, Stays::Yes));
        assert_eq!(asked_by(&[0, 1]).cancel(1), Stays::IfHeld, "what waits goes with the last call");
        assert_eq!(asked_by(&[1, 0]).cancel(1), Stays::Yes);
        assert_eq!(asked_by(&[0, 1, 0]).cancel(1), Stays::Yes, "it asked again, and is the last");
    }

    #[test]
    fn the_oldest_of_too_many_count_as_one_that_cannot_be_cancelled() {
        let place = asked_by(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(place, Attempts(vec![0, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!((place.clone().cancel(1), place.clone().cancel(9)), (Stays::Yes, Stays::IfHeld));
        assert_eq!(asked_by(&[1, 2, 3, 4, 5, 6, 7, 8]).cancel(8), Stays::IfHeld);
    }

    #[test]
    fn attempts_read_back_as_written() {
        for attempts in [vec![0], vec![1], vec![0, 1], vec![u64::MAX, 7]] {
            let attempts = Attempts(attempts);
            assert_eq!(Attempts::decode(&attempts.encode()).unwrap(), attempts);
        }
        assert!(matches!(Attempts::decode(&[0; 7]), Err(Fault::Corrupt(_))));
    }
}
