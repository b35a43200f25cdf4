//! etcd's messages.
//!
//! A transaction that passes changes no key twice in one path (`intervals`), which `apply` relies
//! on.

mod alarm;
mod intervals;
mod kv;
mod lease;
mod load;
mod queue;
mod response;
mod txn;

pub use alarm::{alarm, alarm_member, alarm_text};
pub use kv::{delete_range, put, range};
pub use lease::{
    LeaseLife, lease_grant, lease_granted, lease_kept_alive, lease_leases, lease_time_to_live, shortest_ttl,
    whole_seconds,
};
pub use load::Load;
pub use queue::{campaign, elected, leader, lock, locked, proclaim, resign, unlock};
pub use response::{deleted, key_value, part, put_response, range_response, txn_response};
pub use txn::{ConvertedTxn, TxnRoute, txn};

use conclave_state::KeyRange;

use crate::status::Invalid;
use bytes::Bytes;

/// What one request may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--max-request-bytes`, of the encoded request.
    pub max_request_bytes: usize,
    /// `--max-txn-ops`, along each path of a nested transaction.
    pub max_txn_ops: usize,
}

impl Limits {
    fn admit(&self, encoded: usize) -> Result<(), Invalid> {
        if encoded > self.max_request_bytes { Err(Invalid::TooLarge) } else { Ok(()) }
    }
}

fn key_range(key: Bytes, end: Bytes) -> Result<KeyRange, Invalid> {
    if key.is_empty() {
        return Err(Invalid::EmptyKey);
    }
    Ok(KeyRange { key, end })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
