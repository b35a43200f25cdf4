//! A cache of key metadata: the newest versions of recently changed keys, without their values.
//!
//! Most commands need the metadata of a key. A put, for example, keeps the key's create revision,
//! increments its version and replaces its lease. Without the cache, a lookup in the rows would
//! cost several times as much as the put itself.
//!
//! The cache is a table of slots, found by a hash of the key; each key has two possible slots. A
//! new entry takes the first slot and moves the previous entry to the second. Above the memory
//! budget a clock hand empties slots in turn.
//!
//! 1. An entry equals the newest row of its key, including tombstones: the code that writes such a
//!    row also updates the cache.
//! 2. Dropping entries changes speed, never a result. Nothing iterates over the cache, so the hash
//!    function decides nothing.

use crate::record::Head;

/// A power of two.
const SLOTS: usize = 1 << 18;

/// Memory for entries, beside the slots themselves.
const BUDGET: usize = 16 << 20;

/// Memory of an entry in addition to its key, including the allocator's overhead.
const OVERHEAD: usize = 80;

struct Entry {
    key: Box<[u8]>,
    head: Head,
}

impl Entry {
    fn weight(&self) -> usize {
        OVERHEAD + self.key.len()
    }
}

#[derive(Default)]
pub(crate) struct Heads {
    /// Allocated with the first entry.
    slots: Vec<Option<Box<Entry>>>,
    bytes: usize,
    hand: usize,
}

/// The first slot of a key. The second is the other one of the pair.
fn slot(key: &[u8]) -> usize {
    let mut hash = key.len() as u64;
    let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = key.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    // The best mixed bits are the upper ones.
    (hash >> (64 - SLOTS.trailing_zeros())) as usize
}

impl Heads {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Head> {
        if self.slots.is_empty() {
            return None;
        }
        let first = slot(key);
        let entry = self.find(first, key).or_else(|| self.find(first ^ 1, key))?;
        Some(entry.head)
    }

    fn find(&self, slot: usize, key: &[u8]) -> Option<&Entry> {
        self.slots[slot].as_deref().filter(|entry| *entry.key == *key)
    }

    pub(crate) fn set(&mut self, key: &[u8], head: Head) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let first = slot(key);
        for at in [first, first ^ 1] {
            if let Some(entry) = self.slots[at].as_deref_mut().filter(|entry| *entry.key == *key) {
                entry.head = head;
                return;
            }
        }
        let entry = Entry { key: key.into(), head };
        self.bytes += entry.weight();
        if let Some(moved) = self.slots[first].replace(Box::new(entry))
            && let Some(gone) = self.slots[first ^ 1].replace(moved)
        {
            self.bytes -= gone.weight();
        }
        while self.bytes > BUDGET {
            self.hand = (self.hand + 1) % SLOTS;
            if let Some(gone) = self.slots[self.hand].take() {
                self.bytes -= gone.weight();
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Heads::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(mod_revision: i64) -> Head {
        Head { create_revision: 2, mod_revision, version: 3, lease: 4, flags: 0 }
    }

    #[test]
    fn what_is_found_is_what_was_set_last() {
        let mut heads = Heads::default();
        assert_eq!(heads.get(b"a"), None);
        let key = |n: i64| format!("key{n}").into_bytes();
        for round in 0..2 {
            (0..1000).for_each(|n| heads.set(&key(n), head(round + n)));
        }
        let found = (0..1000).filter(|n| heads.get(&key(*n)).is_some_and(|found| found == head(1 + n))).count();
        assert!(found > 990, "{found}");
        // Prefixes and extensions of a key are other keys.
        assert_eq!(heads.get(b"key"), None);
        assert_eq!(heads.get(b"key1\0"), None);
        heads.clear();
        assert_eq!(heads.get(&key(1)), None);
    }

    #[test]
    fn memory_is_bounded_however_long_the_keys_are() {
        let mut heads = Heads::default();
        for n in 0..100_000_u64 {
            let mut key = n.to_be_bytes().to_vec();
            key.resize(400, 0);
            heads.set(&key, head(1));
            assert!(heads.bytes <= BUDGET);
        }
        let weights = heads.slots.iter().flatten().map(|entry| entry.weight());
        assert_eq!(weights.sum::<usize>(), heads.bytes);
        assert!(heads.bytes > BUDGET / 2);
    }
}
