//! Reading the state: what services answer from, generic over any [`View`].
//!
//! Nothing here depends on a machine: a view is enough, so reads run beside `apply` on a point in time of their own.
//!
//! 1. Whatever is read at or above the compacted revision is independent of how far the sweep has come.
//! 2. Below it there is no answer but [`Rejection::Compacted`]; functions that take no [`Bounds`] leave that to the caller.

use crate::digest::Digest;
use crate::keys;
use crate::kv::page as pages;
use crate::kv::range as ranges;
use crate::lease::LeaseRow;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use crate::{Alarm, Event, EventKind, KeyValue, LeaseId, Member, RangeQuery, RangeResult, Rejection, lease, member};
use bytes::Bytes;

/// The revisions that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub current: i64,
    /// Readable itself; -1 before the first compaction.
    pub compacted: i64,
}

/// The store's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub revision: i64,
    pub compacted: i64,
    pub digest: u64,
}

impl Meta {
    const EMPTY: Meta = Meta { revision: 1, compacted: -1, digest: Digest::EMPTY.0 };

    pub fn bounds(self) -> Bounds {
        Bounds { current: self.revision, compacted: self.compacted }
    }
}

/// Why a range gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStop {
    Rejected(Rejection),
    /// More rows than the budget allows: ask again without one, where it may take its time.
    OverBudget,
}

/// The store's history in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    pub compacted: i64,
    /// What was hashed up to.
    pub revision: i64,
}

pub fn meta<V: View>(view: &V) -> Result<Meta, Fault> {
    view.get(Table::Meta, keys::STORE)?.map_or(Ok(Meta::EMPTY), |row| member::decode_meta(&row))
}

/// Answers a range query. `budget`: rows that may be visited before giving up.
pub fn range<V: View>(
    view: &V,
    query: &RangeQuery,
    bounds: Bounds,
    budget: Option<usize>,
) -> Result<Result<RangeResult, ReadStop>, Fault> {
    ranges::range(view, query, bounds, budget)
}

/// A part of a range, and the key that the next part begins with, if there is one.
pub type Page = (Vec<KeyValue>, Option<Bytes>);

/// The first keys of a range, about `max_bytes` and at most `limit` of them but at least one, and the key that comes next. Orders,
/// filters and the query's own limit are not looked at, and nothing beyond is counted.
pub fn page<V: View>(
    view: &V,
    query: &RangeQuery,
    bounds: Bounds,
    limit: usize,
    max_bytes: usize,
) -> Result<Result<Page, Rejection>, Fault> {
    pages::page(view, query, bounds, limit, max_bytes)
}

/// The newest version of a key at or before `revision`; `None` if there is none, or it is a tombstone.
pub fn version_at<V: View>(view: &V, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault> {
    Ok(ranges::version_at(view, key, revision)?.map(|version| version.into_kv(key)))
}

/// How much history is read at once: whole revisions, up to the one that reaches either figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    pub events: usize,
    /// Of keys and values.
    pub bytes: usize,
    /// A revision that goes on after a figure is reached is left out, not read to its end; there may be nothing at all then. So what is
    /// read has a bound, however large a revision is.
    pub strict: bool,
}

/// The events of the revisions `from..=to`, in whole revisions, about `limit` of them, and the revision to ask for next.
pub fn history<V: View>(view: &V, from: i64, to: i64, limit: usize) -> Result<(Vec<Event>, i64), Fault> {
    history_portion(view, from, to, Portion { events: limit, bytes: usize::MAX, strict: false })
}

/// The same, as much as `portion` says. The revision to ask for next is `from` itself if a strict portion leaves that out already.
pub fn history_portion<V: View>(view: &V, from: i64, to: i64, portion: Portion) -> Result<(Vec<Event>, i64), Fault> {
    let Portion { bytes: most_bytes, strict, .. } = portion;
    let (changes, mut next) = changes(view, from, to, portion)?;
    let mut events: Vec<Event> = Vec::with_capacity(changes.len());
    let mut bytes = 0;
    for (revision, key) in changes {
        let goes_on = events.last().is_some_and(|last| last.kv.mod_revision == revision);
        if bytes >= most_bytes.max(1) && (strict || !goes_on) {
            next = revision;
            break;
        }
        match view.get(Table::Kv, &keys::version_row(&key, revision))? {
            Some(record) => {
                let event = event(key, revision, &record)?;
                bytes += event.kv.key.len() + event.kv.value.len();
                events.push(event);
            }
            // Compacted after the caller looked, and already swept: not an event that it can still be owed.
            None if revision < meta(view)?.compacted => {}
            None => return Err(Fault::Corrupt(format!("revision {revision} has a change without a version"))),
        }
    }
    events.truncate(events.partition_point(|event| event.kv.mod_revision < next));
    Ok((events, next))
}

/// The keys that changed in a portion's number of events, each with its revision, and the revision that comes next.
fn changes<V: View>(view: &V, from: i64, to: i64, portion: Portion) -> Result<(Vec<(i64, Bytes)>, i64), Fault> {
    let mut changes: Vec<(i64, Bytes)> = Vec::new();
    let mut next = to.saturating_add(1);
    let (first, past) = (keys::revision_row(from), keys::revision_row(next));
    view.scan(Table::Rev, &first, &past, &mut |row, key| {
        let (revision, _) = keys::split_change_row(row)?;
        let goes_on = changes.last().is_some_and(|(last, _)| *last == revision);
        if changes.len() >= portion.events.max(1) && (portion.strict || !goes_on) {
            next = revision;
            return Ok(Step::Stop);
        }
        changes.push((revision, Bytes::copy_from_slice(key)));
        Ok(Step::Next)
    })?;
    changes.truncate(changes.partition_point(|(revision, _)| *revision < next));
    Ok((changes, next))
}

fn event(key: Bytes, mod_revision: i64, record: &Bytes) -> Result<Event, Fault> {
    let Record { create_revision, version, lease, value, .. } = Record::decode(record)?;
    if Record::decode(record)?.is_tombstone() {
        return Ok(Event { kind: EventKind::Delete, kv: KeyValue { key, mod_revision, ..KeyValue::default() } });
    }
    let value = record.slice_ref(value);
    Ok(Event { kind: EventKind::Put, kv: KeyValue { key, value, create_revision, mod_revision, version, lease } })
}

/// The TTL that a lease was granted; `None` if there is no such lease.
pub fn lease_ttl<V: View>(view: &V, id: LeaseId) -> Result<Option<i64>, Fault> {
    view.get(Table::Lease, &keys::lease_row(id))?.map(|row| Ok(LeaseRow::decode(&row)?.ttl_seconds)).transpose()
}

/// The keys attached to a lease, in order.
pub fn lease_keys<V: View>(view: &V, id: LeaseId) -> Result<Vec<Bytes>, Fault> {
    lease::attached_keys(view, id)
}

/// The same, or `None` if there are more than `most`.
pub fn lease_keys_within<V: View>(view: &V, id: LeaseId, most: usize) -> Result<Option<Vec<Bytes>>, Fault> {
    lease::attached_keys_within(view, id, most)
}

/// All leases by id, or `None` if there are more than `most`.
pub fn lease_ids_within<V: View>(view: &V, most: usize) -> Result<Option<Vec<LeaseId>>, Fault> {
    let mut ids = Some(Vec::new());
    let (from, below) = keys::lease_rows();
    view.scan(Table::Lease, &from, &below, &mut |key, _| {
        let id = keys::split_lease_row(key)?;
        Ok(lease::push_within(&mut ids, id, most))
    })?;
    Ok(ids)
}

/// All leases with their TTLs, by id.
pub fn leases<V: View>(view: &V) -> Result<Vec<(LeaseId, i64)>, Fault> {
    let mut leases = Vec::new();
    let (from, below) = keys::lease_rows();
    view.scan(Table::Lease, &from, &below, &mut |key, row| {
        leases.push((keys::split_lease_row(key)?, LeaseRow::decode(row)?.ttl_seconds));
        Ok(Step::Next)
    })?;
    Ok(leases)
}

/// The same in milliseconds, exact also for sessions.
pub fn lease_ttl_millis<V: View>(view: &V, id: LeaseId) -> Result<Option<u64>, Fault> {
    view.get(Table::Lease, &keys::lease_row(id))?.map(|row| Ok(LeaseRow::decode(&row)?.ttl_millis())).transpose()
}

/// All leases with their TTLs in milliseconds, by id.
pub fn lease_spans<V: View>(view: &V) -> Result<Vec<(LeaseId, u64)>, Fault> {
    let mut leases = Vec::new();
    let (from, below) = keys::lease_rows();
    view.scan(Table::Lease, &from, &below, &mut |key, row| {
        leases.push((keys::split_lease_row(key)?, LeaseRow::decode(row)?.ttl_millis()));
        Ok(Step::Next)
    })?;
    Ok(leases)
}

/// What members said about themselves, by id.
pub fn members<V: View>(view: &V) -> Result<Vec<Member>, Fault> {
    let mut members = Vec::new();
    scan_meta(view, keys::MEMBERS, |row, value| {
        members.push(member::decode_member(row, value)?);
        Ok(())
    })?;
    Ok(members)
}

/// The alarms that are raised, by kind and member.
pub fn alarms<V: View>(view: &V) -> Result<Vec<Alarm>, Fault> {
    let mut alarms = Vec::new();
    scan_meta(view, keys::ALARMS, |row, _| {
        alarms.push(member::decode_alarm(row)?);
        Ok(())
    })?;
    Ok(alarms)
}

fn scan_meta<V: View>(
    view: &V,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let below = keys::successor(prefix).expect("the prefixes of the meta table are text");
    view.scan(Table::Meta, prefix, &below, &mut |row, value| visit(row, value).map(|()| Step::Next))
}

/// A hash of what can be read between the compacted revision and `revision` (0: the current one), for comparing members.
///
/// It covers every version made after the compacted revision and, of each key, the version that is readable at it; not the rows
/// that a sweep has yet to remove, so members agree however far theirs has come.
pub fn hash_kv<V: View>(view: &V, revision: i64, bounds: Bounds) -> Result<Result<KvHash, Rejection>, Fault> {
    let Bounds { current, compacted } = bounds;
    let query = RangeQuery { revision, ..RangeQuery::default() };
    let revision = match ranges::revision(&query, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection)),
    };
    debug_assert!(revision <= current, "a future revision is refused");
    let mut digest = Digest::EMPTY;
    let mut decided: Vec<u8> = Vec::new();
    let (from, below) = keys::all_rows();
    view.scan(Table::Kv, &from, &below, &mut |row, value| {
        let (prefix, at) = keys::split_row(row)?;
        if at > revision {
            return Ok(Step::Next);
        }
        let record = Record::decode(value)?;
        if at > compacted {
            hash_version(&mut digest, prefix, at, record);
            return Ok(Step::Next);
        }
        if decided != prefix {
            decided.clear();
            decided.extend_from_slice(prefix);
            if at == compacted || !record.is_tombstone() {
                hash_version(&mut digest, prefix, at, record);
            }
        }
        Ok(Step::Next)
    })?;
    Ok(Ok(KvHash { hash: digest.fold(), compacted, revision }))
}

/// Flags other than the tombstone stay out: a mark may be set without a new revision.
fn hash_version(digest: &mut Digest, prefix: &[u8], mod_revision: i64, record: Record<'_>) {
    digest.bytes(prefix);
    digest.number(mod_revision);
    digest.number(i64::from(record.is_tombstone()));
    digest.number(record.create_revision);
    digest.number(record.version);
    digest.number(record.lease);
    digest.bytes(record.value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Machine, MemoryView, Op, Position, Put, Txn};

    /// From revision 2 on: one of two keys, one of three, one of one; every value has ten bytes and every key one.
    fn store() -> MemoryView {
        let mut view = MemoryView::new();
        let mut machine = Machine::load(&view).unwrap();
        let mut batch = machine.begin(&view);
        for (index, keys) in [(1, "ab"), (2, "abc"), (3, "d")] {
            let put = |key: char| Put { key: key.to_string().into(), value: "0123456789".into(), ..Put::default() };
            let success = keys.chars().map(|key| Op::Put(put(key))).collect();
            batch.apply(Position { index, term: 1 }, &Command::Txn(Txn { success, ..Txn::default() }), false).unwrap();
        }
        let writes = batch.finish().writes;
        view.write(&writes);
        view
    }

    fn read(view: &MemoryView, from: i64, events: usize, bytes: usize, strict: bool) -> (usize, i64) {
        let (events, next) = history_portion(view, from, 4, Portion { events, bytes, strict }).unwrap();
        (events.len(), next)
    }

    #[test]
    fn a_portion_ends_with_the_revision_that_reaches_a_figure() {
        let view = store();
        let most = usize::MAX;
        assert_eq!(read(&view, 2, most, most, false), (6, 5));
        assert_eq!(read(&view, 2, 1, most, false), (2, 3));
        assert_eq!(read(&view, 2, 3, most, false), (5, 4));
        assert_eq!(read(&view, 2, most, 11, false), (2, 3));
        assert_eq!(read(&view, 2, most, 23, false), (5, 4));
        assert_eq!(read(&view, 2, 0, 0, false), (2, 3));
    }

    #[test]
    fn a_strict_portion_ends_before_it_or_has_nothing() {
        let view = store();
        let most = usize::MAX;
        assert_eq!(read(&view, 2, most, most, true), (6, 5));
        assert_eq!(read(&view, 2, 2, most, true), (2, 3));
        assert_eq!(read(&view, 2, 4, most, true), (2, 3));
        assert_eq!(read(&view, 2, 1, most, true), (0, 2));
        assert_eq!(read(&view, 2, most, 23, true), (2, 3));
        assert_eq!(read(&view, 3, most, 12, true), (0, 3));
    }
}
