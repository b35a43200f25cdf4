//! Ends of sessions and timers: collected first and settled together.
//!
//! One command may end many leases and timers. Everything that they affect is collected. Then each
//! election, lock and claim is changed once, in the order of the names, so the result does not
//! depend on the order of the leases.

use super::field;
use super::keys;
use super::row::{Cause, Dependent};
use super::{Kind, Name};
use crate::LeaseId;
use crate::attempt::PlaceRow;
use crate::machine::Batch;
use crate::view::{Fault, Step, Table, View};
use std::collections::{BTreeMap, BTreeSet};

/// The key of a row that belongs to a session, and what the row says to depend on it.
pub(crate) type SessionRow = (Vec<u8>, Option<Dependent>);

#[derive(Debug, Default)]
pub(crate) struct Due {
    elections: BTreeMap<Name, ElectionDue>,
    /// Lock requests that end, by fence.
    pub(super) requests: BTreeMap<i64, Cause>,
    pub(super) lock_delays: BTreeSet<Name>,
    claims: BTreeMap<Name, ClaimDue>,
}

#[derive(Debug, Default)]
pub(super) struct ElectionDue {
    pub(super) gone: BTreeMap<String, Cause>,
    pub(super) delay_over: bool,
    pub(super) hold_over: bool,
    pub(super) transfer_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct ClaimDue {
    pub(super) over: bool,
    /// The session ended whose own instance the holder is.
    pub(super) orphaned: bool,
    pub(super) waiters: BTreeSet<u64>,
    pub(super) pins: BTreeSet<String>,
}

impl Due {
    pub(super) fn election(&mut self, name: Name) -> &mut ElectionDue {
        self.elections.entry(name).or_default()
    }

    pub(super) fn claim(&mut self, name: Name) -> &mut ClaimDue {
        self.claims.entry(name).or_default()
    }
}

impl<V: View> Batch<'_, V> {
    /// Collects what depends on an ended lease by these rows of its session, and deletes them.
    pub(crate) fn session_ends(&mut self, rows: Vec<SessionRow>, cause: Cause, due: &mut Due) {
        for (key, dependent) in rows {
            self.delete_row(key);
            match dependent {
                None => {}
                Some(Dependent::Candidate { election, id }) => drop(due.election(election).gone.insert(id, cause)),
                Some(Dependent::Lock { fence }) => drop(due.requests.insert(fence, cause)),
                Some(Dependent::Waiter { claim, ticket }) => drop(due.claim(claim).waiters.insert(ticket)),
                Some(Dependent::Pin { claim, entity }) => drop(due.claim(claim).pins.insert(entity)),
                Some(Dependent::Tenure { claim }) => due.claim(claim).orphaned = true,
            }
        }
    }

    /// The first rows of a session, at most `most` and at least one if there is any.
    pub(crate) fn session_rows(&self, lease: LeaseId, most: usize) -> Result<Vec<SessionRow>, Fault> {
        let (from, below) = keys::session(lease).all();
        let mut rows = Vec::new();
        self.rows.scan(Table::Coord, &from, &below, &mut |key, _| {
            let dependent = match keys::split_session(key) {
                Some((keys::DEPENDENT, what)) => Some(field::decode::<Dependent>(what)?),
                Some(_) => None,
                None => return Err(field::unreadable()),
            };
            rows.push((key.to_vec(), dependent));
            Ok(if rows.len() < most { Step::Next } else { Step::Stop })
        })?;
        Ok(rows)
    }

    pub(crate) fn settle(&mut self, due: Due) -> Result<(), Fault> {
        let Due { elections, requests, lock_delays, claims } = due;
        for (name, due) in elections {
            self.settle_election(&name, due)?;
        }
        self.settle_locks(requests, lock_delays)?;
        for (name, due) in claims {
            self.settle_claim(&name, due)?;
        }
        Ok(())
    }

    /// Something was made that ends with a session. `attempt`: the one that asked for it, or 0.
    pub(super) fn depend(&mut self, lease: LeaseId, dependent: &Dependent, attempt: u64) {
        if lease != 0 {
            self.attempt_made(PlaceRow::of_dependent(lease, dependent), attempt);
        }
    }

    pub(super) fn free(&mut self, lease: LeaseId, dependent: &Dependent) {
        if lease != 0 {
            self.delete_row(dependent.row(lease));
        }
    }

    pub(super) fn is_banned(&self, kind: Kind, name: &Name, who: &str) -> Result<bool, Fault> {
        Ok(self.get_row::<u64>(&keys::cooldown(kind, name, who))?.is_some())
    }
}
