//! The changes of a batch of commands: rows to write, and events for the observers.

use crate::auth::AuthEvent;
use crate::version::ClusterVersion;
use crate::view::Table;
use crate::{KeyValue, LeaseId};
use bytes::Bytes;
use std::collections::BTreeMap;

/// One change of one key. Events of a batch are in revision order and, within a revision, in the
/// order of the operations.
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

/// The rows of one table that a batch wrote, in order; `None` deletes the row.
pub(crate) type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// The rows that a batch wrote.
#[derive(Debug, Default)]
pub struct Writes {
    pub(crate) tables: [Rows; Table::ALL.len()],
}

impl Writes {
    /// Table by table, in the order of the rows; `None` deletes the row.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        let tables = Table::ALL.into_iter().zip(&self.tables);
        tables.flat_map(|(table, rows)| rows.iter().map(move |(key, row)| (table, &key[..], row.as_deref())))
    }

    /// The keys that came to life (true) or ended: changes of the table of living keys.
    pub fn living(&self) -> impl ExactSizeIterator<Item = (Bytes, bool)> {
        self.tables[Table::Live as usize].iter().map(|(row, value)| (row.clone(), value.is_some()))
    }

    pub fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }
}

/// Everything that a batch changed, for one atomic write and one round of notifications.
#[derive(Debug, Default)]
pub struct Changes {
    pub writes: Writes,
    pub events: Vec<Event>,
    /// In log order.
    pub leases: Vec<LeaseChange>,
    /// In log order. For the leader; a new leader reads all timers.
    pub timers: Vec<TimerChange>,
    /// In log order.
    pub auth: Vec<AuthEvent>,
    /// The cluster's version after the batch, if it changed.
    pub version: Option<ClusterVersion>,
    /// The compacted revision, if this batch raised it.
    pub compacted: Option<i64>,
    /// The store's revision after the batch.
    pub revision: i64,
}

/// A change of a deadline. Only the leader uses it, because only the leader has a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline<Id> {
    /// It expires after `ms` milliseconds without a renewal.
    Armed { id: Id, ms: u64 },
    /// It has ended or was disarmed.
    Gone { id: Id },
}

/// A lease that was granted, or that was revoked or expired.
pub type LeaseChange = Deadline<LeaseId>;

/// A timer of elections, locks and claims. Its id is never reused; a `CoordTimer` ends it.
pub type TimerChange = Deadline<u64>;
