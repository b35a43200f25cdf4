//! Who keeps time: the Raft leader alone, on its monotonic clock, outside the log.
//!
//! A *term of life* (of a lease, of a timer) begins and ends by commands. In between, renewals
//! touch only the leader's memory: 200,000 leases renewed every few seconds put nothing into the
//! log. Each member knows everything that has a deadline, and for how long it was promised (fed by
//! apply), so that any of them can take over. There are two keepers in a node, one of leases and
//! one of the timers of elections, locks and claims; they differ in what they read, observe and
//! propose, not in how they keep time.
//!
//! Invariants (a call answered with span d holds what it is about for d from the moment the call
//! was made):
//! 1. Deadlines begin when this member's own first entry of its term is applied, with the full span
//!    for everything.
//! 2. A renewal first moves the deadline, then has leadership confirmed by a quorum in a round
//!    begun after that, then answers. A later leader was elected after that round, and grants the
//!    full span again.
//! 3. What is due is ended by a command that carries this leader's term; apply ignores it in an
//!    entry of another term.
//! 4. While the outcome of such a command is open, what it names is not renewed. An unknown outcome
//!    stays open: it is proposed again until it is decided, or until this leader's term is over.
//! 5. A leader that stood still confirms its leadership before it ends anything, and does not count
//!    the time (`table`).
//! 6. An id may be used again at any moment, also while the end of its former life is under way.
//!    Such a command names the log index up to which the keeper had observed when it found the ids
//!    due, and apply spares what began later. Proposed again, it names the same.
//!
//! `request` has what is asked, `deadlines` the two kinds, `table` the data, `renewal` the batches
//! of renewals, `expiry` the task that ends what is due, `host` what is needed of the node.

mod deadlines;
mod expiry;
mod host;
mod renewal;
mod request;
#[cfg(test)]
mod simulation;
mod table;
#[cfg(test)]
mod tests;

pub use deadlines::{Deadlines, Extension, Leases, Timed, Timers};
pub use host::{ExpireRequest, KeeperHost, Loaded, NodeHost};
pub use request::{Id, Kind, RenewRequest, Renewed, whole_millis};

use crate::clock::Clock;
use crate::leadership::LeadershipNow;
use crate::reader::ReadError;
use conclave_state::Deadline;
use parking_lot::Mutex;
use renewal::Renewals;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long a request looks for a leader that answers.
const PATIENCE: Duration = Duration::from_secs(6);

#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    host: Box<dyn KeeperHost>,
    clock: Arc<dyn Clock>,
    keeping: Mutex<Keeping>,
    renewals: Renewals,
    /// Counts endings that were decided; renewals of what is being ended wait for it.
    decided: watch::Sender<u64>,
    /// Something is due before the expiry task means to look.
    sooner: Notify,
}

struct Keeping {
    table: Table,
    /// False when the state could not be read; tried again when this member leads next.
    loaded: bool,
    /// When the expiry task looks next, by the clock.
    looks_at: Duration,
}

impl Keeper {
    /// Make it before the first command is applied, or call [`Keeper::reset`] afterwards.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, host: Box<dyn KeeperHost>) -> Keeper {
        let keeping = Keeping { table: Table::default(), loaded: false, looks_at: Duration::MAX };
        let keeper = Keeper {
            shared: Arc::new(Shared {
                host,
                clock,
                keeping: Mutex::new(keeping),
                renewals: Renewals::default(),
                decided: watch::Sender::new(0),
                sooner: Notify::new(),
            }),
        };
        keeper.reset();
        keeper
    }

    /// Runs the keeper's work until it is dropped: ending what is due, and batches of renewals.
    pub async fn run(self) {
        tokio::join!(expiry::run(&self), renewal::run(&self));
    }

    /// Takes in what the entries did that were applied, up to `index`. Called from apply, in order.
    pub fn observe(&self, index: u64, changes: impl IntoIterator<Item = Deadline<Id>>) {
        let mut changes = changes.into_iter().peekable();
        if changes.peek().is_none() {
            return;
        }
        let now = self.shared.clock.now();
        let mut keeping = self.shared.keeping.lock();
        keeping.table.observe(index, changes, now);
        if keeping.table.next_due(now).is_some_and(|wait| now.saturating_add(wait) < keeping.looks_at) {
            self.shared.sooner.notify_one();
        }
    }

    /// The whole state was replaced: reads everything again.
    pub fn reset(&self) {
        self.load(&mut self.shared.keeping.lock());
    }

    /// How much there is to keep, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.keeping.lock().table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sorts ids by when they are due, as far as this member knows: if it leads.
    pub fn soonest_first(&self, ids: &mut [Id]) {
        self.shared.keeping.lock().table.soonest_first(ids);
    }

    /// What is left as far as this member knows: if it leads. For display, because nobody confirms
    /// that it still does.
    #[must_use]
    pub fn known(&self, ids: &[Id]) -> Vec<Option<Duration>> {
        let now = self.shared.clock.now();
        self.shared.keeping.lock().table.known(ids, now)
    }

    /// What is left, by the leader's clock; `None` if there is no such id.
    pub async fn remaining(&self, id: Id) -> Result<Option<Duration>, ReadError> {
        let mut search = LeaderSearch::new(&*self.shared.host);
        loop {
            let now = search.leadership();
            let answer = search.attempt(now, async {
                match now.leader {
                    _ if now.is_me => self.remaining_here(id).await,
                    Some(leader) => self.shared.host.remaining_at(leader, id).await,
                    None => Err(ReadError::NoLeader),
                }
            });
            if let Some(left) = answer.await? {
                return Ok(left);
            }
        }
    }

    /// The leader's side of [`Keeper::remaining`].
    pub async fn remaining_here(&self, id: Id) -> Result<Option<Duration>, ReadError> {
        let term = self.term()?;
        if self.shared.host.confirm().await? != term {
            return Err(ReadError::LeaderChanged);
        }
        let now = self.shared.clock.now();
        Ok(self.shared.keeping.lock().table.remaining(id, now))
    }

    /// The term in which this member leads, with the deadlines of that term in place.
    fn term(&self) -> Result<u64, ReadError> {
        let mut keeping = self.shared.keeping.lock();
        // Read under the lock, so that a newer answer is never overwritten by an older one.
        let now = self.shared.host.leadership();
        if !now.is_me {
            keeping.table.resign();
            return Err(if now.leader.is_some() { ReadError::LeaderChanged } else { ReadError::NoLeader });
        }
        if !keeping.loaded {
            self.load(&mut keeping);
        }
        if !keeping.loaded {
            return Err(ReadError::Fault("what has a deadline could not be read".into()));
        }
        if keeping.table.assume(now.term, self.shared.clock.now()) {
            tracing::debug!(term = now.term, kept = keeping.table.len(), "keeping time: the full span for all");
        }
        Ok(now.term)
    }

    fn load(&self, keeping: &mut Keeping) {
        match self.shared.host.all() {
            Ok(all) => {
                keeping.table.load(all, self.shared.clock.now());
                keeping.loaded = true;
            }
            Err(fault) => {
                tracing::error!(%fault, "what has a deadline cannot be read; this member renews and ends nothing");
                keeping.loaded = false;
            }
        }
    }
}

/// Asks again, after a change of leader or a moment, while nobody answers as the leader.
///
/// A leader that hangs answers nothing, so an attempt ends when another leader is known, or none:
/// whatever was asked can be asked twice.
struct LeaderSearch {
    changes: watch::Receiver<LeadershipNow>,
    deadline: Instant,
    pause: Duration,
}

impl LeaderSearch {
    fn new(host: &dyn KeeperHost) -> LeaderSearch {
        let deadline = Instant::now() + PATIENCE;
        LeaderSearch { changes: host.leadership_changes(), deadline, pause: Duration::from_millis(5) }
    }

    /// Whom to ask. Every change after this ends the attempt, or the pause after it.
    fn leadership(&mut self) -> LeadershipNow {
        *self.changes.borrow_and_update()
    }

    /// The answer of the leader that was known; or `None`, maybe after a pause, if another attempt
    /// is worth while.
    async fn attempt<T>(
        &mut self,
        asked: LeadershipNow,
        ask: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<Option<T>, ReadError> {
        let error = tokio::select! {
            biased;
            answer = tokio::time::timeout_at(self.deadline, ask) => match answer {
                Ok(Ok(answer)) => return Ok(Some(answer)),
                Ok(Err(error @ (ReadError::NoLeader | ReadError::LeaderChanged | ReadError::TimedOut))) => error,
                Ok(Err(error)) => return Err(error),
                Err(_) => ReadError::TimedOut,
            },
            () = replaced(&mut self.changes, asked) => return Ok(None),
        };
        if Instant::now() + self.pause >= self.deadline {
            return Err(error);
        }
        let _ = tokio::time::timeout(self.pause, self.changes.changed()).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(200));
        Ok(None)
    }
}

/// Returns when the leadership that was asked is over.
async fn replaced(changes: &mut watch::Receiver<LeadershipNow>, asked: LeadershipNow) {
    let over = |now: &LeadershipNow| (now.leader, now.term) != (asked.leader, asked.term);
    if changes.wait_for(over).await.is_err() {
        // Consensus has ended; the attempt ends by itself.
        std::future::pending().await
    }
}
