//! A transaction that only reads: answered from one view of the state, without the log.
//!
//! All compares and all ranges look at the same point in time, so the answer is that of a transaction that ran at that moment.

use crate::node::Node;
use crate::status::{fault, internal, rejected};
use conclave_state::read::{self, Bounds, ReadStop};
use conclave_state::{
    Compare, Fault, KeyValue, Op, OpResult, OpResultKind, RangeQuery, Rejection, Relation, Target, Txn, TxnResult, View,
};
use std::cmp::Ordering;
use tonic::Status;

/// Rows one part may visit on the event loop; what needs more moves to a thread of its own.
const BUDGET: usize = 500;

/// The result, and the revision it was read at.
pub(super) async fn read(node: &Node, txn: Txn, serializable: bool) -> Result<(i64, TxnResult), Status> {
    if !serializable {
        node.reader.barrier().await?;
    }
    let view = node.state.view();
    let bounds = view.bounds();
    let parts = txn.compares.len() + txn.success.len().max(txn.failure.len());
    let result = match evaluate(&view, &txn, bounds, Some(BUDGET / parts.max(1))) {
        Ok(Err(ReadStop::OverBudget)) => {
            let long = node.reader.long(move || evaluate(&view, &txn, bounds, None));
            long.await.map_err(internal)?
        }
        done => done,
    };
    match result.map_err(fault)? {
        Ok(result) => Ok((bounds.current, result)),
        Err(ReadStop::Rejected(rejection)) => Err(rejected(rejection)),
        Err(ReadStop::OverBudget) => Err(internal("a read without a budget went over it")),
    }
}

fn evaluate<V: View>(
    view: &V,
    txn: &Txn,
    bounds: Bounds,
    budget: Option<usize>,
) -> Result<Result<TxnResult, ReadStop>, Fault> {
    let mut succeeded = true;
    for compare in &txn.compares {
        match holds(view, compare, bounds, budget)? {
            Ok(true) => {}
            Ok(false) => {
                succeeded = false;
                break;
            }
            Err(stop) => return Ok(Err(stop)),
        }
    }
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        // The conversion found nothing else at the top level.
        let Op::Range(query) = op else {
            return Err(Fault::Corrupt("a write in a transaction that only reads".into()));
        };
        if query.revision < 0 {
            return Ok(Err(ReadStop::Rejected(Rejection::Compacted { compacted: bounds.compacted })));
        }
        match read::range(view, query, bounds, budget)? {
            Ok(result) => responses.push(OpResult { revision: bounds.current, kind: OpResultKind::Range(result) }),
            Err(stop) => return Ok(Err(stop)),
        }
    }
    Ok(Ok(TxnResult { succeeded, responses }))
}

fn holds<V: View>(
    view: &V,
    compare: &Compare,
    bounds: Bounds,
    budget: Option<usize>,
) -> Result<Result<bool, ReadStop>, Fault> {
    let keys_only = !matches!(compare.target, Target::Value(_));
    let query = RangeQuery { range: compare.range.clone(), keys_only, ..Default::default() };
    Ok(read::range(view, &query, bounds, budget)?.map(|found| {
        if found.kvs.is_empty() {
            missing_holds(compare)
        } else {
            found.kvs.iter().all(|kv| relates(compare.relation, operand_order(kv, &compare.target)))
        }
    }))
}

/// A missing key has no value to compare, and zero for everything else.
fn missing_holds(compare: &Compare) -> bool {
    match compare.target {
        Target::Value(_) => false,
        _ => relates(compare.relation, operand_order(&KeyValue::default(), &compare.target)),
    }
}

fn operand_order(kv: &KeyValue, target: &Target) -> Ordering {
    match target {
        Target::Version(n) => kv.version.cmp(n),
        Target::CreateRevision(n) => kv.create_revision.cmp(n),
        Target::ModRevision(n) => kv.mod_revision.cmp(n),
        Target::Value(value) => kv.value.cmp(value),
        Target::Lease(n) => kv.lease.cmp(n),
    }
}

fn relates(relation: Relation, order: Ordering) -> bool {
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
        Relation::NotEqual => order.is_ne(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use conclave_state::{Command, DeleteRange, KeyRange, Machine, MemoryView, Position, Put, Response, SortBy};
    use proptest::prelude::*;

    /// Seven changes, compacted at revision 4: of `a` three versions, `b` deleted, `c` with a lease that is not checked here.
    fn store() -> (MemoryView, Machine) {
        let mut view = MemoryView::default();
        let mut machine = Machine::load(&view).expect("an empty view");
        let put = |key: &'static str, value: &'static str| {
            Command::Put(Put { key: key.into(), value: value.into(), ..Default::default() })
        };
        let gone = KeyRange { key: "b".into(), end: Bytes::new() };
        let commands = [
            put("a", "1"),
            put("b", "1"),
            put("a", "2"),
            Command::DeleteRange(DeleteRange { range: gone, prev_kv: false }),
            put("c", "3"),
            put("a", "3"),
            Command::Compact { revision: 4 },
        ];
        for (command, index) in commands.iter().zip(1..) {
            let mut batch = machine.begin(&view);
            let outcome = batch.apply(Position { index, term: 1 }, command, true).expect("memory does not fail");
            outcome.result.expect("accepted");
            let changes = batch.finish();
            view.write(&changes.writes);
        }
        (view, machine)
    }

    fn key() -> impl Strategy<Value = Bytes> {
        "[a-d]".prop_map(Bytes::from)
    }

    prop_compose! {
        fn any_range()(key in key(), end in prop_oneof![Just(Bytes::new()), key(), Just(Bytes::from_static(b"\0"))]) -> KeyRange {
            KeyRange { key, end }
        }
    }

    prop_compose! {
        fn any_compare()(range in any_range(), relation in 0..4usize, target in 0..5usize, n in 0..9i64) -> Compare {
            let relation = [Relation::Equal, Relation::Greater, Relation::Less, Relation::NotEqual][relation];
            let target = match target {
                0 => Target::Version(n),
                1 => Target::CreateRevision(n),
                2 => Target::ModRevision(n),
                3 => Target::Lease(n),
                _ => Target::Value(n.to_string().into()),
            };
            Compare { range, relation, target }
        }
    }

    prop_compose! {
        fn any_query()(range in any_range(), limit in 0..3i64, revision in -1..10i64, by_version: bool, count_only: bool)
            -> Op {
            let sort_by = if by_version { SortBy::Version } else { SortBy::Key };
            Op::Range(RangeQuery { range, limit, revision, sort_by, count_only, ..Default::default() })
        }
    }

    proptest! {
        /// Whether a transaction goes through the log or not must not show in its answer.
        #[test]
        fn the_answer_is_that_of_the_log(
            compares in prop::collection::vec(any_compare(), 0..3),
            success in prop::collection::vec(any_query(), 0..3),
            failure in prop::collection::vec(any_query(), 0..3),
        ) {
            let (view, mut machine) = store();
            let txn = Txn { compares, success, failure };
            let bounds = read::meta(&view).expect("memory does not fail").bounds();
            let read = evaluate(&view, &txn, bounds, None).expect("memory does not fail");
            let mut batch = machine.begin(&view);
            let applied = batch.apply(Position { index: 9, term: 1 }, &Command::Txn(txn), true).expect("memory does not fail");
            let read = read.map(Response::Txn).map_err(|stop| match stop {
                ReadStop::Rejected(rejection) => rejection,
                ReadStop::OverBudget => panic!("there was no budget"),
            });
            prop_assert_eq!((bounds.current, read), (applied.revision, applied.result));
        }
    }

    #[test]
    fn a_small_budget_stops_a_scan() {
        let (view, _) = store();
        let range = KeyRange { key: "a".into(), end: "\0".into() };
        let txn = Txn { success: vec![Op::Range(RangeQuery { range, ..Default::default() })], ..Default::default() };
        let bounds = read::meta(&view).expect("memory").bounds();
        assert_eq!(evaluate(&view, &txn, bounds, Some(1)).expect("memory"), Err(ReadStop::OverBudget));
        assert!(evaluate(&view, &txn, bounds, Some(100)).expect("memory").is_ok());
    }
}
