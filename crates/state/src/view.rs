//! The state machine's interface to the applied rows: ordered rows of bytes.
//!
//! `storage` implements it with RocksDB, and [`crate::MemoryView`] in memory for tests and
//! simulation. A view is a point in time. `apply` sees its own writes through an
//! [`Overlay`](crate::overlay::Overlay), never through the view.

use crate::key_counts::Counted;
use bytes::Bytes;
use thiserror::Error;

/// The tables of the state. The number is part of the on-disk format of snapshots of writes; append
/// only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// (escaped user key, inverted revision) → record: the newest version of a key is the first row
    /// of its prefix.
    Kv,
    /// (revision, sub-revision) → user key: watch catch-up and compaction.
    Rev,
    /// Leases, and the keys attached to each.
    Lease,
    /// Elections, locks and claims of conclave.v1.
    Coord,
    /// Revision, compacted revision, digest, alarms, members.
    Meta,
    /// (common prefix of a key's kv rows) → nothing, for exactly the living keys, so that reads of
    /// the present skip deleted keys.
    Live,
    /// (queue name, create revision, lease in hexadecimal) → nothing, for exactly the places of
    /// queues (see [`crate::queue`]).
    Queue,
}

impl Table {
    pub const ALL: [Table; 7] =
        [Table::Kv, Table::Rev, Table::Lease, Table::Coord, Table::Meta, Table::Live, Table::Queue];

    pub fn name(self) -> &'static str {
        match self {
            Table::Kv => "kv",
            Table::Rev => "rev",
            Table::Lease => "lease",
            Table::Coord => "coord",
            Table::Meta => "meta",
            Table::Live => "live",
            Table::Queue => "queue",
        }
    }

    /// Whether each row of the table is written once and deleted once before it is written again,
    /// also within one write. A database can drop such a row as soon as it sees both.
    pub fn alternates(self) -> bool {
        matches!(self, Table::Live | Table::Queue)
    }
}

/// The visitor's answer to a row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Next,
    /// Continue at the first row at or after this key (never backwards).
    Seek(Vec<u8>),
    Stop,
}

/// The disk could not be read or has impossible contents. It stops the node and is never an
/// outcome.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("reading the state failed: {0}")]
    Read(String),
    #[error("the state is corrupt: {0}")]
    Corrupt(String),
}

pub trait View {
    /// The value of exactly this row.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault>;

    /// Decodes exactly this row, if it is there. Every read of one row goes through this, a scan,
    /// or a version, so that a view of a disk sees each row that does not decode and can stop the
    /// node.
    fn decoded<T>(
        &self,
        table: Table,
        key: &[u8],
        decode: impl FnOnce(&Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.get(table, key)?.map(|row| decode(&row)).transpose()
    }

    /// The fault of rows that decode and contradict each other. A view of a disk stops the node.
    fn contradiction(&self, what: String) -> Fault {
        Fault::Corrupt(what)
    }

    /// Reads the first row of the kv table at or after `from` that begins with `prefix`, if there
    /// is one.
    ///
    /// `prefix` is the whole common prefix of one key's rows, and `from` begins with it. So a Bloom
    /// filter can answer for keys that do not exist.
    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault>;

    /// Reads the newest row of a key, if there is one. May return none if the key is not alive.
    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.version(prefix, prefix, read)
    }

    /// Like [`View::scan`] of the kv table, for reads of the present: visits the newest row of each
    /// living key and may omit other rows. An implementation asks the table of living keys instead
    /// of passing over many removed rows.
    #[expect(clippy::type_complexity, reason = "see scan")]
    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.scan(Table::Kv, from, below, visit)
    }

    /// Rows of the table of living keys in `[from, below)` that are already counted. `None` if
    /// there are no counts, or the range is too short.
    fn counted(&self, _from: &[u8], _below: &[u8]) -> Option<Counted> {
        None
    }

    /// [`View::scan`], which stops where very many removed rows would have to be passed over.
    /// `Ok(false)`: it stopped there. For reads of older revisions that must not take long.
    #[expect(clippy::type_complexity, reason = "see scan")]
    fn scan_briefly(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<bool, Fault> {
        self.scan(table, from, below, visit).map(|()| true)
    }

    /// Visits the rows of `[from, below)` in ascending order until the visitor stops.
    #[expect(
        clippy::type_complexity,
        reason = "an alias would need a second lifetime, which every implementation would have to name"
    )]
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault>;
}

impl<V: View> View for &V {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        (**self).get(table, key)
    }

    fn decoded<T>(
        &self,
        table: Table,
        key: &[u8],
        decode: impl FnOnce(&Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        (**self).decoded(table, key, decode)
    }

    fn contradiction(&self, what: String) -> Fault {
        (**self).contradiction(what)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        (**self).version(prefix, from, read)
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        (**self).newest(prefix, read)
    }

    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        (**self).scan_present(from, below, visit)
    }

    fn counted(&self, from: &[u8], below: &[u8]) -> Option<Counted> {
        (**self).counted(from, below)
    }

    fn scan_briefly(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<bool, Fault> {
        (**self).scan_briefly(table, from, below, visit)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        (**self).scan(table, from, below, visit)
    }
}
