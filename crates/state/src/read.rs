//! Reads of the state for services, on any [`View`](crate::View).
//!
//! A read needs only a view and no machine, so reads run concurrently with `apply`, each at one
//! revision.
//!
//! 1. A read at or above the compacted revision gives the same answer before, during and after the
//!    sweep of compacted versions.
//! 2. A read below it gets [`Rejection::Compacted`](crate::Rejection::Compacted). Callers of
//!    functions without [`Bounds`] do that check themselves.

pub use crate::bounds::{Bounds, Meta, ReadStop};
pub use crate::cluster_version::{cluster_version, judge_downgrade, supported};
pub use crate::kv::{
    Child, KvHash, Page, Portion, children, hash_history, hash_kv, history, history_portion, page, range,
    read_txn as txn, version_at, versions,
};
pub use crate::lease::{
    lease_ids_within, lease_key_count, lease_keys, lease_keys_after, lease_keys_within, lease_spans, lease_ttl, leases,
    leases_after,
};
pub use crate::member::{members, removed, was_removed};
pub use crate::meta::{alarms, meta};
pub use crate::placement::{in_maintenance, labels, placement};
pub use crate::promotion::to_promote;
