//! Transactions: decide, check, execute.
//!
//! 1. *Decide*: all compares of the nested tree, as far as it is reached, see the state before the transaction.
//! 2. *Check*: whatever can refuse an operation on the decided path is looked at before anything is written. Ranges are checked
//!    here too, because a member that answers nobody does not execute them and must refuse all the same.
//! 3. *Execute*: operations in order, each seeing those before it. Nothing can fail here but the disk.

use super::range;
use crate::keys;
use crate::machine::{Batch, Stop};
use crate::mutant;
use crate::read::{Bounds, ReadStop};
use crate::record::Record;
use crate::scan::{self, Budget, PRESENT};
use crate::view::{Fault, View};
use crate::{
    Compare, Op, OpResult, OpResultKind, RangeQuery, RangeResult, Rejection, Relation, Target, Txn, TxnResult,
};
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Which branches are taken: of the transaction itself, then of those nested in that branch, in order.
type Path<'p> = std::slice::Iter<'p, bool>;

/// Whether the transaction holds a Put, in any branch.
pub(crate) fn puts(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(txn) => puts(txn),
        Op::Range(_) | Op::DeleteRange(_) => false,
    })
}

impl<V: View> Batch<'_, V> {
    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<TxnResult, Stop> {
        let mut path = Vec::new();
        self.decide(txn, &mut path)?;
        self.check(txn, &mut path.iter())?;
        self.execute_txn(txn, &mut path.iter())
    }

    fn decide(&self, txn: &Txn, path: &mut Vec<bool>) -> Result<(), Stop> {
        let mut succeeded = true;
        for compare in &txn.compares {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        path.push(succeeded);
        for op in branch(txn, succeeded) {
            if let Op::Txn(nested) = op {
                self.decide(nested, path)?;
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Stop> {
        let relates = |mod_revision: i64, record: Option<&Record<'_>>| relates(compare, mod_revision, record);
        if compare.range.end.is_empty() {
            let key = &compare.range.key;
            if mutant!("stale-compare") {
                let before = range::version_at(&self.rows, key, self.machine.revision - 1)?;
                let record = before.as_ref().map(|version| version.head().record(&version.value));
                return Ok(relates(before.as_ref().map_or(0, |version| version.mod_revision), record.as_ref()));
            }
            let target = self.target(key)?;
            let Some(head) = target.current else { return Ok(relates(0, None)) };
            let value = if matches!(compare.target, Target::Value(_)) { self.value_of(&target)? } else { Bytes::new() };
            return Ok(relates(head.mod_revision, Some(&head.record(&value))));
        }
        let (mut found, mut holds) = (0, true);
        let left = self.keys_left();
        if let Some((from, below)) = keys::range_rows(&compare.range) {
            scan::alive(&self.rows, (&from, &below), PRESENT, Budget::UNLIMITED, |row| {
                found += 1;
                holds = relates(row.mod_revision, Some(&row.record));
                Ok(if holds && found <= left { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        self.looked_at(found)?;
        Ok(if found > 0 { holds } else { relates(0, None) })
    }

    fn check(&self, txn: &Txn, path: &mut Path<'_>) -> Result<(), Stop> {
        for op in branch(txn, next(path)) {
            match op {
                Op::Range(query) => {
                    let revision = check_range(query, self.bounds())?;
                    self.will_look_at(&query.range, revision)?;
                }
                Op::Put(put) => {
                    let exists = !(put.ignore_value || put.ignore_lease) || self.target(&put.key)?.current.is_some();
                    self.check_put(put, exists)?;
                }
                Op::DeleteRange(delete) => {
                    self.check_raw_range(&delete.range)?;
                    self.will_look_at(&delete.range, PRESENT)?;
                }
                Op::Txn(nested) => self.check(nested, path)?,
            }
        }
        Ok(())
    }

    fn execute_txn(&mut self, txn: &Txn, path: &mut Path<'_>) -> Result<TxnResult, Stop> {
        let succeeded = next(path);
        let mut responses = Vec::new();
        for op in branch(txn, succeeded) {
            let kind = match op {
                Op::Range(query) => OpResultKind::Range(self.range_here(query)?),
                Op::Put(put) => {
                    let target = self.target(&put.key)?;
                    OpResultKind::Put { prev: self.execute_put(put, target)? }
                }
                Op::DeleteRange(delete) => OpResultKind::DeleteRange(self.delete_range(delete)?),
                Op::Txn(nested) => OpResultKind::Txn(self.execute_txn(nested, path)?),
            };
            if self.answer {
                responses.push(OpResult { revision: self.seen(), kind });
            }
        }
        Ok(TxnResult { succeeded, responses })
    }

    /// A range inside the transaction: it sees what the operations before it did.
    fn range_here(&self, query: &RangeQuery) -> Result<RangeResult, Stop> {
        if !self.answer {
            return Ok(RangeResult::default());
        }
        match range::range(&self.rows, query, self.bounds(), None)? {
            Ok(result) => Ok(result),
            Err(ReadStop::Rejected(rejection)) => Err(rejection.into()),
            Err(ReadStop::OverBudget) => Err(Fault::Read("a range without a budget exceeded it".into()).into()),
        }
    }
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn next(path: &mut Path<'_>) -> bool {
    *path.next().expect("every transaction on the path was decided")
}

/// The revision to read at. Unlike outside, a negative one is an old one here.
fn check_range(query: &RangeQuery, bounds: Bounds) -> Result<i64, Rejection> {
    if query.revision < 0 {
        return Err(Rejection::Compacted { compacted: bounds.compacted });
    }
    range::walk_revision(query, bounds)
}

/// Whether one key satisfies a compare. A missing key has zeros everywhere, and no value at all: a compare of its value fails.
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
