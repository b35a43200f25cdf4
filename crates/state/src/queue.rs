//! Who stands where in a queue: the living keys under a prefix, by create revision.
//!
//! A cache of rows: built by one scan of the prefix when it is first asked for, kept right by events. With it the head of a queue
//! costs O(log n), however long the queue is.
//!
//! 1. For an active prefix the index holds exactly the living keys under it, as of the last event shown.
//! 2. Showing an event twice, or one that the scan had already seen, changes nothing.
//! 3. Keys that were created in one revision (by a transaction) stand in key order: there is one head.
//! 4. A prefix ends with `/`. A key belongs to every queue whose name ends before one of its slashes.

use crate::event::{Event, EventKind};
use crate::keys;
use crate::read;
use crate::scan::{self, Budget};
use crate::view::{Fault, View};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// More queues than this are not kept by the machine: the index is dropped and comes back piece by piece.
const MACHINE_QUEUES: usize = 16 * 1024;

#[derive(Debug, Default)]
pub struct QueueIndex {
    queues: BTreeMap<Bytes, Queue>,
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
        let revision = read::meta(view)?.revision;
        self.ensure_at(view, prefix, revision)
    }

    /// The same with a view that stands at `revision` and does not say so itself (a batch at work).
    pub(crate) fn ensure_at<V: View>(&mut self, view: &V, prefix: &[u8], revision: i64) -> Result<(), Fault> {
        if self.queues.contains_key(prefix) {
            return Ok(());
        }
        let mut queue = Queue { built_at: revision, line: BTreeSet::new(), created: BTreeMap::new() };
        if let Some((from, below)) = keys::range_rows(&keys::prefix_range(prefix)) {
            scan::alive(view, (&from, &below), revision, Budget::UNLIMITED, |found| {
                queue.insert(&keys::user_key(found.prefix)?, found.record.create_revision);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        self.queues.insert(Bytes::copy_from_slice(prefix), queue);
        Ok(())
    }

    /// Shows an event to the queues that its key belongs to.
    pub fn observe(&mut self, event: &Event) {
        if self.queues.is_empty() {
            return;
        }
        for prefix in prefixes(&event.kv.key) {
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
        self.queues.remove(prefix);
    }

    /// Stops following all.
    pub fn clear(&mut self) {
        self.queues.clear();
    }

    /// Keeps the machine's memory bounded, whatever number of names is in use.
    pub(crate) fn make_room(&mut self) {
        if self.queues.len() >= MACHINE_QUEUES {
            self.clear();
        }
    }
}

/// All prefixes of a key that end with a slash.
fn prefixes(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &key[..=at])
}
