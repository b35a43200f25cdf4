//! Transactions: decide, check, execute.
//!
//! A transaction compares, and then runs one of two branches, whose operations may be transactions
//! again. If one of them is rejected, none may have an effect. So nothing is written before
//! everything that could reject the transaction has been checked.
//!
//! 1. *Decide*: all compares of the nested tree that are reached see the state before the
//!    transaction.
//! 2. *Check*: every reason to reject an operation on the decided path is checked before anything
//!    is written. Ranges are checked here too, because a member without a waiting caller does not
//!    execute them and must reject all the same.
//! 3. *Execute*: operations in order, each seeing those before it. Only the disk can fail here.

use super::range;
use crate::bounds::{Bounds, Budget, ReadStop};
use crate::machine::{Batch, Machine, Stop};
use crate::scan::PRESENT;
use crate::view::{Fault, View};
use crate::{Op, OpResult, OpResultKind, RangeQuery, RangeResult, Rejection, Txn, TxnResult};

/// The branches taken: of the transaction itself, then of those nested in that branch, in order.
type Path<'p> = std::slice::Iter<'p, bool>;

/// Answers a transaction with [`Txn::only_reads`] without the log, at the view's revision, with the
/// same code as all transactions. `budget` is the number of rows that all its parts together may
/// visit; `None` is no bound.
pub fn read_txn<V: View>(
    view: &V,
    txn: &Txn,
    bounds: Bounds,
    budget: Option<usize>,
) -> Result<Result<TxnResult, ReadStop>, Fault> {
    let mut machine = Machine::at(bounds);
    let mut batch = machine.begin(view);
    batch.reads = Budget::new(budget);
    // The limit is only for commands in the log.
    batch.keys_left.set(usize::MAX);
    let result = if txn.only_reads() { batch.txn(txn) } else { Err(Rejection::Malformed.into()) };
    match result {
        Ok(result) => Ok(Ok(result)),
        Err(Stop::Rejected(rejection)) => Ok(Err(rejection.into())),
        Err(Stop::OverBudget) => Ok(Err(ReadStop::OverBudget)),
        Err(Stop::Fault(fault)) => Err(fault),
    }
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

    /// A range inside the transaction sees the operations before it.
    fn range_here(&self, query: &RangeQuery) -> Result<RangeResult, Stop> {
        if !self.answer {
            return Ok(RangeResult::default());
        }
        range::range_within(&self.rows, query, self.bounds(), &self.reads)?.map_err(Stop::from)
    }
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn next(path: &mut Path<'_>) -> bool {
    *path.next().expect("every transaction on the path was decided")
}

/// The revision to read at. Inside a transaction a negative revision counts as an old one.
fn check_range(query: &RangeQuery, bounds: Bounds) -> Result<i64, Rejection> {
    if query.revision < 0 {
        return Err(Rejection::Compacted { compacted: bounds.compacted });
    }
    range::walk_revision(query, bounds)
}
