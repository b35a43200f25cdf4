//! Walks the kv table at one revision: visits the newest version of each key at or before that
//! revision, unless it is a tombstone.
//!
//! Most keys have one version, so the walk steps from row to row. After a few rows of one key it
//! seeks to the next key. A walk over the present also skips deleted keys: after a few of them it
//! asks the table of living keys for the next key. So the cost depends on the living keys, not on
//! the deleted ones.

use crate::bounds::Budget;
use crate::keys;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use std::ops::ControlFlow;

/// Steps over irrelevant rows before a seek is cheaper than the next step.
const PATIENCE: u32 = 4;

/// Rows without a living key before a lookup in the table of living keys is cheaper than the next
/// step.
const DEAD: u32 = 8;

/// Stands for the current revision.
pub(crate) const PRESENT: i64 = i64::MAX;

pub(crate) struct Found<'a> {
    /// The common prefix of the key's rows (see [`keys::user_key`]).
    pub(crate) prefix: &'a [u8],
    pub(crate) mod_revision: i64,
    pub(crate) record: Record<'a>,
}

/// Visits the keys in the rows `[from, below)` that are alive at `revision`, in order. `Ok(false)`:
/// the budget ran out.
pub(crate) fn alive<V: View>(
    view: &V,
    (from, below): (&[u8], &[u8]),
    revision: i64,
    budget: &Budget,
    mut visit: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, Fault>,
) -> Result<bool, Fault> {
    let mut decided: Vec<u8> = Vec::new();
    let (mut passed, mut dead) = (0, 0);
    let mut within_budget = true;
    let mut row = |row: &[u8], value: &[u8]| -> Result<Step, Fault> {
        if !budget.spend(value.len()) {
            within_budget = false;
            return Ok(Step::Stop);
        }
        let (prefix, mod_revision) = keys::split_row(row)?;
        let older = prefix == decided.as_slice();
        let record = Record::decode(value)?;
        if !older && mod_revision <= revision && !record.is_tombstone() {
            (passed, dead) = (0, 0);
            decide(&mut decided, prefix);
            return Ok(match visit(Found { prefix, mod_revision, record })? {
                ControlFlow::Continue(()) => Step::Next,
                ControlFlow::Break(()) => Step::Stop,
            });
        }
        dead += 1;
        if revision == PRESENT && dead > DEAD {
            dead = 0;
            return Ok(first_living(view, &keys::past_key(prefix), below)?.map_or(Step::Stop, Step::Seek));
        }
        if older || mod_revision > revision {
            passed += 1;
            return Ok(match passed {
                ..PATIENCE => Step::Next,
                _ if older => Step::Seek(keys::past_key(prefix)),
                _ => Step::Seek(keys::at_revision(prefix, revision)),
            });
        }
        passed = 0;
        decide(&mut decided, prefix);
        Ok(Step::Next)
    };
    // The table of living keys says nothing about older revisions. Removed rows cost time there,
    // and are no rows that the budget could count.
    let whole = match revision {
        PRESENT => view.scan_present(from, below, &mut row).map(|()| true)?,
        _ if budget.is_limited() => view.scan_briefly(Table::Kv, from, below, &mut row)?,
        _ => view.scan(Table::Kv, from, below, &mut row).map(|()| true)?,
    };
    Ok(whole && within_budget)
}

fn decide(decided: &mut Vec<u8>, prefix: &[u8]) {
    decided.clear();
    decided.extend_from_slice(prefix);
}

/// The number of living keys in the rows `[from, below)`; `None` if the budget ran out. Counts that
/// the view has cost nothing.
pub(crate) fn count_living<V: View>(
    view: &V,
    (from, below): (&[u8], &[u8]),
    budget: &Budget,
) -> Result<Option<usize>, Fault> {
    let Some(counted) = view.counted(from, below) else { return count_rows(view, (from, below), budget) };
    let Some(before) = count_rows(view, (from, &counted.from), budget)? else { return Ok(None) };
    let after = count_rows(view, (&counted.below, below), budget)?;
    Ok(after.map(|after| before + counted.rows + after))
}

fn count_rows<V: View>(view: &V, (from, below): (&[u8], &[u8]), budget: &Budget) -> Result<Option<usize>, Fault> {
    let mut found = Some(0);
    view.scan(Table::Live, from, below, &mut |_, _| {
        found = found.filter(|_| budget.spend(0)).map(|found| found + 1);
        Ok(if found.is_some() { Step::Next } else { Step::Stop })
    })?;
    Ok(found)
}

/// The common prefix of the first living key in a range of rows.
pub fn first_living<V: View>(view: &V, from: &[u8], below: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut found = None;
    view.scan(Table::Live, from, below, &mut |row, _| {
        found = Some(row.to_vec());
        Ok(Step::Stop)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::read::{self, ReadStop};
    use crate::{Command, KeyRange, Machine, MemoryView, Position, Put, RangeQuery};

    /// Whether a range over so many keys with values of that size fits a budget, and how many it
    /// gives.
    fn within(keys: usize, bytes: usize, budget: usize, keys_only: bool) -> Option<usize> {
        let mut view = MemoryView::new();
        let mut machine = Machine::load(&view).unwrap();
        let mut batch = machine.begin(&view);
        for key in 0..keys {
            let put = Put { key: format!("k{key:03}").into(), value: vec![7; bytes].into(), ..Put::default() };
            batch.apply(Position { index: key as u64 + 1, term: 1 }, &Command::Put(put), false).unwrap();
        }
        let writes = batch.finish().writes;
        view.write(&writes);
        let range = KeyRange { key: "k".into(), end: "l".into() };
        let query = RangeQuery { range, keys_only, ..RangeQuery::default() };
        let bounds = read::meta(&view).unwrap().bounds();
        match read::range(&view, &query, bounds, Some(budget)).unwrap() {
            Ok(result) => Some(result.kvs.len()),
            Err(stop) => {
                assert_eq!(stop, ReadStop::OverBudget);
                None
            }
        }
    }

    #[test]
    fn a_budget_counts_rows_and_bytes() {
        assert_eq!(within(100, 0, 100, false), Some(100));
        assert_eq!(within(101, 0, 100, false), None);
        // Three rows of 50 KiB exceed the budget, although they are only three.
        assert_eq!(within(2, 50 << 10, 100, false), Some(2));
        assert_eq!(within(3, 50 << 10, 100, false), None);
        assert_eq!(within(3, 50 << 10, 100, true), None, "they are read all the same");
        assert_eq!(within(1, 900 << 10, 100, false), Some(1), "the first row is at hand when it is counted");
    }
}
