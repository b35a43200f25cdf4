//! The store's side: registers, transactions, list append, sets, watches.
//!
//! Lists are keys whose value is the elements in order, joined by single spaces; sets alike. Both
//! are changed by a transaction guarded on the key's modification revision, and recorded as what
//! they mean rather than as the transaction.

use super::is_zero;
use serde::{Deserialize, Serialize};

/// A key as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kv {
    pub key: String,
    pub value: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create: i64,
    pub modified: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lease: i64,
}

/// One key's change in a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub key: String,
    /// Absent: the key was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The revision of the change, as the event says.
    pub modified: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lease: i64,
    /// What was there before, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Kv>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum KvCall {
    /// Linearizable, unless `serializable` or at an old `revision`.
    Get {
        key: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        serializable: bool,
        #[serde(default, skip_serializing_if = "is_zero")]
        revision: i64,
    },
    /// All keys with the prefix.
    Range {
        prefix: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        serializable: bool,
        #[serde(default, skip_serializing_if = "is_zero")]
        revision: i64,
    },
    Put {
        key: String,
        value: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        lease: i64,
        /// Asked for what stood there before.
        #[serde(default, skip_serializing_if = "is_zero")]
        prev: bool,
    },
    Delete {
        key: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        prev: bool,
    },
    /// Put if the key's modification revision is `expected` (0: absent), else read it.
    Cas {
        key: String,
        expected: i64,
        value: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        lease: i64,
    },
    Txn {
        #[serde(default)]
        compares: Vec<Guard>,
        then: Vec<TxnOp>,
        #[serde(default)]
        otherwise: Vec<TxnOp>,
    },
}

/// `target` of `key` equals `value` (an absent key has 0 in all of them).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    pub key: String,
    pub target: GuardTarget,
    pub equals: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardTarget {
    Create,
    Modified,
    Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum TxnOp {
    Get { key: String },
    Put { key: String, value: String },
    Delete { key: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum KvAnswer {
    /// Keys as they stood at `revision`: a get, a range, or a cas that did not match.
    Read {
        revision: i64,
        kvs: Vec<Kv>,
    },
    /// A put, or a cas that matched.
    Written {
        revision: i64,
        /// What stood there before, where it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<Kv>,
    },
    Deleted {
        revision: i64,
        count: i64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        prev: Vec<Kv>,
    },
    Txn {
        revision: i64,
        succeeded: bool,
        results: Vec<TxnResult>,
    },
}

/// One for each operation of the branch that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum TxnResult {
    Read { kvs: Vec<Kv> },
    Written,
    Deleted { count: i64 },
}

/// A transaction over lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendCall {
    pub ops: Vec<ListOp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum ListOp {
    /// Elements are unique in the run.
    Append {
        key: String,
        element: u64,
    },
    Read {
        key: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendAnswer {
    pub revision: i64,
    /// One for each operation: what a read saw (with the transaction's own earlier appends); empty
    /// for an append.
    pub lists: Vec<Vec<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum SetCall {
    Add { set: String, element: u64 },
    Read { set: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum SetAnswer {
    Added { revision: i64 },
    Read { revision: i64, elements: Vec<u64> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchCall {
    /// A key, or a prefix.
    pub key: String,
    pub prefix: bool,
    /// 0: from now.
    pub start: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub prev: bool,
    /// This watch goes on where an earlier one of the same `stream` ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumes: bool,
    /// Names what is one watch to the client, over all its reconnections.
    pub stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchAnswer {
    /// The header's revision in the message that says it was created.
    pub revision: i64,
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    pub stream: String,
    /// The header's.
    pub revision: i64,
    #[serde(flatten)]
    pub what: WatchMessage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum WatchMessage {
    Changes {
        changes: Vec<Change>,
        /// More of the same revision follows (etcd's fragments).
        #[serde(default, skip_serializing_if = "is_zero")]
        fragment: bool,
    },
    Progress,
    Canceled {
        #[serde(default, skip_serializing_if = "is_zero")]
        compacted: i64,
        reason: String,
    },
}
