//! What the values of projected keys say. Fields that a later version adds are passed over; what
//! cannot be read is `None`.

use conclave_state::{Cause, Event, EventKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Of an election: what changed last, and how it stands since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct TermValue {
    pub(crate) term: i64,
    pub(crate) seq: u64,
    /// Empty: nobody leads.
    pub(crate) leader: String,
    pub(crate) waiting: u32,
    /// The revision of this change.
    pub(crate) at: i64,
    #[serde(deserialize_with = "cause")]
    pub(crate) cause: Option<Cause>,
    pub(crate) subject: String,
    /// Who led before, if this was a change of leader.
    pub(crate) previous: String,
    pub(crate) reason: String,
    pub(crate) transfer_to: String,
    /// 1: nobody is installed until a lock-delay is over.
    pub(crate) delayed: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct CandidateValue {
    pub(crate) instance: String,
    pub(crate) priority: i64,
    pub(crate) class: i64,
    pub(crate) rank: i64,
    pub(crate) joined: i64,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Of a request for locks, that waits for one or holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct LockValue {
    pub(crate) owner: String,
    pub(crate) mode: String,
    pub(crate) weight: u32,
    pub(crate) capacity: u32,
    /// How many locks the request is for.
    pub(crate) locks: u64,
    /// Of a holder: how the lock came to be free.
    #[serde(deserialize_with = "cause")]
    pub(crate) cause: Option<Cause>,
    /// Of a holder: the fence that ended last before it; 0 if that is not known.
    pub(crate) previous: i64,
}

/// Of a claim's tenure, or of who waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct TenureValue {
    pub(crate) holder: String,
    pub(crate) instance: String,
    #[serde(deserialize_with = "cause")]
    pub(crate) cause: Option<Cause>,
    /// Who held it before.
    pub(crate) previous: String,
}

fn cause<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Cause>, D::Error> {
    Ok(Cause::from_word(&String::deserialize(from)?))
}

/// The value of a projected key.
#[must_use]
pub(crate) fn value<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

/// What an event put; `None` if it deleted the key.
#[must_use]
pub(crate) fn put<T: DeserializeOwned + Default>(event: &Event) -> Option<T> {
    (event.kind == EventKind::Put).then(|| value(&event.kv.value).unwrap_or_default())
}
