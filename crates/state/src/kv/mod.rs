//! The key space: versions of keys, read and changed by ranges and transactions.
//!
//! [`range`] answers queries against any view and [`page`] answers them in pieces; [`history`] and
//! [`hash`] read changes, [`versions`] those of some keys; [`tree`] lists keys as folders; [`write`] changes keys; [`txn`] combines reads and writes, with
//! [`compare`] for its conditions; [`limit`] bounds what one command may do; [`compaction`] makes
//! old versions unreadable.

mod compaction;
mod compare;
mod hash;
mod history;
mod limit;
mod page;
mod range;
mod tree;
mod txn;
mod versions;
mod write;

pub use hash::{KvHash, hash_history, hash_kv};
pub use history::{Portion, history, history_portion};
pub use page::{Page, page};
pub use range::{range, version_at};
pub use tree::{Child, children};
pub use txn::read_txn;
pub use versions::versions;
