//! The conditions of transactions.

use crate::keys;
use crate::machine::{Batch, Stop};
use crate::record::Record;
use crate::scan;
use crate::view::View;
use crate::{Compare, Relation, Target};
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::ControlFlow;

impl<V: View> Batch<'_, V> {
    /// Whether every key in the compare's range satisfies it now. An empty range counts as one
    /// missing key.
    pub(super) fn holds(&self, compare: &Compare) -> Result<bool, Stop> {
        let relates = |mod_revision: i64, record: Option<&Record<'_>>| relates(compare, mod_revision, record);
        if compare.range.end.is_empty() {
            let key = &compare.range.key;
            let target = self.target(key)?;
            let Some(head) = target.current else { return Ok(relates(0, None)) };
            let value = if matches!(compare.target, Target::Value(_)) { self.value_of(&target)? } else { Bytes::new() };
            return Ok(relates(head.mod_revision, Some(&head.record(&value))));
        }
        let (mut found, mut holds) = (0, true);
        let left = self.keys_left.get();
        if let Some((from, below)) = keys::range_rows(&compare.range) {
            let within_budget = scan::alive(&self.rows, (&from, &below), scan::PRESENT, &self.reads, |row| {
                found += 1;
                holds = relates(row.mod_revision, Some(&row.record));
                Ok(if holds && found <= left { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            if !within_budget {
                return Err(Stop::OverBudget);
            }
        }
        self.looked_at(found)?;
        Ok(if found > 0 { holds } else { relates(0, None) })
    }
}

/// Whether one key satisfies a compare. For a missing key all numbers are zero, and every compare
/// of its value fails.
fn relates(compare: &Compare, mod_revision: i64, record: Option<&Record<'_>>) -> bool {
    let number = |of: fn(&Record<'_>) -> i64| record.map_or(0, of);
    let ordering = match &compare.target {
        Target::Version(operand) => number(|record| record.version).cmp(operand),
        Target::CreateRevision(operand) => number(|record| record.create_revision).cmp(operand),
        Target::ModRevision(operand) => mod_revision.cmp(operand),
        Target::Lease(operand) => number(|record| record.lease).cmp(operand),
        Target::Value(operand) => match record {
            Some(record) => record.value.cmp(operand),
            None => return false,
        },
    };
    match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Greater => ordering == Ordering::Greater,
        Relation::Less => ordering == Ordering::Less,
    }
}
