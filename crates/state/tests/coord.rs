//! Properties of elections, locks and claims on random operations, most of them against the naive
//! model of `coordination/`.

mod coordination;

use conclave_state::coord::{Purpose, read};
use conclave_state::*;
use coordination::World;
use coordination::generate::{self, Step};
use coordination::parties::Owners;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TERM: u64 = 1;

struct Node {
    view: MemoryView,
    machine: Machine,
}

impl Node {
    fn new() -> Node {
        let view = MemoryView::new();
        let machine = Machine::load(&view).expect("memory can be read");
        Node { view, machine }
    }

    fn apply(&mut self, commands: &[Command], answer: bool) -> (Vec<Outcome>, Changes) {
        let mut batch = self.machine.begin(&self.view);
        let at = Position { index: 1, term: TERM };
        let outcomes = commands.iter().map(|one| batch.apply(at, one, answer).expect("memory can be read")).collect();
        let changes = batch.finish();
        self.view.write(&changes.writes);
        (outcomes, changes)
    }

    fn timers(&self) -> Vec<read::TimerState> {
        read::timers(&self.view).expect("memory can be read")
    }

    /// The command of a step, and the timers that it ends.
    fn command(&self, step: &Step) -> (Command, Vec<Purpose>) {
        match step {
            Step::Command(command) => (command.clone(), Vec::new()),
            Step::Fire(which) => {
                let timers = self.timers();
                let chosen: BTreeSet<usize> =
                    which.iter().filter(|_| !timers.is_empty()).map(|index| index.index(timers.len())).collect();
                let ids = chosen.iter().map(|number| timers[*number].id).rev().collect();
                let purposes = chosen.iter().map(|number| timers[*number].purpose.clone()).collect();
                (Command::CoordTimer(CoordTimer { ids, term: TERM }), purposes)
            }
        }
    }

    fn keys(&self) -> BTreeMap<Vec<u8>, i64> {
        let range = KeyRange { key: "/_conclave/".into(), end: "/_conclave0".into() };
        let query = RangeQuery { range, ..RangeQuery::default() };
        let bounds = conclave_state::read::meta(&self.view).expect("memory can be read").bounds();
        let found = conclave_state::read::range(&self.view, &query, bounds, None).expect("memory can be read");
        found.expect("it is the present").kvs.into_iter().map(|kv| (kv.key.to_vec(), kv.lease)).collect()
    }
}

/// How many rows say that something ends with a session.
fn dependents(view: &MemoryView) -> usize {
    let mut found = 0;
    view.scan(Table::Coord, b"s", b"t", &mut |key, _| {
        found += usize::from(key[9] == b'c');
        Ok(conclave_state::Step::Next)
    })
    .expect("memory can be read");
    found
}

/// Rows, projection and timers against the model.
fn compare(node: &Node, world: &World) -> Result<(), TestCaseError> {
    let view = &node.view;
    for name in ["e", "f"].map(generate::name) {
        let expected = world.elections.get(&name.name);
        let all = read::candidates(view, &name, 0, 99).expect("memory can be read");
        let order: Vec<String> = all.into_iter().map(|one| one.id).collect();
        prop_assert_eq!(&order, &expected.map(coordination::order).unwrap_or_default());
        let state = read::election(view, &name).expect("memory can be read");
        let term = state.as_ref().map(|state| (state.term.id, state.term.seq, state.term.leader.clone()));
        prop_assert_eq!(term, expected.map(|one| (one.term, one.seq, one.leader.clone())));
        for (number, id) in order.iter().enumerate() {
            let position = read::position(view, &name, id).expect("memory can be read");
            prop_assert_eq!(position, Some(number as u64));
            let page = read::candidates(view, &name, number, 1).expect("memory can be read");
            prop_assert_eq!(&page[0].id, id);
        }
    }
    for name in ["x", "y", "z"].map(generate::name) {
        let fences = |found: Vec<read::RequestState>| found.iter().map(|one| one.fence).collect::<Vec<_>>();
        let held = fences(read::lock_holders(view, &name, 0, 99).expect("memory can be read"));
        let waiting = fences(read::lock_waiting(view, &name, 0, 99).expect("memory can be read"));
        prop_assert_eq!(&held, &world.fences(&name, true));
        prop_assert_eq!(&waiting, &world.fences(&name, false));
        for (number, fence) in waiting.iter().enumerate() {
            let position = read::lock_position(view, &name, *fence).expect("memory can be read");
            prop_assert_eq!(position, Some(number as u64));
        }
    }
    for name in ["c", "d"].map(generate::name) {
        let expected = world.claims.get(&name.name).cloned().unwrap_or_default();
        let state = read::claim(view, &name).expect("memory can be read");
        let holder = state.as_ref().and_then(|state| state.holder.clone());
        let holder = holder.map(|held| (held.holder, held.instance, held.fence, held.longest_ms));
        let wanted = expected.holder.map(|held| (held.who.0, held.who.1, held.fence, held.longest));
        prop_assert_eq!(holder, wanted);
        let waiting = read::claim_waiting(view, &name, 0, 99).expect("memory can be read");
        let tickets: Vec<u64> = waiting.iter().map(|waiter| waiter.ticket).collect();
        prop_assert_eq!(tickets, expected.line.iter().map(|waiter| waiter.ticket).collect::<Vec<_>>());
        for (number, waiter) in waiting.iter().enumerate() {
            let position = read::claim_position(view, &name, waiter.ticket).expect("memory can be read");
            prop_assert_eq!(position, Some(number as u64));
        }
        let pins = read::pins(view, &name).expect("memory can be read");
        let pins: Vec<String> = pins.into_iter().map(|pin| pin.entity).collect();
        prop_assert_eq!(pins, expected.pins.keys().cloned().collect::<Vec<_>>());
    }
    let mut timers: Vec<Purpose> = node.timers().into_iter().map(|timer| timer.purpose).collect();
    timers.sort();
    prop_assert_eq!(timers, world.timers());
    prop_assert_eq!(node.keys(), world.keys());
    prop_assert_eq!(dependents(view), world.dependents());
    Ok(())
}

/// What the events alone must show.
#[derive(Default)]
struct Watcher {
    alive: BTreeSet<String>,
    /// The last fence of each leader's, tenure's and holder's prefix.
    fences: BTreeMap<String, i64>,
    timers: BTreeSet<u64>,
    last_timer: u64,
}

impl Watcher {
    fn see(&mut self, changes: &Changes) -> Result<(), TestCaseError> {
        let mut seen = BTreeSet::new();
        for Event { kind, kv } in &changes.events {
            let key = String::from_utf8(kv.key.to_vec()).expect("projected keys are text");
            prop_assert!(seen.insert((kv.mod_revision, key.clone())), "{} changes twice in a revision", key);
            let Some((prefix, fence)) = key.rsplit_once('/') else { continue };
            if *kind == EventKind::Delete {
                self.alive.remove(&key);
            } else if self.alive.insert(key.clone())
                && ["leader", "tenure", "holder"].iter().any(|sort| prefix.ends_with(sort))
            {
                let fence = i64::from_str_radix(fence, 16).expect("a fence");
                let last = self.fences.insert(prefix.to_owned(), fence);
                prop_assert!(last.is_none_or(|last| last < fence), "fences rise: {} after {:?}", key, last);
                if prefix.ends_with("leader") || prefix.ends_with("tenure") {
                    let all = self.alive.iter().filter(|other| other.starts_with(prefix)).count();
                    prop_assert_eq!(all, 1, "one at a time: {}", key);
                    prop_assert_eq!(fence, kv.create_revision);
                }
            }
        }
        for change in &changes.timers {
            match *change {
                TimerChange::Armed { id, .. } => {
                    prop_assert!(id > self.last_timer, "an id is given once");
                    self.last_timer = id;
                    self.timers.insert(id);
                }
                TimerChange::Gone { id } => prop_assert!(self.timers.remove(&id), "{} was armed", id),
            }
        }
        Ok(())
    }
}

fn coord(session: LeaseId, body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session, dedupe: None, expect: None, body }))
}

/// Rows, and the bytes in them.
fn size(changes: &Changes) -> (usize, usize) {
    let bytes = changes.writes.iter().map(|(_, key, row)| key.len() + row.map_or(0, <[u8]>::len)).sum();
    (changes.writes.len(), bytes)
}

/// A hand-over with ten thousand in line writes as much as with ten, and all candidates lead in
/// order.
#[test]
fn a_hand_over_does_not_grow_with_the_line() {
    const MANY: usize = 10_000;
    let part = LockPart { lock: generate::name("x"), mode: LockMode::Exclusive };
    let acquire = || coord(1, CoordBody::Acquire(Acquire { parts: vec![part.clone()], ..Acquire::default() }));
    let enter = |number: usize| {
        let candidate = format!("candidate-{number:05}");
        coord(1, CoordBody::Enter(Enter { election: generate::name("e"), candidate, ..Enter::default() }))
    };
    let claim = |number: usize| {
        let (claim, holder) = (generate::name("c"), format!("holder-{number:05}"));
        coord(1, CoordBody::Claim(vec![Claim { claim, holder, duration_ms: 9000, wait: true, ..Claim::default() }]))
    };
    let mut node = Node::new();
    node.apply(&[Command::LeaseGrant(LeaseGrant { id: 1, ttl_ms: 900 })], false);
    let all: Vec<Command> = (0..MANY).flat_map(|number| [acquire(), enter(number), claim(number)]).collect();
    let (outcomes, _) = node.apply(&all, true);
    let fence = |outcome: &Outcome| match outcome.result {
        Ok(Response::Coord(CoordResponse::Lock { fence, .. })) => fence,
        ref other => panic!("{other:?}"),
    };
    let fences: Vec<i64> = outcomes.iter().step_by(3).map(fence).collect();
    for (number, fence) in fences.into_iter().enumerate().take(20) {
        let held = read::lock_holders(&node.view, &generate::name("x"), 0, 9).expect("memory can be read");
        assert_eq!(held.iter().map(|one| one.fence).collect::<Vec<_>>(), [fence]);
        let leader = read::candidates(&node.view, &generate::name("e"), 0, 1).expect("memory can be read");
        assert_eq!(leader[0].id, format!("candidate-{number:05}"));
        let release = Release { fence, ..Release::default() };
        let leave = Leave { election: generate::name("e"), candidate: leader[0].id.clone(), ..Leave::default() };
        let revoke = Revoke { claim: generate::name("c"), ..Revoke::default() };
        for body in [CoordBody::Release(release), CoordBody::Leave(leave), CoordBody::Revoke(revoke)] {
            let (rows, bytes) = size(&node.apply(&[coord(1, body)], false).1);
            assert!(rows < 32 && bytes < 4096, "{rows} rows, {bytes} bytes");
        }
    }
    let (_, changes) =
        node.apply(&[Command::Expire(Expire { leases: vec![1], term: TERM, observed: u64::MAX })], false);
    assert!(changes.events.iter().all(|event| event.kv.mod_revision == changes.revision), "all of it in one revision");
    // The claim that is held does not depend on the session; and the note of the last revocation.
    assert_eq!(node.keys().len(), 4);
}

/// A session's memory is a ring: the answers of the last requests are there, older ones are not,
/// and it does not grow.
#[test]
fn what_is_remembered_is_bounded() {
    let mut node = Node::new();
    let enter = |candidate: &str| {
        let (election, candidate) = (generate::name("e"), candidate.to_owned());
        coord(1, CoordBody::Enter(Enter { election, candidate, ..Enter::default() }))
    };
    node.apply(&[Command::LeaseGrant(LeaseGrant { id: 1, ttl_ms: 900 }), enter("a"), enter("b")], false);
    let mut swap = |number: u8| {
        let promote = Promote {
            election: generate::name("e"),
            candidate: if number.is_multiple_of(2) { "b" } else { "a" }.into(),
            to: PromoteTo::Lead,
            ignore_missing: false,
        };
        let body = CoordBody::Promote(promote);
        let command = Coord { session: 1, dedupe: Some([number; 16]), expect: None, body };
        let before = node.machine.revision();
        node.apply(&[Command::Coord(Box::new(command))], true);
        (node.machine.revision() > before, node.view.rows(Table::Coord))
    };
    let rows: Vec<usize> = (0..100).map(|number| swap(number).1).collect();
    assert_eq!(rows[40], rows[99]);
    assert!((68..100).all(|number| !swap(number).0), "the last 32 are remembered");
    assert!(swap(66).0, "those before are not");
}

/// A token's guards in an ordinary transaction: they pass over an extension, and fail after the
/// end, also when the same holder holds again.
#[test]
fn tokens_guard_transactions() {
    let mut node = Node::new();
    let claim = || Claim {
        claim: generate::name("c"),
        holder: "h".into(),
        instance: "i".into(),
        duration_ms: 9000,
        ..Claim::default()
    };
    let commands = [coord(0, CoordBody::Claim(vec![claim()]))];
    node.apply(&commands, false);
    let token = |node: &Node| {
        let token = read::claim_token(&node.view, &generate::name("c"), "h", None).expect("memory can be read");
        token.expect("it holds the claim")
    };
    let first = token(&node);
    let guarded = |node: &mut Node, token: &Token, weak: bool| {
        let mine = Compare {
            range: KeyRange { key: "mine".into(), end: "".into() },
            relation: Relation::Less,
            target: Target::Version(3),
        };
        let weak = weak.then(|| conclave_state::coord::token::holder(&generate::name("c"), "h"));
        let compares = weak.map_or_else(|| token.guards.clone(), |weak| vec![weak]);
        let put = Put { key: "mine".into(), value: "x".into(), ..Put::default() };
        let nested = Txn { compares: vec![mine], success: vec![Op::Put(put)], failure: Vec::new() };
        let txn = Txn { compares, success: vec![Op::Txn(nested)], failure: Vec::new() };
        match &node.apply(&[Command::Txn(txn)], true).0[0].result {
            Ok(Response::Txn(result)) if !result.succeeded => "leadership lost",
            Ok(Response::Txn(result)) => match &result.responses[0].kind {
                OpResultKind::Txn(inner) if inner.succeeded => "committed",
                _ => "compare failed",
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(guarded(&mut node, &first, false), "committed");
    node.apply(&[coord(0, CoordBody::Claim(vec![Claim { duration_ms: 20_000, ..claim() }]))], false);
    assert_eq!(token(&node), first);
    assert_eq!(guarded(&mut node, &first, false), "committed");
    let ids = node.timers().iter().map(|timer| timer.id).collect();
    node.apply(&[Command::CoordTimer(CoordTimer { ids, term: TERM })], false);
    assert_eq!(guarded(&mut node, &first, false), "leadership lost");
    node.apply(&commands, false);
    let second = token(&node);
    assert!(second.fence > first.fence);
    assert_eq!(guarded(&mut node, &first, false), "leadership lost");
    assert_eq!(guarded(&mut node, &first, true), "committed");
    assert_eq!(guarded(&mut node, &second, false), "compare failed");
}

fn agrees(steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut node, mut world, mut watcher) = (Node::new(), World::default(), Watcher::default());
    for step in steps {
        let (command, fired) = node.command(step);
        let before = node.machine.revision();
        let (outcomes, changes) = node.apply(std::slice::from_ref(&command), true);
        let outcome = &outcomes[0];
        let accepted = world.apply(&command, &fired, outcome, before + 1);
        prop_assert_eq!(accepted, outcome.result.is_ok(), "{:?} {:?}", command, outcome);
        prop_assert_eq!(outcome.revision > before, !changes.events.is_empty());
        prop_assert!(accepted || changes.writes.is_empty(), "a refusal has no effect: {:?}", command);
        watcher.see(&changes)?;
        let armed: BTreeSet<u64> = node.timers().iter().map(|timer| timer.id).collect();
        prop_assert_eq!(&armed, &watcher.timers);
        compare(&node, &world).map_err(|error| TestCaseError::fail(format!("after {command:?}: {error}")))?;
    }
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Order, terms, fences, holders, lines, pins, timers and projected keys are the model's after
    /// every command; and what the events tell is sound by itself.
    #[test]
    fn agrees_with_the_naive_model(steps in generate::steps()) {
        agrees(&steps)?;
    }

    /// With any fields omitted and any random values: a fence, a place and a ticket are one party's
    /// for ever, and of all tokens that were told for a fence, those of one party pass. Tenures
    /// that all their holders share are the exception.
    #[test]
    fn no_fence_is_held_by_two(steps in prop_oneof![2 => coordination::omitting::steps(), 1 => generate::steps()]) {
        let (mut node, mut owners) = (Node::new(), Owners::default());
        for step in &steps {
            let (command, _) = node.command(step);
            let (outcomes, _) = node.apply(std::slice::from_ref(&command), true);
            let after = |error: TestCaseError| TestCaseError::fail(format!("after {command:?}: {error}"));
            owners.look(&node.view).map_err(after)?;
            owners.told(&command, &outcomes[0]).map_err(after)?;
            owners.look(&node.view).map_err(after)?;
        }
    }

    /// The same against the naive model.
    #[test]
    fn what_is_left_out_agrees_with_the_naive_model(steps in coordination::omitting::steps()) {
        agrees(&steps)?;
    }

    /// One batch, single commands, and a machine that is loaded anew before every command: the same
    /// bytes, answers and events.
    #[test]
    fn batches_and_restarts_leave_no_trace(steps in generate::steps()) {
        let mut single = Node::new();
        let (mut commands, mut outcomes, mut events, mut timers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for step in &steps {
            let command = single.command(step).0;
            single.machine = Machine::load(&single.view).expect("memory can be read");
            let (outcome, changes) = single.apply(std::slice::from_ref(&command), true);
            commands.push(command);
            outcomes.extend(outcome);
            events.extend(changes.events);
            timers.extend(changes.timers);
        }
        let (mut whole, mut unasked) = (Node::new(), Node::new());
        let (answers, changes) = whole.apply(&commands, true);
        let (silent, _) = unasked.apply(&commands, false);
        prop_assert_eq!(&whole.view, &single.view);
        prop_assert_eq!(&unasked.view, &single.view);
        prop_assert_eq!(&answers, &outcomes);
        prop_assert_eq!(changes.events, events);
        prop_assert_eq!(changes.timers, timers);
        for (silent, told) in silent.iter().zip(&outcomes) {
            prop_assert_eq!(silent.result.as_ref().err(), told.result.as_ref().err());
        }
        prop_assert_eq!(whole.machine.digest(), single.machine.digest());
    }

    /// When all sessions, claims and elections have ended, nothing is left in the table but the
    /// counter and what is remembered for operators.
    #[test]
    fn nothing_is_left_behind(steps in generate::steps()) {
        let mut node = Node::new();
        for step in &steps {
            let mut command = node.command(step).0;
            if let Command::Coord(coord) = &mut command && coord.session == 0 {
                coord.dedupe = None;
            }
            node.apply(&[command], false);
        }
        let body = |body| Command::Coord(Box::new(Coord { session: 0, dedupe: None, expect: None, body }));
        let elections = ["e", "f"].map(|name| body(CoordBody::DeleteElection(generate::name(name))));
        let mut all = vec![Command::Expire(Expire { leases: vec![1, 2, 3], term: TERM, observed: u64::MAX })];
        all.extend(elections);
        for claim in ["c", "d"].map(generate::name) {
            for entity in ["a", "b", "c", "d"] {
                all.push(body(CoordBody::Unpin(Unpin { claim: claim.clone(), entity: entity.into() })));
            }
            for _ in 0..9 {
                all.push(body(CoordBody::Revoke(Revoke { claim: claim.clone(), ..Revoke::default() })));
            }
        }
        node.apply(&all, false);
        let ids = node.timers().iter().map(|timer| timer.id).collect();
        node.apply(&[Command::CoordTimer(CoordTimer { ids, term: TERM })], false);
        let mut keys = node.keys();
        keys.remove(&conclave_state::coord::revoked_key("n"));
        prop_assert_eq!(keys, BTreeMap::new());
        prop_assert!(node.view.rows(Table::Coord) <= 1, "only the counter may stay");
        prop_assert_eq!(node.view.rows(Table::Lease), 0);
    }
}
