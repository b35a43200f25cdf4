//! Sizes of the log's entries, to find how many must be purged for a bound in bytes.
//!
//! An entry carries one command or a thousand, so the number of entries says little about their
//! size. Bytes are counted for pieces of neighbouring entries. A piece that is cut at either end
//! counts whole, so sums are accurate to one piece.

use std::collections::VecDeque;
use std::ops::Range;

/// Bytes of one piece, unless a single entry is larger.
const PIECE: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Sizes {
    pieces: VecDeque<Piece>,
    bytes: u64,
}

#[derive(Debug)]
struct Piece {
    /// The first index. The piece ends before the next one.
    from: u64,
    bytes: u64,
}

impl Sizes {
    /// Sizes of a log found on disk, assuming that its bytes are spread evenly over the entries.
    pub(super) fn found(indexes: &Range<u64>, bytes: u64) -> Sizes {
        let entries = indexes.end.saturating_sub(indexes.start);
        let pieces = bytes.div_ceil(PIECE).min(entries);
        let mut sizes = Sizes::default();
        for n in 0..pieces {
            let from = indexes.start + (u128::from(entries) * u128::from(n) / u128::from(pieces)) as u64;
            sizes.push(from, bytes / pieces);
        }
        sizes
    }

    fn push(&mut self, from: u64, bytes: u64) {
        self.pieces.push_back(Piece { from, bytes });
        self.bytes += bytes;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an entry at the end.
    pub(super) fn append(&mut self, index: u64, bytes: u64) {
        match self.pieces.back_mut().filter(|last| last.bytes + bytes <= PIECE) {
            Some(last) => {
                last.bytes += bytes;
                self.bytes += bytes;
            }
            None => self.push(index, bytes),
        }
    }

    /// Removes entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.pieces.back().is_some_and(|last| last.from >= index) {
            self.bytes -= self.pieces.pop_back().map_or(0, |last| last.bytes);
        }
    }

    /// Removes entries below `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.pieces.get(1).is_some_and(|second| second.from <= index) {
            self.bytes -= self.pieces.pop_front().map_or(0, |first| first.bytes);
        }
    }

    /// Bytes of the pieces that begin at one of these indexes.
    pub(super) fn between(&self, indexes: &Range<u64>) -> u64 {
        let from = self.pieces.partition_point(|piece| piece.from < indexes.start);
        self.pieces.range(from..).take_while(|piece| piece.from < indexes.end).map(|piece| piece.bytes).sum()
    }

    /// The last of the oldest entries that can be purged while the rest still has `keep` bytes.
    pub(super) fn beyond(&self, keep: u64) -> Option<u64> {
        let mut kept = 0;
        let first_kept = self.pieces.iter().rev().find(|piece| {
            kept += piece.bytes;
            kept >= keep
        })?;
        first_kept.from.checked_sub(1).filter(|_| first_kept.from > self.pieces[0].from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_comes_and_goes_at_either_end() {
        let mut sizes = Sizes::default();
        (10..50).for_each(|index| sizes.append(index, PIECE / 4));
        assert_eq!(sizes.bytes(), 10 * PIECE);
        // Pieces begin with 10, 14, 18 and so on.
        assert_eq!(sizes.beyond(2 * PIECE), Some(41));
        assert_eq!(sizes.beyond(2 * PIECE + 1), Some(37));
        assert_eq!(sizes.beyond(9 * PIECE), Some(13));
        assert_eq!(sizes.beyond(9 * PIECE + 1), None, "all of them are wanted");
        assert_eq!(sizes.beyond(11 * PIECE), None);
        assert_eq!((sizes.between(&(14..18)), sizes.between(&(15..20)), sizes.between(&(18..18))), (PIECE, PIECE, 0));
        assert_eq!(sizes.between(&(0..100)), sizes.bytes());
        sizes.purge(42);
        assert_eq!(sizes.bytes(), 2 * PIECE);
        sizes.truncate(46);
        assert_eq!(sizes.bytes(), PIECE);
        sizes.append(46, 3 * PIECE);
        sizes.append(47, 1);
        assert_eq!((sizes.bytes(), sizes.beyond(1)), (4 * PIECE + 1, Some(46)));
        sizes.truncate(0);
        assert_eq!((sizes.bytes(), sizes.beyond(1)), (0, None));
    }

    #[test]
    fn a_log_that_is_found_is_cut_where_its_share_of_entries_ends() {
        let sizes = Sizes::found(&(1_000..3_000), 100 * PIECE);
        assert_eq!(sizes.bytes(), 100 * PIECE);
        assert_eq!(sizes.beyond(50 * PIECE), Some(1_999));
        let few = Sizes::found(&(7..9), 100 * PIECE);
        assert_eq!((few.bytes(), few.beyond(50 * PIECE)), (100 * PIECE, Some(7)));
        assert_eq!(Sizes::found(&(7..7), 100).bytes(), 0);
    }
}
