//! Reads history: the events of a range of revisions, for watchers that catch up.

use crate::keys;
use crate::meta;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use crate::{Event, EventKind, KeyValue};
use bytes::Bytes;

/// Bounds of one read of history: whole revisions, up to the one that reaches either bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    pub events: usize,
    /// Of keys and values.
    pub bytes: usize,
    /// Omits a revision that exceeds a bound, instead of reading it to its end. The result may be
    /// empty then, but a read is bounded however large a revision is.
    pub strict: bool,
}

/// About `limit` events of the revisions `from..=to`, in whole revisions, and the next revision to
/// read.
pub fn history<V: View>(view: &V, from: i64, to: i64, limit: usize) -> Result<(Vec<Event>, i64), Fault> {
    history_portion(view, from, to, Portion { events: limit, bytes: usize::MAX, strict: false })
}

/// The same within the bounds of `portion`. The next revision is `from` itself if a strict portion
/// omits that one.
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
        let row = keys::version_row(&key, revision);
        match view.decoded(Table::Kv, &row, |record| event(key, revision, record))? {
            Some(event) => {
                bytes += event.kv.key.len() + event.kv.value.len();
                events.push(event);
            }
            // Compacted after the caller's check, and already swept: the caller is not entitled to
            // this event any more.
            None if revision < meta::meta(view)?.compacted => {}
            None => return Err(view.contradiction(format!("revision {revision} has a change without a version"))),
        }
    }
    events.truncate(events.partition_point(|event| event.kv.mod_revision < next));
    Ok((events, next))
}

/// The changed keys with their revisions, within the portion's number of events, and the next
/// revision.
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

pub(super) fn event(key: Bytes, mod_revision: i64, record: &Bytes) -> Result<Event, Fault> {
    let Record { create_revision, version, lease, value, .. } = Record::decode(record)?;
    if Record::decode(record)?.is_tombstone() {
        return Ok(Event { kind: EventKind::Delete, kv: KeyValue { key, mod_revision, ..KeyValue::default() } });
    }
    let value = record.slice_ref(value);
    Ok(Event { kind: EventKind::Put, kv: KeyValue { key, value, create_revision, mod_revision, version, lease } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Machine, MemoryView, Op, Position, Put, Txn};

    /// From revision 2 on: one of two keys, one of three, one of one; every value has ten bytes and
    /// every key one.
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
