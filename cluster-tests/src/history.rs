//! What clients did and what they were told, as a list of operations with their times.
//!
//! 1. Every call is recorded once, with the moment before it was sent and the moment after its answer was there.
//! 2. An outcome that is unknown is recorded as unknown: the call may take effect at any later time, or never.
//! 3. Every written value is unique in its history, so that a change found in the store names the call that made it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Put {
        key: String,
        value: String,
    },
    /// Linearizable.
    Get {
        key: String,
    },
    /// Put if the key's modification revision is `expected` (0 = absent), else read it.
    Swap {
        key: String,
        expected: i64,
        value: String,
    },
}

/// A value that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub value: String,
    pub modified: i64,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The write took effect at this revision.
    Written { revision: i64 },
    /// The key stood so at this revision: a read, or a swap whose comparison failed.
    Read { revision: i64, seen: Option<Seen> },
    /// It surely did not happen.
    Refused(String),
    /// It may have happened, or may yet.
    Unknown(String),
}

/// One call and its outcome.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub call: Call,
    pub outcome: Outcome,
    /// Both since the recorder began.
    pub invoked: Duration,
    pub returned: Duration,
}

/// Collects the operations of many clients; clones record into one history.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { began: Instant::now(), operations: Arc::default() }
    }
}

impl Recorder {
    /// Time since the recorder began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds an operation that returns now.
    pub fn record(&self, client: usize, call: Call, outcome: Outcome, invoked: Duration) {
        let operation = Operation { client, call, outcome, invoked, returned: self.now() };
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn history(&self) -> History {
        History(self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Recorded operations, in the order in which they returned.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<Operation>);

impl History {
    /// How many operations were acknowledged, and how many are unknown.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let acknowledged =
            self.0.iter().filter(|o| matches!(o.outcome, Outcome::Written { .. } | Outcome::Read { .. })).count();
        let unknown = self.0.iter().filter(|o| matches!(o.outcome, Outcome::Unknown(_))).count();
        (acknowledged, unknown)
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.0.iter().filter(|o| matches!(o.outcome, Outcome::Written { .. })).count()
    }

    /// When the first write was acknowledged that was sent at or after `moment`.
    #[must_use]
    pub fn first_write_sent_after(&self, moment: Duration) -> Option<Duration> {
        let writes = self.0.iter().filter(|o| matches!(o.outcome, Outcome::Written { .. }) && o.invoked >= moment);
        writes.map(|o| o.returned).min()
    }
}
