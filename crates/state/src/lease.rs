//! Leases: granted, revoked, expired; and the keys attached to them.
//!
//! A lease here is a number with a TTL and a set of keys. That time passes is known to the Raft leader alone, outside the log; it says
//! so with an `Expire`, which counts only if the entry was proposed in the term that it names.
//!
//! 1. A lease and all its keys go in one revision, keys in order; without keys no revision is taken.
//! 2. What elections, locks and claims keep for a lease ends in the same revision, after the keys (see [`crate::coord`]).
//! 3. All leases of one `Expire` go in one revision, by id, then by key: however many lapse at one moment, it is one step.
//! 4. An `Expire` ends the leases that its proposer knew, not those that were granted under the same ids since: the row says which entry
//!    of the log granted the lease.

use crate::coord::{self, Cause, Due};
use crate::event::LeaseChange;
use crate::keys;
use crate::machine::{Batch, Position, Stop};
use crate::mutant;
use crate::view::{Fault, Step, Table, View};
use crate::{Expire, LeaseGrant, LeaseId, Rejection, Response, SessionGrant};
use bytes::Bytes;

impl<V: View> Batch<'_, V> {
    pub(crate) fn lease_exists(&self, id: LeaseId) -> Result<bool, Fault> {
        Ok(self.rows.get(Table::Lease, &keys::lease_row(id))?.is_some())
    }

    pub(crate) fn lease_grant(&mut self, at: Position, grant: &LeaseGrant) -> Result<Response, Stop> {
        let LeaseGrant { id, ttl_seconds } = *grant;
        self.check_grant(id)?;
        self.execute_grant(at, id, ttl_seconds);
        Ok(Response::LeaseGrant { id, ttl_seconds })
    }

    /// The id 0 means no lease everywhere, so it counts as taken.
    pub(crate) fn check_grant(&self, id: LeaseId) -> Result<(), Stop> {
        if id == 0 || self.lease_exists(id)? {
            return Err(Rejection::LeaseExists.into());
        }
        Ok(())
    }

    pub(crate) fn execute_grant(&mut self, at: Position, id: LeaseId, ttl_seconds: i64) {
        let row = LeaseRow { ttl_seconds, granted_at: at.index, exact_millis: None };
        self.rows.put(Table::Lease, keys::lease_row(id).to_vec(), row.encode());
        self.lease_changed(LeaseChange::Granted { id, ttl_seconds });
    }

    /// The TTL of a session may be less than a second, or not a whole number of them.
    pub(crate) fn session_grant(&mut self, at: Position, grant: SessionGrant) -> Result<Response, Stop> {
        let SessionGrant { id, ttl_millis } = grant;
        self.check_grant(id)?;
        let ttl_seconds = i64::try_from(ttl_millis.div_ceil(1000)).unwrap_or(i64::MAX);
        let row = LeaseRow { ttl_seconds, granted_at: at.index, exact_millis: Some(ttl_millis) };
        self.rows.put(Table::Lease, keys::lease_row(id).to_vec(), row.encode());
        self.lease_changed(LeaseChange::SessionGranted { id, ttl_millis });
        Ok(Response::SessionGrant { id, ttl_millis })
    }

    pub(crate) fn lease_revoke(&mut self, id: LeaseId) -> Result<Response, Stop> {
        if !self.lease_exists(id)? {
            return Err(Rejection::LeaseNotFound.into());
        }
        let mut due = Due::default();
        self.end_lease(id, Cause::SessionClosed, &mut due)?;
        self.settle(due)?;
        self.project()?;
        Ok(Response::LeaseRevoke)
    }

    pub(crate) fn expire(&mut self, at: Position, expire: &Expire) -> Result<Response, Stop> {
        if at.term != expire.term && !mutant!("deposed-expiry") {
            return Err(Rejection::StaleTerm.into());
        }
        let mut leases = expire.leases.clone();
        leases.sort_unstable();
        leases.dedup();
        let (mut expired, mut due) = (0, Due::default());
        for id in leases {
            // It may have been revoked since the leader saw it lapse, and the id granted again.
            let Some(row) = self.rows.get(Table::Lease, &keys::lease_row(id))? else { continue };
            if LeaseRow::decode(&row)?.granted_at <= expire.told {
                self.end_lease(id, Cause::Expired, &mut due)?;
                expired += 1;
            }
        }
        self.settle(due)?;
        self.project()?;
        Ok(Response::Expire { expired })
    }

    /// Keys that are projected go when what they show is settled.
    fn end_lease(&mut self, id: LeaseId, cause: Cause, due: &mut Due) -> Result<(), Fault> {
        self.session_ends(id, cause, due)?;
        for key in attached_keys(&self.rows, id)? {
            if coord::is_reserved(&key) {
                continue;
            }
            let target = self.target(&key)?;
            if target.current.as_ref().is_none_or(|current| current.lease != id) {
                return Err(Fault::Corrupt(format!("a key is attached to lease {id:x} that does not carry it")));
            }
            self.remove(target);
        }
        self.rows.delete(Table::Lease, keys::lease_row(id).to_vec());
        self.lease_changed(LeaseChange::Gone { id });
        Ok(())
    }

    pub(crate) fn attach(&mut self, id: LeaseId, key: &[u8]) {
        if id != 0 {
            self.rows.put(Table::Lease, keys::attached_row(id, key), Vec::new());
        }
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if id != 0 {
            self.rows.delete(Table::Lease, keys::attached_row(id, key));
        }
    }

    fn lease_changed(&mut self, change: LeaseChange) {
        self.machine.digest.lease(change);
        self.leases.push(change);
    }
}

/// What the row of a lease holds: eight bytes each, big-endian; the last only in that of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    /// Rounded up, if it is not whole seconds.
    pub(crate) ttl_seconds: i64,
    /// The log index of the entry that granted it.
    pub(crate) granted_at: u64,
    pub(crate) exact_millis: Option<u64>,
}

impl LeaseRow {
    fn encode(self) -> Vec<u8> {
        let mut row = Vec::with_capacity(24);
        row.extend_from_slice(&self.ttl_seconds.to_be_bytes());
        row.extend_from_slice(&self.granted_at.to_be_bytes());
        row.extend(self.exact_millis.iter().flat_map(|millis| millis.to_be_bytes()));
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Result<LeaseRow, Fault> {
        let (numbers, rest) = row.as_chunks::<8>();
        let (ttl, granted_at, exact) = match (numbers, rest) {
            ([ttl, granted_at], []) => (ttl, granted_at, None),
            ([ttl, granted_at, exact], []) => (ttl, granted_at, Some(exact)),
            _ => return Err(Fault::Corrupt("the row of a lease is not two numbers or three".into())),
        };
        Ok(LeaseRow {
            ttl_seconds: i64::from_be_bytes(*ttl),
            granted_at: u64::from_be_bytes(*granted_at),
            exact_millis: exact.map(|millis| u64::from_be_bytes(*millis)),
        })
    }

    pub(crate) fn ttl_millis(self) -> u64 {
        self.exact_millis.unwrap_or_else(|| u64::try_from(self.ttl_seconds).unwrap_or(0).saturating_mul(1000))
    }
}

/// The keys attached to a lease, in order.
pub(crate) fn attached_keys<V: View>(view: &V, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    Ok(attached_keys_within(view, id, usize::MAX)?.unwrap_or_default())
}

/// The same, or `None` if there are more than `most`.
pub(crate) fn attached_keys_within<V: View>(view: &V, id: LeaseId, most: usize) -> Result<Option<Vec<Bytes>>, Fault> {
    let (from, below) = keys::attached_rows(id);
    let mut found = Some(Vec::new());
    view.scan(Table::Lease, &from, &below, &mut |row, _| {
        let key = Bytes::copy_from_slice(keys::split_attached_row(row)?);
        Ok(push_within(&mut found, key, most))
    })?;
    Ok(found)
}

/// Adds what was found, and gives up beyond `most`.
pub(crate) fn push_within<T>(found: &mut Option<Vec<T>>, item: T, most: usize) -> Step {
    match found {
        Some(items) if items.len() < most => {
            items.push(item);
            Step::Next
        }
        _ => {
            *found = None;
            Step::Stop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_a_lease_reads_back_as_written() {
        for exact_millis in [None, Some(250)] {
            let row = LeaseRow { ttl_seconds: 1, granted_at: u64::MAX - 1, exact_millis };
            assert_eq!(LeaseRow::decode(&row.encode()).unwrap(), row);
            assert_eq!(row.ttl_millis(), exact_millis.unwrap_or(1000));
        }
        for size in [0, 8, 15, 17, 23, 25, 32] {
            assert!(matches!(LeaseRow::decode(&vec![0; size]), Err(Fault::Corrupt(_))), "{size}");
        }
    }
}
