//! What the harness knows by itself: faults made, what members hold and say, and the bounds that a
//! run is judged by.

use super::{
    is_zero,
    kv::{Change, Kv},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A step in a fault's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// One number for all steps of one fault.
    pub id: u64,
    /// `partition`, `kill`, `pause`, `power-loss`, `clock-rate`, … One word; the report colours by
    /// it.
    pub fault: String,
    pub stage: Stage,
    /// `n1`, or `n1>n2` for a direction, or a client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Of evidence: how much of what (`dropped packets`: 17). A fault without evidence above zero
    /// had no effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub effect: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Installed,
    Healed,
    Evidence,
    /// It could not be installed here; `detail` says why.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "lowercase")]
pub enum Fact {
    /// By what the run is judged; the first line of a history.
    Bounds(Bounds),
    /// `load`, `healed`, `drained`, `end`: what begins here.
    Phase(String),
    /// Everything a revision changed, as `source` tells it.
    Revision(Revision),
    /// The harness asked to forget what was before a revision.
    Compaction(Compaction),
    /// A member says who leads in a term.
    Leader(Leader),
    /// What a member computes from its whole state at a revision.
    Digest(Digest),
    /// What a member holds under a prefix at a revision, read from itself.
    State(State),
    /// The digest that a member's state had right after an entry of its log.
    Mark(Mark),
    /// The harness asked for a change of the members, or was told that it is made.
    Change(MemberChange),
    /// The members, by a linearizable read.
    Members(Members),
    /// A member answered a linearizable read.
    Answered(Answered),
    /// How far the log and the state of a member reach, which was stopped.
    Log(Log),
    /// One entry of a stopped member's log; facts of one member stand in the log's order, behind
    /// its [`Fact::Log`].
    Logged(Logged),
}

/// One revision of the store, with all its changes, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// `watch n1`, `log n2`: sources of one revision must agree.
    pub source: String,
    pub revision: i64,
    pub changes: Vec<Change>,
}

/// A compaction that may have happened from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Host time before the request was sent.
    pub asked: u64,
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The member that leads, as the teller's node (`Record::node`) says; from 1, or its member id.
    pub leader: u64,
    pub term: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub revision: i64,
    /// Revision digests of different compactions do not compare.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub compacted: i64,
    pub digest: String,
    /// `hashkv`, `state`: only the same kind compares.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub index: u64,
    pub digest: String,
}

/// One record when it is asked for, and another one with the same number when it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    pub number: u64,
    pub what: ChangeKind,
    /// The member's id; 0 in the question for a new one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub member: u64,
    /// The peer URL of a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer: String,
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Add,
    AddLearner,
    Promote,
    Remove,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Host time before the question was sent.
    pub asked: u64,
    pub members: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub id: u64,
    pub peer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Host time before the question was sent.
    pub asked: u64,
    /// The member's id, as it says itself.
    pub member: u64,
}

/// A member's log and state, as they stand on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Whose it is, as a member id; 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub member: u64,
    /// The last entry that is gone from the front; 0 if none is.
    pub purged: u64,
    /// The last entry that the state contains, and its term.
    pub applied: u64,
    pub applied_term: u64,
    /// The state's revision.
    pub revision: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    pub index: u64,
    pub term: u64,
    /// A checksum over everything in it.
    pub record: String,
    /// Keys and values that it surely writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub puts: Vec<(String, String)>,
    /// Those that it writes under a condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maybe: Vec<(String, String)>,
    /// It cannot be read, and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unreadable: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Host time before the question was sent; 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u64,
    pub prefix: String,
    pub revision: i64,
    pub kvs: Vec<Kv>,
}

/// What a run promises, and how much it must have seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Relative error of any clock's rate that the promises allow for.
    pub rate_error: f64,
    /// Nanoseconds by which two readings of `time` in different processes may disagree.
    pub uncertainty: u64,
    /// Nanoseconds after its time by which a lease must be gone, with quorum and without faults.
    pub late: u64,
    /// Nanoseconds within which a waiter learns of its turn or its loss, without faults.
    pub wake: u64,
    /// Below so many relevant operations (or grants, expiries, …) a property is not judged; by
    /// property.
    pub floors: BTreeMap<String, usize>,
    /// Highest share of `info` among all operations.
    pub max_unknown: f64,
    /// Steps that WGL may take for one key.
    pub wgl_steps: u64,
    /// The server promises to fail waiters whose key is gone (etcd does not).
    pub zombies_fail: bool,
    /// The answer of a grant comes with a revision at which it holds (that of etcd's Campaign is
    /// the one at which the wait began).
    pub dated_grants: bool,
    /// A member's leader and term are of one moment (etcd's term is that of the last entry that it
    /// applied).
    pub dated_leaders: bool,
    /// Nanoseconds within which some write succeeds if clients try and no fault holds.
    pub live: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            rate_error: 0.01,
            uncertainty: 0,
            late: 3_000_000_000,
            wake: 2_000_000_000,
            floors: BTreeMap::new(),
            max_unknown: 1.0,
            wgl_steps: 2_000_000,
            zombies_fail: true,
            dated_grants: true,
            dated_leaders: true,
            live: 7_000_000_000,
        }
    }
}
