//! The key space: versions of keys, read and changed by ranges and transactions.
//!
//! [`range`] answers queries against any view, [`page`] a piece at a time, [`write`] changes one key, [`txn`] composes both, [`compaction`] forgets.
//! [`bounds`] limits what one command may look at.

pub(crate) mod bounds;
mod compaction;
pub(crate) mod page;
pub(crate) mod range;
pub(crate) mod txn;
mod write;
