//! Transactions that only read: the answer without the log is the answer that the log would give.

use bytes::Bytes;
use conclave_state::read::{self, Bounds, ReadStop};
use conclave_state::{
    Command, Compare, DeleteRange, KeyRange, Machine, MemoryView, Op, Position, Put, RangeQuery, Rejection, Relation,
    Response, SortBy, Target, Txn,
};
use proptest::prelude::*;

/// Seven changes, compacted at revision 4: of `a` three versions, `b` deleted, `c` once.
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

fn any_ops() -> impl Strategy<Value = Vec<Op>> {
    let flat = prop::collection::vec(any_query(), 0..3);
    flat.prop_recursive(3, 12, 3, |inner| {
        let nested = (prop::collection::vec(any_compare(), 0..2), inner.clone(), inner)
            .prop_map(|(compares, success, failure)| Op::Txn(Txn { compares, success, failure }));
        prop::collection::vec(prop_oneof![any_query(), nested], 0..3)
    })
}

fn bounds(view: &MemoryView) -> Bounds {
    read::meta(view).expect("memory can be read").bounds()
}

proptest! {
    #[test]
    fn the_answer_is_that_of_the_log(
        compares in prop::collection::vec(any_compare(), 0..3),
        success in any_ops(),
        failure in any_ops(),
    ) {
        let (view, mut machine) = store();
        let txn = Txn { compares, success, failure };
        let bounds = bounds(&view);
        let read = read::txn(&view, &txn, bounds, None).expect("memory can be read");
        let mut batch = machine.begin(&view);
        let at = Position { index: 9, term: 1 };
        let applied = batch.apply(at, &Command::Txn(txn), true).expect("memory can be read");
        let read = read.map(Response::Txn).map_err(|stop| match stop {
            ReadStop::Rejected(rejection) => rejection,
            ReadStop::OverBudget => panic!("there was no budget"),
        });
        prop_assert_eq!((bounds.current, read), (applied.revision, applied.result));
    }
}

fn all() -> KeyRange {
    KeyRange { key: "a".into(), end: "\0".into() }
}

/// Three rows are visited for each walk over all keys: the versions of `a` count, too.
#[test]
fn all_parts_share_one_budget() {
    let (view, _) = store();
    let query = || Op::Range(RangeQuery { range: all(), ..Default::default() });
    let compare = Compare { range: all(), relation: Relation::Greater, target: Target::ModRevision(0) };
    let txn = Txn { compares: vec![compare], success: vec![query(), query()], ..Default::default() };
    let within = |budget| read::txn(&view, &txn, bounds(&view), Some(budget)).expect("memory can be read").is_ok();
    let one = Txn { success: vec![query()], ..Default::default() };
    let cost = (0..).find(|rows| read::txn(&view, &one, bounds(&view), Some(*rows)).expect("memory").is_ok()).unwrap();
    assert!(cost > 1);
    assert!(!within(3 * cost - 1));
    assert!(within(3 * cost));
}

#[test]
fn a_transaction_that_writes_is_refused() {
    let (view, _) = store();
    let put = || Op::Put(Put { key: "a".into(), ..Default::default() });
    let nested = Op::Txn(Txn { failure: vec![put()], ..Default::default() });
    for op in [put(), nested] {
        let txn = Txn { success: vec![op], ..Default::default() };
        let refused = read::txn(&view, &txn, bounds(&view), None).expect("memory can be read");
        assert_eq!(refused, Err(ReadStop::Rejected(Rejection::Malformed)));
    }
}
