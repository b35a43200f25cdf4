//! The stored form of openraft's types. They are mirrored in our own types, so that a new version
//! of openraft cannot change the format on disk.

use super::{CodecError, HEAD, Record, body_of, close_frame, open_frame, put, seal, take, unseal};
use crate::identity::Identity;
use crate::proposal::Pack;
use crate::types::{Entry, LogId, MemberNode, Membership, Payload, SnapshotMeta, StoredMembership, Vote, log_id, vote};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const ENTRY_KIND: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    voted_for: u64,
    committed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, MemberNode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredMembershipRecord {
    at: Option<LogIdRecord>,
    membership: MembershipRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotMetaRecord {
    last: Option<LogIdRecord>,
    membership: StoredMembershipRecord,
}

/// The incarnation that holds a member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) incarnation: u64,
}

/// The highest log index that a member is known to have acknowledged, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AcknowledgedRecord {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// Identifies a file: its inode, and its creation time in nanoseconds since 1970 (0: unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocationRecord {
    pub(crate) inode: u64,
    pub(crate) created: u64,
}

/// See [`crate::first_start`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstStart {
    pub token: String,
    /// The member joined a running cluster, and has to be admitted by it before it takes part.
    pub joins: bool,
    /// As they were known then.
    pub members: BTreeMap<u64, MemberNode>,
}

/// The sweeper's progress: everything for the compaction up to `done`, and the changes below `from`
/// for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SweepProgress {
    pub(crate) from: i64,
    pub(crate) done: i64,
}

impl Default for SweepProgress {
    fn default() -> Self {
        SweepProgress { from: 0, done: -1 }
    }
}

/// The front of an entry's body.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct EntryHead {
    term: u64,
    index: u64,
    payload: PayloadKind,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum PayloadKind {
    Blank,
    Commands,
    Membership,
}

macro_rules! record {
    ($type:ty, $kind:literal, $name:literal) => {
        impl Record for $type {
            const KIND: u8 = $kind;
            const NAME: &'static str = $name;
        }
    };
}
record!(VoteRecord, 2, "vote");
record!(LogIdRecord, 3, "log id");
record!(StoredMembershipRecord, 4, "membership");
record!(SnapshotMetaRecord, 5, "snapshot metadata");
record!(Identity, 6, "identity");
record!(Registration, 7, "registration");
record!(SweepProgress, 8, "sweep progress");
record!(AcknowledgedRecord, 9, "acknowledged position");
record!(LocationRecord, 10, "place");
record!(FirstStart, 16, "first start");

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        LogIdRecord { term: id.leader_id.term, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(r: LogIdRecord) -> Self {
        log_id(r.term, r.index)
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(m: &Membership) -> Self {
        MembershipRecord {
            configs: m.get_joint_config().clone(),
            nodes: m.nodes().map(|(id, node)| (*id, node.clone())).collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = CodecError;

    fn try_from(r: MembershipRecord) -> Result<Self, CodecError> {
        // The membership before the first one has no configuration, which `new` would refuse.
        if r.configs.is_empty() && r.nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(r.configs, r.nodes)
            .map_err(|e| CodecError::Malformed { what: "membership", reason: e.to_string() })
    }
}

impl From<&StoredMembership> for StoredMembershipRecord {
    fn from(m: &StoredMembership) -> Self {
        StoredMembershipRecord { at: m.log_id().as_ref().map(Into::into), membership: m.membership().into() }
    }
}

impl TryFrom<StoredMembershipRecord> for StoredMembership {
    type Error = CodecError;

    fn try_from(r: StoredMembershipRecord) -> Result<Self, CodecError> {
        Ok(StoredMembership::new(r.at.map(Into::into), r.membership.try_into()?))
    }
}

pub fn encode_log_id(id: &LogId) -> Vec<u8> {
    seal(&LogIdRecord::from(id))
}

pub fn decode_log_id(record: &[u8]) -> Result<LogId, CodecError> {
    unseal::<LogIdRecord>(record).map(Into::into)
}

pub fn encode_vote(v: &Vote) -> Vec<u8> {
    seal(&VoteRecord { term: v.leader_id.term, voted_for: v.leader_id.voted_for, committed: v.committed })
}

pub fn decode_vote(record: &[u8]) -> Result<Vote, CodecError> {
    let r: VoteRecord = unseal(record)?;
    Ok(vote(r.term, r.voted_for, r.committed))
}

pub fn encode_membership(m: &StoredMembership) -> Vec<u8> {
    seal(&StoredMembershipRecord::from(m))
}

pub fn decode_membership(record: &[u8]) -> Result<StoredMembership, CodecError> {
    unseal::<StoredMembershipRecord>(record)?.try_into()
}

pub fn encode_snapshot_meta(meta: &SnapshotMeta) -> Vec<u8> {
    seal(&SnapshotMetaRecord {
        last: meta.last_log_id.as_ref().map(Into::into),
        membership: (&meta.last_membership).into(),
    })
}

pub fn decode_snapshot_meta(record: &[u8]) -> Result<SnapshotMeta, CodecError> {
    let r: SnapshotMetaRecord = unseal(record)?;
    Ok(SnapshotMeta { last_log_id: r.last.map(Into::into), last_membership: r.membership.try_into()? })
}

/// Appends an entry's record: the form in the log and between peers.
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    let head = |payload| EntryHead { term: entry.log_id.leader_id.term, index: entry.log_id.index, payload };
    let start = open_frame(out, ENTRY_KIND);
    match &entry.payload {
        Payload::Blank => put(&head(PayloadKind::Blank), out),
        Payload::Normal(pack) => {
            out.reserve(pack.0.len() + 24);
            put(&head(PayloadKind::Commands), out);
            out.extend_from_slice(&pack.0);
        }
        Payload::Membership(m) => {
            put(&head(PayloadKind::Membership), out);
            put(&MembershipRecord::from(m), out);
        }
    }
    close_frame(out, start);
}

/// The entry's pack shares the bytes of the record.
pub fn decode_entry(record: &Bytes) -> Result<Entry, CodecError> {
    let body = body_of(record, ENTRY_KIND)?;
    let (head, used): (EntryHead, usize) = take(body, "entry")?;
    let rest = &body[used..];
    let left_over = |n: usize| CodecError::Malformed { what: "entry", reason: format!("{n} bytes left over") };
    let payload = match head.payload {
        PayloadKind::Blank if rest.is_empty() => Payload::Blank,
        PayloadKind::Blank => return Err(left_over(rest.len())),
        PayloadKind::Commands => Payload::Normal(Pack(record.slice(HEAD + used..))),
        PayloadKind::Membership => {
            let (m, n): (MembershipRecord, usize) = take(rest, "membership")?;
            if n != rest.len() {
                return Err(left_over(rest.len() - n));
            }
            Payload::Membership(m.try_into()?)
        }
    };
    Ok(Entry { log_id: log_id(head.term, head.index), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constructs records that have no public constructor, for `tests/golden.rs`.
    #[test]
    fn golden_bytes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let acknowledged = seal(&AcknowledgedRecord { term: 3, index: 300 });
        assert_eq!(hex(acknowledged), "0140b7eb760903fb2c01");
        let place = seal(&LocationRecord { inode: 5, created: 70_000 });
        assert_eq!(hex(place), "01856407bd0a05fc70110100");
    }
}
