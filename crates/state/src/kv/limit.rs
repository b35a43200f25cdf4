//! Limits the work of one command: apply has one thread on every member, and repeats commands after
//! a restart.
//!
//! A command is rejected if its ranges read or change more than [`MOST_KEYS`] keys. Living keys are
//! counted and not rows, because the number of rows depends on the progress of the sweep, which
//! differs from member to member.

use crate::bounds::{Budget, MOST_KEYS};
use crate::keys;
use crate::machine::{Batch, Stop};
use crate::scan::{self, PRESENT};
use crate::view::{Fault, View};
use crate::{KeyRange, Rejection};
use std::ops::ControlFlow;

impl<V: View> Batch<'_, V> {
    /// Charges keys to the limit of the current command; rejects it if there are too many.
    pub(crate) fn looked_at(&self, keys: usize) -> Result<(), Rejection> {
        let left = self.keys_left.get();
        if left == usize::MAX {
            return Ok(());
        }
        self.keys_left.set(left.saturating_sub(keys));
        if keys > left { Err(Rejection::TooManyKeys { limit: MOST_KEYS }) } else { Ok(()) }
    }

    /// Charges all living keys of a range at a revision.
    pub(crate) fn will_look_at(&self, range: &KeyRange, revision: i64) -> Result<(), Stop> {
        // Read-only transactions have no limit. They have a budget, which counting would not
        // respect.
        let Some(most) = self.keys_left.get().checked_add(1).filter(|_| !range.end.is_empty()) else { return Ok(()) };
        let keys = living(&self.rows, range, revision, most)?;
        Ok(self.looked_at(keys)?)
    }
}

/// The number of living keys in a range, at most `most`.
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
