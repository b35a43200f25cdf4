//! The end of the log in memory: first and last position, vote, and the decoded entries of the
//! tail.
//!
//! The tail is a gapless run of entries up to the last one; its first index is the *head*:
//!
//! ```text
//! first          head                last
//!   │  on disk    │  in memory        │
//!   ▼             ▼                   ▼
//!   21 22 23 … 79 80 81 82 … 97 98 99 100
//!                         ▲ durable up to here; the rest is in the writer's queue
//! ```
//!
//! Entries below the head are written and synced, so readers take them from the disk. Entries at or
//! above the head may still be in the queue, or the disk may still hold entries there that a queued
//! truncation will remove. This is pure memory; the store puts it behind a lock.
//!
//! 1. An entry is in the tail from the moment `append` accepts it, and leaves only when it is
//!    durable.
//! 2. Nothing at or above the head is ever read from the disk.
//! 3. Each append has a number. Durability is a watermark on these numbers, not on indexes: an
//!    index can be written more than once.
//! 4. `epoch` changes when entries are removed. A reader that was on the disk meanwhile starts
//!    again.

use super::found::Found;
use super::sizes::Sizes;
use crate::types::{Entry, LogId, Payload, Vote};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

struct Cached {
    entry: Entry,
    bytes: usize,
    append: u64,
}

#[derive(Default)]
pub(super) struct Tail {
    cached: VecDeque<Cached>,
    bytes: usize,
    budget: usize,
    /// Index of the first entry that exists.
    first: u64,
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    /// Number of the newest append and of the newest durable append.
    appended: u64,
    durable: u64,
    epoch: u64,
    /// Sizes of all entries, in memory or on disk.
    pub(super) sizes: Sizes,
}

/// Where a range is: first a part on the disk, then entries from memory.
pub(super) struct Plan {
    pub(super) disk: Range<u64>,
    pub(super) cached: Vec<Entry>,
    pub(super) epoch: u64,
}

/// Bytes that an entry takes in memory.
pub(super) fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(pack) => 96 + pack.0.len(),
        _ => 512,
    }
}

fn after(id: Option<&LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

impl Tail {
    /// The tail of a log found on the disk.
    pub(super) fn found(found: &Found, budget: usize) -> Tail {
        let (purged, last) = (found.purged, found.last.max(found.purged));
        let first = found.first.unwrap_or(after(purged.as_ref()));
        let sizes = Sizes::found(&(first..after(last.as_ref())), found.bytes);
        let (vote, committed) = (found.vote, found.committed);
        Tail { first, last, purged, vote, committed, budget, sizes, ..Tail::default() }
    }

    /// One past the last index.
    pub(super) fn end(&self) -> u64 {
        after(self.last.as_ref())
    }

    fn head(&self) -> u64 {
        self.cached.front().map_or(self.end(), |c| c.entry.log_id.index)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds the entries of one append; returns its number and its weight.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<(u64, usize)> {
        self.appended += 1;
        let mut added = 0;
        for entry in entries {
            let index = entry.log_id.index;
            match &self.last {
                Some(last) if last.index + 1 != index => {
                    let text = format!("append of index {index} to a log that ends at {}", last.index);
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                }
                Some(_) => {}
                None => self.first = index,
            }
            let bytes = weight(entry);
            self.cached.push_back(Cached { entry: entry.clone(), bytes, append: self.appended });
            self.sizes.append(index, bytes as u64);
            self.last = Some(entry.log_id);
            added += bytes;
        }
        self.bytes += added;
        self.evict();
        Ok((self.appended, added))
    }

    /// Appends up to this number are written and synced.
    pub(super) fn durable_up_to(&mut self, append: u64) {
        self.durable = self.durable.max(append);
        self.evict();
    }

    /// Whether the entry at `index` would survive a crash. An index that is not in the log counts
    /// as durable.
    pub(super) fn is_durable(&self, index: u64) -> bool {
        let head = self.head();
        index < head || self.cached.get((index - head) as usize).is_none_or(|c| c.append <= self.durable)
    }

    /// The commit index, if the entry that it names is durable.
    pub(super) fn durably_committed(&self) -> Option<LogId> {
        self.committed.filter(|id| id.index < self.end() && self.is_durable(id.index))
    }

    fn evict(&mut self) {
        while self.bytes > self.budget
            && self.cached.len() > 1
            && self.cached.front().is_some_and(|c| c.append <= self.durable)
        {
            let gone = self.cached.pop_front();
            self.bytes -= gone.map_or(0, |c| c.bytes);
        }
    }

    /// Removes entries after `last`; returns the range to remove from the disk.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) -> Range<u64> {
        let (from, to) = (after(last.as_ref()).max(after(self.purged.as_ref())), self.end());
        if from >= to {
            return to..to;
        }
        while self.cached.back().is_some_and(|c| c.entry.log_id.index >= from) {
            let gone = self.cached.pop_back();
            self.bytes -= gone.map_or(0, |c| c.bytes);
        }
        self.sizes.truncate(from);
        self.last = last.max(self.purged);
        self.epoch += 1;
        from..to
    }

    /// Removes entries up to `upto`; returns the range to remove from the disk.
    pub(super) fn purge(&mut self, upto: LogId) -> Range<u64> {
        let from = self.first.min(upto.index + 1);
        while self.cached.front().is_some_and(|c| c.entry.log_id.index <= upto.index) {
            let gone = self.cached.pop_front();
            self.bytes -= gone.map_or(0, |c| c.bytes);
        }
        match after(self.last.as_ref()) > upto.index + 1 {
            true => self.sizes.purge(upto.index + 1),
            false => self.sizes = Sizes::default(),
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
        self.first = self.first.max(upto.index + 1);
        self.epoch += 1;
        from..upto.index + 1
    }

    /// The existing part of `[from, to)`, cut to about `max_bytes` but at least one entry.
    pub(super) fn plan(&self, from: u64, to: u64, max_bytes: usize) -> Plan {
        let (from, to) = (from.max(self.first), to.min(self.end()));
        let head = self.head();
        let disk = from.min(head)..to.min(head).max(from.min(head));
        let mut bytes = 0;
        let start = from.max(head);
        let wanted = to.saturating_sub(start) as usize;
        let cached = self
            .cached
            .iter()
            .skip((start - head) as usize)
            .take(wanted)
            .take_while(|c| {
                let more = bytes < max_bytes;
                bytes += c.bytes;
                more
            })
            .map(|c| c.entry.clone())
            .collect();
        Plan { disk, cached, epoch: self.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn blanks(term: u64, indexes: Range<u64>) -> Vec<Entry> {
        indexes.map(|i| Entry { log_id: log_id(term, i), payload: Payload::Blank }).collect()
    }

    fn all(tail: &Tail, from: u64, to: u64) -> (Range<u64>, Vec<LogId>) {
        let plan = tail.plan(from, to, usize::MAX);
        (plan.disk, plan.cached.iter().map(|e| e.log_id).collect())
    }

    /// Room for `n` blank entries.
    fn tail(n: usize) -> Tail {
        Tail { budget: n * weight(&blanks(1, 0..1)[0]), ..Tail::default() }
    }

    #[test]
    fn what_is_not_durable_stays_whatever_it_costs() {
        let mut tail = tail(2);
        let (first, _) = tail.append(&blanks(1, 0..5)).unwrap();
        let (second, _) = tail.append(&blanks(1, 5..10)).unwrap();
        assert_eq!(all(&tail, 0, 10).0, 0..0);
        assert!(!tail.is_durable(0));
        tail.durable_up_to(first);
        assert_eq!(all(&tail, 0, 10), (0..5, (5..10).map(|i| log_id(1, i)).collect()));
        assert!(tail.is_durable(4) && !tail.is_durable(5));
        tail.durable_up_to(second);
        assert_eq!(all(&tail, 0, 10).0, 0..8);
        assert!(tail.is_durable(9) && tail.is_durable(10));
    }

    #[test]
    fn an_index_written_twice_is_durable_only_with_its_second_append() {
        let mut tail = tail(1);
        let (old, _) = tail.append(&blanks(1, 0..10)).unwrap();
        assert_eq!(tail.truncate_after(Some(log_id(1, 3))), 4..10);
        let (new, _) = tail.append(&blanks(2, 4..10)).unwrap();
        tail.durable_up_to(old);
        // The disk still has the entries of term 1 there.
        assert_eq!(all(&tail, 0, 10), (0..4, (4..10).map(|i| log_id(2, i)).collect()));
        assert!(!tail.is_durable(4));
        tail.durable_up_to(new);
        assert!(tail.is_durable(4));
    }

    #[test]
    fn truncation_below_the_head_empties_the_cache_and_starts_it_again() {
        let mut tail = tail(2);
        let (number, _) = tail.append(&blanks(1, 0..10)).unwrap();
        tail.durable_up_to(number);
        assert_eq!(tail.truncate_after(Some(log_id(1, 4))), 5..10);
        assert_eq!(all(&tail, 0, 10), (0..5, vec![]));
        tail.append(&blanks(2, 5..6)).unwrap();
        assert_eq!(all(&tail, 3, 10), (3..5, vec![log_id(2, 5)]));
        assert_eq!(tail.truncate_after(None), 0..6);
        assert_eq!((tail.last, tail.end()), (None, 0));
    }

    #[test]
    fn a_hole_is_refused_and_so_is_an_overlap() {
        let mut tail = tail(10);
        tail.append(&blanks(1, 0..3)).unwrap();
        assert!(tail.append(&blanks(1, 4..5)).is_err());
        assert!(tail.append(&blanks(1, 2..3)).is_err());
    }

    #[test]
    fn purge_moves_the_front_and_can_pass_the_end() {
        let mut tail = tail(100);
        tail.append(&blanks(1, 0..10)).unwrap();
        assert_eq!(tail.purge(log_id(1, 3)), 0..4);
        assert_eq!(all(&tail, 0, 100), (4..4, (4..10).map(|i| log_id(1, i)).collect()));
        assert_eq!(tail.purge(log_id(3, 20)), 4..21);
        assert_eq!(tail.last, Some(log_id(3, 20)));
        assert_eq!(all(&tail, 0, 100).1, vec![]);
        tail.append(&blanks(3, 21..22)).unwrap();
    }

    #[test]
    fn a_limit_cuts_but_never_to_nothing() {
        let mut tail = tail(100);
        tail.append(&blanks(1, 0..10)).unwrap();
        assert_eq!(tail.plan(2, 9, 1).cached.len(), 1);
        assert_eq!(tail.plan(2, 9, 1 + weight(&blanks(1, 0..1)[0])).cached.len(), 2);
    }
}
