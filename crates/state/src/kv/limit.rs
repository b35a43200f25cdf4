//! How much one command may make every member do: apply has one thread, and runs each command again after every restart.
//!
//! A command is refused if it looks at or changes more keys than [`MOST_KEYS`] by ranges. Living keys are counted, not rows: how many rows
//! there are depends on how far a sweep has come, which differs from member to member.

use crate::bounds::Budget;
use crate::keys;
use crate::machine::{Batch, Stop};
use crate::scan::{self, PRESENT};
use crate::view::{Fault, View};
use crate::{KeyRange, Rejection};
use std::ops::ControlFlow;

/// Keys that the ranges of one command may cover: those that it compares, reads and deletes together.
pub const MOST_KEYS: usize = 100_000;

impl<V: View> Batch<'_, V> {
    /// Takes keys that ranges cover from the limit of the command at hand; refuses it if they are too
    /// many.
    pub(crate) fn looked_at(&self, keys: usize) -> Result<(), Rejection> {
        let left = self.keys_left.get();
        if left == usize::MAX {
            return Ok(());
        }
        self.keys_left.set(left.saturating_sub(keys));
        if keys > left { Err(Rejection::TooManyKeys { limit: MOST_KEYS }) } else { Ok(()) }
    }

    /// Books all living keys of a range at a revision.
    pub(crate) fn will_look_at(&self, range: &KeyRange, revision: i64) -> Result<(), Stop> {
        // Transactions that only read have no limit. They go by their budget, which counting would not respect.
        let Some(most) = self.keys_left.get().checked_add(1).filter(|_| !range.end.is_empty()) else { return Ok(()) };
        let keys = living(&self.rows, range, revision, most)?;
        Ok(self.looked_at(keys)?)
    }
}

/// How many keys of a range are alive, at most `most`.
fn living<V: View>(view: &V, range: &KeyRange, revision: i64, most: usize) -> Result<usize, Fault> {
    let Some((from, below)) = keys::range_rows(range) else { return Ok(0) };
    if revision == PRESENT {
        return Ok(scan::count_living(view, (&from, &below), &Budget::new(Some(most)))?.unwrap_or(most));
    }
    let mut found = 0;
    scan::alive(view, (&from, &below), revision, &Budget::unlimited(), |_| {
        found += 1;
        Ok(if found < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}
