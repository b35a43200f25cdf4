//! The time for which the writer has been working on its current group.
//!
//! A disk that fails returns an error. A disk that hangs returns nothing; only this clock shows it.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct WriterStep {
    began: Mutex<Option<Instant>>,
}

/// Marks the writer as busy until dropped.
pub(super) struct Doing<'a>(&'a WriterStep);

impl WriterStep {
    pub(super) fn begin(&self) -> Doing<'_> {
        *self.began.lock() = Some(Instant::now());
        Doing(self)
    }

    /// For how long the writer has been waiting for the disk; `None` if it is idle.
    pub fn lasts(&self) -> Option<Duration> {
        self.began.lock().map(|began| began.elapsed())
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        *self.0.began.lock() = None;
    }
}
