//! The versions of keys that are stored: what a key was, and who was in a place before.

use super::history::event;
use crate::Event;
use crate::KeyRange;
use crate::keys;
use crate::meta;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

/// The stored versions of the keys of a range, tombstones among them, and whether these are all.
///
/// Keys come in order, and the newest version of each first. At most `limit` versions and, beyond
/// the first, `max_bytes` of keys and values; at most four times as many rows are looked at. What a
/// compaction takes away is left out, whether or not it has been swept.
pub fn versions<V: View>(
    view: &V,
    range: &KeyRange,
    limit: usize,
    max_bytes: usize,
) -> Result<(Vec<Event>, bool), Fault> {
    let (mut found, mut bytes, mut all): (Vec<Event>, usize, bool) = (Vec::new(), 0, true);
    let Some((from, below)) = keys::range_rows(range) else { return Ok((found, all)) };
    let compacted = meta::meta(view)?.compacted;
    let mut rows = 0;
    // The key whose last version is known: the others are compacted.
    let mut over: Vec<u8> = Vec::new();
    view.scan(Table::Kv, &from, &below, &mut |row, value| {
        rows += 1;
        if rows > limit.saturating_mul(4) {
            all = false;
            return Ok(Step::Stop);
        }
        let (prefix, revision) = keys::split_row(row)?;
        if prefix == over.as_slice() {
            return Ok(Step::Seek(keys::past_key(prefix)));
        }
        if revision <= compacted {
            over = prefix.to_vec();
            if Record::decode(value)?.is_tombstone() {
                return Ok(Step::Next);
            }
        }
        if found.len() >= limit || (bytes >= max_bytes && !found.is_empty()) {
            all = false;
            return Ok(Step::Stop);
        }
        let event = event(keys::user_key(prefix)?, revision, &Bytes::copy_from_slice(value))?;
        bytes += event.kv.key.len() + event.kv.value.len();
        found.push(event);
        Ok(Step::Next)
    })?;
    Ok((found, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::prefix_range;
    use crate::test_store::TestStore;
    use crate::{Command, DeleteRange, EventKind, MemoryView, Op, Put, Txn};

    fn put(store: &mut TestStore, key: &'static str) {
        store.apply(&Command::Put(Put { key: key.into(), ..Put::default() }));
    }

    fn delete(store: &mut TestStore, key: &'static str) {
        let range = KeyRange { key: key.into(), end: Bytes::new() };
        let success = vec![Op::DeleteRange(DeleteRange { range, prev_kv: false })];
        store.apply(&Command::Txn(Txn { success, ..Txn::default() }));
    }

    /// What is found, as key, revision, and `-` for a tombstone.
    fn told(view: &MemoryView, prefix: &str, limit: usize) -> (String, bool) {
        let (found, all) = versions(view, &prefix_range(prefix.as_bytes()), limit, usize::MAX).unwrap();
        let one = |event: &Event| {
            let sign = if event.kind == EventKind::Delete { "-" } else { "" };
            format!("{}{}{sign}", String::from_utf8_lossy(&event.kv.key), event.kv.mod_revision)
        };
        (found.iter().map(one).collect::<Vec<_>>().join(" "), all)
    }

    #[test]
    fn versions_and_ends_of_keys() {
        let mut store = TestStore::new();
        // Revisions from 2 on.
        for key in ["a", "a", "b"] {
            put(&mut store, key);
        }
        delete(&mut store, "a");
        put(&mut store, "a");
        put(&mut store, "c");
        assert_eq!(told(&store.view, "", 100), ("a6 a5- a3 a2 b4 c7".to_owned(), true));
        assert_eq!(told(&store.view, "a", 100), ("a6 a5- a3 a2".to_owned(), true));
        assert_eq!(told(&store.view, "a", 2), ("a6 a5-".to_owned(), false));
        assert_eq!(told(&store.view, "x", 2), (String::new(), true));
        // A compaction shows at once, and takes nothing that lives.
        store.apply(&Command::Compact { revision: 4 });
        assert_eq!(told(&store.view, "", 100), ("a6 a5- a3 b4 c7".to_owned(), true));
        store.apply(&Command::Compact { revision: 5 });
        assert_eq!(told(&store.view, "", 100), ("a6 b4 c7".to_owned(), true));
    }

    #[test]
    fn bytes_are_bounded_beyond_the_first() {
        let mut store = TestStore::new();
        (0..5).for_each(|_| put(&mut store, "a"));
        let (found, all) = versions(&store.view, &prefix_range(b"a"), 100, 0).unwrap();
        assert_eq!((found.len(), all), (1, false));
    }
}
