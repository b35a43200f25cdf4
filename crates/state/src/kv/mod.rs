//! The key space: versions of keys, read and changed by ranges and transactions.
//!
//! [`range`] answers queries against any view and [`page`] answers them in pieces; [`history`] and
//! [`hash`] read changes; [`write`] changes keys; [`txn`] combines reads and writes, with
//! [`compare`] for its conditions; [`limit`] bounds what one command may do; [`compaction`] makes
//! old versions unreadable.

mod compaction;
mod compare;
mod hash;
mod history;
mod limit;
mod page;
mod range;
mod txn;
mod write;

pub use hash::{KvHash, hash_history, hash_kv};
pub use history::{Portion, history, history_portion};
pub use page::{Page, page};
pub use range::{range, version_at};
pub use txn::read_txn;
