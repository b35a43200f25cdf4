//! The replicated state on RocksDB.
//!
//! The state is the result of applying the log, so it needs no write-ahead log of its own: a crash
//! loses the writes since the last flush, and the next start applies those entries again.
//!
//! * `machine` applies entries and writes the rows
//! * `shared` is what it shares with the threads and all readers
//! * `handle` gives everyone else access
//! * `view` is a read-only view of one point in time
//! * `rocks` is the database
//! * `stored` reads the state in a directory that is not in use
//! * `counts` keeps the numbers of living keys, so that counting visits few rows; `counter` makes
//!   them anew
//! * `sweeper` removes rows that compaction made unreadable
//! * `flusher` bounds what a restart has to replay
//!
//! Each table of `conclave_state` is a column family of the same name. One more, `raft`, holds the
//! id of the last applied entry, the last membership and the sweeper's progress.

mod counter;
mod counts;
mod flusher;
mod handle;
mod machine;
mod rocks;
mod shared;
mod status;
mod stored;
mod sweeper;
mod view;

pub use handle::StateHandle;
pub use machine::{Answer, AppliedBatch, ApplySink, Raft, SnapshotBuilder, StateStore};
pub use status::{DIGEST_EVERY, ReplicaStatus};
pub use view::{Rows, StateView};

pub(crate) use handle::State;
pub(crate) use machine::Parts;
pub(crate) use rocks::{RaftRows, StateDb};
pub(crate) use shared::StateShared;
pub(crate) use stored::{read_machine_rows, read_raft_rows, stored_state, verify};

/// Bounds of the state's memory and of the work done in one piece.
#[derive(Clone, Debug)]
pub struct StateLimits {
    /// Size of one memtable; a few can exist.
    pub write_buffer_bytes: usize,
    pub block_cache_bytes: usize,
    /// Flush after this many bytes of changes, or up to a quarter less ...
    pub flush_bytes: u64,
    /// ... or this long after the first one.
    pub flush_interval: std::time::Duration,
    /// Bounds of one write to the database.
    pub apply_commands: usize,
    pub apply_bytes: usize,
    /// Changes that one step of the sweeper reads.
    pub sweep_changes: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        StateLimits {
            write_buffer_bytes: 64 << 20,
            block_cache_bytes: 64 << 20,
            flush_bytes: 64 << 20,
            flush_interval: std::time::Duration::from_secs(30),
            apply_commands: 4096,
            apply_bytes: 4 << 20,
            sweep_changes: 1000,
        }
    }
}
