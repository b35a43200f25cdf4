//! Reading the whole state in pieces, for a snapshot in another format: history in the order of
//! revisions, and the rows that only this crate can interpret.
//!
//! Each function shows at most `limit` items from a place on, fewer if they are large, and gives
//! the place to go on from; `None` at the end. All calls have to use one view.
//!
//! What is left of the time before the compacted revision stands in the order of the keys: its rows
//! in the table rev are gone. Cursor the compacted revision on the table rev has every change.

use crate::auth::{self, Role, User};
use crate::bounds::Budget;
use crate::keys;
use crate::placement::{PlacementPolicy, encode_policy};
use crate::record::{LOCK, Version};
use crate::scan::{self, Found};
use crate::view::{Fault, Step, Table, View};
use crate::{KeyValue, LeaseId};
use bytes::Bytes;
use std::ops::ControlFlow;

/// After so many bytes no further item is shown.
const BYTES: usize = 256 << 10;

/// Where to go on: the key of a row. Empty: at the beginning.
pub type Cursor = Vec<u8>;

/// A version of a key, or its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Of a deletion only key and mod revision are set.
    pub kv: KeyValue,
    pub deleted: bool,
}

/// Shows key and revision of each version that is older than the compacted revision, and readable
/// at it.
pub fn kept<V: View>(
    view: &V,
    compacted: i64,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(i64, Bytes) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    each_alive(view, compacted, from, limit, |found| {
        if found.mod_revision < compacted {
            visit(found.mod_revision, keys::user_key(found.prefix)?)?;
        }
        Ok(())
    })
}

/// Shows the living keys that a Lock made: `Unlock` deletes no others.
pub fn locks<V: View>(
    view: &V,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(Bytes) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    each_alive(view, scan::PRESENT, from, limit, |found| {
        if found.record.flags & LOCK != 0 {
            visit(keys::user_key(found.prefix)?)?;
        }
        Ok(())
    })
}

fn each_alive<V: View>(
    view: &V,
    revision: i64,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(Found<'_>) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    let (first, below) = keys::all_rows();
    let from = if from.is_empty() { &first } else { from };
    let (mut shown, mut bytes, mut next) = (0, 0, None);
    scan::alive(view, (from, &below), revision, &Budget::unlimited(), |found| {
        let past = keys::past_key(found.prefix);
        visit(found)?;
        shown += 1;
        bytes += past.len();
        if shown < limit && bytes < BYTES {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(past);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(next)
}

/// Shows the changes from the compacted revision on, in order: revision, sub-revision and key.
pub fn changes<V: View>(
    view: &V,
    compacted: i64,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(i64, u32, &[u8]) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    let first = keys::revision_row(compacted).to_vec();
    let from = if from.is_empty() { &first } else { from };
    rows(view, Table::Rev, (from, &keys::revision_row(i64::MAX)), limit, |row, key| {
        let (revision, sub) = keys::split_change(row)?;
        visit(revision, sub, key)
    })
}

/// The version that a key got at a revision.
pub fn version<V: View>(view: &V, key: &[u8], revision: i64) -> Result<Past, Fault> {
    let row = keys::version_row(key, revision);
    let version = view.decoded(Table::Kv, &row, |row| Version::decode(row.clone(), revision))?;
    let version =
        version.ok_or_else(|| view.contradiction(format!("revision {revision} has a change without a version")))?;
    let deleted = version.is_tombstone();
    Ok(Past { kv: version.into_kv(key), deleted })
}

/// Shows the rows of elections, locks and claims, as they are.
pub fn coordination<V: View>(
    view: &V,
    from: &Cursor,
    limit: usize,
    visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    rows(view, Table::Coord, (from, &[0xff]), limit, visit)
}

/// The row of the policy of placement, if there is one.
pub fn placement<V: View>(view: &V) -> Result<Option<Vec<u8>>, Fault> {
    let policy = crate::placement::placement(view)?;
    Ok((policy != PlacementPolicy::default()).then(|| encode_policy(&policy)))
}

/// Whether users are checked, and the auth revision.
pub fn auth<V: View>(view: &V) -> Result<(bool, u64), Fault> {
    auth::meta(view)
}

/// Shows the users in the order of their names.
pub fn users<V: View>(
    view: &V,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(&str, User) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    named(view, auth::USERS, from, limit, |name, row| visit(name, auth::decode_user(row)?))
}

/// Shows the roles in the order of their names.
pub fn roles<V: View>(
    view: &V,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(&str, Role) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    named(view, auth::ROLES, from, limit, |name, row| visit(name, auth::decode_role(row)?))
}

/// Rows of the table meta whose keys are a prefix and a name.
fn named<V: View>(
    view: &V,
    prefix: &[u8],
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    let below = keys::successor(prefix).expect("the prefixes of the meta table are text");
    let from = if from.is_empty() { prefix } else { from };
    rows(view, Table::Meta, (from, &below), limit, |key, row| {
        let name = std::str::from_utf8(&key[prefix.len()..]);
        visit(name.map_err(|_| Fault::Corrupt("a name of a user or role cannot be read".into()))?, row)
    })
}

/// Shows the leases with their TTLs in milliseconds, in the order of their ids as unsigned numbers.
/// One that is ending has the shortest TTL: where it is restored, it ends again.
pub fn leases<V: View>(
    view: &V,
    from: &Cursor,
    limit: usize,
    mut visit: impl FnMut(LeaseId, u64) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    // As signed numbers, those with the sign come first.
    let (all, past) = keys::lease_rows();
    let positive = keys::lease_row(0).to_vec();
    let signed = !from.is_empty() && *from < positive;
    let first = if from.is_empty() { &positive } else { from };
    let below = if signed { &positive[..] } else { &past[..] };
    let next = rows(view, Table::Lease, (first, below), limit, |row, value| {
        visit(keys::split_lease_row(row)?, crate::lease::LeaseRow::decode(value)?.ttl_ms.max(1))
    })?;
    Ok(next.or_else(|| (!signed).then(|| all.to_vec())))
}

fn rows<V: View>(
    view: &V,
    table: Table,
    (from, below): (&[u8], &[u8]),
    limit: usize,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<Option<Cursor>, Fault> {
    let (mut shown, mut bytes, mut next) = (0, 0, None);
    view.scan(table, from, below, &mut |row, value| {
        if shown == limit || bytes >= BYTES {
            next = Some(row.to_vec());
            return Ok(Step::Stop);
        }
        shown += 1;
        bytes += row.len() + value.len();
        visit(row, value)?;
        Ok(Step::Next)
    })?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, DeleteRange, KeyRange, LeaseGrant, Machine, MemoryView, Position, Put};

    struct Store(MemoryView, Machine, u64);

    impl Store {
        fn new() -> Store {
            let view = MemoryView::new();
            let machine = Machine::load(&view).expect("memory");
            Store(view, machine, 0)
        }

        fn apply(&mut self, command: &Command) {
            self.2 += 1;
            let mut batch = self.1.begin(&self.0);
            let outcome = batch.apply(Position { index: self.2, term: 1 }, command, true).expect("memory");
            outcome.result.expect("accepted");
            let writes = batch.finish().writes;
            self.0.write(&writes);
        }

        fn put(&mut self, key: &str) {
            self.apply(&Command::Put(Put { key: key.to_owned().into(), value: "v".into(), ..Put::default() }));
        }

        fn delete(&mut self, key: &str) {
            let range = KeyRange { key: key.to_owned().into(), end: Bytes::new() };
            self.apply(&Command::DeleteRange(DeleteRange { range, ..DeleteRange::default() }));
        }
    }

    fn all(mut step: impl FnMut(&Cursor) -> Option<Cursor>) {
        let mut from = Some(Cursor::new());
        while let Some(at) = from {
            from = step(&at);
        }
    }

    /// Whatever was swept: what is older comes by key, the rest by revision; together everything
    /// that can be read.
    #[test]
    fn history_is_complete_however_far_a_sweep_has_come() {
        let mut store = Store::new();
        for key in ["a", "b", "c", "d"] {
            store.put(key);
        }
        store.put("b");
        store.delete("c");
        store.delete("d");
        store.put("a");
        store.apply(&Command::Compact { revision: 8 });
        for swept in 0..=8 {
            let mut view = store.0.clone();
            // The rows of a change are removed together.
            if swept > 0 {
                let (obsolete, _) = crate::sweep::sweep(&view, 0, 8, swept).expect("memory");
                view.remove(&obsolete);
            }
            for limit in [1, 2, 100] {
                let (mut older, mut rest) = (vec![], vec![]);
                all(|from| {
                    kept(&view, 8, from, limit, |revision, key| {
                        older.push((revision, key));
                        Ok(())
                    })
                    .expect("memory")
                });
                assert_eq!(older, [(2, Bytes::from("a")), (6, Bytes::from("b"))]);
                all(|from| {
                    changes(&view, 8, from, limit, |revision, sub, key| {
                        rest.push((revision, sub, Bytes::copy_from_slice(key)));
                        Ok(())
                    })
                    .expect("memory")
                });
                assert_eq!(rest, [(8, 0, Bytes::from("d")), (9, 0, Bytes::from("a"))]);
            }
            assert!(version(&view, b"d", 8).expect("it is there").deleted);
            assert_eq!(version(&view, b"b", 6).expect("it is there").kv.version, 2);
        }
        assert!(version(&store.0, b"b", 7).is_err());
    }

    #[test]
    fn leases_come_in_unsigned_order() {
        let mut store = Store::new();
        for id in [7, -1, i64::MIN, i64::MAX, -9] {
            store.apply(&Command::LeaseGrant(LeaseGrant { id, ttl_ms: 5 }));
        }
        for limit in [1, 2, 3, 100] {
            let mut found = vec![];
            all(|from| {
                leases(&store.0, from, limit, |id, ttl| {
                    found.push((id.cast_unsigned(), ttl));
                    Ok(())
                })
                .expect("memory")
            });
            assert!(found.is_sorted() && found.len() == 5, "{found:?}");
        }
    }
}
