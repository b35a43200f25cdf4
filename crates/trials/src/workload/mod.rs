//! What clients do: worker processes, each with many small clients that call, wait, and write down
//! what they were told.
//!
//! * [`Spec`] tells a worker everything; [`worker`] is its life.
//! * [`actor`] is one client: a connection, dice, and its lines in the history. [`session`] is a
//!   lease that it keeps.
//! * [`messages`] are requests and answers in short; [`link`] is the connections, and says which
//!   failures are certain.
//! * One file a workload: [`register`], [`append`], [`set`], [`watch`], [`lease`], [`lock`],
//!   [`election`], [`queue`], [`claim`], [`places`] (locks and semaphores of `conclave.v1`),
//!   [`fenced`] (and [`outside`], what is written outside of the store).
//!
//! 1. All workloads run together on disjoint prefixes of one store.
//! 2. Whatever a client draws follows from the seed, its worker's number and its own; what it meets
//!    does not.
//! 3. One attempt a call; the line of the call is written before it is sent. A client without a
//!    certain answer goes on under a new number.
//! 4. A worker that cannot write its history ends with an error: what is not written must not
//!    happen.

mod actor;
mod append;
mod claim;
mod election;
mod fenced;
mod lease;
mod link;
mod lock;
pub(crate) mod messages;
mod outside;
mod places;
mod queue;
mod register;
mod session;
mod set;
mod watch;
mod worker;

pub use worker::worker;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Every workload, as `--workloads` and the checkers name them.
pub const WORKLOADS: [&str; 11] =
    ["kv", "append", "set", "watch", "lease", "lock", "election", "fenced", "queue", "claim", "semaphore"];

/// Those that stock etcd offers too.
pub const OF_ETCD: [&str; 8] = ["kv", "append", "set", "watch", "lease", "lock", "election", "fenced"];

/// How many process numbers a worker may use.
pub const NUMBERS: u64 = 1_000_000;

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The client host that it lives in.
    pub client: usize,
    /// Its history.
    pub journal: PathBuf,
    pub endpoints: Vec<String>,
    pub seed: u64,
    /// Its first process number, and its first unique value.
    pub first: u64,
    pub workloads: Vec<String>,
    /// When the run began, in nanoseconds of the host.
    pub began: u64,
    /// Milliseconds between two calls of one client of the store.
    pub pace_ms: u64,
    /// The shortest lease that is asked for.
    pub ttl_s: u64,
    /// What clocks may be wrong by.
    pub rate_error: f64,
    /// How long a call may take.
    pub timeout_ms: u64,
    /// The server is stock etcd.
    pub etcd: bool,
}

impl Spec {
    pub(crate) fn has(&self, workload: &str) -> bool {
        self.workloads.iter().any(|one| one == workload)
    }
}
