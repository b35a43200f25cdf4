//! What a hand-over reads, however many were before it.
//!
//! A deleted row is not gone: a database passes over it in every scan until it is compacted away.
//! So the view of these tests remembers what was deleted, and counts what a scan shows and what it
//! passes over.

#![allow(clippy::expect_used, reason = "memory can be read")]

use bytes::Bytes;
use conclave_state::coord::read;
use conclave_state::view::Fault;
use conclave_state::*;
use std::cell::Cell;
use std::collections::BTreeSet;

/// Memory with the graves of what was deleted from it.
#[derive(Default)]
struct Graveyard {
    rows: MemoryView,
    graves: BTreeSet<(usize, Vec<u8>)>,
    gets: Cell<usize>,
    scanned: Cell<usize>,
}

impl Graveyard {
    fn write(&mut self, changes: &Changes) {
        for (table, key, value) in changes.writes.iter() {
            let row = (table as usize, key.to_vec());
            if value.is_some() {
                self.graves.remove(&row);
            } else {
                self.graves.insert(row);
            }
        }
        self.rows.write(&changes.writes);
    }

    fn passes(&self, table: Table, from: &[u8], to: &[u8]) {
        let range = (table as usize, from.to_vec())..(table as usize, to.to_vec().max(from.to_vec()));
        self.scanned.set(self.scanned.get() + self.graves.range(range).count());
    }
}

impl View for Graveyard {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.gets.set(self.gets.get() + 1);
        self.rows.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        // Rows of one key are deleted by sweeps alone, which these tests do not have.
        self.scanned.set(self.scanned.get() + 1);
        self.rows.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<view::Step, Fault>,
    ) -> Result<(), Fault> {
        let (mut at, mut over) = (from.to_vec(), false);
        self.rows.scan(table, from, below, &mut |key, value| {
            self.passes(table, &at, key);
            self.scanned.set(self.scanned.get() + 1);
            let step = visit(key, value)?;
            over = step == view::Step::Stop;
            at = match &step {
                view::Step::Seek(to) if to.as_slice() > key => to.clone(),
                _ => key.to_vec(),
            };
            Ok(step)
        })?;
        if !over {
            self.passes(table, &at, below);
        }
        Ok(())
    }
}

struct Node {
    view: Graveyard,
    machine: Machine,
}

impl Node {
    fn new(sessions: i64) -> Node {
        let view = Graveyard::default();
        let machine = Machine::load(&view).expect("memory can be read");
        let mut node = Node { view, machine };
        for id in 1..=sessions {
            node.apply(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 }));
        }
        node
    }

    fn apply(&mut self, command: Command) -> Response {
        let mut batch = self.machine.begin(&self.view);
        let at = Position { index: 1, term: 1 };
        let outcome = batch.apply(at, &command, true).expect("memory can be read");
        let changes = batch.finish();
        self.view.write(&changes);
        outcome.result.expect("nothing in these tests is refused")
    }

    /// Many at once, which is faster.
    fn apply_all(&mut self, commands: impl Iterator<Item = Command>) {
        let mut batch = self.machine.begin(&self.view);
        for command in commands {
            let outcome = batch.apply(Position { index: 1, term: 1 }, &command, false).expect("memory can be read");
            outcome.result.expect("nothing in these tests is refused");
        }
        let changes = batch.finish();
        self.view.write(&changes);
    }

    fn coord(&mut self, session: i64, body: CoordBody) -> Response {
        self.apply(coord(session, body))
    }

    /// Point reads and rows scanned by what is done.
    fn cost(&mut self, work: impl FnOnce(&mut Node)) -> (usize, usize) {
        let before = (self.view.gets.get(), self.view.scanned.get());
        work(self);
        (self.view.gets.get() - before.0, self.view.scanned.get() - before.1)
    }
}

fn coord(session: i64, body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session, dedupe: None, expect: None, body }))
}

const LINE: i64 = 1_000;

fn name() -> Name {
    Name { namespace: "n".into(), name: "x".into() }
}

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

fn enter(node: &mut Node, who: i64, priority: i64) {
    let candidate = format!("c{who:05}");
    node.coord(who, CoordBody::Enter(Enter { election: name(), candidate, priority, ..Enter::default() }));
}

fn leave(node: &mut Node, who: i64) {
    let candidate = format!("c{who:05}");
    node.coord(who, CoordBody::Leave(Leave { election: name(), candidate, ..Leave::default() }));
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

/// Rows written, point reads and rows scanned by a command.
fn written(node: &mut Node, command: &Command) -> (usize, usize, usize) {
    let before = (node.view.gets.get(), node.view.scanned.get());
    let mut batch = node.machine.begin(&node.view);
    let outcome = batch.apply(Position { index: 1, term: 1 }, command, true).expect("memory can be read");
    let changes = batch.finish();
    let cost = (changes.writes.len(), node.view.gets.get() - before.0, node.view.scanned.get() - before.1);
    node.view.write(&changes);
    outcome.result.expect("nothing in these tests is refused");
    cost
}

/// What keeps reads from passing over what was deleted costs a small row when a key comes to life and
/// one when it ends. A put of a key that exists, which most puts are, costs none.
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

#[test]
fn a_claim_has_a_bounded_number_of_pins() {
    let mut node = Node::new(0);
    let pin = |entity: u32| CoordBody::Pin(Pin { claim: name(), entity: entity.to_string(), ..Pin::default() });
    for entity in 0..1_000 {
        node.coord(0, pin(entity));
    }
    let refused = |node: &mut Node, body| {
        let mut batch = node.machine.begin(&node.view);
        let command = Command::Coord(Box::new(Coord { session: 0, dedupe: None, expect: None, body }));
        let outcome = batch.apply(Position::default(), &command, true).expect("memory can be read");
        let changes = batch.finish();
        node.view.write(&changes);
        outcome.result.err()
    };
    assert_eq!(refused(&mut node, pin(1_000)), Some(Rejection::TooManyPins { limit: 1_000 }));
    assert_eq!(refused(&mut node, pin(7)), None, "one that is there is renewed");
    node.coord(0, CoordBody::Unpin(Unpin { claim: name(), entity: "7".into() }));
    assert_eq!(refused(&mut node, pin(1_000)), None);
}

/// Versions of ten keys, two of which are deleted in between.
fn node_with_history() -> Node {
    let mut node = Node::new(0);
    for i in 0..1_000 {
        let key = Bytes::from(format!("k{}", i % 10));
        node.apply(Command::Put(Put { key, value: "v".into(), ..Put::default() }));
        if i == 500 {
            let range = KeyRange { key: "k0".into(), end: "k2".into() };
            node.apply(Command::DeleteRange(DeleteRange { range, prev_kv: false }));
        }
    }
    node
}

#[test]
fn a_sweep_looks_at_the_changes_and_hardly_at_the_keys() {
    let mut node = node_with_history();
    let mut swept = None;
    let cost = node.cost(|node| swept = Some(sweep::sweep(&node.view, 0, 900, 1_000).expect("memory can be read")));
    assert!(cost.0 == 0 && cost.1 <= 901 + 10, "{cost:?}");
    let (rows, next) = swept.expect("it ran");
    // 900 changes in 899 revisions: their rows but for the newest, what 886 puts replaced, and two
    // rows for each deletion.
    assert_eq!((rows.len(), next), (899 + 886 + 4, None));
}

/// Rows of the rev table as they were written before changes told what was there before them.
struct Older<'a>(&'a Graveyard);

impl View for Older<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.0.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.0.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<view::Step, Fault>,
    ) -> Result<(), Fault> {
        self.0.scan(table, from, below, &mut |row, value| {
            visit(if table == Table::Rev { &row[..12] } else { row }, value)
        })
    }
}

#[test]
fn a_sweep_of_older_rows_looks_and_finds_the_same() {
    let mut node = node_with_history();
    for compacted in [1, 400, 501, 502, 503, 900, 1_001] {
        let of = |(mut rows, next): (Vec<(Table, Vec<u8>)>, Option<i64>)| {
            rows.retain(|(table, _)| *table == Table::Kv);
            rows.sort_by(|a, b| a.1.cmp(&b.1));
            // A put finds the tombstone before it, which that itself has named.
            rows.dedup();
            (rows, next)
        };
        let told = sweep::sweep(&node.view, 0, compacted, 10_000).expect("memory can be read");
        let mut looked = None;
        let cost = node.cost(|node| {
            looked = Some(sweep::sweep(&Older(&node.view), 0, compacted, 10_000).expect("memory can be read"));
        });
        assert!(cost.1 as i64 >= 2 * compacted - 12, "{cost:?}");
        assert!(Some(of(told)) == looked.map(of), "up to {compacted}");
    }
}

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
    let expire = Command::Expire(Expire { leases: vec![1, 2, 3, 4], term: 1, told: 1 });
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
