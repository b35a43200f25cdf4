//! What a read of the present passes over.

use crate::world::Node;
use bytes::Bytes;
use conclave_state::*;

/// What is read of a prefix below which keys were written and deleted again, and of what stands
/// beside them.
fn reads(node: &mut Node) -> Vec<(&'static str, (usize, usize))> {
    let range = |key: &str, end: &str| {
        let range =
            KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::copy_from_slice(end.as_bytes()) };
        RangeQuery { range, ..RangeQuery::default() }
    };
    let mut costs = Vec::new();
    for (what, query) in [("get", range("q/k", "")), ("prefix", range("q/", "q0")), ("all", range("\0", "\0"))] {
        costs.push((
            what,
            node.cost(|node| {
                let bounds = conclave_state::read::meta(&node.view).expect("memory can be read").bounds();
                let found = conclave_state::read::range(&node.view, &query, bounds, None).expect("memory can be read");
                assert_eq!(found.expect("not refused").count, if what == "all" { 2 } else { 0 });
            }),
        ));
    }
    let compare =
        Compare { range: range("q/", "q0").range, relation: Relation::Equal, target: Target::CreateRevision(0) };
    let txn = Txn { compares: vec![compare], success: Vec::new(), failure: Vec::new() };
    costs.push(("compare", node.cost(|node| drop(node.apply(Command::Txn(txn))))));
    let delete = DeleteRange { range: range("q/", "q0").range, prev_kv: false };
    costs.push(("delete", node.cost(|node| drop(node.apply(Command::DeleteRange(delete))))));
    costs
}

/// Before any compaction: the rows are all there, and a read of the present does not look at them.
#[test]
fn a_read_of_the_present_does_not_look_at_what_was_deleted() {
    let costs = [10, 1_000].map(|rounds| {
        let mut node = Node::new(0);
        node.apply(Command::Put(Put { key: "a".into(), ..Put::default() }));
        node.apply(Command::Put(Put { key: "z".into(), ..Put::default() }));
        for i in 0..rounds {
            for key in ["q/k".to_owned(), format!("q/{i}")] {
                let key = Bytes::from(key);
                node.apply(Command::Put(Put { key: key.clone(), ..Put::default() }));
                let range = KeyRange { key, end: Bytes::new() };
                node.apply(Command::DeleteRange(DeleteRange { range, prev_kv: false }));
            }
        }
        // Graves in the table of living keys are the database's matter: a flush removes them.
        node.view.graves.clear();
        node.machine.forget();
        reads(&mut node)
    });
    assert_eq!(costs[0], costs[1]);
}
