//! What a command writes and reads: rows that come with a key, attempts.

use crate::world::{LINE, Node, name, written};
use bytes::Bytes;
use conclave_state::*;

/// What keeps reads from passing over what was deleted costs a small row when a key comes to life
/// and one when it ends. A put of a key that exists, which most puts are, costs none.
#[test]
fn births_and_deaths_cost_a_row_more_and_other_puts_none() {
    fn rows(node: &mut Node, command: &Command) -> Vec<(&'static str, usize)> {
        let mut batch = node.machine.begin(&node.view);
        batch.apply(Position { index: 1, term: 1 }, command, true).expect("memory can be read");
        let changes = batch.finish();
        node.view.write(&changes);
        let mut rows: Vec<(&str, usize)> = Vec::new();
        for (table, key, value) in changes.writes.iter().filter(|(table, ..)| *table != Table::Meta) {
            match rows.last_mut() {
                Some((name, count)) if *name == table.name() => *count += 1,
                _ => rows.push((table.name(), 1)),
            }
            let small = key.len() <= 24 && value.is_none_or(<[u8]>::is_empty);
            assert!(small || !matches!(table, Table::Live | Table::Queue), "{table:?}: {} bytes", key.len());
        }
        rows
    }
    let put = |key: &'static str| Command::Put(Put { key: key.into(), value: "value".into(), ..Put::default() });
    let delete = |key: &'static str| {
        let range = KeyRange { key: key.into(), end: Bytes::new() };
        Command::DeleteRange(DeleteRange { range, prev_kv: false })
    };
    let mut node = Node::new(0);
    assert_eq!(rows(&mut node, &put("key")), [("kv", 1), ("rev", 1), ("live", 1)]);
    assert_eq!(rows(&mut node, &put("key")), [("kv", 1), ("rev", 1)]);
    assert_eq!(rows(&mut node, &delete("key")), [("kv", 1), ("rev", 1), ("live", 1)]);
    assert_eq!(rows(&mut node, &put("lock/1f")), [("kv", 1), ("rev", 1), ("live", 1), ("queue", 1)]);
    assert_eq!(rows(&mut node, &put("lock/1f")), [("kv", 1), ("rev", 1)]);
    assert_eq!(rows(&mut node, &delete("lock/1f")), [("kv", 1), ("rev", 1), ("live", 1), ("queue", 1)]);
}

/// To know who asked costs no row and no read, but for the row that finds a request for locks
/// without a dedupe id.
#[test]
fn an_attempt_costs_nothing_where_the_place_has_a_name() {
    let enqueue = |attempt| {
        let (kind, value) = (QueueKind::Lock, Bytes::new());
        Command::Enqueue(Enqueue { kind, name: "q".into(), lease: 1, grant_ttl_ms: 0, value, attempt })
    };
    let coord = |dedupe, body| Command::Coord(Box::new(Coord { session: 1, dedupe, expect: None, body }));
    let enter = |attempt| {
        coord(None, CoordBody::Enter(Enter { election: name(), candidate: "c".into(), attempt, ..Enter::default() }))
    };
    let parts = vec![LockPart { lock: name(), mode: LockMode::Exclusive }];
    let acquire = |dedupe, attempt| {
        coord(dedupe, CoordBody::Acquire(Acquire { parts: parts.clone(), attempt, ..Acquire::default() }))
    };
    let cost = |command: &Command| written(&mut Node::new(1), command);
    assert_eq!(cost(&enqueue(7)), cost(&enqueue(0)));
    assert_eq!(cost(&enter(7)), cost(&enter(0)));
    assert_eq!(cost(&acquire(Some([1; 16]), 7)), cost(&acquire(Some([1; 16]), 0)));
    let (with, without) = (cost(&acquire(None, 7)), cost(&acquire(None, 0)));
    assert_eq!(with, (without.0 + 1, without.1 + 1, without.2));
}

/// However many a session has, and however many of its attempts were cancelled before.
#[test]
fn to_give_up_reads_what_it_ends() {
    let mut node = Node::new(2);
    let parts = |number: i64| {
        let lock = Name { namespace: "n".into(), name: format!("l{number}") };
        vec![LockPart { lock, mode: LockMode::Exclusive }]
    };
    for number in 1..=LINE {
        let attempt = number.cast_unsigned();
        let body = Acquire { parts: parts(number), attempt, ..Acquire::default() };
        node.coord(1, CoordBody::Acquire(body));
    }
    let costs: Vec<_> = (1..=LINE)
        .map(|number| {
            let place = PlaceId::Request { fence: 0, dedupe: None };
            let cancel = Command::Cancel(Cancel { session: 1, attempt: number.cast_unsigned(), place });
            written(&mut node, &cancel)
        })
        .collect();
    assert!(costs.iter().all(|cost| cost.0 <= 20 && cost.1 <= 12 && cost.2 <= 4), "{:?}", costs.iter().max());
}
