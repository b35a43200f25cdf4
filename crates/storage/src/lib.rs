//! Where a member keeps what it must not forget: the Raft log and the replicated state, both on RocksDB.
//!
//! # The idea
//!
//! A write is durable when it is in the log of a majority. So the log is the one thing that is synced, in groups, by one thread;
//! and the state, which can be had again from the log, is never synced for a write. It is flushed now and then, whole, together with
//! the position in the log that it stands at. After a crash the state is as it was at its last flush, and the log replays the rest.
//!
//! ```text
//!             append, vote                                    committed entries
//!  openraft ──────────────► log ── one batch, one sync ──► RocksDB (WAL on)
//!      │                     │ tail cache
//!      └── apply ◄───────────┘
//!            │  groups ─► conclave_state ─► rows + applied id ─► RocksDB (WAL off, atomic flush)
//!            └─► ApplySink: events, leases, answers
//! ```
//!
//! | Module | What it does |
//! |---|---|
//! | [`types`] | openraft's type parameters |
//! | [`proposal`] | packs: many commands in one entry |
//! | [`codec`] | bytes on the disk and between peers |
//! | [`log`] | the Raft log: tail in memory, writer, disk |
//! | [`state`] | apply, views, flusher, sweeper |
//! | [`snapshot`] | checkpoints: build, receive, install |
//! | [`identity`], [`open`](mod@open) | whose directory this is, and whether it can be believed |
//! | [`stopped`] | looking at what a stopped member has |
//! | [`place`] | whether the directory was copied |
//! | `journals` | damage that RocksDB would not notice, and writes that a power cut left unfinished |
//! | `background` | flushes and compactions, out of the way |
//! | [`failpoint`] | crash points for the tests |
//!
//! # Invariants
//!
//! 1. Acknowledged means synced: no callback, no vote and no registration is answered before the sync that covers it.
//! 2. The log's disk sees operations in the order in which openraft made them.
//! 3. An appended entry is readable by everybody from the moment `append` returns, whether it is written yet or not.
//! 4. The state is never ahead of the durable log (but for an installed snapshot, which is on record), and is always exactly the
//!    result of the entries up to its applied id.
//! 5. The log is purged only up to what was flushed and recorded.
//! 6. Entries are applied one after another without a gap, or the node stops.
//! 7. A directory whose contents contradict each other is not served.
//!
//! This crate is the only one that names RocksDB. A failure of the disk ends the process by way of [`Options::on_fatal`]: what a
//! disk holds after an error is known only after a restart.

pub mod codec;
pub mod failpoint;
pub mod identity;
pub mod log;
pub mod open;
pub mod place;
pub mod proposal;
pub mod snapshot;
pub mod state;
pub mod stopped;
pub mod types;

mod background;
mod descriptors;
mod error;
mod files;
#[cfg(test)]
mod fuzz;
mod journals;

pub use descriptors::{OpenFiles, open_files};
pub use error::{OnFatal, OpenError};
pub use files::free_bytes;
pub use identity::{Identity, read_identity, write_identity};
pub use log::disk::{LogDisk, MemoryDisk};
pub use log::{
    Acknowledged, DumpedContent, DumpedEntry, DumpedPayload, LogLimits, LogSize, LogStanding, LogStats, LogStore,
    Registry, SyncTimes, Witness, WriterStep,
};
pub use open::{Opened, Options, open, open_on};
pub use proposal::{Pack, Segment, SegmentWriter};
pub use snapshot::{Checkpoint, CheckpointFile, CheckpointReceiver};
pub use state::{Answer, AppliedBatch, ApplySink, MARKED, Standing, StateHandle, StateLimits, StateStore, StateView};
pub use stopped::{Stopped, StoredLog, StoredState};
