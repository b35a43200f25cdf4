//! The Raft log.
//!
//! ```text
//! openraft ── append, vote, truncate, purge ──► store ──► tail (memory) ──► readers
//!                                                 │ FIFO, bounded by bytes
//!                                                 ▼
//!                                              writer thread: one batch, one sync, callbacks in order ──► disk
//! ```
//!
//! `cache` holds the end of the log as `append` accepted it; `disk` holds what has been written.
//! While the writer syncs one group, the next group collects. Readers take the tail from memory and
//! older entries from the disk.

pub mod disk;

mod cache;
mod dump;
mod mark;
mod registry;
mod rocks;
mod sizes;
mod step;
mod store;
mod witness;
mod writer;

pub use dump::{DumpedContent, DumpedEntry, DumpedPayload};
pub use registry::Registry;
pub use step::WriterStep;
pub use store::{LogLimits, LogSize, LogStats, LogStore};
pub use witness::{Acknowledged, LogPosition, Witness};

pub(crate) use dump::entries;
pub(crate) use rocks::{RocksLog, quiet};
pub(crate) use store::{Found, entry_at};

#[cfg(test)]
mod power_cut_tests;
