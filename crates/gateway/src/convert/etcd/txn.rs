//! Txn: the tree of operations, its budget, and which way it goes.
//!
//! The budget is spent along a path: a transaction costs the longest of its three lists, and one
//! nested in it has what is left. That bounds the depth as well, because a transaction that holds
//! another costs at least one.

use super::kv::{delete_op, put_op, range};
use super::{Limits, intervals, key_range};
use crate::status::Invalid;
use conclave_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use conclave_api::etcdserverpb::request_op::Request;
use conclave_api::etcdserverpb::{self as pb, RequestOp, TxnRequest};
use conclave_state::{Compare, Op, Relation, Target, Txn};
use prost::Message;

/// How a transaction must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnRoute {
    /// Through the log.
    Write,
    /// It changes nothing, whichever branches are taken.
    Read {
        /// Every range in it allows an answer from this node's state as it is. Never true of a
        /// transaction without ranges: its only content is its compares, and somebody who asks
        /// nothing else (does my tenure still hold?) wants the truth.
        serializable: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertedTxn {
    pub txn: Txn,
    pub route: TxnRoute,
    /// Some branch stores a value, so that the quota applies.
    pub puts: bool,
}

pub fn txn(request: TxnRequest, limits: Limits) -> Result<ConvertedTxn, Invalid> {
    limits.admit(request.encoded_len())?;
    let route = route(&request);
    let mut puts = false;
    let txn = convert(request, limits.max_txn_ops, &mut puts)?;
    intervals::check(&txn)?;
    Ok(ConvertedTxn { txn, route, puts })
}

fn route(request: &TxnRequest) -> TxnRoute {
    let mut ranges = Vec::new();
    if only_reads(request, &mut ranges) {
        TxnRoute::Read { serializable: !ranges.is_empty() && ranges.iter().all(|range| range.serializable) }
    } else {
        TxnRoute::Write
    }
}

/// Whether no branch changes anything; collects the ranges found on the way.
fn only_reads<'r>(request: &'r TxnRequest, ranges: &mut Vec<&'r pb::RangeRequest>) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(range)) => {
            ranges.push(range);
            true
        }
        Some(Request::RequestTxn(nested)) => only_reads(nested, ranges),
        _ => false,
    })
}

fn convert(request: TxnRequest, budget: usize, puts: &mut bool) -> Result<Txn, Invalid> {
    let cost = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = budget.checked_sub(cost).ok_or(Invalid::TooManyOperations)?;
    let compares = request.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let mut branch =
        |ops: Vec<RequestOp>| ops.into_iter().map(|op| operation(op, left, puts)).collect::<Result<_, _>>();
    Ok(Txn { compares, success: branch(request.success)?, failure: branch(request.failure)? })
}

pub(super) fn operation(op: RequestOp, left: usize, puts: &mut bool) -> Result<Op, Invalid> {
    Ok(match op.request.ok_or(Invalid::EmptyOperation)? {
        Request::RequestRange(request) => Op::Range(range(request)?),
        Request::RequestPut(request) => {
            *puts = true;
            Op::Put(put_op(request)?)
        }
        Request::RequestDeleteRange(request) => Op::DeleteRange(delete_op(request)?),
        Request::RequestTxn(request) => Op::Txn(convert(request, left, puts)?),
    })
}

/// An operand that is missing, or is that of another target, counts as zero or empty, as etcd has
/// it.
fn compare(request: pb::Compare) -> Result<Compare, Invalid> {
    let range = key_range(request.key, request.range_end)?;
    let relation = match CompareResult::try_from(request.result).map_err(|_| Invalid::CompareResult)? {
        CompareResult::Equal => Relation::Equal,
        CompareResult::Greater => Relation::Greater,
        CompareResult::Less => Relation::Less,
        CompareResult::NotEqual => Relation::NotEqual,
    };
    let operand = request.target_union;
    let target = match (CompareTarget::try_from(request.target).map_err(|_| Invalid::CompareTarget)?, operand) {
        (CompareTarget::Version, Some(TargetUnion::Version(n))) => Target::Version(n),
        (CompareTarget::Version, _) => Target::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(n))) => Target::CreateRevision(n),
        (CompareTarget::Create, _) => Target::CreateRevision(0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(n))) => Target::ModRevision(n),
        (CompareTarget::Mod, _) => Target::ModRevision(0),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Target::Value(value),
        (CompareTarget::Value, _) => Target::Value(bytes::Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(n))) => Target::Lease(n),
        (CompareTarget::Lease, _) => Target::Lease(0),
    };
    Ok(Compare { range, relation, target })
}
