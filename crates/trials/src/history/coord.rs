//! Leases, locks, elections of both kinds, claims, and writes to a fenced resource.
//!
//! Durations are milliseconds. `revision` in an answer is the header's. A fence of 0 is none, or
//! one that was not told.

use super::{is_zero, kv::Kv};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum LeaseCall {
    Grant { lease: i64, ttl_ms: u64 },
    Keepalive { lease: i64 },
    Revoke { lease: i64 },
    TimeToLive { lease: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum LeaseAnswer {
    Granted {
        revision: i64,
        lease: i64,
        ttl_ms: u64,
    },
    /// 0: the lease is gone.
    Kept {
        revision: i64,
        lease: i64,
        ttl_ms: u64,
    },
    Revoked {
        revision: i64,
    },
    /// `remaining_ms` below 0: the lease is gone.
    Remains {
        revision: i64,
        granted_ms: u64,
        remaining_ms: i64,
    },
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Exclusive,
    Shared,
    Permits {
        weight: u32,
        capacity: u32,
    },
}

/// Whose protocol: etcd's keys in user space, or `conclave.v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    #[default]
    Etcd,
    Conclave,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum LockCall {
    /// Wait for the lock. With the etcd protocol the key is `lock/<lease in hexadecimal>`.
    Acquire {
        lock: String,
        lease: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        api: Api,
        #[serde(default, skip_serializing_if = "is_zero")]
        mode: Mode,
        /// Answer at once.
        #[serde(default, skip_serializing_if = "is_zero")]
        try_only: bool,
    },
    Release {
        lock: String,
        fence: i64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum LockAnswer {
    Granted {
        revision: i64,
        /// The etcd protocol does not tell it in the answer: the worker reads the key's create
        /// revision, or leaves 0.
        fence: i64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
        /// The revision of the grant, where it is told.
        #[serde(default, skip_serializing_if = "is_zero")]
        since: i64,
    },
    /// Tried without success.
    NotGranted {
        revision: i64,
    },
    Released {
        revision: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum ElectionCall {
    Campaign {
        election: String,
        lease: i64,
        value: String,
    },
    Proclaim {
        election: String,
        key: String,
        fence: i64,
        value: String,
    },
    Resign {
        election: String,
        key: String,
        fence: i64,
    },
    Leader {
        election: String,
    },
    /// Opens a stream; what it brings are `observed` events.
    Observe {
        election: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum ElectionAnswer {
    Won {
        revision: i64,
        key: String,
        /// The key's create revision (`LeaderKey.rev`).
        fence: i64,
    },
    Proclaimed {
        revision: i64,
    },
    Resigned {
        revision: i64,
    },
    Leader {
        revision: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader: Option<Kv>,
    },
    Observing,
}

/// One message of an observer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub election: String,
    pub revision: i64,
    /// Absent: nobody leads (Conclave says so, etcd does not).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Kv>,
}

/// A call about one queue election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCall {
    pub election: String,
    #[serde(flatten)]
    pub what: QueueOp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum QueueOp {
    Enter {
        candidate: String,
        session: i64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        instance: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        priority: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        try_only: bool,
        #[serde(default, skip_serializing_if = "is_zero")]
        takeover: bool,
        #[serde(default, skip_serializing_if = "is_zero")]
        preempt: bool,
    },
    /// Enter and wait for the win.
    Campaign {
        candidate: String,
        session: i64,
    },
    Leave {
        candidate: String,
    },
    Anoint {
        candidate: String,
    },
    Promote {
        candidate: String,
        to: Promotion,
    },
    Demote {
        candidate: String,
        places: u32,
    },
    Evict {
        candidate: String,
    },
    Transfer {
        term: i64,
        to: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        leave: bool,
    },
    RequestTransfer {
        to: String,
    },
    Proclaim {
        term: i64,
        value: String,
    },
    Term,
    Watch {
        start: i64,
        stream: String,
    },
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promotion {
    Places(u32),
    Front,
    Lead,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    pub id: i64,
    pub seq: u64,
    /// Empty: nobody leads.
    pub leader: String,
    /// The leader first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// The last change of leader or line.
    pub revision: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joined: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAnswer {
    pub revision: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changed: bool,
    /// The named candidate's, afterwards: `absent`, `waiting`, `leads`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub standing: String,
    /// Of its token, if it leads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fence: i64,
    /// Absent where none is told (delete).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Term>,
}

/// One message of a queue election's watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEvent {
    pub stream: String,
    pub election: String,
    pub revision: i64,
    pub kind: QueueEventKind,
    pub term: Term,
    /// In lower case, as the protocol names it: `entered`, `left`, `expired`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub previous: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueEventKind {
    Snapshot,
    Changed,
    Vacant,
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum ClaimCall {
    Claim {
        claim: String,
        holder: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        instance: String,
        duration_ms: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        wait: bool,
    },
    Check {
        claim: String,
        holder: String,
    },
    AwaitVacant {
        claim: String,
        /// 0: from now.
        min_revision: i64,
    },
    Revoke {
        claim: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<String>,
    },
    Pin {
        claim: String,
        entity: String,
    },
    Unpin {
        claim: String,
        entity: String,
    },
    Watch {
        claim: String,
        start: i64,
        stream: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum ClaimAnswer {
    Taken {
        revision: i64,
        fence: i64,
        guaranteed_ms: u64,
    },
    Extended {
        revision: i64,
        fence: i64,
        guaranteed_ms: u64,
    },
    Waiting {
        revision: i64,
        ticket: u64,
    },
    Denied {
        revision: i64,
        holder: String,
        fence: i64,
    },
    /// Check: it leads.
    Holds {
        revision: i64,
        fence: i64,
    },
    /// Check: it does not.
    NotHolder {
        revision: i64,
    },
    Vacant {
        revision: i64,
        /// Where a tenure ended, or the present revision if nobody held it.
        at: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        handed_over: bool,
    },
    Done {
        revision: i64,
        changed: bool,
    },
}

/// One message of a claim's watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimEvent {
    pub stream: String,
    pub claim: String,
    pub revision: i64,
    /// Of a tenure that began; empty: it is vacant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fence: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub previous: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snapshot: bool,
}

/// A write to a resource under a tenure of a lock, an election or a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedCall {
    pub resource: String,
    /// The lock, election or claim whose fence it is.
    pub name: String,
    pub fence: i64,
    pub value: String,
    pub guard: FenceGuard,
    /// The value that the writer read before: what an update builds on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub read: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceGuard {
    /// The token's compares stand in the store's transaction.
    Store,
    /// A resource outside that refuses smaller fences.
    Outside,
    /// Nothing: the control that must lose updates.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum FencedAnswer {
    /// The store's revision, or the resource's own count.
    Accepted { revision: i64 },
    /// `seen`: the highest fence that the resource knows, 0 if it does not say.
    Refused {
        revision: i64,
        #[serde(default, skip_serializing_if = "is_zero")]
        seen: i64,
    },
}

/// The client no longer believes in a tenure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disbelief {
    /// The lock or election.
    pub name: String,
    pub fence: i64,
    pub why: String,
}
