//! Hashes of the store, for comparing members.

use super::range;
use crate::bounds::Bounds;
use crate::digest::Digest;
use crate::keys;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use crate::{RangeQuery, Rejection};

/// The store, or its history, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    pub compacted: i64,
    /// The last revision that is hashed.
    pub revision: i64,
}

/// A hash of the pairs that a read at `revision` (0: the current one) finds, for comparing members.
///
/// No compaction changes it as long as `revision` can be read: what it covers is never removed. So
/// members may be compared whatever each has compacted and swept.
pub fn hash_kv<V: View>(view: &V, revision: i64, bounds: Bounds) -> Result<Result<KvHash, Rejection>, Fault> {
    let revision = match readable(revision, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection)),
    };
    hash(view, revision, revision, Tombstones::Never)
        .map(|hash| Ok(KvHash { hash, compacted: bounds.compacted, revision }))
}

/// A hash of everything readable between the compacted revision and `revision` (0: the current
/// one).
///
/// It covers every version made after the compacted revision and, of each key, the version readable
/// at it. It does not cover rows that a sweep has yet to remove, so the progress of sweeps does not
/// matter.
pub fn hash_history<V: View>(view: &V, revision: i64, bounds: Bounds) -> Result<Result<KvHash, Rejection>, Fault> {
    let revision = match readable(revision, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let Bounds { compacted, .. } = bounds;
    hash(view, revision, compacted, Tombstones::At(compacted)).map(|hash| Ok(KvHash { hash, compacted, revision }))
}

/// Which deletions count that are a key's only version in the hash.
enum Tombstones {
    Never,
    /// At the compacted revision they can still be watched.
    At(i64),
}

fn readable(revision: i64, bounds: Bounds) -> Result<i64, Rejection> {
    let revision = range::revision(&RangeQuery { revision, ..RangeQuery::default() }, bounds)?;
    debug_assert!(revision <= bounds.current, "a future revision is refused");
    Ok(revision)
}

/// Every version up to `revision` that was made after `single`, and of each key the last one up to
/// that.
fn hash<V: View>(view: &V, revision: i64, single: i64, tombstones: Tombstones) -> Result<u32, Fault> {
    let mut digest = Digest::EMPTY;
    let mut decided: Vec<u8> = Vec::new();
    let (from, below) = keys::all_rows();
    view.scan(Table::Kv, &from, &below, &mut |row, value| {
        let (prefix, at) = keys::split_row(row)?;
        if at > revision {
            return Ok(Step::Next);
        }
        let record = Record::decode(value)?;
        if at > single {
            hash_version(&mut digest, prefix, at, record);
            return Ok(Step::Next);
        }
        if decided != prefix {
            decided.clear();
            decided.extend_from_slice(prefix);
            if !record.is_tombstone() || matches!(tombstones, Tombstones::At(shown) if shown == at) {
                hash_version(&mut digest, prefix, at, record);
            }
        }
        Ok(Step::Next)
    })?;
    Ok(digest.fold())
}

/// Only the tombstone flag is hashed: other flags may be set without a new revision.
fn hash_version(digest: &mut Digest, prefix: &[u8], mod_revision: i64, record: Record<'_>) {
    digest.bytes(prefix);
    digest.number(mod_revision);
    digest.number(i64::from(record.is_tombstone()));
    digest.number(record.create_revision);
    digest.number(record.version);
    digest.number(record.lease);
    digest.bytes(record.value);
}
