//! A transaction must not change one key twice.
//!
//! Along a path that can be executed (one branch of each transaction of the tree), a key may be put
//! at most once, and a key that is put may not also lie in a range that is deleted. Deleting twice
//! is allowed, for the second finds nothing; and so is the same key in the two branches of one
//! nested transaction, for only one of them runs.
//!
//! etcd's check looks only one way between neighbours: a put inside a nested transaction and a
//! delete inside a *later* one pass there, and a delete from a key onwards (`range_end` = `"\0"`)
//! is taken for an empty range. Here both are refused, because the state machine gives each key one
//! version in a revision.

use crate::status::Invalid;
use conclave_state::{KeyRange, Op, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub(super) fn check(txn: &Txn) -> Result<(), Invalid> {
    for branch in [&txn.success, &txn.failure] {
        // One change cannot collide; most transactions have no more.
        if branch.iter().any(|op| matches!(op, Op::Txn(_))) || branch.iter().filter(|op| changes(op)).nth(1).is_some() {
            Footprint::of(branch)?;
        }
    }
    Ok(())
}

fn changes(op: &Op) -> bool {
    matches!(op, Op::Put(_) | Op::DeleteRange(_))
}

/// Where a deleted interval ends. The order of the fields makes the derived order the order of
/// positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End<'a> {
    /// Beyond every key.
    open: bool,
    key: &'a [u8],
    /// Right after `key` rather than right before it.
    through: bool,
}

impl End<'_> {
    fn is_after(&self, key: &[u8]) -> bool {
        self.open || self.key > key || (self.through && self.key == key)
    }
}

/// What some operations may put and delete. The intervals (start → end) are disjoint.
#[derive(Default)]
struct Footprint<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: BTreeMap<&'a [u8], End<'a>>,
}

impl<'a> Footprint<'a> {
    fn of(ops: &'a [Op]) -> Result<Footprint<'a>, Invalid> {
        let mut all = Footprint::default();
        for op in ops {
            match op {
                Op::Range(_) => {}
                Op::Put(put) => all.put(&put.key)?,
                Op::DeleteRange(delete) => all.delete(&delete.range)?,
                Op::Txn(txn) => {
                    let either = Footprint::of(&txn.success)?.or(Footprint::of(&txn.failure)?);
                    all = all.then(either)?;
                }
            }
        }
        Ok(all)
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Invalid> {
        if self.deletes_key(key) || !self.puts.insert(key) { Err(Invalid::DuplicateKey) } else { Ok(()) }
    }

    fn delete(&mut self, range: &'a KeyRange) -> Result<(), Invalid> {
        let start: &[u8] = &range.key;
        let end = match &range.end[..] {
            [] => End { open: false, key: start, through: true },
            [0] => End { open: true, key: &[], through: false },
            end if end <= start => return Ok(()),
            end => End { open: false, key: end, through: false },
        };
        self.delete_interval(start, end)
    }

    fn delete_interval(&mut self, start: &'a [u8], end: End<'a>) -> Result<(), Invalid> {
        if self.puts_within(start, end) {
            return Err(Invalid::DuplicateKey);
        }
        self.add_interval(start, end);
        Ok(())
    }

    fn deletes_key(&self, key: &[u8]) -> bool {
        self.deletes
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .is_some_and(|(_, end)| end.is_after(key))
    }

    fn puts_within(&self, start: &[u8], end: End<'_>) -> bool {
        let first = self.puts.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next();
        first.is_some_and(|key| end.is_after(key))
    }

    /// Joins what it touches, so that the intervals stay disjoint.
    fn add_interval(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((&before, &reach)) =
            self.deletes.range::<[u8], _>((Bound::Unbounded, Bound::Included(start))).next_back()
            && reach.is_after(start)
        {
            start = before;
            end = end.max(reach);
        }
        while let Some((&next, &reach)) =
            self.deletes.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next()
        {
            if next != start && !end.is_after(next) {
                break;
            }
            self.deletes.remove(next);
            end = end.max(reach);
        }
        self.deletes.insert(start, end);
    }

    fn len(&self) -> usize {
        self.puts.len() + self.deletes.len()
    }

    /// Both run. The smaller is looked up in the larger, so that a deep tree costs no more than a
    /// wide one.
    fn then(self, other: Footprint<'a>) -> Result<Footprint<'a>, Invalid> {
        let (mut large, small) = if self.len() < other.len() { (other, self) } else { (self, other) };
        // Compared before joined: `small` may hold a key and a range over it, of the two branches
        // of one transaction.
        if small.puts.iter().any(|key| large.puts.contains(key) || large.deletes_key(key))
            || small.deletes.iter().any(|(start, end)| large.puts_within(start, *end))
        {
            return Err(Invalid::DuplicateKey);
        }
        large.join(small);
        Ok(large)
    }

    /// Only one of them runs.
    fn or(self, other: Footprint<'a>) -> Footprint<'a> {
        let (mut large, small) = if self.len() < other.len() { (other, self) } else { (self, other) };
        large.join(small);
        large
    }

    fn join(&mut self, other: Footprint<'a>) {
        self.puts.extend(other.puts);
        for (start, end) in other.deletes {
            self.add_interval(start, end);
        }
    }
}
