//! Who keeps time for leases: the Raft leader alone, on its monotonic clock, outside the log.
//!
//! A lease is granted, revoked and expired by commands. In between, renewals touch only the leader's memory: 200,000 leases renewed
//! every few seconds put nothing into the log. Each member knows all leases and their TTLs (fed by apply), so that any of them can take over.
//!
//! Invariants (a renewal or grant answered with TTL d holds the lease for d from the moment the request was made):
//! 1. Deadlines begin when this member's own first entry of its term is applied, with the full TTL for every lease.
//! 2. A renewal first moves the deadline, then has leadership confirmed by a quorum in a round begun after that, then answers. A later
//!    leader was elected after that round, and grants the full TTL again.
//! 3. What is due is expired by a command that carries this leader's term; apply ignores it in an entry of another term.
//! 4. While the outcome of an expiry is open, its leases are not renewed. An unknown outcome stays open: it is proposed again until
//!    it is decided, or until this leader's term is over.
//! 5. A leader that stood still confirms its leadership before it expires anything, and does not count the time (`table`).
//!
//! `table` has the data, `renewal` the batches of renewals, `expiry` the task that expires, `host` what is needed of the node.

mod expiry;
mod host;
mod renewal;
#[cfg(test)]
mod simulation;
mod table;
#[cfg(test)]
mod tests;

pub use host::{LeaseHost, NodeLeaseHost};

use crate::clock::Clock;
use crate::leadership::{Leadership, LeadershipNow};
use crate::peer::Peers;
use crate::proposer::Proposer;
use crate::reader::{ReadError, Reader};
use conclave_state::{LeaseChange, LeaseId};
use conclave_storage::StateHandle;
use parking_lot::Mutex;
use renewal::Renewals;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a request looks for a leader that answers.
const PATIENCE: Duration = Duration::from_secs(6);

/// A renewed lease; TTL 0 means that there is no such lease (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    pub ttl: i64,
    /// The store's revision before the renewal.
    pub revision: i64,
}

#[derive(Clone)]
pub struct LeaseKeeper {
    shared: Arc<Shared>,
}

struct Shared {
    host: Box<dyn LeaseHost>,
    clock: Arc<dyn Clock>,
    keeping: Mutex<Keeping>,
    renewals: Renewals,
    /// Counts expiries that were decided; renewals of leases being expired wait for it.
    decided: watch::Sender<u64>,
}

struct Keeping {
    table: Table,
    /// False when the leases could not be read from the state; tried again before the next reign.
    loaded: bool,
}

impl LeaseKeeper {
    pub fn new(
        clock: Arc<dyn Clock>,
        state: StateHandle,
        proposer: Proposer,
        reader: Reader,
        leadership: Leadership,
        peers: Peers,
    ) -> LeaseKeeper {
        LeaseKeeper::with_host(clock, Box::new(NodeLeaseHost { leadership, proposer, reader, peers, state }))
    }

    /// A keeper on any host. Call before the first command is applied, or call [`LeaseKeeper::reset`] afterwards.
    #[must_use]
    pub fn with_host(clock: Arc<dyn Clock>, host: Box<dyn LeaseHost>) -> LeaseKeeper {
        let keeper = LeaseKeeper {
            shared: Arc::new(Shared {
                host,
                clock,
                keeping: Mutex::new(Keeping { table: Table::default(), loaded: false }),
                renewals: Renewals::default(),
                decided: watch::Sender::new(0),
            }),
        };
        keeper.reset();
        keeper
    }

    /// Runs the keeper's work until it is dropped: expiring what is due, and batches of renewals.
    pub async fn run(self) {
        tokio::join!(expiry::run(&self), renewal::run(&self));
    }

    /// Takes in what a batch of commands did to leases. Called from apply, in order.
    pub fn observe(&self, changes: &[LeaseChange]) {
        if changes.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let mut keeping = self.shared.keeping.lock();
        for change in changes {
            keeping.table.observe(change, now);
        }
    }

    /// The whole state was replaced: reads all leases again.
    pub fn reset(&self) {
        self.load(&mut self.shared.keeping.lock());
    }

    /// How many leases there are, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.keeping.lock().table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whole seconds that the lease has left, by the leader's clock; `None` if there is no such lease.
    pub async fn remaining(&self, id: LeaseId) -> Result<Option<i64>, ReadError> {
        let mut search = LeaderSearch::new(&*self.shared.host);
        loop {
            let now = self.shared.host.leadership();
            let answer = search.attempt(async {
                match now.leader {
                    _ if now.is_me => self.remaining_here(id).await,
                    Some(leader) => self.shared.host.remaining_at(leader, id).await,
                    None => Err(ReadError::NoLeader),
                }
            });
            if let Some(left) = answer.await? {
                return Ok(left.map(|milliseconds| milliseconds / 1000));
            }
        }
    }

    /// The leader's side of [`LeaseKeeper::remaining`], in milliseconds.
    pub async fn remaining_here(&self, id: LeaseId) -> Result<Option<i64>, ReadError> {
        let term = self.reign()?;
        if self.shared.host.confirm().await? != term {
            return Err(ReadError::LeaderChanged);
        }
        let now = self.shared.clock.now();
        let left = self.shared.keeping.lock().table.remaining(id, now);
        Ok(left.map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The term in which this member leads, with the deadlines of that term in place.
    fn reign(&self) -> Result<u64, ReadError> {
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
            return Err(ReadError::Fault("the leases could not be read".into()));
        }
        if keeping.table.assume(now.term, self.shared.clock.now()) {
            tracing::debug!(term = now.term, leases = keeping.table.len(), "keeping leases: full TTL for all");
        }
        Ok(now.term)
    }

    fn load(&self, keeping: &mut Keeping) {
        match self.shared.host.leases() {
            Ok(leases) => {
                keeping.table.load(leases, self.shared.clock.now());
                keeping.loaded = true;
            }
            Err(fault) => {
                tracing::error!(%fault, "the leases cannot be read; none is renewed or expired by this member");
                keeping.loaded = false;
            }
        }
    }
}

/// Asks again, after a change of leader or a moment, while nobody answers as the leader.
struct LeaderSearch {
    changes: watch::Receiver<LeadershipNow>,
    deadline: Instant,
    pause: Duration,
}

impl LeaderSearch {
    /// Before the leadership is looked at for the first time, so that no change is missed.
    fn new(host: &dyn LeaseHost) -> LeaderSearch {
        let deadline = Instant::now() + PATIENCE;
        LeaderSearch { changes: host.leadership_changes(), deadline, pause: Duration::from_millis(5) }
    }

    /// The answer; or `None`, after a pause, if another attempt is worth while.
    async fn attempt<T>(&mut self, ask: impl Future<Output = Result<T, ReadError>>) -> Result<Option<T>, ReadError> {
        self.changes.borrow_and_update();
        let error = match tokio::time::timeout_at(self.deadline, ask).await {
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(error @ (ReadError::NoLeader | ReadError::LeaderChanged | ReadError::TimedOut))) => error,
            Ok(Err(error)) => return Err(error),
            Err(_) => ReadError::TimedOut,
        };
        if Instant::now() + self.pause >= self.deadline {
            return Err(error);
        }
        let _ = tokio::time::timeout(self.pause, self.changes.changed()).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(200));
        Ok(None)
    }
}
