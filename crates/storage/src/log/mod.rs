//! The Raft log.
//!
//! ```text
//! openraft ── append, vote, truncate, purge ──► store ──► tail (memory) ──► readers
//!                                                 │ FIFO, bounded by bytes
//!                                                 ▼
//!                                              writer thread: one batch, one sync, callbacks in order ──► disk
//! ```
//!
//! `cache` is the log as it *is* (what `append` accepted), `disk` is what has been written of it. The writer turns the first
//! into the second; while it syncs, the next group collects. Readers take the tail from memory and older entries from the disk.

pub mod disk;

mod cache;
mod dump;
mod mark;
mod registry;
mod rocks;
mod sizes;
mod step;
mod store;
mod sync_times;
mod witness;
mod writer;

pub use dump::{DumpedContent, DumpedEntry, DumpedPayload};
pub use registry::Registry;
pub use step::WriterStep;
pub use store::{LogLimits, LogSize, LogStats, LogStore};
pub use sync_times::SyncTimes;
pub use witness::{Acknowledged, LogStanding, Witness};

pub(crate) use dump::entries;
pub(crate) use rocks::{RocksLog, quiet};
pub(crate) use store::{Found, entry_at};

#[cfg(test)]
mod power_cut_tests;
