//! The value of a row of the kv table: one version of a key.
//!
//! `create_revision`, `version`, `lease` (eight bytes each, big-endian), a byte of flags, and the
//! value to the end of the row. A tombstone has the same head with zeros and no value.

use crate::keys;
use crate::view::Fault;
use crate::{KeyValue, LeaseId};
use bytes::Bytes;

/// Offset of the value.
pub(crate) const HEAD: usize = 25;

/// This version deletes the key.
pub(crate) const TOMBSTONE: u8 = 1;
/// The key was created by a Lock, so an Unlock may delete it. Later versions inherit the flag until
/// the key is deleted. Clients do not see it.
pub(crate) const LOCK: u8 = 2;

/// A version, borrowed from its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) create_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) flags: u8,
    pub(crate) value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) const DELETED: Record<'static> =
        Record { create_revision: 0, version: 0, lease: 0, flags: TOMBSTONE, value: b"" };

    pub(crate) fn decode(row: &'a [u8]) -> Result<Record<'a>, Fault> {
        let Some((head, value)) = row.split_at_checked(HEAD) else {
            return Err(Fault::Corrupt("a row of the table kv is too short".into()));
        };
        let number = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("a range of eight bytes"));
        Ok(Record { create_revision: number(0), version: number(8), lease: number(16), flags: head[24], value })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(HEAD + self.value.len());
        row.extend_from_slice(&self.create_revision.to_be_bytes());
        row.extend_from_slice(&self.version.to_be_bytes());
        row.extend_from_slice(&self.lease.to_be_bytes());
        row.push(self.flags);
        row.extend_from_slice(self.value);
        row
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    pub(crate) fn head(&self, mod_revision: i64) -> Head {
        let Record { create_revision, version, lease, flags, .. } = *self;
        Head { create_revision, mod_revision, version, lease, flags }
    }

    /// An owned version, with or without its value.
    pub(crate) fn to_version(self, mod_revision: i64, with_value: bool) -> Version {
        let Record { create_revision, version, lease, flags, value } = self;
        let value = if with_value { Bytes::copy_from_slice(value) } else { Bytes::new() };
        Version { create_revision, mod_revision, version, lease, flags, value }
    }

    /// The version for a client; `prefix` is the common prefix of its key's rows.
    pub(crate) fn to_kv(self, prefix: &[u8], mod_revision: i64, with_value: bool) -> Result<KeyValue, Fault> {
        let value = if with_value { Bytes::copy_from_slice(self.value) } else { Bytes::new() };
        Ok(KeyValue {
            key: keys::user_key(prefix)?,
            value,
            create_revision: self.create_revision,
            mod_revision,
            version: self.version,
            lease: self.lease,
        })
    }
}

/// A version without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) flags: u8,
}

impl Head {
    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    pub(crate) fn record<'a>(&self, value: &'a [u8]) -> Record<'a> {
        let Head { create_revision, version, lease, flags, .. } = *self;
        Record { create_revision, version, lease, flags, value }
    }

    pub(crate) fn with(self, value: Bytes) -> Version {
        let Head { create_revision, mod_revision, version, lease, flags } = self;
        Version { create_revision, mod_revision, version, lease, flags, value }
    }
}

/// A version that owns its row.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) flags: u8,
    pub(crate) value: Bytes,
}

impl Version {
    pub(crate) fn decode(row: Bytes, mod_revision: i64) -> Result<Version, Fault> {
        let Record { create_revision, version, lease, flags, .. } = Record::decode(&row)?;
        Ok(Version { create_revision, mod_revision, version, lease, flags, value: row.slice(HEAD..) })
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    pub(crate) fn head(&self) -> Head {
        let Version { create_revision, mod_revision, version, lease, flags, .. } = *self;
        Head { create_revision, mod_revision, version, lease, flags }
    }

    pub(crate) fn into_kv(self, key: &[u8]) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(key),
            value: self.value,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    pub(crate) fn to_kv(&self, key: &[u8]) -> KeyValue {
        self.clone().into_kv(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let record = Record { create_revision: 7, version: 3, lease: -9, flags: LOCK, value: b"v" };
        let row = record.encode();
        let back = Version::decode(row.into(), 11).unwrap();
        assert_eq!(
            back.to_kv(b"key"),
            KeyValue {
                key: "key".into(),
                value: "v".into(),
                create_revision: 7,
                mod_revision: 11,
                version: 3,
                lease: -9,
            }
        );
        assert!(!back.is_tombstone() && Record::DELETED.is_tombstone());
    }

    #[test]
    fn a_row_that_is_too_short_is_a_fault() {
        assert!(matches!(Record::decode(&[0; HEAD - 1]), Err(Fault::Corrupt(_))));
    }
}
