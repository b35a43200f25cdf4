//! Removes versions that compaction made unreadable, in small pieces in the background.
//!
//! The rev table lists changes in order. A sweep walks it from the end of the last sweep to the
//! compacted revision. A change makes the previous version of its key obsolete; a tombstone is
//! obsolete itself. Of each key the newest version at or before the compacted revision stays, and
//! everything at that revision, including tombstones, because a watch may start right there:
//!
//! ```text
//! compacted at 5
//! key a   versions 2, 4, 7        removed: 2      (4 is readable at revision 5)
//! key b   version 3, deleted at 4 removed: both
//! ```
//!
//! 1. Reads at or above the compacted revision cannot tell whether a sweep has run: [`crate::read`]
//!    never looks at the removed rows.
//! 2. Changes are processed in ascending order, and a change's row is removed together with the
//!    versions that it made obsolete. So after a crash the next sweep continues with the remaining
//!    rows, and starting from 0 is always right.
//! 3. It removes only rows that no command reads, so it may run concurrently with `apply` on an
//!    older view.

use crate::keys::{self, Before, KeyRows};
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

/// Rows to remove.
pub type Obsolete = Vec<(Table, Vec<u8>)>;

/// The rows to remove for about `limit` changes from revision `from` on, and the revision to
/// continue at; `None` when done.
///
/// `from` is 0, the result of the previous call, or the compacted revision of a finished sweep.
pub fn sweep<V: View>(view: &V, from: i64, compacted: i64, limit: usize) -> Result<(Obsolete, Option<i64>), Fault> {
    if compacted < 0 {
        return Ok((Vec::new(), None));
    }
    let (changes, next) = changes(view, from, compacted, limit)?;
    let mut rows = Vec::new();
    for Change { revision, before, row, key } in changes {
        match before {
            Before::Nothing => {}
            Before::Version(version) => rows.push((Table::Kv, keys::version_row(&key, version))),
            Before::Unknown => obsolete(view, &key, revision, compacted, &mut rows)?,
        }
        if revision < compacted {
            rows.push((Table::Rev, row));
        }
    }
    Ok((rows, next))
}

struct Change {
    revision: i64,
    before: Before,
    row: Vec<u8>,
    key: Bytes,
}

/// Changes of whole revisions up to the limit, and the next revision.
fn changes<V: View>(view: &V, from: i64, compacted: i64, limit: usize) -> Result<(Vec<Change>, Option<i64>), Fault> {
    let mut changes: Vec<Change> = Vec::new();
    let mut next = None;
    let (first, past) = (keys::revision_row(from), keys::revision_row(compacted.saturating_add(1)));
    view.scan(Table::Rev, &first, &past, &mut |row, key| {
        let (revision, before) = keys::split_change_row(row)?;
        if changes.len() >= limit.max(1) && changes.last().is_some_and(|last| last.revision != revision) {
            next = Some(revision);
            return Ok(Step::Stop);
        }
        changes.push(Change { revision, before, row: row.to_vec(), key: Bytes::copy_from_slice(key) });
        Ok(Step::Next)
    })?;
    Ok((changes, next))
}

/// The rows made obsolete by the change of `key` at `revision`: the version before, and the change
/// itself if it is a tombstone.
fn obsolete<V: View>(view: &V, key: &[u8], revision: i64, compacted: i64, rows: &mut Obsolete) -> Result<(), Fault> {
    let all = KeyRows::of(key);
    let from = keys::at_revision(all.prefix(), revision);
    view.scan(Table::Kv, &from, &keys::past_key(all.prefix()), &mut |row, value| {
        let (_, at) = keys::split_row(row)?;
        if at < revision {
            rows.push((Table::Kv, row.to_vec()));
            // Earlier versions were removed with the change that made this one.
            return Ok(Step::Stop);
        }
        if Record::decode(value)?.is_tombstone() && revision < compacted {
            rows.push((Table::Kv, row.to_vec()));
        }
        Ok(Step::Next)
    })
}
