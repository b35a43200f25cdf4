//! Readable revisions, the numbers of the store, what one command may cover, and the reasons why a
//! read stops.

use crate::Rejection;
use crate::digest::Digest;
use crate::view::Fault;
use std::cell::Cell;

/// Keys that the ranges of one command may cover in total: compared, read and deleted.
pub const MOST_KEYS: usize = 100_000;

/// The readable revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub current: i64,
    /// The oldest readable revision; -1 before the first compaction.
    pub compacted: i64,
}

/// The numbers of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub revision: i64,
    pub compacted: i64,
    pub digest: u64,
}

impl Meta {
    pub(crate) const EMPTY: Meta = Meta { revision: 1, compacted: -1, digest: Digest::EMPTY.0 };

    pub fn bounds(self) -> Bounds {
        Bounds { current: self.revision, compacted: self.compacted }
    }
}

/// Why a read has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStop {
    Rejected(Rejection),
    /// The read exceeded its budget. Repeat it without a budget, off the event loop.
    OverBudget,
}

impl From<Rejection> for ReadStop {
    fn from(rejection: Rejection) -> ReadStop {
        ReadStop::Rejected(rejection)
    }
}

/// The remaining budget of a read: a row costs 1, plus 1 for each KiB of its value. All parts of
/// one read share one budget.
pub(crate) struct Budget(Cell<Option<usize>>);

impl Budget {
    pub(crate) fn unlimited() -> Budget {
        Budget(Cell::new(None))
    }

    pub(crate) fn new(most: Option<usize>) -> Budget {
        Budget(Cell::new(most))
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.0.get().is_some()
    }

    /// Charges a row with a value of `bytes` to the budget; false if nothing is left. The last row
    /// may cost more than is left, because it has been read already.
    pub(crate) fn spend(&self, bytes: usize) -> bool {
        match self.0.get() {
            None => true,
            Some(0) => false,
            Some(left) => {
                self.0.set(Some(left.saturating_sub(1 + bytes / 1024)));
                true
            }
        }
    }
}

/// A read without a budget reported that it exceeded one.
pub(crate) fn unlimited_exceeded() -> Fault {
    Fault::Read("a read without a budget exceeded it".into())
}
