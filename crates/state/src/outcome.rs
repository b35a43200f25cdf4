//! Outcomes of commands. An outcome is part of the replicated result: every member that applies the
//! entry gets the same one.

use crate::auth::AuthRefusal;
use crate::coord::CoordResponse;
use crate::version::Version;
use crate::{Alarm, LeaseId};
use bytes::Bytes;
use thiserror::Error;

/// One version of a key, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: LeaseId,
}

/// The outcome of one command, with the store's revision right after it (for response headers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub revision: i64,
    /// The answer was given before, at this revision, and is repeated: it describes that moment,
    /// not the present.
    pub repeats: Option<i64>,
    pub result: Result<Response, Rejection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    Put {
        prev: Option<KeyValue>,
    },
    DeleteRange(Deleted),
    Txn(TxnResult),
    Compact,
    LeaseGrant {
        id: LeaseId,
        ttl_ms: u64,
    },
    /// `left`: the lease has more than one command may end; the next one continues.
    LeaseRevoke {
        left: bool,
    },
    /// The number of named leases that existed and expired whole.
    Expire {
        expired: usize,
    },
    Enqueue(Place),
    Proclaim,
    /// Whether the place existed and was deleted.
    Dequeue {
        deleted: bool,
    },
    Announce,
    Alarm {
        alarms: Vec<Alarm>,
    },
    Coord(CoordResponse),
    /// The number of named timers that were still armed.
    CoordTimer {
        ended: usize,
    },
    /// Whether a place ended with the attempt.
    Cancel {
        ended: bool,
    },
    Join(Admission),
    Version(VersionAnswer),
    PromoteWhenReady,
    Placement,
    /// A change of users and roles.
    Auth,
    /// The number in the token, which tells a member that has not come so far to wait.
    SignIn {
        index: u64,
    },
    /// The proposer did not ask for an answer (`Batch::apply` with `answer = false`).
    Unasked,
}

/// The answer to [`crate::Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// This directory is the member, now and at every repetition.
    Admitted,
    /// Another directory was the member first.
    Taken,
    Removed,
    /// No such member was added to the running cluster.
    Unknown,
}

/// The answer to [`crate::VersionChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionAnswer {
    Done,
    /// The cluster's version is later than the member's program supports.
    TooOld {
        version: Version,
    },
    /// The member's program does not support the cluster's version any more.
    TooNew {
        version: Version,
    },
    /// A downgrade is under way.
    UnderWay,
    /// The cluster cannot go back to that version.
    InvalidTarget,
    /// The cluster has not decided on a version yet.
    Undecided,
}

/// A place in a native queue. `create_revision` is the place and the fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub key: Bytes,
    pub lease: LeaseId,
    pub create_revision: i64,
    /// The place is the first of its queue: it holds the lock or leads from this revision on.
    pub first: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub deleted: i64,
    /// Filled if asked for.
    pub prev: Vec<KeyValue>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResult {
    pub succeeded: bool,
    pub responses: Vec<OpResult>,
}

/// `revision` is for etcd's nested header: the revision that the operation saw or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpResult {
    pub revision: i64,
    pub kind: OpResultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResultKind {
    Range(RangeResult),
    Put { prev: Option<KeyValue> },
    DeleteRange(Deleted),
    Txn(TxnResult),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResult {
    pub kvs: Vec<KeyValue>,
    /// The limit cut the answer short.
    pub more: bool,
    /// Keys in the range, regardless of the limit.
    pub count: i64,
}

/// A deterministic rejection: part of the replicated result, without effect. The texts for clients
/// are in the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    #[error("key not found")]
    KeyNotFound,
    #[error("lease not found")]
    LeaseNotFound,
    #[error("lease exists already")]
    LeaseExists,
    #[error("revision is compacted (up to {compacted})")]
    Compacted { compacted: i64 },
    #[error("revision is in the future (now {current})")]
    FutureRevision { current: i64 },
    #[error("not the leader: no such incarnation of the key")]
    NotLeader,
    #[error("the no-space alarm is raised")]
    NoSpace,
    #[error("the corruption alarm is raised")]
    Corrupt,
    #[error("expiry of another term")]
    StaleTerm,
    #[error("keys under /_conclave/ are written by elections, locks and claims alone")]
    Reserved,
    #[error("not a candidate")]
    NotACandidate,
    /// `session`: whose candidate it is.
    #[error(
        "that id stands already, for session {session:x}; only with `takeover` does another session or instance replace it"
    )]
    AlreadyExists { session: LeaseId },
    #[error("no such election")]
    NoElection,
    #[error("held by another")]
    NotHolder,
    /// An eviction's cool-down is not over.
    #[error("evicted, and not to come back yet")]
    CoolingDown,
    /// A precondition was not met; this is the current state.
    #[error("not as expected (fence {fence}, last changed at revision {revision})")]
    Unexpected { fence: i64, revision: i64 },
    #[error("the semaphore is in use with the capacity {capacity}")]
    CapacityDiffers { capacity: u32 },
    #[error("the claim is pinned by {limit} already")]
    TooManyPins { limit: u32 },
    #[error("caller.dedupe_id was used for another operation before")]
    DedupeReused,
    /// The attempt was given up before ([`crate::Cancel`]).
    #[error("the call was given up")]
    Cancelled,
    #[error("the ranges of the request cover more than {limit} keys; split it into several")]
    TooManyKeys { limit: usize },
    #[error(transparent)]
    Auth(#[from] AuthRefusal),
    /// A command that conversion should have refused.
    #[error("the operation contradicts itself")]
    Malformed,
    /// Somebody put the key of a place by hand under another lease.
    #[error("the key of this place is attached to another lease, {lease:x}")]
    OfOtherLease { lease: LeaseId },
}
