//! How far a mirror is, for those who watch it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Numbers of a mirror, as they stand.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(super) written: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) skipped: AtomicU64,
    /// Everything up to this revision of the source is at the destination; 0 while the first
    /// comparison runs.
    pub(super) revision: AtomicI64,
    pub(super) syncs: AtomicU64,
}

impl Progress {
    /// Keys written so far, a key counted each time.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Keys that the last comparison left out.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// How often both sides were compared key by key.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

/// The wish to end a migration.
#[derive(Debug, Default)]
pub(crate) struct Cutover {
    asked: AtomicBool,
    notify: Notify,
}

impl Cutover {
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    /// Returns once it was asked for.
    pub(super) async fn asked(&self) {
        while !self.asked.load(Ordering::Relaxed) {
            self.notify.notified().await;
        }
    }
}
