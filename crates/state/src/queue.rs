//! Who stands where in a queue: the living keys under a prefix, by create revision.
//!
//! A cache of rows: built by one scan of the prefix when it is first asked for, kept right by events. With it the head of a queue
//! costs O(log n), however long the queue is.
//!
//! 1. For an active prefix the index holds exactly the living keys under it, as of the last event shown.
//! 2. Showing an event twice, or one that the scan had already seen, changes nothing.
//! 3. Keys that were created in one revision (by a transaction) stand in key order: there is one head.
//! 4. A prefix ends with `/`. A key belongs to every queue whose name ends before one of its slashes. Only as many of them are looked at as
//!    there are lengths among the prefixes: a key may consist of slashes.

use crate::bounds::Budget;
use crate::event::{Event, EventKind};
use crate::keys;
use crate::member;
use crate::scan;
use crate::view::{Fault, View};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// More queues than this are not kept by the machine: the index is dropped and comes back piece by piece.
const MACHINE_QUEUES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub struct QueueIndex {
    queues: BTreeMap<Bytes, Queue>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Queue {
    /// What the scan saw; older events are no news.
    built_at: i64,
    line: BTreeSet<(i64, Bytes)>,
    created: BTreeMap<Bytes, i64>,
}

impl Queue {
    fn insert(&mut self, key: &Bytes, create_revision: i64) {
        match self.created.insert(key.clone(), create_revision) {
            Some(before) if before == create_revision => return,
            // Its end was not shown; the new life counts.
            Some(before) => drop(self.line.remove(&(before, key.clone()))),
            None => {}
        }
        self.line.insert((create_revision, key.clone()));
    }

    fn remove(&mut self, key: &Bytes) {
        if let Some(create_revision) = self.created.remove(key) {
            self.line.remove(&(create_revision, key.clone()));
        }
    }
}

impl QueueIndex {
    /// Makes the queue active: from now on it is followed.
    pub fn ensure<V: View>(&mut self, view: &V, prefix: &[u8]) -> Result<(), Fault> {
        if self.queues.contains_key(prefix) {
            return Ok(());
        }
        let revision = member::meta(view)?.revision;
        self.ensure_at(view, prefix, revision)
    }

    /// The same with a view that stands at `revision` and does not say so itself (a batch at work).
    pub(crate) fn ensure_at<V: View>(&mut self, view: &V, prefix: &[u8], revision: i64) -> Result<(), Fault> {
        if self.queues.contains_key(prefix) {
            return Ok(());
        }
        let mut queue = Queue { built_at: revision, line: BTreeSet::new(), created: BTreeMap::new() };
        if let Some((from, below)) = keys::range_rows(&keys::prefix_range(prefix)) {
            scan::alive(view, (&from, &below), revision, &Budget::unlimited(), |found| {
                queue.insert(&keys::user_key(found.prefix)?, found.record.create_revision);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        self.queues.insert(Bytes::copy_from_slice(prefix), queue);
        *self.lengths.entry(prefix.len()).or_default() += 1;
        Ok(())
    }

    /// Shows an event to the queues that its key belongs to.
    pub fn observe(&mut self, event: &Event) {
        for prefix in prefixes(&event.kv.key, &self.lengths) {
            let Some(queue) = self.queues.get_mut(prefix) else { continue };
            if event.kv.mod_revision <= queue.built_at {
                continue;
            }
            match event.kind {
                EventKind::Put => queue.insert(&event.kv.key, event.kv.create_revision),
                EventKind::Delete => queue.remove(&event.kv.key),
            }
        }
    }

    /// The prefixes of the active queues that a key belongs to.
    pub fn followed<'k>(&self, key: &'k [u8]) -> impl Iterator<Item = &'k [u8]> {
        prefixes(key, &self.lengths).filter(|prefix| self.queues.contains_key(*prefix))
    }

    /// The oldest key of an active queue, with its create revision.
    pub fn head(&self, prefix: &[u8]) -> Option<(i64, &Bytes)> {
        self.queues.get(prefix)?.line.first().map(|(create_revision, key)| (*create_revision, key))
    }

    /// The place of a key in an active queue: its create revision.
    pub fn place(&self, prefix: &[u8], key: &[u8]) -> Option<i64> {
        self.queues.get(prefix)?.created.get(key).copied()
    }

    /// How many stand in an active queue.
    pub fn len(&self, prefix: &[u8]) -> usize {
        self.queues.get(prefix).map_or(0, |queue| queue.line.len())
    }

    pub fn is_empty(&self, prefix: &[u8]) -> bool {
        self.len(prefix) == 0
    }

    /// Stops following a queue.
    pub fn forget(&mut self, prefix: &[u8]) {
        if self.queues.remove(prefix).is_some()
            && let Some(count) = self.lengths.get_mut(&prefix.len())
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// Stops following all.
    pub fn clear(&mut self) {
        self.queues.clear();
        self.lengths.clear();
    }

    /// Keeps the machine's memory bounded, whatever number of names is in use.
    pub(crate) fn make_room(&mut self) {
        if self.queues.len() >= MACHINE_QUEUES {
            self.clear();
        }
    }
}

/// The prefixes of a key that end with a slash, of these lengths.
fn prefixes<'k>(key: &'k [u8], lengths: &BTreeMap<usize, usize>) -> impl Iterator<Item = &'k [u8]> {
    lengths.range(..=key.len()).map(|(length, _)| &key[..*length]).filter(|prefix| prefix.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyValue, MemoryView};

    fn created(key: &[u8], revision: i64) -> Event {
        let kv = KeyValue {
            key: Bytes::copy_from_slice(key),
            create_revision: revision,
            mod_revision: revision,
            ..KeyValue::default()
        };
        Event { kind: EventKind::Put, kv }
    }

    #[test]
    fn a_key_belongs_to_every_queue_above_it() {
        let mut index = QueueIndex::default();
        for prefix in [&b"a/"[..], b"a/b/", b"c/"] {
            index.ensure_at(&MemoryView::default(), prefix, 1).unwrap();
        }
        index.observe(&created(b"a/b/c/d", 2));
        assert_eq!([&b"a/"[..], b"a/b/", b"c/"].map(|prefix| index.len(prefix)), [1, 1, 0]);
        assert_eq!(index.followed(b"a/b/x").collect::<Vec<_>>(), [&b"a/"[..], b"a/b/"]);
        index.forget(b"a/b/");
        index.forget(b"a/b/");
        assert_eq!(index.followed(b"a/b/x").collect::<Vec<_>>(), [b"a/"]);
        index.clear();
        assert_eq!(index.followed(b"a/b/x").count(), 0);
    }

    /// Looked at slash by slash, with all that stands before each, this would take minutes.
    #[test]
    fn a_key_of_slashes_costs_no_more_than_another() {
        let mut index = QueueIndex::default();
        let names = [vec![b'/'; 1_000_000], b"a/".to_vec(), vec![b'/'; 7]];
        for name in &names {
            index.ensure_at(&MemoryView::default(), name, 1).unwrap();
        }
        let key = vec![b'/'; 1_500_000];
        for revision in 2..100 {
            index.observe(&created(&key, revision));
        }
        assert_eq!(names.map(|name| index.len(&name)), [1, 0, 1]);
    }
}
