//! Ranges of user keys, as the wire has them.

use crate::shared;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which keys: one (`end` empty), everything from `key` (`end` = `"\0"`), or the half-open interval
/// `[key, end)`.
///
/// The empty interval (`end` ≤ `key`) is legal and matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    #[serde(deserialize_with = "shared::bytes")]
    pub key: Bytes,
    #[serde(deserialize_with = "shared::bytes")]
    pub end: Bytes,
}

impl KeyRange {
    /// The bytes of its keys.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.end.len()
    }

    /// Whether it may hold more than one key.
    pub(crate) fn is_interval(&self) -> bool {
        !self.end.is_empty()
    }
}
