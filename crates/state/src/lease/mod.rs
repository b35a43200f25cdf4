//! Leases: granted, revoked, expired; and the keys attached to them.
//!
//! Here a lease is a number with a TTL and a set of keys. Only the Raft leader measures time,
//! outside the log. It proposes an `Expire`, which counts only if its entry is in the term that it
//! names.
//!
//! 1. A lease and all its keys end in one revision, keys in order. A lease without keys takes no
//!    revision.
//! 2. Everything of elections, locks and claims that depends on a lease ends in the same revision,
//!    after the keys (see [`crate::coord`]).
//! 3. All leases of one `Expire` end in one revision, by lease id, then by key.
//! 4. An `Expire` ends the leases that its proposer knew, not newer ones under the same ids: the
//!    row of a lease contains the log index of its grant.
//! 5. One command ends at most [`MOST_KEYS`] keys and places. What does not fit into an `Expire` is
//!    left as it is, and comes due again. A lease that has more than a command may end is *ending*:
//!    its first command takes its name (nobody finds it, renews it, or attaches anything to it) and
//!    a part, and each further one takes the next part. Its row goes with the last, so nothing ever
//!    depends on a lease without a row, and its id is not given again before. To the keeper of
//!    deadlines it is a lease with a span of 0.

mod row;

use crate::coord::{self, Cause, Due};
use crate::event::LeaseChange;
use crate::keys;
use crate::machine::{Batch, Position, Stop};
use crate::view::{Fault, Table, View};
use crate::{Expire, LeaseGrant, LeaseId, MOST_KEYS, Rejection, Response};
use bytes::Bytes;
use row::{ENDING, first_lease_keys, lease_row};

pub(crate) use row::{LeaseRow, MOST_CANCELLED};
pub use row::{
    lease_ids_within, lease_key_count, lease_keys, lease_keys_after, lease_keys_within, lease_spans, lease_ttl, leases,
    leases_after,
};

impl<V: View> Batch<'_, V> {
    pub(crate) fn lease_exists(&self, id: LeaseId) -> Result<bool, Fault> {
        Ok(self.lease(id)?.is_some())
    }

    /// A lease that is not ending.
    pub(crate) fn lease(&self, id: LeaseId) -> Result<Option<LeaseRow>, Fault> {
        Ok(lease_row(&self.rows, id)?.filter(|row| !row.is_ending()))
    }

    pub(crate) fn lease_grant(&mut self, at: Position, grant: LeaseGrant) -> Result<Response, Stop> {
        let LeaseGrant { id, ttl_ms } = grant;
        self.check_grant(id)?;
        self.execute_grant(at, id, ttl_ms);
        Ok(Response::LeaseGrant { id, ttl_ms })
    }

    /// Id 0 means no lease everywhere, so it counts as taken.
    pub(crate) fn check_grant(&self, id: LeaseId) -> Result<(), Stop> {
        if id == 0 || lease_row(&self.rows, id)?.is_some() {
            return Err(Rejection::LeaseExists.into());
        }
        Ok(())
    }

    pub(crate) fn execute_grant(&mut self, at: Position, id: LeaseId, ttl_ms: u64) {
        let row = LeaseRow { ttl_ms, granted_at: at.index, cancelled: Vec::new() };
        self.rows.put(Table::Lease, keys::lease_row(id).to_vec(), row.encode());
        self.lease_changed(LeaseChange::Armed { id, ms: ttl_ms });
    }

    /// Also continues what ends in parts.
    pub(crate) fn lease_revoke(&mut self, id: LeaseId) -> Result<Response, Stop> {
        let row = lease_row(&self.rows, id)?.ok_or(Rejection::LeaseNotFound)?;
        let mut ending = Ending::new(Cause::SessionClosed);
        let left = self.end_lease(id, row, &mut ending)? != Ended::Whole;
        self.settle(ending.due)?;
        self.project()?;
        Ok(Response::LeaseRevoke { left })
    }

    pub(crate) fn expire(&mut self, at: Position, expire: &Expire) -> Result<Response, Stop> {
        if at.term != expire.term {
            return Err(Rejection::StaleTerm.into());
        }
        let mut leases = expire.leases.clone();
        leases.sort_unstable();
        leases.dedup();
        let (mut expired, mut ending) = (0, Ending::new(Cause::Expired));
        for id in leases {
            // The lease may have been revoked since, and its id granted again.
            let Some(row) = lease_row(&self.rows, id)?.filter(|row| row.granted_at <= expire.observed) else {
                continue;
            };
            if self.end_lease(id, row, &mut ending)? != Ended::Whole {
                break;
            }
            expired += 1;
        }
        self.settle(ending.due)?;
        self.project()?;
        Ok(Response::Expire { expired })
    }

    /// Ends a lease if it fits into the rest of the command, or a part of it if it fits into none.
    fn end_lease(&mut self, id: LeaseId, mut row: LeaseRow, ending: &mut Ending) -> Result<Ended, Fault> {
        // One more than may end shows whether there is more.
        let mut rows = self.session_rows(id, ending.left + 1)?;
        let mut keys = first_lease_keys(&self.rows, id, (ending.left + 1).saturating_sub(rows.len()))?;
        let whole = rows.len() + keys.len() <= ending.left;
        if !whole && ending.left < MOST_KEYS {
            return Ok(Ended::Nothing);
        }
        rows.truncate(ending.left);
        ending.left -= rows.len();
        keys.truncate(ending.left);
        self.session_ends(rows, ending.cause, &mut ending.due);
        self.end_keys(id, keys, ending)?;
        if whole {
            self.rows.delete(Table::Lease, keys::lease_row(id).to_vec());
            self.lease_changed(LeaseChange::Gone { id });
            return Ok(Ended::Whole);
        }
        if !row.is_ending() {
            row.ttl_ms = ENDING;
            self.rows.put(Table::Lease, keys::lease_row(id).to_vec(), row.encode());
            self.lease_changed(LeaseChange::Armed { id, ms: ENDING });
        }
        Ok(Ended::Part)
    }

    /// Projected keys are removed with the election, lock or claim that they show.
    fn end_keys(&mut self, id: LeaseId, keys: Vec<Bytes>, ending: &mut Ending) -> Result<(), Fault> {
        for key in keys {
            if coord::is_reserved(&key) {
                continue;
            }
            let target = self.target(&key)?;
            if target.current.as_ref().is_none_or(|current| current.lease != id) {
                return Err(Fault::Corrupt(format!("a key is attached to lease {id:x} that does not carry it")));
            }
            self.remove(target);
            ending.left -= 1;
        }
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

/// What a command ends, and how much it still may.
struct Ending {
    cause: Cause,
    due: Due,
    left: usize,
}

impl Ending {
    fn new(cause: Cause) -> Ending {
        Ending { cause, due: Due::default(), left: MOST_KEYS }
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    Whole,
    Part,
    Nothing,
}
