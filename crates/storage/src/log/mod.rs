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
mod found;
mod mark;
mod position;
mod registry;
mod rocks;
mod shared;
mod sizes;
mod step;
mod store;
mod witness;
mod writer;

pub use dump::{DumpedContent, DumpedEntry, DumpedPayload};
pub use position::{Acknowledged, LogPosition};
pub use registry::Registry;
pub use step::WriterStep;
pub use store::{LogLimits, LogSize, LogStats, LogStore};
pub use witness::Witness;

pub(crate) use dump::entries;
pub(crate) use found::{Found, entry_at};
pub(crate) use rocks::{RocksLog, quiet};

#[cfg(test)]
mod power_cut_tests;
