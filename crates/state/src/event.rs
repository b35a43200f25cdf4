//! What a batch of commands changed: the writes to persist, and what the node must tell others.

use crate::view::Table;
use crate::{KeyValue, LeaseId};
use std::collections::BTreeMap;

/// One change of one key. Events of a batch stand in revision order and, within a revision, in the order of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// For a delete only `key` and `mod_revision` are set.
    pub kv: KeyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// `None` deletes the row.
pub type Writes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// Everything a batch did, for one atomic write and one round of notifications.
#[derive(Debug, Default)]
pub struct Changes {
    pub writes: Writes,
    pub events: Vec<Event>,
    /// In log order.
    pub leases: Vec<LeaseChange>,
    /// In log order. For the node that leads; a new leader reads all that there are.
    pub timers: Vec<TimerChange>,
    /// The compacted revision, if this batch raised it.
    pub compacted: Option<i64>,
    /// The store's revision after the batch.
    pub revision: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    Granted {
        id: LeaseId,
        ttl_seconds: i64,
    },
    /// Revoked or expired.
    Gone {
        id: LeaseId,
    },
    /// With a TTL that need not be whole seconds.
    SessionGranted {
        id: LeaseId,
        ttl_millis: u64,
    },
}

/// A timer of elections, locks and claims. Its id is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerChange {
    /// To be answered by a `CoordTimer` when so much time has passed.
    Armed { id: u64, millis: u64 },
    /// Run out, or not wanted any more.
    Disarmed { id: u64 },
}
