//! The numbers of living keys in blocks of neighbouring keys, so that a range is counted without
//! visiting its keys.
//!
//! The rows of the table of living keys are divided into blocks of a few hundred. A block has a
//! first row and a number; it ends where the next block begins. To count a range, the numbers of
//! the blocks inside it are added, and only the rows at its two ends are visited:
//!
//! ```text
//! range              [------------------------------)
//! blocks    |   210   |   305   |   188   |   301   |   256   |
//!                visit     305  +    188  +  301     visit
//! ```
//!
//! Blocks are kept in groups of up to [`GROUP`], each with its sum. A copy shares all groups with
//! its original until one of them changes, so a reader keeps the counts of its moment for the price
//! of a pointer.
//!
//! 1. The first block begins before every row, so each row belongs to exactly one block.
//! 2. Blocks and groups that shrink are merged with a neighbour, so their number follows the number
//!    of rows.
//! 3. The counts are a cache of the rows: without them a range is counted row by row, with the same
//!    result.

use bytes::Bytes;
use std::sync::Arc;

/// Rows at which a block is divided.
const CROWDED: u64 = 512;
/// Rows of a new block.
const BLOCK: usize = 256;
/// Rows below which a block is merged with a neighbour, if both together have at most [`BLOCK`].
const SPARSE: u64 = 64;
/// Blocks at which a group is divided.
const GROUP: usize = 128;

/// See the header of this file.
#[derive(Clone, Debug)]
pub struct KeyCounts {
    groups: Vec<Group>,
}

/// At least one block.
#[derive(Clone, Debug)]
struct Group {
    rows: u64,
    blocks: Arc<Vec<Block>>,
}

#[derive(Clone, Debug)]
struct Block {
    first: Bytes,
    rows: u64,
}

/// The whole blocks inside a range: `[from, below)` has so many rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub from: Bytes,
    pub below: Bytes,
    pub rows: usize,
}

/// The counts do not fit the rows. They should be counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch;

impl Group {
    fn new(blocks: Vec<Block>) -> Group {
        Group { rows: blocks.iter().map(|block| block.rows).sum(), blocks: Arc::new(blocks) }
    }

    fn first(&self) -> &[u8] {
        &self.blocks[0].first
    }
}

impl KeyCounts {
    /// All rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// The whole blocks in `[from, below)`; `None` if there are none. The last block has no end and
    /// is never whole.
    pub fn within(&self, from: &[u8], below: &[u8]) -> Option<Counted> {
        // The first block that begins in the range, and the last one, which may extend beyond it.
        let (start, end) = (self.first_at_or_after(from)?, self.last_at_or_before(below)?);
        if start >= end {
            return None;
        }
        let rows = if start.0 == end.0 {
            self.sum(start.0, start.1..end.1)
        } else {
            let between: u64 = self.groups[start.0 + 1..end.0].iter().map(|group| group.rows).sum();
            self.sum(start.0, start.1..self.groups[start.0].blocks.len()) + between + self.sum(end.0, 0..end.1)
        };
        let first = |(group, block): (usize, usize)| self.groups[group].blocks[block].first.clone();
        Some(Counted { from: first(start), below: first(end), rows: usize::try_from(rows).unwrap_or(usize::MAX) })
    }

    fn sum(&self, group: usize, blocks: std::ops::Range<usize>) -> u64 {
        self.groups[group].blocks[blocks].iter().map(|block| block.rows).sum()
    }

    /// The last block whose first row is such a row.
    fn last(&self, begins: impl Fn(&[u8]) -> bool) -> Option<(usize, usize)> {
        let group = self.groups.partition_point(|group| begins(group.first())).checked_sub(1)?;
        let block = self.groups[group].blocks.partition_point(|block| begins(&block.first)).checked_sub(1)?;
        Some((group, block))
    }

    /// The block that `row` belongs to.
    fn last_at_or_before(&self, row: &[u8]) -> Option<(usize, usize)> {
        self.last(|first| first <= row)
    }

    /// The first block that begins at `row` or after it.
    fn first_at_or_after(&self, row: &[u8]) -> Option<(usize, usize)> {
        let Some((group, block)) = self.last(|first| first < row) else { return Some((0, 0)) };
        match () {
            () if block + 1 < self.groups[group].blocks.len() => Some((group, block + 1)),
            () if group + 1 < self.groups.len() => Some((group + 1, 0)),
            () => None,
        }
    }

    /// Counts a row that was added (`born`) or removed. Returns the first row of its block if the
    /// block should be divided ([`KeyCounts::divide`]).
    ///
    /// # Errors
    /// A row was removed from a block without rows.
    pub fn changed(&mut self, row: &[u8], born: bool) -> Result<Option<Bytes>, Mismatch> {
        let (group, block) = self.last_at_or_before(row).ok_or(Mismatch)?;
        let blocks = &mut self.groups[group];
        let change = |rows: u64| if born { rows.checked_add(1) } else { rows.checked_sub(1) };
        let rows = change(blocks.blocks[block].rows).ok_or(Mismatch)?;
        blocks.rows = change(blocks.rows).ok_or(Mismatch)?;
        let entry = &mut Arc::make_mut(&mut blocks.blocks)[block];
        entry.rows = rows;
        if born {
            return Ok((rows >= CROWDED).then(|| entry.first.clone()));
        }
        if rows < SPARSE {
            self.merge(group, block);
        }
        Ok(None)
    }

    /// Merges a small block with a neighbour of its group, and a small group with its neighbour.
    fn merge(&mut self, group: usize, block: usize) {
        let blocks = &self.groups[group].blocks;
        let fits =
            |left: usize| blocks.get(left + 1).is_some_and(|right| blocks[left].rows + right.rows <= BLOCK as u64);
        let left = [Some(block), block.checked_sub(1)].into_iter().flatten().find(|left| fits(*left));
        if let Some(left) = left {
            let blocks = Arc::make_mut(&mut self.groups[group].blocks);
            let right = blocks.remove(left + 1);
            blocks[left].rows += right.rows;
        }
        let small = |group: &Group| group.blocks.len() <= GROUP / 4;
        if !small(&self.groups[group]) {
            return;
        }
        let fits = |left: usize| {
            self.groups
                .get(left + 1)
                .is_some_and(|right| self.groups[left].blocks.len() + right.blocks.len() <= GROUP / 2)
        };
        let left = [Some(group), group.checked_sub(1)].into_iter().flatten().find(|left| fits(*left));
        if let Some(left) = left {
            let right = self.groups.remove(left + 1);
            let joined = &mut self.groups[left];
            joined.rows += right.rows;
            Arc::make_mut(&mut joined.blocks).extend(right.blocks.iter().cloned());
        }
    }

    /// The rows `[first, below)` of the block that begins with `first`; no `below` for the last
    /// one. `None` if no block begins there any more.
    pub fn rows_of(&self, first: &[u8]) -> Option<(Bytes, Option<Bytes>)> {
        let (group, block) = self.last_at_or_before(first)?;
        let blocks = &self.groups[group].blocks;
        if blocks[block].first != first {
            return None;
        }
        let next = blocks.get(block + 1).or_else(|| self.groups.get(group + 1).map(|group| &group.blocks[0]));
        Some((blocks[block].first.clone(), next.map(|next| next.first.clone())))
    }

    /// Divides the block that begins with `first`, whose rows are `rows`, into smaller ones.
    pub fn divide(&mut self, first: &[u8], rows: &[Bytes]) {
        let Some((group, block)) = self.last_at_or_before(first) else { return };
        let mut pieces: Vec<Block> =
            rows.chunks(BLOCK).map(|rows| Block { first: rows[0].clone(), rows: rows.len() as u64 }).collect();
        let Some(leading) = pieces.first_mut() else { return };
        leading.first = self.groups[group].blocks[block].first.clone();
        Arc::make_mut(&mut self.groups[group].blocks).splice(block..=block, pieces);
        let groups: Vec<Group> =
            self.groups[group].blocks.chunks(GROUP).map(|blocks| Group::new(blocks.to_vec())).collect();
        self.groups.splice(group..=group, groups);
    }
}

/// Makes counts from all rows in order.
#[derive(Debug, Default)]
pub struct KeyCountsBuilder {
    full: Vec<Group>,
    blocks: Vec<Block>,
}

impl KeyCountsBuilder {
    /// The next row.
    pub fn row(&mut self, row: &[u8]) {
        match self.blocks.last_mut() {
            Some(block) if block.rows < BLOCK as u64 => block.rows += 1,
            last => {
                // The first block begins before every row.
                let first =
                    if last.is_none() && self.full.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(row) };
                if self.blocks.len() >= GROUP / 2 {
                    self.full.push(Group::new(std::mem::take(&mut self.blocks)));
                }
                self.blocks.push(Block { first, rows: 1 });
            }
        }
    }

    pub fn finish(mut self) -> KeyCounts {
        if self.full.is_empty() && self.blocks.is_empty() {
            self.blocks.push(Block { first: Bytes::new(), rows: 0 });
        }
        if !self.blocks.is_empty() {
            self.full.push(Group::new(self.blocks));
        }
        KeyCounts { groups: self.full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn empty() -> KeyCounts {
        KeyCountsBuilder::default().finish()
    }

    /// Counts beside the rows that they count.
    struct Kept {
        rows: BTreeSet<Bytes>,
        counts: KeyCounts,
    }

    impl Kept {
        fn new() -> Kept {
            Kept { rows: BTreeSet::new(), counts: empty() }
        }

        fn change(&mut self, row: u32) {
            let row = Bytes::from(format!("{row:06}"));
            let born = self.rows.insert(row.clone());
            if !born {
                self.rows.remove(&row);
            }
            if let Some(first) = self.counts.changed(&row, born).unwrap() {
                let (from, below) = self.counts.rows_of(&first).unwrap();
                let rows: Vec<Bytes> = self
                    .rows
                    .range(from..)
                    .take_while(|row| below.as_ref().is_none_or(|b| *row < b))
                    .cloned()
                    .collect();
                assert_eq!(rows.len() as u64, CROWDED, "the block is divided as soon as it is crowded");
                self.counts.divide(&first, &rows);
            }
        }

        fn check(&self) {
            let groups = &self.counts.groups;
            assert_eq!(self.counts.total(), self.rows.len() as u64);
            assert!(groups[0].first().is_empty());
            let firsts: Vec<&Bytes> = groups.iter().flat_map(|g| g.blocks.iter()).map(|b| &b.first).collect();
            assert!(firsts.is_sorted_by(|a, b| a < b), "blocks are in order");
            for group in groups {
                assert!((1..=GROUP).contains(&group.blocks.len()));
                assert_eq!(group.rows, group.blocks.iter().map(|b| b.rows).sum::<u64>());
                assert!(group.blocks.iter().all(|b| b.rows < CROWDED));
            }
        }

        fn check_range(&self, from: &str, below: &str) {
            let (from, below) = (Bytes::copy_from_slice(from.as_bytes()), Bytes::copy_from_slice(below.as_bytes()));
            let count = |from: &Bytes, below: &Bytes| {
                if from < below { self.rows.range(from.clone()..below.clone()).count() } else { 0 }
            };
            let Some(counted) = self.counts.within(&from, &below) else {
                assert!(count(&from, &below) < 2 * CROWDED as usize, "a long range has whole blocks");
                return;
            };
            assert!(from <= counted.from && counted.from < counted.below && counted.below <= below);
            assert_eq!(counted.rows, count(&counted.from, &counted.below));
            let ends = count(&from, &counted.from) + count(&counted.below, &below);
            assert!(ends < 2 * CROWDED as usize, "{ends} rows are visited");
        }
    }

    fn check_ranges(kept: &Kept, ranges: &[(u32, u32)]) {
        kept.check();
        for (from, below) in ranges {
            kept.check_range(&format!("{from:06}"), &format!("{below:06}"));
        }
        kept.check_range("", "~");
        kept.check_range("", "");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Each change is a stretch of keys, in order or not, that are born or end.
        #[test]
        fn counts_follow_the_rows(
            stretches in prop::collection::vec((0u32..60_000, 1u32..4_000, any::<bool>()), 1..12),
            ranges in prop::collection::vec((0u32..70_000, 0u32..70_000), 1..12),
        ) {
            let mut kept = Kept::new();
            for (start, keys, backwards) in stretches {
                for key in 0..keys {
                    kept.change(start + (if backwards { keys - key } else { key }) * 7);
                }
                check_ranges(&kept, &ranges);
            }
        }
    }

    #[test]
    fn a_copy_keeps_the_counts_of_its_moment() {
        let mut kept = Kept::new();
        (0..3_000).for_each(|row| kept.change(row));
        let copy = kept.counts.clone();
        (0..3_000).for_each(|row| kept.change(row));
        assert_eq!((copy.total(), kept.counts.total()), (3_000, 0));
        kept.check();
        assert_eq!(kept.counts.groups.len(), 1, "what is empty is merged");
        assert!(kept.counts.groups[0].blocks.len() < 3);
    }

    #[test]
    fn counts_that_are_built_are_those_that_grew() {
        for rows in [0, 1, 255, 256, 257, 20_000, 40_000] {
            let mut built = KeyCountsBuilder::default();
            let mut kept = Kept::new();
            for row in 0..rows {
                let row = format!("{row:06}");
                built.row(row.as_bytes());
                kept.rows.insert(row.into());
            }
            kept.counts = built.finish();
            check_ranges(&kept, &[(0, 30_000), (17, 18), (100, 39_990), (39_000, 50_000)]);
            (0..50).for_each(|row| kept.change(row * 31));
            check_ranges(&kept, &[(0, 30_000), (100, 39_990)]);
        }
    }

    #[test]
    fn a_row_that_was_never_counted_cannot_be_removed() {
        assert_eq!(empty().changed(b"x", false), Err(Mismatch));
    }
}
