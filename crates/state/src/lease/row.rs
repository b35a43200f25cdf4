//! The rows of leases: what each holds, and reads of them.

use crate::view::{Fault, Step, Table, View};
use crate::{LeaseId, keys};
use bytes::Bytes;

/// The TTL in the row of a lease that is ending.
pub(super) const ENDING: u64 = 0;

/// The number of cancelled attempts that a lease remembers.
pub(crate) const MOST_CANCELLED: usize = 32;

/// What the row of a lease holds: numbers of eight bytes, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) ttl_ms: u64,
    /// The log index of the entry that granted it.
    pub(crate) granted_at: u64,
    /// The attempts under this lease that were cancelled last, the oldest first.
    pub(crate) cancelled: Vec<u64>,
}

impl LeaseRow {
    pub(super) fn is_ending(&self) -> bool {
        self.ttl_ms == ENDING
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [self.ttl_ms, self.granted_at].into_iter().chain(self.cancelled.iter().copied());
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<LeaseRow, Fault> {
        let (numbers, rest) = row.as_chunks::<8>();
        match numbers {
            [ttl_ms, granted_at, cancelled @ ..] if rest.is_empty() && cancelled.len() <= MOST_CANCELLED => {
                Ok(LeaseRow {
                    ttl_ms: u64::from_be_bytes(*ttl_ms),
                    granted_at: u64::from_be_bytes(*granted_at),
                    cancelled: cancelled.iter().map(|attempt| u64::from_be_bytes(*attempt)).collect(),
                })
            }
            _ => Err(Fault::Corrupt("the row of a lease cannot be read".into())),
        }
    }
}

pub(super) fn lease_row<V: View>(view: &V, id: LeaseId) -> Result<Option<LeaseRow>, Fault> {
    view.decoded(Table::Lease, &keys::lease_row(id), |row| LeaseRow::decode(row))
}

/// The TTL that a lease was granted, in milliseconds; `None` if there is no such lease.
pub fn lease_ttl<V: View>(view: &V, id: LeaseId) -> Result<Option<u64>, Fault> {
    Ok(lease_row(view, id)?.filter(|row| !row.is_ending()).map(|row| row.ttl_ms))
}

/// All leases with their TTLs in milliseconds, by id; 0 for one that is ending.
pub fn lease_spans<V: View>(view: &V) -> Result<Vec<(LeaseId, u64)>, Fault> {
    let mut leases = Vec::new();
    let (from, below) = keys::lease_rows();
    view.scan(Table::Lease, &from, &below, &mut |key, row| {
        leases.push((keys::split_lease_row(key)?, LeaseRow::decode(row)?.ttl_ms));
        Ok(Step::Next)
    })?;
    Ok(leases)
}

/// All leases with their TTLs in milliseconds, by id.
pub fn leases<V: View>(view: &V) -> Result<Vec<(LeaseId, u64)>, Fault> {
    let mut leases = lease_spans(view)?;
    leases.retain(|(_, ttl_ms)| *ttl_ms != ENDING);
    Ok(leases)
}

/// All leases by id, or `None` if there are more than `most`.
pub fn lease_ids_within<V: View>(view: &V, most: usize) -> Result<Option<Vec<LeaseId>>, Fault> {
    let mut ids = Some(Vec::new());
    let (from, below) = keys::lease_rows();
    view.scan(Table::Lease, &from, &below, &mut |key, row| {
        if LeaseRow::decode(row)?.is_ending() {
            return Ok(Step::Next);
        }
        Ok(push_within(&mut ids, keys::split_lease_row(key)?, most))
    })?;
    Ok(ids)
}

/// The keys attached to a lease, in order.
pub fn lease_keys<V: View>(view: &V, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    Ok(lease_keys_within(view, id, usize::MAX)?.unwrap_or_default())
}

/// The same, or `None` if there are more than `most`.
pub fn lease_keys_within<V: View>(view: &V, id: LeaseId, most: usize) -> Result<Option<Vec<Bytes>>, Fault> {
    let (from, below) = keys::attached_rows(id);
    let mut found = Some(Vec::new());
    view.scan(Table::Lease, &from, &below, &mut |row, _| {
        let key = Bytes::copy_from_slice(keys::split_attached_row(row)?);
        Ok(push_within(&mut found, key, most))
    })?;
    Ok(found)
}

/// The first `limit` leases behind one, with their TTLs in milliseconds, by id.
pub fn leases_after<V: View>(view: &V, after: Option<LeaseId>, limit: usize) -> Result<Vec<(LeaseId, u64)>, Fault> {
    let (first, below) = keys::lease_rows();
    let from = after.map_or(first.to_vec(), |after| [&keys::lease_row(after)[..], &[0]].concat());
    let mut found = Vec::new();
    view.scan(Table::Lease, &from, &below, &mut |key, row| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        let row = LeaseRow::decode(row)?;
        if !row.is_ending() {
            found.push((keys::split_lease_row(key)?, row.ttl_ms));
        }
        Ok(Step::Next)
    })?;
    Ok(found)
}

/// The first `limit` keys attached to a lease behind one, in order.
pub fn lease_keys_after<V: View>(
    view: &V,
    id: LeaseId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Bytes>, Fault> {
    let (first, below) = keys::attached_rows(id);
    let from = after.map_or(first, |after| [&keys::attached_row(id, after)[..], &[0]].concat());
    let mut found = Vec::new();
    view.scan(Table::Lease, &from, &below, &mut |row, _| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        found.push(Bytes::copy_from_slice(keys::split_attached_row(row)?));
        Ok(Step::Next)
    })?;
    Ok(found)
}

/// The number of keys attached to a lease, counted up to `most`.
pub fn lease_key_count<V: View>(view: &V, id: LeaseId, most: usize) -> Result<usize, Fault> {
    let (from, below) = keys::attached_rows(id);
    let mut count = 0;
    view.scan(Table::Lease, &from, &below, &mut |_, _| {
        count += usize::from(count < most);
        Ok(if count < most { Step::Next } else { Step::Stop })
    })?;
    Ok(count)
}

/// The first keys attached to a lease, at most `most`.
pub(super) fn first_lease_keys<V: View>(view: &V, id: LeaseId, most: usize) -> Result<Vec<Bytes>, Fault> {
    let (from, below) = keys::attached_rows(id);
    let mut found = Vec::new();
    if most > 0 {
        view.scan(Table::Lease, &from, &below, &mut |row, _| {
            found.push(Bytes::copy_from_slice(keys::split_attached_row(row)?));
            Ok(if found.len() < most { Step::Next } else { Step::Stop })
        })?;
    }
    Ok(found)
}

/// Adds what was found, and gives up beyond `most`.
fn push_within<T>(found: &mut Option<Vec<T>>, item: T, most: usize) -> Step {
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
        for cancelled in [vec![], vec![7; MOST_CANCELLED]] {
            let row = LeaseRow { ttl_ms: 250, granted_at: u64::MAX - 1, cancelled };
            assert_eq!(LeaseRow::decode(&row.encode()).unwrap(), row);
        }
        for size in [0, 8, 15, 17, 23, 8 * (MOST_CANCELLED + 3)] {
            assert!(matches!(LeaseRow::decode(&vec![0; size]), Err(Fault::Corrupt(_))), "{size}");
        }
    }
}

#[cfg(test)]
mod pages {
    use super::*;
    use crate::test_store::TestStore;
    use crate::{Command, LeaseGrant, Put};

    #[test]
    fn leases_and_their_keys_in_pages() {
        let mut store = TestStore::new();
        for id in [-5, 1, 7, LeaseId::MAX] {
            store.apply(&Command::LeaseGrant(LeaseGrant { id, ttl_ms: 1_000 }));
        }
        for key in ["a", "a\0", "b"] {
            store.apply(&Command::Put(Put { key: key.into(), lease: 7, ..Put::default() }));
        }
        let view = &store.view;
        let ids = |after, limit| -> Vec<LeaseId> {
            leases_after(view, after, limit).unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(None, 2), [-5, 1]);
        assert_eq!(ids(Some(1), 9), [7, LeaseId::MAX]);
        assert!(ids(Some(LeaseId::MAX), 9).is_empty());
        assert_eq!(lease_keys_after(view, 7, None, 2).unwrap(), ["a", "a\0"]);
        assert_eq!(lease_keys_after(view, 7, Some(b"a"), 9).unwrap(), ["a\0", "b"]);
        let counts = [0, 2, 9].map(|most| lease_key_count(view, 7, most).unwrap());
        assert_eq!(counts, [0, 2, 3]);
    }
}
