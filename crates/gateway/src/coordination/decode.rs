//! What the values of projected keys say. Fields that a later version adds are passed over; what cannot be read is `None`.

use conclave_state::{Cause, Event, EventKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Of an election: what changed last, and how it stands since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TermValue {
    pub term: i64,
    pub seq: u64,
    /// Empty: nobody leads.
    pub leader: String,
    pub waiting: u32,
    /// The revision of this change.
    pub at: i64,
    #[serde(deserialize_with = "cause")]
    pub cause: Option<Cause>,
    pub subject: String,
    /// Who led before, if this was a change of leader.
    pub previous: String,
    pub reason: String,
    pub transfer_to: String,
    /// 1: nobody is installed until a lock-delay is over.
    pub delayed: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CandidateValue {
    pub instance: String,
    pub priority: i64,
    pub class: i64,
    pub rank: i64,
    pub joined: i64,
    pub labels: BTreeMap<String, String>,
}

/// Of a request for locks, that waits for one or holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LockValue {
    pub owner: String,
    pub mode: String,
    pub weight: u32,
    pub capacity: u32,
    /// How many locks the request is for.
    pub locks: u64,
    /// Of a holder: how the lock came to be free.
    #[serde(deserialize_with = "cause")]
    pub cause: Option<Cause>,
    /// Of a holder: the fence that ended last before it; 0 if that is not known.
    pub previous: i64,
}

/// Of a claim's tenure, or of who waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TenureValue {
    pub holder: String,
    pub instance: String,
    #[serde(deserialize_with = "cause")]
    pub cause: Option<Cause>,
    /// Who held it before.
    pub previous: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PinValue {
    pub reason: String,
}

fn cause<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Cause>, D::Error> {
    Ok(Cause::from_word(&String::deserialize(from)?))
}

/// The value of a projected key.
#[must_use]
pub fn value<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

/// What an event put; `None` if it deleted the key.
#[must_use]
pub fn put<T: DeserializeOwned + Default>(event: &Event) -> Option<T> {
    (event.kind == EventKind::Put).then(|| value(&event.kv.value).unwrap_or_default())
}
