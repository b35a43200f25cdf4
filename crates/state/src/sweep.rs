//! Removing what compaction made unreadable, piece by piece, beside everything else.
//!
//! The rev table lists changes in order, so a sweep walks it from where the last one ended up to the compacted revision. A change
//! makes the version before it obsolete; a tombstone is obsolete itself. What stays: of each key the newest version at or before the
//! compacted revision, and everything at that revision, tombstones too, because a watch may start right there.
//!
//! 1. No read at or above the compacted revision can tell whether a sweep has run: [`crate::read`] never looks at what it removes.
//! 2. Changes are taken in ascending order, and a change's row goes together with what it made obsolete. So after a piece was
//!    removed and the process died, the next sweep goes on from the rows that are left: starting from 0 is always right.
//! 3. It removes only rows that no command reads: it may run beside `apply`, on an older view.

use crate::keys::{self, Before, KeyRows};
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

/// Rows to remove.
pub type Obsolete = Vec<(Table, Vec<u8>)>;

/// The rows to remove for at most about `limit` changes from revision `from` on, and where to go on; `None` when done.
///
/// `from` is 0, or what the call before gave, or the compacted revision of a sweep that was finished.
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
            Before::Untold => obsolete(view, &key, revision, compacted, &mut rows)?,
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

/// Changes in whole revisions, as far as the limit goes, and the revision after them.
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

/// What the change of `key` at `revision` left behind: the version before it, and itself if it is a tombstone.
fn obsolete<V: View>(view: &V, key: &[u8], revision: i64, compacted: i64, rows: &mut Obsolete) -> Result<(), Fault> {
    let all = KeyRows::of(key);
    let from = keys::at_revision(all.prefix(), revision);
    view.scan(Table::Kv, &from, &keys::past_key(all.prefix()), &mut |row, value| {
        let (_, at) = keys::split_row(row)?;
        if at < revision {
            rows.push((Table::Kv, row.to_vec()));
            // Those before it went with the change that it was.
            return Ok(Step::Stop);
        }
        if Record::decode(value)?.is_tombstone() && revision < compacted {
            rows.push((Table::Kv, row.to_vec()));
        }
        Ok(Step::Next)
    })
}
