//! Durable storage of a member: the Raft log and the replicated state, both on RocksDB.
//!
//! # The idea
//!
//! A write is durable when a majority of members has it in the log. So the log is the only thing
//! that is synced for a write, in groups, by one thread. The state can be rebuilt from the log, so
//! no write syncs it. From time to time the whole state is flushed together with its log position.
//! After a crash the state is as of its last flush, and the log replays the rest:
//!
//! ```text
//! log     … 96 97 98 99 100 101 102       durable up to 102
//! state   flushed at 98                   start: apply 99, 100, 101, 102
//! ```
//!
//! How a write passes through:
//!
//! ```text
//!              append, vote                                    committed entries
//!   openraft ──────────────► log ── one batch, one sync ──► RocksDB (WAL on)
//!       │                     │ tail cache
//!       └── apply ◄───────────┘
//!             │  groups ─► conclave_state ─► rows + applied id ─► RocksDB (WAL off, atomic flush)
//!             └─► ApplySink: events, leases, answers
//! ```
//!
//! | Module | Purpose |
//! |---|---|
//! | [`types`] | openraft's type parameters |
//! | [`proposal`] | packs: many commands in one entry |
//! | [`codec`] | bytes on disk and between peers |
//! | [`log`] | the Raft log: tail in memory, writer, disk |
//! | [`state`] | apply, views, flusher, sweeper |
//! | [`snapshot`] | checkpoints: build, receive, install |
//! | [`positions`] | the order of all log positions, checked in debug builds |
//! | [`identity`], [`open`](mod@open) | the owner of the directory, and the checks at the start |
//! | [`recovered`] | all that a stopped member holds, for a cluster that lost its majority |
//! | [`replaced`] | another member's data in the place of a directory's own |
//! | [`restored`] | the directory of a member whose state comes from a backup |
//! | [`stopped`] | reading the data of a stopped member |
//! | [`location`] | detects a copied data directory |
//! | `wal_check` | damage that RocksDB would not notice, and writes that a power cut left unfinished |
//! | `background` | priority and timing of flushes and compactions |
//! | [`versions`] | what this program can read, and what it writes in a cluster of which version |
//! | [`failpoint`] | crash points for the tests |
//!
//! # Invariants
//!
//! 1. Acknowledged means synced: no callback, vote or registration is answered before the sync that
//!    covers it.
//! 2. The log's disk sees operations in the order in which openraft made them.
//! 3. An appended entry is readable from the moment `append` returns, written or not.
//! 4. The state is never ahead of the durable log (except after the installation of a snapshot,
//!    which is recorded). It is always exactly the result of the entries up to its applied id.
//! 5. The log is purged only up to what was flushed and recorded.
//! 6. Entries are applied one after another without a gap, or the node stops.
//! 7. A directory whose contents contradict each other is not served.
//!
//! Only this crate names RocksDB. A failure of the disk ends the process through
//! [`Options::on_fatal`], because the contents of a disk after an error are known only after a
//! restart.

pub mod codec;
pub mod failpoint;
pub mod first_start;
pub mod identity;
pub mod location;
pub mod log;
pub mod open;
pub mod positions;
pub mod proposal;
pub mod recovered;
pub mod replaced;
mod reserve;
pub mod restored;
pub mod snapshot;
pub mod state;
pub mod stopped;
pub mod types;
pub mod versions;

mod background;
mod descriptors;
mod duration_histogram;
mod error;
mod files;
#[cfg(test)]
mod fuzz;
mod wal_check;
mod wal_dir;

pub use descriptors::{OpenFiles, open_files};
pub use duration_histogram::DurationHistogram;
pub use error::{OnFatal, OpenError};
pub use files::{DiskRoom, disk_room};
pub use first_start::FirstStart;
pub use identity::{Identity, read_identity, write_identity};
pub use log::disk::{LogDisk, MemoryDisk};
pub use log::{
    Acknowledged, DumpedContent, DumpedEntry, DumpedPayload, LogLimits, LogPosition, LogSize, LogStats, LogStore,
    Registry, Witness, WriterStep,
};
pub use open::{Opened, Options, open, open_on};
pub use proposal::{Pack, Segment, SegmentWriter};
pub use recovered::Recovered;
pub use reserve::Reserve;
pub use restored::Restored;
pub use snapshot::{Checkpoint, CheckpointFile, CheckpointReceiver};
pub use state::{
    Answer, AppliedBatch, ApplySink, DIGEST_EVERY, ReplicaStatus, StateHandle, StateLimits, StateStore, StateView,
};
pub use stopped::{Stopped, StoredLog, StoredState};
