//! Where applied entries leave the storage: every part of the node that follows the state is told
//! here, in log order.

use conclave_storage::{AppliedBatch, ApplySink};
use std::sync::OnceLock;

/// Follows what is applied. Called on the task that applies: an observer never blocks or waits.
pub trait ApplyObserver: Send + Sync + 'static {
    /// The batch is in the state, and nothing newer is. An observer may take what only it needs.
    fn applied(&self, batch: &mut AppliedBatch);

    /// A snapshot replaced the state: what was derived from events is void.
    fn reset(&self) {}
}

/// Given to the storage when it is opened. The observers need the storage, so they join later, but
/// before anything is applied.
#[derive(Default)]
pub struct Sink(OnceLock<Vec<Box<dyn ApplyObserver>>>);

impl Sink {
    /// Sets the observers, in the order in which they are told. The proposer comes last: a client
    /// that has its answer can rely on watchers, queues and leases having seen what it says.
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

/// For tests of what stands below.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl ApplySink for Nobody {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}
