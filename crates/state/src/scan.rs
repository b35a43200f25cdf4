//! Walking the kv table as of one revision: of each key the newest version at or before it, unless that is a tombstone.
//!
//! Most keys have one version, so the walk steps from row to row; where a key has many, it jumps over them after a few.

use crate::bounds::Budget;
use crate::keys;
use crate::record::Record;
use crate::view::{Fault, Step, Table, View};
use std::ops::ControlFlow;

/// Steps over rows that do not count before a jump is cheaper than the next step.
const PATIENCE: u32 = 4;

pub(crate) struct Found<'a> {
    /// What all rows of the key share (see [`keys::user_key`]).
    pub(crate) prefix: &'a [u8],
    pub(crate) mod_revision: i64,
    pub(crate) record: Record<'a>,
}

/// Shows the keys of the rows `[from, below)` that are alive at `revision`, in order. `Ok(false)`: the budget ran out.
pub(crate) fn alive<V: View>(
    view: &V,
    (from, below): (&[u8], &[u8]),
    revision: i64,
    budget: &Budget,
    mut visit: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, Fault>,
) -> Result<bool, Fault> {
    let mut decided: Vec<u8> = Vec::new();
    let mut passed = 0;
    let mut within_budget = true;
    view.scan(Table::Kv, from, below, &mut |row, value| {
        if !budget.spend() {
            within_budget = false;
            return Ok(Step::Stop);
        }
        let (prefix, mod_revision) = keys::split_row(row)?;
        let older = prefix == decided.as_slice();
        if older || mod_revision > revision {
            passed += 1;
            return Ok(match passed {
                ..PATIENCE => Step::Next,
                _ if older => Step::Seek(keys::past_key(prefix)),
                _ => Step::Seek(keys::at_revision(prefix, revision)),
            });
        }
        passed = 0;
        decided.clear();
        decided.extend_from_slice(prefix);
        let record = Record::decode(value)?;
        if record.is_tombstone() {
            return Ok(Step::Next);
        }
        Ok(match visit(Found { prefix, mod_revision, record })? {
            ControlFlow::Continue(()) => Step::Next,
            ControlFlow::Break(()) => Step::Stop,
        })
    })?;
    Ok(within_budget)
}
