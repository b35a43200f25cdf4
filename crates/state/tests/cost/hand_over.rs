//! What a hand-over reads, however many were before it.

use crate::world::{LINE, Node, enter, leave, name};
use bytes::Bytes;
use conclave_state::coord::read;
use conclave_state::*;

/// The cost of one hand-over near the beginning of a long line and one near its end.
fn early_and_late(node: &mut Node, mut hand_over: impl FnMut(&mut Node, i64)) -> [(usize, usize); 2] {
    let costs: Vec<_> = (1..LINE - 1).map(|who| node.cost(|node| hand_over(node, who))).collect();
    [costs[1], costs[costs.len() - 1]]
}

fn assert_flat([early, late]: [(usize, usize); 2]) {
    assert!(late.0 <= early.0 + 1, "point reads: {early:?}, later {late:?}");
    assert!(late.1 <= early.1 + 2, "rows scanned: {early:?}, later {late:?}");
    assert!(late.1 < 30, "rows scanned: {late:?}");
}

#[test]
fn a_hand_over_of_an_election_does_not_pass_those_who_led() {
    let mut node = Node::new(LINE);
    (1..=LINE).for_each(|who| enter(&mut node, who, 0));
    assert_flat(early_and_late(&mut node, leave));
}

#[test]
fn who_comes_before_the_first_is_found_and_so_is_who_follows() {
    let mut node = Node::new(LINE);
    (1..=LINE).for_each(|who| enter(&mut node, who, who % 3));
    let mut order = Vec::new();
    let leader = |node: &Node| {
        let state = read::election(&node.view, &name()).expect("memory can be read");
        state.and_then(|state| state.term.leader)
    };
    while let Some(first) = leader(&node) {
        let line = read::line(&node.view, &name()).expect("memory can be read");
        assert_eq!(line.len(), usize::try_from(LINE).expect("small") - order.len() - 1);
        let before = read::position(&node.view, &name(), line.first().map_or("", String::as_str));
        assert_eq!(before.expect("memory can be read"), line.first().map(|_| 1));
        order.push(first.clone());
        leave(&mut node, first[1..].parse().expect("c and a number"));
    }
    let number = |id: &String| id[1..].parse::<i64>().expect("c and a number");
    let mut expected: Vec<i64> = (2..=LINE).collect();
    expected.sort_by_key(|who| (-(who % 3), *who));
    assert_eq!(number(&order[0]), 1, "it led before the others came");
    assert_eq!(order[1..].iter().map(number).collect::<Vec<_>>(), expected);
}

#[test]
fn a_hand_over_of_a_lock_does_not_pass_those_who_held_it() {
    let mut node = Node::new(LINE);
    let parts = vec![LockPart { lock: name(), mode: LockMode::Exclusive }];
    let fences: Vec<i64> = (1..=LINE)
        .map(|who| match node.coord(who, CoordBody::Acquire(Acquire { parts: parts.clone(), ..Acquire::default() })) {
            Response::Coord(CoordResponse::Lock { fence, .. }) => fence,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_flat(early_and_late(&mut node, |node, who| {
        let fence = fences[usize::try_from(who).expect("small") - 1];
        node.coord(who, CoordBody::Release(Release { fence, ..Release::default() }));
    }));
}

#[test]
fn a_hand_over_of_a_claim_does_not_pass_those_who_held_it() {
    let mut node = Node::new(LINE);
    let claim = |who: i64| Claim {
        claim: name(),
        holder: format!("h{who}"),
        duration_ms: 9_000,
        wait: true,
        ..Claim::default()
    };
    for who in 1..=LINE {
        node.coord(who, CoordBody::Claim(vec![claim(who)]));
    }
    assert_flat(early_and_late(&mut node, |node, who| {
        let holder = Some(format!("h{who}"));
        node.coord(0, CoordBody::Revoke(Revoke { claim: name(), holder, instance: None }));
    }));
}

#[test]
fn a_hand_over_of_a_native_queue_reads_the_keys_that_it_writes() {
    let mut node = Node::new(LINE);
    for lease in 1..=LINE {
        let (kind, value) = (QueueKind::Lock, Bytes::new());
        node.apply(Command::Enqueue(Enqueue { kind, name: "q".into(), lease, grant_ttl_ms: 0, value, attempt: 0 }));
    }
    let costs = early_and_late(&mut node, |node, lease| {
        node.apply(Command::Dequeue(Dequeue { key: queue_key(b"q", lease), by: DequeueBy::Lock }));
    });
    assert_flat(costs);
    assert!(costs[1] <= (0, 1), "no more than the newest version of its own key: {:?}", costs[1]);
    let mut again = |lease: i64| {
        node.cost(|node| {
            let (kind, value) = (QueueKind::Lock, Bytes::new());
            let enqueue = Enqueue { kind, name: "q".into(), lease, grant_ttl_ms: 0, value, attempt: 0 };
            node.apply(Command::Enqueue(enqueue));
        })
    };
    // The first look in a while passes those who left meanwhile, once.
    again(1);
    let cost = again(2);
    assert!(cost <= (1, 3), "the lease, the newest version of its own key and the first of the queue: {cost:?}");
}
