//! The most that one command or read looks at.

use crate::world::{LINE, Node, coord, name, written};
use bytes::Bytes;
use conclave_state::coord::read;
use conclave_state::*;

fn node_with_keys(keys: usize) -> Node {
    let mut node = Node::new(0);
    for i in 0..keys {
        node.apply(Command::Put(Put { key: format!("k{i}").into(), ..Put::default() }));
    }
    node
}

fn refusal(node: &mut Node, command: &Command, answer: bool) -> (Option<Rejection>, usize) {
    let before = node.view.scanned.get();
    let mut batch = node.machine.begin(&node.view);
    let outcome = batch.apply(Position::default(), command, answer).expect("memory can be read");
    let changes = batch.finish();
    node.view.write(&changes);
    (outcome.result.err(), node.view.scanned.get() - before)
}

/// Every member rejects each of them, with or without a waiting caller, after as many rows as the
/// limit allows.
#[test]
fn a_command_looks_at_a_bounded_number_of_keys() {
    let too_many = Some(Rejection::TooManyKeys { limit: MOST_KEYS });
    let mut node = node_with_keys(MOST_KEYS + 1_000);
    let all = KeyRange { key: "k".into(), end: "l".into() };
    let holds = Compare { range: all.clone(), relation: Relation::Greater, target: Target::Version(0) };
    let range = Op::Range(RangeQuery { range: all.clone(), ..RangeQuery::default() });
    let old = Op::Range(RangeQuery { range: all.clone(), revision: MOST_KEYS as i64 + 500, ..RangeQuery::default() });
    let delete = DeleteRange { range: all, prev_kv: false };
    let put = Op::Put(Put { key: "p".into(), ..Put::default() });
    let txn = |compares: &[&Compare], success: &[&Op]| Txn {
        compares: compares.iter().map(|compare| (*compare).clone()).collect(),
        success: success.iter().map(|op| (*op).clone()).collect(),
        failure: Vec::new(),
    };
    let commands = [
        Command::DeleteRange(delete.clone()),
        Command::Txn(txn(&[], &[&put, &Op::DeleteRange(delete.clone())])),
        Command::Txn(txn(&[&holds], &[&put])),
        Command::Txn(txn(&[], &[&put, &range])),
        Command::Txn(txn(&[], &[&put, &old])),
        Command::Txn(txn(&[], &[&Op::Txn(txn(&[&holds], &[&put]))])),
    ];
    let revision = node.machine.revision();
    for command in &commands {
        for answer in [true, false] {
            let (refused, scanned) = refusal(&mut node, command, answer);
            assert_eq!(refused, too_many, "{command:?}");
            assert!(scanned <= 2 * (MOST_KEYS + 10), "{scanned} rows: {command:?}");
        }
    }
    assert_eq!(node.machine.revision(), revision, "a refused command changes nothing");
    // What is left of the keys after a part was deleted may be looked at, but not several times in
    // one command.
    let part = KeyRange { key: "k1".into(), end: "k2".into() };
    assert_eq!(refusal(&mut node, &Command::DeleteRange(DeleteRange { range: part, prev_kv: false }), false).0, None);
    assert_eq!(refusal(&mut node, &Command::Txn(txn(&[&holds], &[&put])), false).0, None);
    let twice = Command::Txn(txn(&[&holds, &holds], &[&put]));
    assert_eq!(refusal(&mut node, &twice, false).0, too_many);
    assert_eq!(refusal(&mut node, &Command::DeleteRange(delete), false).0, None);
}

/// Leases with so many keys each, from id 1.
fn node_with_leases(keys: &[usize]) -> Node {
    let mut node = Node::new(keys.len() as i64);
    for (lease, keys) in (1..).zip(keys) {
        node.apply_all(
            (0..*keys).map(|i| Command::Put(Put { key: format!("k{lease}-{i}").into(), lease, ..Put::default() })),
        );
    }
    node
}

#[test]
fn a_lease_with_very_many_keys_ends_in_parts() {
    let mut node = node_with_leases(&[MOST_KEYS + 500, 10]);
    let revoke = Command::LeaseRevoke { id: 1 };
    let (writes, gets, scanned) = written(&mut node, &revoke);
    assert!(writes <= 4 * MOST_KEYS + 3, "{writes} rows written");
    assert!(gets <= 10 && scanned <= 3 * MOST_KEYS + 10, "{gets} rows read, {scanned} scanned");
    let left = |node: &Node| conclave_state::read::lease_keys(&node.view, 1).expect("memory can be read").len();
    assert_eq!(left(&node), 500);

    // Nobody finds it, attaches anything to it, or gets its id.
    let view = &node.view;
    assert_eq!(conclave_state::read::lease_ttl(view, 1).expect("memory can be read"), None);
    assert_eq!(conclave_state::read::leases(view).expect("memory can be read"), [(2, 60_000)]);
    assert_eq!(conclave_state::read::lease_ids_within(view, 9).expect("memory can be read"), Some(vec![2]));
    let spans = conclave_state::read::lease_spans(view).expect("memory can be read");
    assert_eq!(spans, [(1, 0), (2, 60_000)], "the keeper of deadlines ends the rest");
    let put = Command::Put(Put { key: "new".into(), lease: 1, ..Put::default() });
    assert_eq!(refusal(&mut node, &put, true).0, Some(Rejection::LeaseNotFound));
    let (kind, name, value) = (QueueKind::Lock, "q".into(), Bytes::new());
    let enqueue = Enqueue { kind, name, lease: 1, grant_ttl_ms: 0, value, attempt: 0 };
    assert_eq!(refusal(&mut node, &Command::Enqueue(enqueue), true).0, Some(Rejection::LeaseNotFound));
    let grant = Command::LeaseGrant(LeaseGrant { id: 1, ttl_ms: 60_000 });
    assert_eq!(refusal(&mut node, &grant, true).0, Some(Rejection::LeaseExists));

    assert_eq!(node.apply(revoke), Response::LeaseRevoke { left: false });
    assert_eq!(left(&node), 0);
    assert_eq!(node.apply(grant), Response::LeaseGrant { id: 1, ttl_ms: 60_000 });
}

/// What does not fit stays whole, and is not ended a little.
#[test]
fn an_expiry_ends_as_many_leases_as_one_entry_may() {
    let half = MOST_KEYS / 2 + 1;
    let mut node = node_with_leases(&[half, half, 3, MOST_KEYS + 1]);
    let expire = Command::Expire(Expire { leases: vec![1, 2, 3, 4], term: 1, observed: 1 });
    let sizes = |node: &Node| {
        [1, 2, 3, 4].map(|lease| conclave_state::read::lease_keys(&node.view, lease).expect("memory can be read").len())
    };
    let steps = [
        (1, [0, half, 3, MOST_KEYS + 1]),
        (2, [0, 0, 0, MOST_KEYS + 1]),
        (0, [0, 0, 0, 1]),
        (1, [0, 0, 0, 0]),
        (0, [0, 0, 0, 0]),
    ];
    for (expired, left) in steps {
        let untouched: Vec<i64> = (1..5).filter(|lease| left[*lease as usize - 1] > 1).collect();
        assert_eq!(node.apply(expire.clone()), Response::Expire { expired });
        assert_eq!(sizes(&node), left);
        let living = conclave_state::read::leases(&node.view).expect("memory can be read");
        assert_eq!(living.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), untouched);
    }
}

/// The elections, locks and claims of a session count, too, and come first.
#[test]
fn the_end_of_a_session_with_very_many_places_is_bounded() {
    let mut node = Node::new(2);
    let lock = |number: usize| Name { namespace: "n".into(), name: format!("l{number}") };
    let acquire = |session, number| {
        let parts = vec![LockPart { lock: lock(number), mode: LockMode::Exclusive }];
        coord(session, CoordBody::Acquire(Acquire { parts, ..Acquire::default() }))
    };
    let places = MOST_KEYS / 2;
    // Each has a row for the session and a projected key.
    node.apply_all((0..=places).map(|number| acquire(1, number)));
    node.apply(acquire(2, 0));
    let holder = |node: &Node, number| {
        let holders = read::lock_holders(&node.view, &lock(number), 0, 1).expect("memory can be read");
        holders.first().map(|held| held.lease)
    };
    assert_eq!((holder(&node, 0), holder(&node, places)), (Some(1), Some(1)));
    assert_eq!(node.apply(Command::LeaseRevoke { id: 1 }), Response::LeaseRevoke { left: true });
    assert_eq!((holder(&node, 0), holder(&node, places)), (Some(2), None), "all that is decided ends at once");
    assert_eq!(node.apply(Command::LeaseRevoke { id: 1 }), Response::LeaseRevoke { left: false });
}

/// From the front of the line on, up to a bound.
#[test]
fn a_place_far_back_is_counted_up_to_a_bound() {
    let mut node = Node::new(LINE);
    let parts = vec![LockPart { lock: name(), mode: LockMode::Exclusive }];
    let fence = (1..=LINE).map(|who| {
        match node.coord(who, CoordBody::Acquire(Acquire { parts: parts.clone(), ..Acquire::default() })) {
            Response::Coord(CoordResponse::Lock { fence, .. }) => fence,
            other => panic!("{other:?}"),
        }
    });
    let last = fence.last().expect("there are some");
    let position =
        |node: &Node, most| read::lock_position_within(&node.view, &name(), last, most).expect("memory can be read");
    assert_eq!(position(&node, 2_000), Some(Some(998)), "one holds, and it is the last");
    let (_, scanned) = node.cost(|node| assert_eq!(position(node, 100), None));
    assert!(scanned <= 102, "{scanned}");
}

/// A move far along a long line is refused, and so is its deletion.
#[test]
fn changes_of_a_long_line_are_bounded() {
    let mut node = Node::new(1);
    let enter = |who| Enter { election: name(), candidate: format!("c{who:06}"), ..Enter::default() };
    node.apply_all((0..MOST_KEYS + 3).map(|who| coord(1, CoordBody::Enter(enter(who)))));
    let too_many = Some(Rejection::TooManyKeys { limit: MOST_KEYS });
    let last = format!("c{:06}", MOST_KEYS + 2);
    let promote = |to| Promote { election: name(), candidate: last.clone(), to, ignore_missing: false };
    let demote = Demote { election: name(), candidate: "c000001".into(), places: u32::MAX, ..Demote::default() };
    let commands = [
        coord(0, CoordBody::Promote(promote(PromoteTo::Places(1)))),
        coord(0, CoordBody::Demote(demote)),
        coord(0, CoordBody::DeleteElection(name())),
    ];
    for command in &commands {
        let (refused, scanned) = refusal(&mut node, command, true);
        assert_eq!(refused, too_many, "{command:?}");
        assert!(scanned <= 2 * (MOST_KEYS + 10), "{scanned} rows: {command:?}");
    }
    assert_eq!(refusal(&mut node, &coord(0, CoordBody::Promote(promote(PromoteTo::Front))), true).0, None);
    assert_eq!(read::line_within(&node.view, &name(), MOST_KEYS).expect("memory can be read"), None);
}

#[test]
fn what_is_attached_to_a_lease_is_read_up_to_a_bound() {
    let mut node = Node::new(1);
    for i in 0..1_000 {
        node.apply(Command::Put(Put { key: format!("k{i}").into(), lease: 1, ..Put::default() }));
    }
    let within = |node: &Node, most| {
        let keys = conclave_state::read::lease_keys_within(&node.view, 1, most).expect("memory can be read");
        keys.map(|keys| keys.len())
    };
    assert_eq!([1_000, 2_000].map(|most| within(&node, most)), [Some(1_000); 2]);
    let cost = node.cost(|node| assert_eq!(within(node, 10), None));
    assert!(cost.1 <= 11, "{cost:?}");
    let ids = |most| conclave_state::read::lease_ids_within(&node.view, most).expect("memory can be read");
    assert_eq!((ids(1), ids(0)), (Some(vec![1]), None));
}

#[test]
fn a_transaction_that_only_reads_goes_by_its_budget() {
    let mut node = node_with_keys(1_000);
    let range = KeyRange { key: "k".into(), end: "l".into() };
    let query = Op::Range(RangeQuery { range, ..RangeQuery::default() });
    let range = KeyRange { key: "k1".into(), end: "k11".into() };
    let few = Compare { range, relation: Relation::Greater, target: Target::Version(0) };
    let txn = Txn { compares: vec![few], success: vec![query], failure: Vec::new() };
    let cost = node.cost(|node| {
        let bounds = conclave_state::read::meta(&node.view).expect("memory can be read").bounds();
        let stopped = conclave_state::read::txn(&node.view, &txn, bounds, Some(200)).expect("memory can be read");
        assert_eq!(stopped, Err(conclave_state::read::ReadStop::OverBudget));
    });
    assert!(cost.1 <= 210, "{cost:?}");
}

#[test]
fn a_claim_has_a_bounded_number_of_pins() {
    let mut node = Node::new(0);
    let pin = |entity: u32| CoordBody::Pin(Pin { claim: name(), entity: entity.to_string(), ..Pin::default() });
    for entity in 0..1_000 {
        node.coord(0, pin(entity));
    }
    let refused = |node: &mut Node, body| refusal(node, &coord(0, body), true).0;
    assert_eq!(refused(&mut node, pin(1_000)), Some(Rejection::TooManyPins { limit: 1_000 }));
    assert_eq!(refused(&mut node, pin(7)), None, "one that is there is renewed");
    node.coord(0, CoordBody::Unpin(Unpin { claim: name(), entity: "7".into() }));
    assert_eq!(refused(&mut node, pin(1_000)), None);
}
