//! Order of the places in queues of the etcd wire: rows ordered by queue and create revision.
//!
//! A place in the queue `name` is a living key `name/<lease>` with the lease in hexadecimal, as in
//! etcd's recipes. As there, the key need not be attached to that lease. Other keys below `name/`
//! are not places. The table has one row for each place, so the first place of a queue is one seek
//! away and a queue needs no memory:
//!
//! ```text
//! keys                     rows of the table queue
//! lock/7f  created at 12   (lock, 12, 7f)   first: holds the lock
//! lock/a3  created at 15   (lock, 15, a3)
//! ```
//!
//! Places leave a queue at its front, and a seek passes over the tombstones of removed rows. So a
//! *front* is remembered: a revision before which the queue has no place. The search begins there.
//!
//! 1. A key has a row exactly while it is alive and has the form of a place.
//! 2. Places created in one revision (by a transaction) are in the order of their keys, so exactly
//!    one is first.
//! 3. [`Fronts`] and [`Firsts`] are caches. Create revisions grow, so a front never moves back.

use crate::keys::{self, KeyRows};
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The most fronts kept; others are dropped and found again.
const FRONTS: usize = 16 * 1024;

/// Names longer than this have no front.
const LONG: usize = 1024;

/// A sign and the digits of a lease.
const LONGEST_NUMBER: usize = 17;

/// The queue of a key that has the form of a place.
pub fn name_of(key: &[u8]) -> Option<&[u8]> {
    let length = key.iter().rev().take(LONGEST_NUMBER + 1).position(|byte| *byte == b'/')?;
    let (name, number) = (&key[..key.len() - length - 1], &key[key.len() - length..]);
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_number = matches!(digits, [b'1'..=b'9' | b'a'..=b'f', rest @ ..] if rest.len() < 16)
        && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then_some(name)
}

/// The row of the place `key` in the queue `name`.
pub(crate) fn row(name: &[u8], create_revision: i64, key: &[u8]) -> Vec<u8> {
    let mut row = start(name, create_revision);
    row.extend_from_slice(&key[name.len() + 1..]);
    row
}

/// The start of the places of a queue that were created at a revision or later.
fn start(name: &[u8], create_revision: i64) -> Vec<u8> {
    let rows = KeyRows::of(name);
    let mut row = Vec::with_capacity(rows.prefix().len() + 8 + LONGEST_NUMBER);
    row.extend_from_slice(rows.prefix());
    row.extend_from_slice(&keys::revision_row(create_revision));
    row
}

/// The first place of a queue among those created at `from` or later: its create revision and key.
pub fn first<V: View>(view: &V, name: &[u8], from: i64) -> Result<Option<(i64, Bytes)>, Fault> {
    let rows = KeyRows::of(name);
    let mut found = None;
    view.scan(Table::Queue, &start(name, from), &keys::past_key(rows.prefix()), &mut |row, _| {
        let Some((created, number)) = row[rows.prefix().len()..].split_first_chunk() else {
            return Err(Fault::Corrupt("a row key of the table queue is too short".into()));
        };
        found = Some((i64::from_be_bytes(*created), [name, b"/", number].concat().into()));
        Ok(Step::Stop)
    })?;
    Ok(found)
}

/// The first `limit` names of queues that begin with `prefix`, behind `after`, in order.
pub fn names<V: View>(view: &V, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Bytes>, Fault> {
    let Some((mut from, below)) = keys::range_rows(&keys::prefix_range(prefix)) else { return Ok(Vec::new()) };
    if let Some(after) = after {
        from = from.max(keys::past_key(KeyRows::of(after).prefix()));
    }
    let mut found = Vec::new();
    view.scan(Table::Queue, &from, &below, &mut |row, _| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        let prefix = keys::shared_part(row);
        found.push(keys::user_key(prefix)?);
        Ok(Step::Seek(keys::past_key(prefix)))
    })?;
    Ok(found)
}

/// The first `limit` places of a queue behind one, in order: the create revision and key of each.
pub fn places<V: View>(
    view: &V,
    name: &[u8],
    after: Option<&(i64, Bytes)>,
    limit: usize,
) -> Result<Vec<(i64, Bytes)>, Fault> {
    let rows = KeyRows::of(name);
    let from = match after {
        Some((created, key)) if name_of(key) == Some(name) => [row(name, *created, key), vec![0]].concat(),
        _ => start(name, 0),
    };
    let mut found = Vec::new();
    view.scan(Table::Queue, &from, &keys::past_key(rows.prefix()), &mut |row, _| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        let Some((created, number)) = row[rows.prefix().len()..].split_first_chunk() else {
            return Err(Fault::Corrupt("a row key of the table queue is too short".into()));
        };
        found.push((i64::from_be_bytes(*created), [name, b"/", number].concat().into()));
        Ok(Step::Next)
    })?;
    Ok(found)
}

/// The fronts of queues: where the search for the first place begins.
#[derive(Debug, Default)]
pub struct Fronts(BTreeMap<Bytes, i64>);

impl Fronts {
    /// The first place of a queue in a view at `revision`, which must not be older than in earlier
    /// calls.
    pub fn first<V: View>(&mut self, view: &V, name: &[u8], revision: i64) -> Result<Option<(i64, Bytes)>, Fault> {
        let found = first(view, name, self.front(name))?;
        self.found(name, found.as_ref().map_or(revision, |(created, _)| *created));
        Ok(found)
    }

    /// No place of the queue was created before this revision.
    pub fn front(&self, name: &[u8]) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Records that no place of the queue was created before this revision.
    pub fn found(&mut self, name: &[u8], created: i64) {
        match self.0.get_mut(name) {
            Some(front) => *front = created,
            None if name.len() > LONG => {}
            None => {
                if self.0.len() >= FRONTS {
                    self.clear();
                }
                self.0.insert(Bytes::copy_from_slice(name), created);
            }
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The machine's cache of queues, so that most lookups of the first place need no search. The code
/// that writes rows keeps it up to date.
#[derive(Debug, Default)]
pub(crate) struct Firsts(BTreeMap<Bytes, Known>);

#[derive(Debug, Default)]
struct Known {
    /// No place was created before this revision.
    front: i64,
    first: Option<(i64, Bytes)>,
    /// The number of places, known once the queue was seen empty.
    places: Option<usize>,
}

impl Firsts {
    /// Whether a key is the first place of a queue, in a view at `revision`.
    pub(crate) fn is_first<V: View>(
        &mut self,
        view: &V,
        name: &[u8],
        key: &[u8],
        revision: i64,
    ) -> Result<bool, Fault> {
        if self.0.len() >= FRONTS {
            self.clear();
        }
        let mut forgotten = Known::default();
        let known = match name.len() {
            ..=LONG => self.0.entry(Bytes::copy_from_slice(name)).or_default(),
            _ => &mut forgotten,
        };
        if known.first.is_none() && known.places != Some(0) {
            known.first = first(view, name, known.front)?;
            match &known.first {
                Some((created, _)) => known.front = *created,
                None => (known.front, known.places) = (revision, Some(0)),
            }
        }
        Ok(known.first.as_ref().is_some_and(|(_, first)| *first == *key))
    }

    /// A place was created. It is behind the existing ones.
    pub(crate) fn added(&mut self, name: &[u8], create_revision: i64, key: &[u8]) {
        let Some(known) = self.0.get_mut(name) else { return };
        // Places of one revision are in the order of their keys.
        known.first = known.first.take().filter(|(created, _)| *created < create_revision);
        if known.places == Some(0) {
            known.first = Some((create_revision, Bytes::copy_from_slice(key)));
        }
        known.places = known.places.map(|places| places + 1);
    }

    /// A place has ended.
    pub(crate) fn taken(&mut self, name: &[u8], key: &[u8]) {
        let Some(known) = self.0.get_mut(name) else { return };
        known.places = known.places.and_then(|places| places.checked_sub(1));
        known.first = known.first.take().filter(|(_, first)| *first != *key);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue_key;

    #[test]
    fn a_place_is_a_key_that_ends_with_a_lease() {
        for lease in [1, 10, 0x7f, -1, i64::MAX, i64::MIN, 0x694d_71dd_32b6_0a12] {
            for name in [&b""[..], b"n", b"a/b", b"a/1", b"a/", b"\0/"] {
                let key = queue_key(name, lease);
                assert_eq!(name_of(&key), Some(name), "{key:?}");
            }
        }
        let others =
            ["n/0", "n/01", "n/A", "n/", "n/-", "n/+a", "n", "a", "", "n/1/", "n/1x", "n/00", "n/-01", "n/--1"];
        assert!(others.iter().all(|key| name_of(key.as_bytes()).is_none()));
        assert_eq!(name_of(b"n/ffffffffffffffff"), Some(&b"n"[..]));
        assert_eq!(name_of(b"n/11111111111111111"), None);
        assert_eq!(name_of(&[b"n/", &[b'1'; 40][..]].concat()), None);
    }

    #[test]
    fn names_and_places_in_pages() {
        let mut store = crate::test_store::TestStore::new();
        // Revisions from 2 on.
        for key in ["b/1", "a/2", "a/1", "ab/c/3", "a\0/1", "plain", "a/f"] {
            store.apply(&crate::Command::Put(crate::Put { key: key.into(), ..crate::Put::default() }));
        }
        let view = &store.view;
        assert_eq!(names(view, b"", None, 9).unwrap(), ["a", "a\0", "ab/c", "b"]);
        assert_eq!(names(view, b"a", Some(b"a"), 1).unwrap(), ["a\0"]);
        assert_eq!(names(view, b"b", Some(b"a"), 9).unwrap(), ["b"]);
        let first = places(view, b"a", None, 2).unwrap();
        assert_eq!(first, [(3, "a/2".into()), (4, "a/1".into())]);
        assert_eq!(places(view, b"a", first.last(), 9).unwrap(), [(8, "a/f".into())]);
        assert!(places(view, b"x", None, 9).unwrap().is_empty());
    }

    #[test]
    fn rows_stand_by_queue_then_create_revision_then_key() {
        let rows = [
            row(b"", 1, b"/1"),
            row(b"a", 2, b"a/-1"),
            row(b"a", 2, b"a/1"),
            row(b"a", 2, b"a/1f"),
            row(b"a", 2, b"a/a"),
            row(b"a", 3, b"a/-8000000000000000"),
            row(b"a\0", 1, b"a\0/1"),
            row(b"a/b", 1, b"a/b/7"),
            row(b"b", 0, b"b/1"),
        ];
        assert!(rows.is_sorted());
    }

    #[test]
    fn fronts_are_bounded() {
        let mut fronts = Fronts::default();
        (0..2 * FRONTS).for_each(|n| fronts.found(format!("{n}").as_bytes(), 3));
        assert!(fronts.0.len() <= FRONTS);
        fronts.found(b"n", 7);
        assert_eq!((fronts.front(b"n"), fronts.front(b"other")), (7, 0));
        fronts.found(&[b'n'; 2_000], 7);
        assert_eq!(fronts.front(&[b'n'; 2_000]), 0);
    }
}
