//! Distributes applied entries from the storage to the apply observers, in log order.
//!
//! The node's own observers (deadlines, leadership) are called on the task that applies. Those that
//! serve clients are called on the clients' runtime ([`Handover`]), one job for each batch. Clients
//! that cannot keep up cost no memory without a bound: over [`BACKLOG`], changes are left out and
//! the observers are told to read the state again, as after a snapshot.

use crate::handover::Handover;
use conclave_state::Changes;
use conclave_storage::{AppliedBatch, ApplySink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes of changes that may wait for the clients' runtime.
const BACKLOG: usize = if cfg!(test) { 4_096 } else { 64 << 20 };

/// What an event costs beside its key and value.
const EVENT_BYTES: usize = 128;

/// Follows applied changes. An observer must never block or wait.
pub trait ApplyObserver: Send + Sync + 'static {
    /// Called for every batch, in order, when the batch is in the state. For an observer that
    /// serves clients, the state may already be newer. An observer may take the parts that only it
    /// needs.
    fn applied(&self, batch: &mut AppliedBatch);

    /// A snapshot replaced the state, or changes were left out: discard everything derived from
    /// events. The state may already be newer than the batches that follow.
    fn reset(&self) {}
}

/// Given to the storage when it is opened. The observers need the storage, so they are set later,
/// but before anything is applied.
#[derive(Default)]
pub struct Sink(OnceLock<Observers>);

pub(crate) struct Observers {
    /// Called on the task that applies.
    pub(crate) own: Vec<Box<dyn ApplyObserver>>,
    pub(crate) clients: ForClients,
}

/// Observers that serve clients.
pub(crate) struct ForClients {
    handover: Handover,
    shared: Arc<Shared>,
}

struct Shared {
    /// Derive something from the changes of the state.
    followers: Vec<Box<dyn ApplyObserver>>,
    /// Answers the callers of commands. It comes last, so when a client has its answer, watchers
    /// and queues have seen the change.
    answers: Box<dyn ApplyObserver>,
    /// Bytes of changes that are handed over and not observed yet.
    waiting: AtomicUsize,
    /// Changes were left out, and the followers will be reset.
    resetting: AtomicBool,
}

impl Sink {
    /// Sets the observers.
    pub(crate) fn join(&self, observers: Observers) {
        // Only the start of the node calls this, once.
        let _ = self.0.set(observers);
    }
}

impl ApplySink for Sink {
    fn applied(&self, mut batch: AppliedBatch) {
        let Some(observers) = self.0.get() else { return };
        for observer in &observers.own {
            observer.applied(&mut batch);
        }
        observers.clients.applied(batch);
    }

    fn installed(&self) {
        let Some(observers) = self.0.get() else { return };
        for observer in &observers.own {
            observer.reset();
        }
        observers.clients.reset();
    }
}

impl ForClients {
    pub(crate) fn new(
        handover: Handover,
        followers: Vec<Box<dyn ApplyObserver>>,
        answers: Box<dyn ApplyObserver>,
    ) -> ForClients {
        let (waiting, resetting) = (AtomicUsize::new(0), AtomicBool::new(false));
        ForClients { handover, shared: Arc::new(Shared { followers, answers, waiting, resetting }) }
    }

    fn applied(&self, mut batch: AppliedBatch) {
        let bytes = weight(&batch.changes);
        let before = self.shared.waiting.fetch_add(bytes, Ordering::AcqRel);
        if before > 0 && before + bytes > BACKLOG {
            self.leave_out(&mut batch, bytes);
            let shared = self.shared.clone();
            return self.handover.run(move || shared.answers.applied(&mut batch));
        }
        let shared = self.shared.clone();
        self.handover.run(move || {
            for follower in &shared.followers {
                follower.applied(&mut batch);
            }
            shared.answers.applied(&mut batch);
            shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
        });
    }

    /// The state holds the changes already, so a reset from now on includes them.
    fn leave_out(&self, batch: &mut AppliedBatch, bytes: usize) {
        batch.changes = Changes::default();
        self.shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
        if self.shared.resetting.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!("clients cannot keep up with the changes; watches and waiting calls read the state again");
        let shared = self.shared.clone();
        self.handover.run(move || {
            // Cleared first: what is left out from now on is followed by another reset.
            shared.resetting.store(false, Ordering::Release);
            shared.followers.iter().for_each(|follower| follower.reset());
        });
    }

    fn reset(&self) {
        let shared = self.shared.clone();
        self.handover.run(move || {
            shared.followers.iter().for_each(|follower| follower.reset());
            shared.answers.reset();
        });
    }
}

fn weight(changes: &Changes) -> usize {
    changes.events.iter().map(|event| EVENT_BYTES + event.kv.key.len() + event.kv.value.len()).sum()
}

/// For tests of the storage.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl ApplySink for Nobody {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::{Event, EventKind, KeyValue};
    use conclave_storage::types::log_id;
    use parking_lot::Mutex;

    /// Records the revisions of batches with changes, "answer" for each batch, and "reset".
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    struct Follower(Recorder);
    struct Answers(Recorder);

    impl ApplyObserver for Follower {
        fn applied(&self, batch: &mut AppliedBatch) {
            self.0.0.lock().push(format!("changes {}", batch.changes.revision));
        }

        fn reset(&self) {
            self.0.0.lock().push("reset".to_owned());
        }
    }

    impl ApplyObserver for Answers {
        fn applied(&self, batch: &mut AppliedBatch) {
            self.0.0.lock().push(format!("answer {}", batch.last.index));
        }
    }

    fn batch(revision: i64, bytes: usize) -> AppliedBatch {
        let kv = KeyValue { key: vec![b'k'; bytes].into(), mod_revision: revision, ..KeyValue::default() };
        let events = vec![Event { kind: EventKind::Put, kv }];
        let changes = Changes { events, revision, ..Changes::default() };
        AppliedBatch { last: log_id(1, revision.unsigned_abs()), changes, answers: vec![] }
    }

    fn sink(recorder: &Recorder, handover: &Handover) -> Sink {
        let sink = Sink::default();
        let followers: Vec<Box<dyn ApplyObserver>> = vec![Box::new(Follower(recorder.clone()))];
        let clients = ForClients::new(handover.clone(), followers, Box::new(Answers(recorder.clone())));
        sink.join(Observers { own: vec![], clients });
        sink
    }

    #[test]
    fn changes_over_the_bound_are_left_out_and_answers_are_not() {
        let (recorder, handover) = (Recorder::default(), Handover::default());
        // The clients' runtime does not run until all is applied.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        handover.start(runtime.handle());
        let sink = sink(&recorder, &handover);
        for revision in 1..=4 {
            sink.applied(batch(revision, BACKLOG / 2));
        }
        runtime.block_on(async {
            while recorder.0.lock().len() < 6 {
                tokio::task::yield_now().await;
            }
        });
        let expected = ["changes 1", "answer 1", "reset", "answer 2", "answer 3", "answer 4"];
        assert_eq!(*recorder.0.lock(), expected);
        sink.applied(batch(5, 10));
        runtime.block_on(async {
            while recorder.0.lock().len() < 8 {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(recorder.0.lock()[6..], ["changes 5", "answer 5"]);
    }

    #[test]
    fn one_batch_over_the_bound_goes_alone() {
        let recorder = Recorder::default();
        sink(&recorder, &Handover::default()).applied(batch(1, 2 * BACKLOG));
        assert_eq!(*recorder.0.lock(), ["changes 1", "answer 1"]);
    }
}
