//! Distributes applied entries from the storage to the apply observers, in log order.

use conclave_storage::{AppliedBatch, ApplySink};
use std::sync::OnceLock;

/// Follows applied changes. Called on the task that applies, so an observer must never block or
/// wait.
pub trait ApplyObserver: Send + Sync + 'static {
    /// Called when the batch is in the state and nothing newer is. An observer may take the parts
    /// that only it needs.
    fn applied(&self, batch: &mut AppliedBatch);

    /// A snapshot replaced the state: discard everything derived from events.
    fn reset(&self) {}
}

/// Given to the storage when it is opened. The observers need the storage, so they are set later,
/// but before anything is applied.
#[derive(Default)]
pub struct Sink(OnceLock<Vec<Box<dyn ApplyObserver>>>);

impl Sink {
    /// Sets the observers, in the order of the calls. The proposer comes last, so when a client has
    /// its answer, watchers, queues and leases have seen the change.
    pub fn join(&self, observers: Vec<Box<dyn ApplyObserver>>) {
        // Only the start of the node calls this, once.
        let _ = self.0.set(observers);
    }

    fn observers(&self) -> &[Box<dyn ApplyObserver>] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

impl ApplySink for Sink {
    fn applied(&self, mut batch: AppliedBatch) {
        for observer in self.observers() {
            observer.applied(&mut batch);
        }
    }

    fn installed(&self) {
        for observer in self.observers() {
            observer.reset();
        }
    }
}

/// For tests of the storage.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl ApplySink for Nobody {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}
