//! Answering a range query: the keys alive at one revision, filtered, sorted, cut.
//!
//! 1. `count` is the number of keys in the range before filters and limit, so the whole range is
//!    always walked. Where keys are only counted, the shorter table of living keys is used.
//! 2. Filters come first, then the order, then the limit. `more` is set if the limit cut keys off.
//! 3. Ties of an order are in key order.

use crate::bounds::{Bounds, Budget, ReadStop};
use crate::keys::{self, KeyRows};
use crate::record::{Record, Version};
use crate::scan::{self, PRESENT};
use crate::view::{Fault, View};
use crate::{KeyValue, Order, RangeQuery, RangeResult, Rejection, SortBy};
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// The newest version of a key at or before `revision`; `None` if there is none, or it is a
/// tombstone.
pub fn version_at<V: View>(view: &V, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault> {
    Ok(find_version(view, key, revision)?.map(|version| version.into_kv(key)))
}

pub(crate) fn find_version<V: View>(view: &V, key: &[u8], revision: i64) -> Result<Option<Version>, Fault> {
    let rows = KeyRows::of(key);
    let read = |row: &[u8], record: &[u8]| Version::decode(Bytes::copy_from_slice(record), keys::split_row(row)?.1);
    let version = match revision {
        PRESENT => view.newest(rows.prefix(), read)?,
        _ => view.version(rows.prefix(), &keys::at_revision(rows.prefix(), revision), read)?,
    };
    Ok(version.filter(|version| !version.is_tombstone()))
}

/// The revision that a query reads at. Zero or negative means now. (Inside a transaction only 0
/// does; that is checked before.)
pub(crate) fn revision(query: &RangeQuery, bounds: Bounds) -> Result<i64, Rejection> {
    match query.revision {
        ..=0 => Ok(bounds.current),
        revision if revision > bounds.current => Err(Rejection::FutureRevision { current: bounds.current }),
        revision if revision < bounds.compacted => Err(Rejection::Compacted { compacted: bounds.compacted }),
        revision => Ok(revision),
    }
}

/// The same for walks: a read at the current revision walks the present, where deleted keys cost
/// nothing.
pub(super) fn walk_revision(query: &RangeQuery, bounds: Bounds) -> Result<i64, Rejection> {
    revision(query, bounds).map(|revision| if revision == bounds.current { PRESENT } else { revision })
}

/// Answers a range query. `budget` is how much may be read: a row costs 1, and 1 more
/// for each KiB of its value; `None` is no bound.
pub fn range<V: View>(
    view: &V,
    query: &RangeQuery,
    bounds: Bounds,
    budget: Option<usize>,
) -> Result<Result<RangeResult, ReadStop>, Fault> {
    range_within(view, query, bounds, &Budget::new(budget))
}

/// The same as a part of a larger read with a shared budget.
pub(super) fn range_within<V: View>(
    view: &V,
    query: &RangeQuery,
    bounds: Bounds,
    budget: &Budget,
) -> Result<Result<RangeResult, ReadStop>, Fault> {
    let revision = match walk_revision(query, bounds) {
        Ok(revision) => revision,
        Err(rejection) => return Ok(Err(rejection.into())),
    };
    if query.range.end.is_empty() {
        let found = single(view, query, revision)?;
        // A transaction may contain many such reads.
        let within_budget = budget.spend(found.kvs.first().map_or(0, |kv| kv.value.len()));
        return Ok(if within_budget { Ok(found) } else { Err(ReadStop::OverBudget) });
    }
    let mut answer = Answer::new(query);
    if let Some((from, below)) = keys::range_rows(&query.range) {
        let countable = revision == PRESENT && answer.counts_all();
        // The start of the rest, which is only counted.
        let mut rest = (countable && answer.is_full()).then(|| from.clone());
        let done = rest.is_some()
            || scan::alive(view, (&from, &below), revision, budget, |found| {
                answer.found(found.prefix, found.mod_revision, found.record)?;
                if !(countable && answer.is_full()) {
                    return Ok(ControlFlow::Continue(()));
                }
                rest = Some(keys::past_key(found.prefix));
                Ok(ControlFlow::Break(()))
            })?;
        let counted = match rest {
            Some(from) if done => scan::count_living(view, (&from, &below), budget)?,
            _ => done.then_some(0),
        };
        match counted {
            Some(keys) => answer.count_more(keys),
            None => return Ok(Err(ReadStop::OverBudget)),
        }
    }
    Ok(Ok(answer.finish()))
}

/// One key needs no walk: one seek, and its value is not copied.
fn single<V: View>(view: &V, query: &RangeQuery, revision: i64) -> Result<RangeResult, Fault> {
    let Some(version) = find_version(view, &query.range.key, revision)? else { return Ok(RangeResult::default()) };
    let mut result = RangeResult { count: 1, ..RangeResult::default() };
    if !query.count_only && passes(query, version.mod_revision, version.create_revision) {
        let mut kv = version.into_kv(&query.range.key);
        if query.keys_only {
            kv.value.clear();
        }
        result.kvs.push(kv);
    }
    Ok(result)
}

fn passes(query: &RangeQuery, mod_revision: i64, create_revision: i64) -> bool {
    let within = |revision: i64, min: i64, max: i64| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    within(mod_revision, query.min_mod_revision, query.max_mod_revision)
        && within(create_revision, query.min_create_revision, query.max_create_revision)
}

/// The answer as it grows.
struct Answer<'q> {
    query: &'q RangeQuery,
    /// The number of keys to return; the rest is only counted.
    limit: usize,
    /// `None`: key order.
    order: Option<Order>,
    kvs: Vec<KeyValue>,
    count: i64,
    passed: usize,
}

impl<'q> Answer<'q> {
    fn new(query: &'q RangeQuery) -> Answer<'q> {
        let order = match (query.sort_by, query.order) {
            (SortBy::Key, Order::None | Order::Ascend) => None,
            (_, Order::None) => Some(Order::Ascend),
            (_, order) => Some(order),
        };
        let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        Answer { query, limit, order, kvs: Vec::new(), count: 0, passed: 0 }
    }

    /// Whether every key counts, without reading its record.
    fn counts_all(&self) -> bool {
        let RangeQuery { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. } =
            self.query;
        let filters = [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision];
        self.query.count_only || (self.order.is_none() && filters.iter().all(|bound| **bound == 0))
    }

    /// Whether no more keys are returned.
    fn is_full(&self) -> bool {
        self.query.count_only || self.kvs.len() >= self.limit
    }

    fn count_more(&mut self, keys: usize) {
        self.count += i64::try_from(keys).unwrap_or(i64::MAX);
        if !self.query.count_only {
            self.passed += keys;
        }
    }

    fn found(&mut self, prefix: &[u8], mod_revision: i64, record: Record<'_>) -> Result<(), Fault> {
        self.count += 1;
        if self.query.count_only || !passes(self.query, mod_revision, record.create_revision) {
            return Ok(());
        }
        self.passed += 1;
        if self.order.is_none() && self.kvs.len() >= self.limit {
            return Ok(());
        }
        let with_value = !self.query.keys_only || self.query.sort_by == SortBy::Value;
        self.kvs.push(record.to_kv(prefix, mod_revision, with_value)?);
        // A sorted query with a limit keeps a few times the limit in memory, not the range.
        if self.order.is_some() && self.kvs.len() > self.limit.saturating_mul(2).saturating_add(64) {
            self.cut();
        }
        Ok(())
    }

    /// Sorts the keys and drops those that cannot be in the answer. The sort is stable, so later
    /// keys stay behind earlier ones.
    fn cut(&mut self) {
        let Some(order) = self.order else { return };
        let by = self.query.sort_by;
        match order {
            Order::Descend => self.kvs.sort_by(|a, b| compare(by, b, a)),
            Order::Ascend | Order::None => self.kvs.sort_by(|a, b| compare(by, a, b)),
        }
        self.kvs.truncate(self.limit);
    }

    fn finish(mut self) -> RangeResult {
        self.cut();
        if self.query.keys_only {
            self.kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        RangeResult { more: self.passed > self.limit, kvs: self.kvs, count: self.count }
    }
}

fn compare(by: SortBy, a: &KeyValue, b: &KeyValue) -> Ordering {
    match by {
        SortBy::Key => a.key.cmp(&b.key),
        SortBy::Version => a.version.cmp(&b.version),
        SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortBy::Value => a.value.cmp(&b.value),
    }
}
