//! How long the writer has been at its present group: noted by the writer, looked at by anybody.
//!
//! A disk that fails returns an error. One that hangs returns nothing: only this shows it.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct WriterStep {
    began: Mutex<Option<Instant>>,
}

/// The step, until this is dropped.
pub(super) struct Doing<'a>(&'a WriterStep);

impl WriterStep {
    pub(super) fn begin(&self) -> Doing<'_> {
        *self.began.lock() = Some(Instant::now());
        Doing(self)
    }

    /// For how long the writer has waited for the disk by now; `None`: it does not.
    pub fn lasts(&self) -> Option<Duration> {
        self.began.lock().map(|began| began.elapsed())
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        *self.0.began.lock() = None;
    }
}
