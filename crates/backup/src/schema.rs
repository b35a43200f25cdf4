//! What stands in the buckets of a snapshot.
//!
//! | Bucket | Key | Value |
//! |---|---|---|
//! | `alarm` | the alarm as a message | nothing |
//! | `auth` | `authEnabled` | 1 if users are checked, otherwise 0 (1 byte) |
//! | `auth` | `authRevision` | 8 bytes |
//! | `authRoles` | name | `authpb.Role`, its permissions by key and end |
//! | `authUsers` | name | `authpb.User` with the hash of bcrypt, its roles sorted |
//! | `cluster` | | empty: the server that runs on the file sets its version |
//! | `conclave` | see below | |
//! | `key` | revision (8 bytes), `_`, sub-revision (8), and `t` for a deletion | the version as `mvccpb.KeyValue`; of a deletion only the key |
//! | `lease` | id (8) | id, TTL and remaining TTL in seconds |
//! | `members` | id in hexadecimal | JSON |
//! | `members_removed` | | empty |
//! | `meta` | `consistent_index`, `term` (8 bytes each), `confState` (JSON), `storageVersion`, and once there was a compaction `finishedCompactRev` and `scheduledCompactRev` (a revision as above) | |
//!
//! The bucket `conclave`:
//!
//! | Key | Value |
//! |---|---|
//! | `coord/`, key of the row | a row of the table coord |
//! | `format` | `1` |
//! | `lease/`, id (8) | TTL in milliseconds (8) |
//! | `lock/`, number (8) | a living key that a Lock made |
//! | `placement` | the row of the policy that says which members should lead; not there without one |
//! | `store` | digest (8) |
//!
//! Numbers are big-endian.

use conclave_state::{Alarm, AlarmKind, KeyValue, LeaseId};
use prost::Message;

/// The version of the buckets, for etcd from 3.6 on.
pub const STORAGE_VERSION: &str = "3.6.0";

pub(crate) const ALARM: &[u8] = b"alarm";
pub(crate) const AUTH: &[u8] = b"auth";
pub(crate) const AUTH_ENABLED: &[u8] = b"authEnabled";
pub(crate) const AUTH_REVISION: &[u8] = b"authRevision";
pub(crate) const AUTH_ROLES: &[u8] = b"authRoles";
pub(crate) const AUTH_USERS: &[u8] = b"authUsers";
pub(crate) const CLUSTER: &[u8] = b"cluster";
pub(crate) const CONCLAVE: &[u8] = b"conclave";
pub(crate) const KEY: &[u8] = b"key";
pub(crate) const LEASE: &[u8] = b"lease";
pub(crate) const MEMBERS: &[u8] = b"members";
pub(crate) const MEMBERS_REMOVED: &[u8] = b"members_removed";
pub(crate) const META: &[u8] = b"meta";

pub(crate) const CONF_STATE: &[u8] = b"confState";
pub(crate) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
pub(crate) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
pub(crate) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
pub(crate) const STORAGE: &[u8] = b"storageVersion";
pub(crate) const TERM: &[u8] = b"term";

pub(crate) const COORD_ROW: &[u8] = b"coord/";
pub(crate) const FORMAT: &[u8] = b"format";
pub(crate) const FORMAT_NOW: &[u8] = b"1";
pub(crate) const LEASE_MS: &[u8] = b"lease/";
pub(crate) const LOCK_KEY: &[u8] = b"lock/";
pub(crate) const PLACEMENT: &[u8] = b"placement";
pub(crate) const STORE: &[u8] = b"store";

const TOMBSTONE: u8 = b't';

/// A key of the bucket `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) deleted: bool,
}

impl Revision {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(18);
        key.extend_from_slice(&self.main.to_be_bytes());
        key.push(b'_');
        key.extend_from_slice(&self.sub.to_be_bytes());
        if self.deleted {
            key.push(TOMBSTONE);
        }
        key
    }

    pub(crate) fn decode(key: &[u8]) -> Option<Revision> {
        let (main, rest) = key.split_first_chunk()?;
        let (sub, rest) = rest.strip_prefix(b"_")?.split_first_chunk()?;
        let deleted = match rest {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        let (main, sub) = (i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
        (main >= 0 && sub >= 0).then_some(Revision { main, sub, deleted })
    }
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: bytes::Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(crate) mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub(crate) version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) value: bytes::Bytes,
    #[prost(int64, tag = "6")]
    pub(crate) lease: i64,
}

impl Version {
    pub(crate) fn put(kv: KeyValue) -> Version {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        Version { key, create_revision, mod_revision, version, value, lease }
    }

    pub(crate) fn deletion(key: bytes::Bytes) -> Version {
        Version { key, ..Version::default() }
    }
}

/// `leasepb.Lease`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lease {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(crate) remaining: i64,
}

impl Lease {
    /// Whole seconds, and no fewer than were granted.
    pub(crate) fn new(id: LeaseId, ttl_ms: u64) -> Lease {
        Lease { id, ttl: i64::try_from(ttl_ms.div_ceil(1_000)).unwrap_or(i64::MAX), remaining: 0 }
    }
}

/// `etcdserverpb.AlarmMember`.
#[derive(Clone, PartialEq, Message)]
struct AlarmMember {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(int32, tag = "2")]
    kind: i32,
}

pub(crate) fn alarm(alarm: Alarm) -> Vec<u8> {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    };
    AlarmMember { member: alarm.member, kind }.encode_to_vec()
}

/// A key with a number behind a prefix.
pub(crate) fn numbered(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_read_back_and_stand_in_order() {
        let revision = |main, sub, deleted| Revision { main, sub, deleted };
        let all = [revision(1, 0, false), revision(1, 1, true), revision(2, 0, true), revision(i64::MAX, 0, false)];
        assert!(all.map(Revision::encode).is_sorted());
        for one in all {
            assert_eq!(Revision::decode(&one.encode()), Some(one));
        }
        assert_eq!(revision(2, 1, true).encode(), b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01t");
        for bad in [&b""[..], &[0; 17], &[0xff; 17], b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01x"] {
            assert_eq!(Revision::decode(bad), None);
        }
    }

    #[test]
    fn a_ttl_is_not_shortened_by_whole_seconds() {
        assert_eq!(Lease::new(-1, 1).ttl, 1);
        assert_eq!(Lease::new(-1, 2_000).ttl, 2);
        assert_eq!(Lease::new(-1, 2_001).ttl, 3);
        assert_eq!(Lease::new(7, 60_000).encode_to_vec(), [8, 7, 16, 60]);
    }
}
