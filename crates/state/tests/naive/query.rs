//! Ranges and compares in the model.

use super::Naive;
use bytes::Bytes;
use conclave_state::*;
use std::cmp::Ordering;
use std::collections::BTreeMap;

pub(super) fn contains(range: &KeyRange, key: &Bytes) -> bool {
    match &range.end[..] {
        b"" => *key == range.key,
        b"\0" => *key >= range.key,
        end => *key >= range.key && &key[..] < end,
    }
}

pub(super) fn holds(state: &BTreeMap<Bytes, KeyValue>, compare: &Compare) -> bool {
    let mut found: Vec<Option<&KeyValue>> =
        state.values().filter(|kv| contains(&compare.range, &kv.key)).map(Some).collect();
    if found.is_empty() {
        found.push(None);
    }
    found.into_iter().all(|kv| {
        let number = |of: fn(&KeyValue) -> i64| kv.map_or(0, of);
        let ordering = match &compare.target {
            Target::Version(to) => number(|kv| kv.version).cmp(to),
            Target::CreateRevision(to) => number(|kv| kv.create_revision).cmp(to),
            Target::ModRevision(to) => number(|kv| kv.mod_revision).cmp(to),
            Target::Lease(to) => number(|kv| kv.lease).cmp(to),
            Target::Value(to) => match kv {
                Some(kv) => kv.value.cmp(to),
                None => return false,
            },
        };
        match compare.relation {
            Relation::Equal => ordering == Ordering::Equal,
            Relation::NotEqual => ordering != Ordering::Equal,
            Relation::Greater => ordering == Ordering::Greater,
            Relation::Less => ordering == Ordering::Less,
        }
    })
}

impl Naive {
    pub(crate) fn range(&self, query: &RangeQuery) -> Result<RangeResult, Rejection> {
        let revision = if query.revision <= 0 { self.seen() } else { query.revision };
        if revision > self.seen() {
            return Err(Rejection::FutureRevision { current: self.seen() });
        }
        if query.revision > 0 && revision < self.compacted {
            return Err(Rejection::Compacted { compacted: self.compacted });
        }
        let mut kvs: Vec<KeyValue> =
            self.at(revision).into_values().filter(|kv| contains(&query.range, &kv.key)).collect();
        let count = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
        if query.count_only {
            return Ok(RangeResult { kvs: Vec::new(), more: false, count });
        }
        let above = |bound: i64, revision: i64| bound == 0 || revision >= bound;
        let below = |bound: i64, revision: i64| bound == 0 || revision <= bound;
        kvs.retain(|kv| {
            above(query.min_mod_revision, kv.mod_revision)
                && below(query.max_mod_revision, kv.mod_revision)
                && above(query.min_create_revision, kv.create_revision)
                && below(query.max_create_revision, kv.create_revision)
        });
        // Ties of a descending order stand in key order as well.
        kvs.sort_by(|a, b| {
            let ordering = match query.sort_by {
                SortBy::Key => a.key.cmp(&b.key),
                SortBy::Version => a.version.cmp(&b.version),
                SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
                SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
                SortBy::Value => a.value.cmp(&b.value),
            };
            if query.order == Order::Descend { ordering.reverse() } else { ordering }
        });
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if query.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResult { kvs, more, count })
    }
}
