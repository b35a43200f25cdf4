//! Calls, answers and stream events of all workloads. `f` names the workload, `value.op` the
//! operation.

use super::{coord::*, kv::*};
use serde::{Deserialize, Serialize};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "lowercase")]
pub enum Call {
    Kv(KvCall),
    Append(AppendCall),
    Set(SetCall),
    Lease(LeaseCall),
    Watch(WatchCall),
    Lock(LockCall),
    Election(ElectionCall),
    Queue(QueueCall),
    Claim(ClaimCall),
    Fenced(FencedCall),
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "lowercase")]
pub enum Answer {
    Kv(KvAnswer),
    Append(AppendAnswer),
    Set(SetAnswer),
    Lease(LeaseAnswer),
    Watch(WatchAnswer),
    Lock(LockAnswer),
    Election(ElectionAnswer),
    Queue(QueueAnswer),
    Claim(ClaimAnswer),
    Fenced(FencedAnswer),
}

/// What came on a stream, or what a client did by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "lowercase")]
pub enum Event {
    Watch(WatchEvent),
    Observed(Observed),
    Queue(QueueEvent),
    Claim(ClaimEvent),
    /// The client stopped believing in a tenure before its time, by itself.
    Disbelief(Disbelief),
}
