//! Reading the state: everything that services answer from, for any [`View`](crate::View).
//!
//! A read needs no machine: a view is enough, so reads run beside `apply`, each at one revision.
//!
//! 1. A read at or above the compacted revision gives the same answer however far the sweep of
//!    compacted versions has come.
//! 2. A read below it gets [`Rejection::Compacted`](crate::Rejection::Compacted). Functions that
//!    take no [`Bounds`] leave that check to the caller.

pub use crate::bounds::{Bounds, Meta, ReadStop};
pub use crate::kv::{
    KvHash, Page, Portion, hash_kv, history, history_portion, page, range, read_txn as txn, version_at,
};
pub use crate::lease::{lease_ids_within, lease_keys, lease_keys_within, lease_ttl, leases};
pub use crate::member::{alarms, members, meta};
