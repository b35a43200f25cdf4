//! A hash of the store's history, for comparing members.

use super::range;
use crate::bounds::Bounds;
use crate::digest::Digest;
use crate::keys;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use crate::{RangeQuery, Rejection};

/// The store's history in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    pub compacted: i64,
    /// The last revision that is hashed.
    pub revision: i64,
}

/// A hash of everything readable between the compacted revision and `revision` (0: the current
/// one), for comparing members.
///
/// It covers every version made after the compacted revision and, of each key, the version readable
/// at it. It does not cover rows that a sweep has yet to remove, so the progress of sweeps does not
/// matter.
pub fn hash_kv<V: View>(view: &V, revision: i64, bounds: Bounds) -> Result<Result<KvHash, Rejection>, Fault> {
    let Bounds { current, compacted } = bounds;
    let query = RangeQuery { revision, ..RangeQuery::default() };
    let revision = match range::revision(&query, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection)),
    };
    debug_assert!(revision <= current, "a future revision is refused");
    let mut digest = Digest::EMPTY;
    let mut decided: Vec<u8> = Vec::new();
    let (from, below) = keys::all_rows();
    view.scan(Table::Kv, &from, &below, &mut |row, value| {
        let (prefix, at) = keys::split_row(row)?;
        if at > revision {
            return Ok(Step::Next);
        }
        let record = Record::decode(value)?;
        if at > compacted {
            hash_version(&mut digest, prefix, at, record);
            return Ok(Step::Next);
        }
        if decided != prefix {
            decided.clear();
            decided.extend_from_slice(prefix);
            if at == compacted || !record.is_tombstone() {
                hash_version(&mut digest, prefix, at, record);
            }
        }
        Ok(Step::Next)
    })?;
    Ok(Ok(KvHash { hash: digest.fold(), compacted, revision }))
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
