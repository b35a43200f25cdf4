//! Records what clients did and what they were told, in the form that the checkers of the trials
//! judge.
//!
//! 1. Every call is recorded once, with the moment before it was sent and the moment after its
//!    answer was there.
//! 2. An outcome that is unknown is recorded as unknown: the call may take effect at any later
//!    time, or never.
//! 3. Every written value is unique in its history, so that a change found in the store names the
//!    call that made it.

use conclave_trials::history::{Answer, Call, Entry, KvAnswer, KvCall, Op, Outcome, Process, Record, Run, now};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Collects the operations of many clients; clones record into one history.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Record>>>);

impl Recorder {
    /// The time of the records.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(now())
    }

    /// Adds an operation that returns now.
    pub fn record(&self, client: usize, call: KvCall, outcome: Outcome, invoked: Duration) {
        let operation = operation(client, call, outcome, invoked, self.now());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(operation);
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn history(&self) -> History {
        History(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The records of one operation: its call and its outcome.
pub(crate) fn operation(
    client: usize,
    call: KvCall,
    outcome: Outcome,
    invoked: Duration,
    returned: Duration,
) -> [Record; 2] {
    let process = Process::Client(client as u64);
    let record = |entry, time: Duration| Record {
        index: 0,
        process: process.clone(),
        time: time.as_nanos() as u64,
        clock: None,
        node: None,
        entry,
    };
    let completed = match outcome {
        Outcome::Ok(answer) => Entry::Ok(answer),
        Outcome::Fail(failure) => Entry::Fail(failure),
        Outcome::Unknown(failure) => Entry::Info(failure),
    };
    [record(Entry::Invoke(Call::Kv(call)), invoked), record(completed, returned)]
}

/// Recorded operations.
#[derive(Clone, Debug, Default)]
pub struct History(pub(crate) Vec<Record>);

impl History {
    fn run(&self) -> Run {
        Run::new(self.0.clone())
    }

    /// How many operations were acknowledged, and how many are unknown.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let ops = self.run().ops;
        let unknown = ops.iter().filter(|op| matches!(op.outcome, Outcome::Unknown(_))).count();
        (ops.iter().filter(|op| op.answer().is_some()).count(), unknown)
    }

    /// The moment at which the first write was acknowledged of those that were sent at or after
    /// `moment`.
    #[must_use]
    pub fn first_write_sent_after(&self, moment: Duration) -> Option<Duration> {
        let wrote = |op: &&Op| matches!(op.answer(), Some(Answer::Kv(KvAnswer::Written { .. })));
        let sent_after = |op: &&Op| Duration::from_nanos(op.invoked) >= moment;
        let run = self.run();
        run.ops.iter().filter(wrote).filter(sent_after).map(|op| Duration::from_nanos(op.returned)).min()
    }
}
