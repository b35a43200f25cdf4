//! Row keys: the encoding of user keys, revisions and leases as ordered bytes.
//!
//! User keys are arbitrary bytes, and one key may be a prefix of another. So a key is escaped (`00`
//! → `00 ff`) and terminated (`00 01`) before its revision follows. The escape keeps the order of
//! keys, and the terminator sorts before every extension of the key:
//!
//! ```text
//! key "a",   revision 7   k  61        00 01  <7 inverted>
//! key "a",   revision 3   k  61        00 01  <3 inverted>
//! key "a\0", revision 5   k  61 00 ff  00 01  <5 inverted>
//! ```
//!
//! 1. Rows of one key are adjacent, newest first.
//! 2. Rows of different keys are in the order of the keys.
//! 3. Signed numbers are stored with the sign bit flipped, so that byte order is number order.
//! 4. Rows of every table begin with a tag or a fixed-width number, so each range of keys has a
//!    finite upper bound, also `≥ key`.

use crate::LeaseId;
use crate::key_range::KeyRange;
use crate::view::Fault;
use bytes::Bytes;
use std::ops::Deref;

const KEY_TAG: u8 = b'k';
const KEY_END: [u8; 2] = [0, 1];
/// Follows every row of the key that it ends.
const KEY_PAST: [u8; 2] = [0, 2];
const REVISION_LEN: usize = 8;

const LEASE_TAG: u8 = b'l';
const ATTACHED_TAG: u8 = b'k';

pub(crate) const STORE: &[u8] = b"state/store";
pub(crate) const ALARMS: &[u8] = b"state/alarm/";
pub(crate) const MEMBERS: &[u8] = b"state/member/";
/// Members that were added to the running cluster, with the incarnation that claimed each.
pub(crate) const ADDED: &[u8] = b"state/added/";
pub(crate) const REMOVED: &[u8] = b"state/removed/";
pub(crate) const PROMOTE: &[u8] = b"state/promote/";
/// The labels of members.
pub(crate) const LABELS: &[u8] = b"state/labels/";
/// Members that give leadership away and are not chosen.
pub(crate) const MAINTENANCE: &[u8] = b"state/maintenance/";
/// Which members should lead.
pub(crate) const PLACEMENT: &[u8] = b"state/placement";
pub(crate) const VERSION: &[u8] = b"state/version";
pub(crate) const SUPPORTS: &[u8] = b"state/supports/";

/// The row of a member that was removed.
pub(crate) fn removed_row(member: u64) -> Vec<u8> {
    of_member(REMOVED, member)
}

/// The row of a learner that is to be promoted when it is in sync.
pub(crate) fn promote_row(member: u64) -> Vec<u8> {
    of_member(PROMOTE, member)
}

/// The row of what a member supports.
pub(crate) fn supports_row(member: u64) -> Vec<u8> {
    of_member(SUPPORTS, member)
}

pub(crate) fn labels_row(member: u64) -> Vec<u8> {
    of_member(LABELS, member)
}

pub(crate) fn maintenance_row(member: u64) -> Vec<u8> {
    of_member(MAINTENANCE, member)
}

fn of_member(prefix: &[u8], member: u64) -> Vec<u8> {
    [prefix, &member.to_be_bytes()[..]].concat()
}

/// The key of a place in the queue `name`: `name/<lease in hex>`, as in etcd's recipes (Go writes a
/// sign before negative numbers).
pub fn queue_key(name: &[u8], lease: LeaseId) -> Bytes {
    let mut key = Vec::with_capacity(name.len() + 18);
    key.extend_from_slice(name);
    let sign = if lease < 0 { "-" } else { "" };
    key.extend_from_slice(format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes());
    key.into()
}

/// The prefix of all keys of the queue `name`: `name/`.
pub fn queue_prefix(name: &[u8]) -> Bytes {
    let mut prefix = Vec::with_capacity(name.len() + 1);
    prefix.extend_from_slice(name);
    prefix.push(b'/');
    prefix.into()
}

/// The keys that begin with `prefix`, as a range.
pub fn prefix_range(prefix: &[u8]) -> KeyRange {
    KeyRange {
        key: Bytes::copy_from_slice(prefix),
        end: successor(prefix).map_or(Bytes::from_static(b"\0"), Bytes::from),
    }
}

/// The first byte string after everything that begins with `prefix`; `None` if there is none (all
/// `ff`).
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// The common prefix of a key's rows, in an allocation that becomes the key of its next row.
pub(crate) struct KeyRows(Vec<u8>);

impl KeyRows {
    pub(crate) fn of(key: &[u8]) -> KeyRows {
        let mut prefix = Vec::with_capacity(key.len() + 3 + REVISION_LEN);
        push_escaped(&mut prefix, key);
        prefix.extend_from_slice(&KEY_END);
        KeyRows(prefix)
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.0
    }

    /// The row of the version that `revision` made.
    pub(crate) fn into_row(mut self, revision: i64) -> Vec<u8> {
        self.0.extend_from_slice(&inverted(revision));
        self.0
    }
}

/// A user key as a slice of one of its rows if it needs no escape, otherwise a copy.
pub(crate) fn shared_key(row: &Bytes, key: &[u8]) -> Bytes {
    match row.get(1..=key.len()) {
        Some(same) if same == key => row.slice(1..=key.len()),
        _ => Bytes::copy_from_slice(key),
    }
}

/// The row of one version of a key.
pub(crate) fn version_row(key: &[u8], revision: i64) -> Vec<u8> {
    KeyRows::of(key).into_row(revision)
}

/// The common prefix of all rows of a key in the kv table, which is everything before the revision;
/// for Bloom filters. The function maps that prefix to itself.
pub fn shared_part(row: &[u8]) -> &[u8] {
    let end = row.windows(KEY_END.len()).position(|pair| pair == KEY_END);
    end.map_or(row, |end| &row[..end + KEY_END.len()])
}

/// The bounds `[from, below)` of the rows of a range; `None` if no key can be in it.
pub(crate) fn range_rows(range: &KeyRange) -> Option<(Vec<u8>, Vec<u8>)> {
    let from = bounded(&range.key, KEY_END);
    let below = match range.end.deref() {
        b"" => bounded(&range.key, KEY_PAST),
        b"\0" => all_rows().1,
        end if end <= &range.key[..] => return None,
        end => bounded(end, KEY_END),
    };
    Some((from, below))
}

/// The bounds of all rows of the kv table.
pub(crate) fn all_rows() -> (Vec<u8>, Vec<u8>) {
    (vec![KEY_TAG], vec![KEY_TAG + 1])
}

/// Splits a row key into the common prefix of its user key and the revision.
pub(crate) fn split_row(row: &[u8]) -> Result<(&[u8], i64), Fault> {
    let (prefix, revision) = row.split_last_chunk::<REVISION_LEN>().ok_or_else(|| short("kv"))?;
    Ok((prefix, i64::from_be_bytes(*revision) ^ -1))
}

/// The user key of the common prefix of its rows.
pub(crate) fn user_key(prefix: &[u8]) -> Result<Bytes, Fault> {
    let escaped = prefix.get(1..prefix.len().saturating_sub(KEY_END.len())).ok_or_else(|| short("kv"))?;
    if !escaped.contains(&0) {
        return Ok(Bytes::copy_from_slice(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return Err(Fault::Corrupt("a key in the kv table is not escaped".into()));
        }
    }
    Ok(key.into())
}

/// The first possible row after all versions of a key, from the common prefix.
pub(crate) fn past_key(prefix: &[u8]) -> Vec<u8> {
    let mut row = prefix.to_vec();
    if let Some(last) = row.last_mut() {
        *last = KEY_PAST[1];
    }
    row
}

/// The row from which to seek the newest version at or before `revision`, from the common prefix.
pub(crate) fn at_revision(prefix: &[u8], revision: i64) -> Vec<u8> {
    let mut row = Vec::with_capacity(prefix.len() + REVISION_LEN);
    row.extend_from_slice(prefix);
    row.extend_from_slice(&inverted(revision));
    row
}

/// The start of the rows of the rev table for a revision.
pub(crate) fn revision_row(main: i64) -> [u8; REVISION_LEN] {
    main.max(0).to_be_bytes()
}

/// The version before a change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// The version that this revision made.
    Version(i64),
    /// Not recorded in the row; the rows of the key show it.
    Unknown,
}

/// The row of the rev table for change number `sub` of a revision.
pub(crate) fn change_row(main: i64, sub: u32, before: Before) -> Vec<u8> {
    let mut row = Vec::with_capacity(2 * REVISION_LEN + 4);
    row.extend_from_slice(&revision_row(main));
    row.extend_from_slice(&sub.to_be_bytes());
    match before {
        Before::Nothing => row.extend_from_slice(&revision_row(0)),
        Before::Version(revision) => row.extend_from_slice(&revision_row(revision)),
        Before::Unknown => {}
    }
    row
}

/// The revision of a change and the version before it.
pub(crate) fn split_change_row(row: &[u8]) -> Result<(i64, Before), Fault> {
    let (main, rest) = row.split_first_chunk().ok_or_else(|| short("rev"))?;
    let before = match rest.get(4..).map(<[u8; REVISION_LEN]>::try_from) {
        Some(Ok(revision)) => match i64::from_be_bytes(revision) {
            0 => Before::Nothing,
            revision => Before::Version(revision),
        },
        Some(Err(_)) if rest.len() == 4 => Before::Unknown,
        _ => return Err(short("rev")),
    };
    Ok((i64::from_be_bytes(*main), before))
}

/// The revision and sub-revision of a change.
pub(crate) fn split_change(row: &[u8]) -> Result<(i64, u32), Fault> {
    let (main, rest) = row.split_first_chunk().ok_or_else(|| short("rev"))?;
    let sub = rest.first_chunk().ok_or_else(|| short("rev"))?;
    Ok((i64::from_be_bytes(*main), u32::from_be_bytes(*sub)))
}

pub(crate) fn lease_row(id: LeaseId) -> [u8; 9] {
    let mut row = [LEASE_TAG; 9];
    row[1..].copy_from_slice(&ordered(id));
    row
}

/// The bounds of all `l` rows.
pub(crate) fn lease_rows() -> ([u8; 1], [u8; 1]) {
    ([LEASE_TAG], [LEASE_TAG + 1])
}

pub(crate) fn split_lease_row(row: &[u8]) -> Result<LeaseId, Fault> {
    row.get(1..).and_then(|id| id.try_into().ok()).map(unordered).ok_or_else(|| short("lease"))
}

pub(crate) fn attached_row(id: LeaseId, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + key.len());
    row.push(ATTACHED_TAG);
    row.extend_from_slice(&ordered(id));
    row.extend_from_slice(key);
    row
}

/// The bounds of the keys attached to a lease.
pub(crate) fn attached_rows(id: LeaseId) -> (Vec<u8>, Vec<u8>) {
    let below = match id.checked_add(1) {
        Some(next) => attached_row(next, b""),
        None => vec![ATTACHED_TAG + 1],
    };
    (attached_row(id, b""), below)
}

pub(crate) fn split_attached_row(row: &[u8]) -> Result<&[u8], Fault> {
    row.get(9..).ok_or_else(|| short("lease"))
}

fn push_escaped(row: &mut Vec<u8>, key: &[u8]) {
    row.push(KEY_TAG);
    if !key.contains(&0) {
        return row.extend_from_slice(key);
    }
    for byte in key {
        row.push(*byte);
        if *byte == 0 {
            row.push(0xff);
        }
    }
}

fn bounded(key: &[u8], end: [u8; 2]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 3);
    push_escaped(&mut row, key);
    row.extend_from_slice(&end);
    row
}

fn inverted(revision: i64) -> [u8; 8] {
    // Revisions are positive. A query with a smaller number must find nothing.
    (revision.max(0) ^ -1).to_be_bytes()
}

fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

fn unordered(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

fn short(table: &str) -> Fault {
    Fault::Corrupt(format!("a row key of the table {table} is too short"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_keys_stand_in_the_order_of_the_keys_newest_first() {
        let keys: [&[u8]; 10] =
            [b"\0", b"\0\0", b"\0\x01", b"a", b"a\0", b"a\0\xff", b"a\x01", b"ab", b"b", b"\xff\xff\xff"];
        let rows: Vec<_> = keys
            .iter()
            .flat_map(|key| [version_row(key, i64::MAX), version_row(key, 7), version_row(key, 2)])
            .collect();
        assert!(rows.is_sorted());
        for (row, key) in rows.iter().skip(1).step_by(3).zip(keys) {
            let (prefix, revision) = split_row(row).unwrap();
            assert_eq!((&user_key(prefix).unwrap()[..], revision), (key, 7));
            let rows = KeyRows::of(key);
            assert_eq!(rows.prefix(), prefix);
            assert!(prefix < &row[..] && row < &past_key(prefix));
            assert_eq!((shared_part(row), shared_part(prefix)), (prefix, prefix));
            assert_eq!(&rows.into_row(7), row);
        }
    }

    #[test]
    fn a_range_without_an_end_covers_every_key_from_its_start() {
        let (from, below) = range_rows(&KeyRange { key: "\0".into(), end: "\0".into() }).unwrap();
        for key in [&b"\0"[..], b"a", &[0xff; 300]] {
            let row = version_row(key, 1);
            assert!(from < row && row < below);
        }
        assert!(range_rows(&KeyRange { key: "b".into(), end: "b".into() }).is_none());
    }

    #[test]
    fn lease_rows_stand_in_the_order_of_the_ids() {
        let ids = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        assert!(ids.map(lease_row).is_sorted());
        for id in ids {
            assert_eq!(split_lease_row(&lease_row(id)).unwrap(), id);
            let (from, below) = attached_rows(id);
            let row = attached_row(id, &[0xff; 9]);
            assert!(from < row && row < below);
        }
    }

    #[test]
    fn queue_keys_are_those_of_the_recipes() {
        assert_eq!(queue_key(b"lock", 0x1f3a), "lock/1f3a");
        assert_eq!(queue_key(b"lock", -1), "lock/-1");
        assert_eq!(queue_key(b"lock", i64::MIN), "lock/-8000000000000000");
        assert_eq!(queue_prefix(b"lock"), "lock/");
        assert_eq!(successor(b"lock/").unwrap(), b"lock0");
        assert_eq!(successor(b"a\xff\xff").unwrap(), b"b");
        assert_eq!(successor(b"\xff"), None);
    }
}
