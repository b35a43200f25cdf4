//! The replicated state on RocksDB, without a write-ahead log of its own: the Raft log is one already.
//!
//! `machine` applies entries and writes, `handle` is what everybody else reads through, `view` is one point in time,
//! `rocks` the database, `sweeper` removes what compaction made unreadable, `flusher` bounds what a restart has to replay.
//! Tables of `conclave_state` are column families of the same name; one more, `raft`, holds what openraft needs to know: the id of
//! the last applied entry and the last membership.

mod flusher;
mod handle;
mod machine;
mod rocks;
mod standing;
mod sweeper;
mod view;

pub use handle::StateHandle;
pub use machine::{Answer, AppliedBatch, ApplySink, SnapshotBuilder, StateStore};
pub use standing::{MARKED, Standing};
pub use view::StateView;

pub(crate) use handle::{State, StateShared};
pub(crate) use machine::Parts;
pub(crate) use rocks::{RaftRows, StateDb, read_machine_rows, read_raft_rows, stored_state, verify};

/// Bounds of the state's memory and of the work done in one piece.
#[derive(Clone, Debug)]
pub struct StateLimits {
    /// One memtable; a few can exist.
    pub write_buffer_bytes: usize,
    pub block_cache_bytes: usize,
    /// Flush after this many bytes of changes, or up to a quarter less ...
    pub flush_bytes: u64,
    /// ... or this long after the first one.
    pub flush_interval: std::time::Duration,
    /// One write to the database.
    pub apply_commands: usize,
    pub apply_bytes: usize,
    /// Changes looked at in one step of the sweeper.
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
