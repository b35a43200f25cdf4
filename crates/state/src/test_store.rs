//! A machine on memory, for the tests of single commands.

use crate::machine::Batch;
use crate::{Changes, Command, Machine, MemoryView, Position, Response};

pub(crate) struct TestStore {
    pub(crate) machine: Machine,
    pub(crate) view: MemoryView,
}

impl TestStore {
    pub(crate) fn new() -> TestStore {
        let view = MemoryView::new();
        TestStore { machine: Machine::load(&view).unwrap(), view }
    }

    /// Runs a step as a batch of its own. Returns its result and what the batch changed.
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut Batch<'_, MemoryView>) -> T) -> (T, Changes) {
        let mut batch = self.machine.begin(&self.view);
        let done = step(&mut batch);
        let changes = batch.finish();
        self.view.write(&changes.writes);
        (done, changes)
    }

    /// Applies a command that is not refused.
    pub(crate) fn apply(&mut self, command: &Command) -> (Response, Changes) {
        let (outcome, changes) = self.step(|batch| batch.apply(Position::default(), command, true).unwrap());
        (outcome.result.unwrap(), changes)
    }
}
