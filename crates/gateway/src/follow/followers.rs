//! Everything that follows a span of keys, found by a key in the span.
//!
//! Those that follow the same keys in the same way are one *follower*: its index entry, its look at
//! an event and its copy of the event exist once, however many share them. Watches and
//! subscriptions both stand on this; what a follower is to them is the type `T`.

use super::index::Index;
use super::span::Span;
use conclave_state::{Event, EventKind};
use slab::Slab;
use std::collections::HashMap;
use std::hash::Hash;

/// What tells one follower from another.
pub(crate) trait Follows: Clone + Eq + Hash {
    fn span(&self) -> &Span;

    /// Whether it wants such an event of its keys.
    fn wants(&self, _kind: EventKind) -> bool {
        true
    }
}

impl Follows for Span {
    fn span(&self) -> &Span {
        self
    }
}

#[derive(Debug)]
pub(crate) struct Followers<K, T> {
    entries: Slab<Entry<K, T>>,
    by_key: HashMap<K, usize>,
    index: Index,
}

#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    value: T,
    /// Which events of the batch at hand it wants.
    pending: Vec<usize>,
}

impl<K, T> Default for Followers<K, T> {
    fn default() -> Self {
        Followers { entries: Slab::new(), by_key: HashMap::new(), index: Index::default() }
    }
}

impl<K: Follows, T> Followers<K, T> {
    /// The follower with this key, made if there is none.
    pub(crate) fn open(&mut self, key: &K, new: impl FnOnce() -> T) -> usize {
        if let Some(&at) = self.by_key.get(key) {
            return at;
        }
        let at = self.entries.insert(Entry { key: key.clone(), value: new(), pending: Vec::new() });
        self.index.insert(key.span(), at);
        self.by_key.insert(key.clone(), at);
        at
    }

    pub(crate) fn close(&mut self, at: usize) {
        let entry = self.entries.remove(at);
        self.index.remove(entry.key.span(), at);
        self.by_key.remove(&entry.key);
    }

    pub(crate) fn get(&self, at: usize) -> (&K, &T) {
        let entry = &self.entries[at];
        (&entry.key, &entry.value)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> &mut T {
        &mut self.entries[at].value
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The followers that want any of `events`, each with the positions of those that it wants.
    pub(crate) fn matching(&mut self, events: &[Event]) -> Vec<(usize, Vec<usize>)> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut touched = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let entries = &mut self.entries;
            self.index.at(&event.kv.key, |id| {
                let entry = &mut entries[id];
                if entry.key.wants(event.kind) {
                    if entry.pending.is_empty() {
                        touched.push(id);
                    }
                    entry.pending.push(at);
                }
            });
        }
        touched.into_iter().map(|id| (id, std::mem::take(&mut self.entries[id].pending))).collect()
    }
}
