//! How the state machine reads what is already applied: ordered rows of bytes, nothing more.
//!
//! Implemented by RocksDB in `storage` and by [`crate::MemoryView`] for tests and simulation. A view is a point in time: `apply`
//! sees its own earlier writes through an [`Overlay`](crate::overlay::Overlay), never through the view.

use bytes::Bytes;
use thiserror::Error;

/// The tables of the state. The number is part of the on-disk format of snapshots of writes; append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// (escaped user key, inverted revision) → record: the newest version of a key is the first row of its prefix.
    Kv,
    /// (revision, sub-revision) → user key: watch catch-up and compaction.
    Rev,
    /// Leases, and the keys attached to each.
    Lease,
    /// Elections, locks and claims of conclave.v1.
    Coord,
    /// Revision, compacted revision, digest, alarms, members.
    Meta,
    /// What the kv rows of one key share → nothing, for exactly the keys that are alive: reads of the present skip what was deleted.
    Live,
    /// (queue name, create revision, lease in hexadecimal) → nothing, for exactly the places of the queues (see [`crate::queue`]).
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

    /// Whether each row of the table is written once and then deleted once before it is written again, also within one write. A
    /// database can forget such a row as soon as it sees both.
    pub fn alternates(self) -> bool {
        matches!(self, Table::Live | Table::Queue)
    }
}

/// What a scan does after it was shown a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Next,
    /// Go on at the first row at or after this key (never backwards).
    Seek(Vec<u8>),
    Stop,
}

/// The disk could not be read, or holds what cannot be. Fatal: the node stops; it is never an outcome.
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

    /// Reads the first row of the kv table at or after `from` among those that begin with `prefix`, if there is one.
    ///
    /// `prefix` is the whole of what the rows of one key share, and `from` begins with it: a question about one key, which can be
    /// answered without a search where the key does not exist.
    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault>;

    /// Reads the newest row of a key, if there is one. May say that there is none if the key is not alive.
    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.version(prefix, prefix, read)
    }

    /// Like [`View::scan`] of the kv table, for readers of the present: the newest row of each key that is alive is shown, and any of
    /// the other rows may be left out. An implementation that would pass over many removed rows asks the table of living keys instead.
    #[expect(clippy::type_complexity, reason = "see scan")]
    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.scan(Table::Kv, from, below, visit)
    }

    /// Shows the rows of `[from, below)` in ascending order until told to stop.
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
