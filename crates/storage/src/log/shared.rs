//! What the log's store, its readers and its writer share: the tail, how far it is durable, and
//! whether the disk has failed.

use super::cache::Tail;
use super::step::WriterStep;
use crate::duration_histogram::DurationHistogram;
use crate::error::Fatal;
use crate::types::LogId;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

pub(super) struct Shared {
    pub(super) tail: Mutex<Tail>,
    /// Number of the newest durable append.
    pub(super) durable: watch::Sender<u64>,
    pub(super) failed: AtomicBool,
    pub(super) fatal: Fatal,
    pub(super) entries: AtomicU64,
    pub(super) sync_times: Arc<DurationHistogram>,
    pub(super) step: Arc<WriterStep>,
}

impl Shared {
    /// The newest commit index that may be written to disk.
    pub(super) fn durably_committed(&self) -> Option<LogId> {
        self.tail.lock().durably_committed()
    }

    pub(super) fn durable_up_to(&self, append: u64, entries: u64) {
        self.tail.lock().durable_up_to(append);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.durable.send_replace(append);
    }

    pub(super) fn count_sync(&self, took: Duration) {
        self.sync_times.count(took);
    }

    pub(super) fn fail(&self, e: &io::Error) -> io::Error {
        self.failed.store(true, Ordering::SeqCst);
        self.durable.send_modify(|_| {});
        self.fatal.raise("writing the log", io::Error::new(e.kind(), e.to_string()))
    }
}
