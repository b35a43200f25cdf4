//! Properties of the state machine on random commands, most of them against the naive model of
//! `naive/`.

mod naive;

use conclave_state::*;
use naive::Naive;
use naive::generate::{self, QUEUES, TERM};
use proptest::collection::vec;
use proptest::prelude::*;

/// A machine with the rows it writes to.
#[derive(Clone)]
struct Node {
    view: MemoryView,
    events: Vec<Event>,
    outcomes: Vec<Outcome>,
}

impl Node {
    fn new() -> Node {
        Node { view: MemoryView::new(), events: Vec::new(), outcomes: Vec::new() }
    }

    /// Applies commands in one batch.
    fn apply(&mut self, machine: &mut Machine, commands: &[Command], answer: impl Fn(usize) -> bool) -> Changes {
        let mut batch = machine.begin(&self.view);
        for (number, command) in commands.iter().enumerate() {
            let at = Position { index: generate::index_of(self.outcomes.len()), term: TERM };
            self.outcomes.push(batch.apply(at, command, answer(number)).expect("memory can be read"));
        }
        let changes = batch.finish();
        self.view.write(&changes.writes);
        self.events.extend_from_slice(&changes.events);
        changes
    }

    fn machine(&self) -> Machine {
        Machine::load(&self.view).expect("memory can be read")
    }

    fn sweep(&mut self, limit: usize) {
        let compacted = read::meta(&self.view).expect("memory can be read").compacted;
        let mut from = Some(0);
        while let Some(at) = from {
            let (rows, next) = sweep::sweep(&self.view, at, compacted, limit).expect("memory can be read");
            self.view.remove(&rows);
            from = next;
        }
    }

    fn bounds(&self) -> read::Bounds {
        read::meta(&self.view).expect("memory can be read").bounds()
    }

    fn range(&self, query: &RangeQuery) -> Result<RangeResult, Rejection> {
        read::range(&self.view, query, self.bounds(), None).expect("memory can be read").map_err(|stop| match stop {
            read::ReadStop::Rejected(rejection) => rejection,
            read::ReadStop::OverBudget => panic!("there was no budget"),
        })
    }

    fn history(&self, from: i64, to: i64, limit: usize) -> Vec<Event> {
        let (mut events, mut next) = (Vec::new(), from);
        while next <= to {
            let (more, after) = read::history(&self.view, next, to, limit).expect("memory can be read");
            assert!(after > next, "history goes forward");
            events.extend(more);
            next = after;
        }
        events
    }
}

/// Everything that can be read of a node that the model knows, at and above the compacted revision.
fn compare_reads(node: &Node, model: &Naive, queries: &[RangeQuery]) -> Result<(), TestCaseError> {
    let view = &node.view;
    for query in queries {
        prop_assert_eq!(node.range(query), model.range(query), "{:?}", query);
    }
    for revision in model.compacted.max(0)..=model.revision {
        let all =
            RangeQuery { range: KeyRange { key: "\0".into(), end: "\0".into() }, revision, ..RangeQuery::default() };
        let then: Vec<KeyValue> = model.at(if revision == 0 { i64::MAX } else { revision }).into_values().collect();
        prop_assert_eq!(node.range(&all).map(|result| result.kvs), Ok(then));
    }
    let from = model.compacted.max(1);
    let kept: Vec<Event> = model.history.iter().filter(|event| event.kv.mod_revision >= from).cloned().collect();
    prop_assert_eq!(node.history(from, model.revision, 3), kept.clone());
    for Event { kv, .. } in kept.iter().filter(|event| event.kv.mod_revision > from) {
        let before = kv.mod_revision - 1;
        let version = read::version_at(view, &kv.key, before).expect("memory can be read");
        prop_assert_eq!(version, model.at(before).remove(&kv.key));
    }
    let leases: Vec<_> = model.leases.iter().map(|(id, ttl)| (*id, *ttl)).collect();
    prop_assert_eq!(read::leases(view).expect("memory can be read"), leases);
    for id in [1, 2, 3, -1] {
        prop_assert_eq!(read::lease_ttl(view, id).expect("memory can be read"), model.leases.get(&id).copied());
        prop_assert_eq!(read::lease_keys(view, id).expect("memory can be read"), model.lease_keys(id));
    }
    prop_assert_eq!(
        read::members(view).expect("memory can be read"),
        model.members.values().cloned().collect::<Vec<_>>()
    );
    let mut alarms = read::alarms(view).expect("memory can be read");
    alarms.sort();
    prop_assert_eq!(alarms, model.alarms.iter().copied().collect::<Vec<_>>());
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Every answer and every event is the model's, and so is whatever is read afterwards.
    #[test]
    fn agrees_with_the_naive_model(commands in generate::commands(), queries in vec(generate::query(), 8)) {
        let (mut node, mut model) = (Node::new(), Naive::new());
        let mut machine = node.machine();
        for command in &commands {
            let before = model.history.len();
            let changes = node.apply(&mut machine, std::slice::from_ref(command), |_| true);
            prop_assert_eq!(&model.apply(TERM, command), node.outcomes.last().expect("one each"), "{:?}", command);
            prop_assert_eq!(&changes.events, &model.history[before..]);
            prop_assert_eq!(changes.revision, model.revision);
        }
        compare_reads(&node, &model, &queries)?;
    }

    /// One batch, or any cut of the commands into batches, with or without answers, with or without
    /// what is cached: the same bytes, events and refusals.
    #[test]
    fn batches_answers_and_caches_leave_no_trace(
        commands in generate::commands(),
        extra in vec(generate::unchecked_txn(), 0..3),
        cuts in vec(any::<bool>(), 60),
        asked in vec(any::<bool>(), 60),
        forgotten in vec(any::<bool>(), 60),
    ) {
        let commands: Vec<Command> = commands.into_iter().chain(extra.into_iter().map(Command::Txn)).collect();
        let (mut single, mut cut, mut whole) = (Node::new(), Node::new(), Node::new());
        let mut machines = [single.machine(), cut.machine(), whole.machine()];
        for command in &commands {
            single.apply(&mut machines[0], std::slice::from_ref(command), |_| true);
        }
        let mut start = 0;
        for end in 1..=commands.len() {
            if end == commands.len() || cuts[end] {
                cut.apply(&mut machines[1], &commands[start..end], |number| asked[start + number]);
                if forgotten[start] {
                    machines[1].forget();
                }
                start = end;
            }
        }
        whole.apply(&mut machines[2], &commands, |_| false);
        prop_assert_eq!(&single.view, &cut.view);
        prop_assert_eq!(&single.view, &whole.view);
        prop_assert_eq!(&single.events, &cut.events);
        prop_assert_eq!(&single.events, &whole.events);
        prop_assert!(machines.iter().all(|machine| machine.digest() == machines[0].digest()));
        for ((all, some), none) in single.outcomes.iter().zip(&cut.outcomes).zip(&whole.outcomes) {
            for other in [some, none] {
                prop_assert_eq!(all.revision, other.revision);
                prop_assert_eq!(all.result.as_ref().err(), other.result.as_ref().err());
                if other.result != Ok(Response::Unasked) {
                    prop_assert_eq!(all, other);
                }
            }
        }
        // Nothing that conversion would have refused breaks a reader.
        single.history(single.bounds().compacted.max(1), single.bounds().current, 2);
    }

    /// A machine that is loaded from the rows at any point goes on as the one that wrote them.
    #[test]
    fn goes_on_from_any_point(commands in generate::commands(), at in any::<prop::sample::Index>()) {
        let (mut node, mut restarted) = (Node::new(), Node::new());
        node.apply(&mut node.machine(), &commands, |_| true);
        let at = at.index(commands.len());
        restarted.apply(&mut restarted.machine(), &commands[..at], |_| true);
        let mut machine = restarted.machine();
        restarted.apply(&mut machine, &commands[at..], |_| true);
        prop_assert_eq!(&node.view, &restarted.view);
        prop_assert_eq!(&node.outcomes, &restarted.outcomes);
        prop_assert_eq!(machine.digest(), node.machine().digest());
    }

    /// Sweeping at any moment, in pieces, shows nowhere; and swept nodes are alike however often
    /// they were swept.
    #[test]
    fn sweeps_leave_no_trace(
        commands in generate::commands(),
        sweeps in vec(0..5_usize, 50),
        queries in vec(generate::query(), 8),
        last in 1..40_i64,
    ) {
        let (mut node, mut swept, mut model) = (Node::new(), Node::new(), Naive::new());
        let mut machines = [node.machine(), swept.machine()];
        let commands: Vec<Command> = commands.into_iter().chain([Command::Compact { revision: last }]).collect();
        let of_state = |node: &Node, revision| {
            read::hash_kv(&node.view, revision, node.bounds()).expect("memory can be read").map(|hash| hash.hash)
        };
        let mut before = Vec::new();
        for (number, command) in commands.iter().enumerate() {
            if number + 1 == commands.len() {
                before = (0..=node.bounds().current).map(|revision| of_state(&node, revision)).collect();
            }
            node.apply(&mut machines[0], std::slice::from_ref(command), |_| true);
            swept.apply(&mut machines[1], std::slice::from_ref(command), |_| true);
            model.apply(TERM, command);
            if let Some(limit @ 1..) = sweeps.get(number) {
                swept.sweep(*limit);
            }
        }
        prop_assert_eq!(&node.outcomes, &swept.outcomes);
        compare_reads(&swept, &model, &queries)?;
        let bounds = node.bounds();
        for revision in bounds.compacted..=bounds.current {
            let hash = |node: &Node| read::hash_history(&node.view, revision, bounds).expect("memory can be read");
            prop_assert_eq!(hash(&node), hash(&swept));
            // What can be read is hashed as before the compaction.
            prop_assert_eq!(of_state(&node, revision), of_state(&swept, revision));
            if let (Ok(at), true) = (usize::try_from(revision), revision > 0) {
                prop_assert_eq!(&of_state(&swept, revision), &before[at]);
            }
        }
        node.sweep(1000);
        swept.sweep(1);
        prop_assert_eq!(&node.view, &swept.view);
        compare_reads(&swept, &model, &queries)?;
    }

    /// The rows of a queue are its places, and the first is found from wherever its front was left.
    #[test]
    fn the_first_of_a_queue_is_found(commands in generate::commands(), looks in vec(any::<bool>(), 60)) {
        let (mut node, mut model) = (Node::new(), Naive::new());
        let mut machine = node.machine();
        let mut fronts = queue::Fronts::default();
        for (number, command) in commands.iter().enumerate() {
            node.apply(&mut machine, std::slice::from_ref(command), |_| true);
            model.apply(TERM, command);
            for name in QUEUES.map(str::as_bytes) {
                let first = model.line(name).first().cloned();
                prop_assert_eq!(&queue::first(&node.view, name, 0).expect("memory can be read"), &first);
                if looks.get(number) == Some(&true) {
                    let found = fronts.first(&node.view, name, model.revision).expect("memory can be read");
                    prop_assert_eq!(found, first);
                }
            }
        }
        let places: usize = QUEUES.map(|name| model.line(name.as_bytes()).len()).iter().sum();
        prop_assert!(node.view.rows(Table::Queue) >= places);
    }

    /// A row for each living key, and for no other.
    #[test]
    fn the_living_keys_have_their_rows(commands in generate::commands(), cuts in vec(any::<bool>(), 60)) {
        let mut node = Node::new();
        let (mut machine, mut start) = (node.machine(), 0);
        for end in 1..=commands.len() {
            if end == commands.len() || cuts[end] {
                let changes = node.apply(&mut machine, &commands[start..end], |_| false);
                start = end;
                // What comes and goes in turn does so also within one write.
                let all = RangeQuery {
                    range: KeyRange { key: "\0".into(), end: "\0".into() },
                    ..RangeQuery::default()
                };
                let alive = node.range(&all).expect("nothing in it can be refused").kvs.len();
                prop_assert_eq!(node.view.rows(Table::Live), alive);
                drop(changes);
            }
        }
    }

    /// Pages, one after the other, are the range.
    #[test]
    fn pages_make_up_the_range(
        commands in generate::commands(),
        range in generate::range(),
        keys_only in any::<bool>(),
        (limit, max_bytes) in (0..4_usize, 0..9_usize),
    ) {
        let mut node = Node::new();
        node.apply(&mut node.machine(), &commands, |_| true);
        let mut query = RangeQuery { range, keys_only, ..RangeQuery::default() };
        let whole = node.range(&query).expect("nothing in it can be refused").kvs;
        let mut kvs = Vec::new();
        loop {
            let page = read::page(&node.view, &query, node.bounds(), limit, max_bytes).expect("memory can be read");
            let (piece, next) = page.expect("nothing in it can be refused");
            prop_assert!(piece.len() <= limit.max(1));
            prop_assert!(next.is_none() || !piece.is_empty());
            kvs.extend(piece);
            match next {
                Some(key) => query.range.key = key,
                None => break,
            }
        }
        prop_assert_eq!(kvs, whole);
    }

    /// With a budget a range gives the same result or none.
    #[test]
    fn a_budget_only_stops(commands in generate::commands(), query in generate::query(), budget in 0..20_usize) {
        let mut node = Node::new();
        node.apply(&mut node.machine(), &commands, |_| true);
        let stopped = read::range(&node.view, &query, node.bounds(), Some(budget)).expect("memory can be read");
        match stopped {
            Err(read::ReadStop::OverBudget) => {}
            Err(read::ReadStop::Rejected(rejection)) => prop_assert_eq!(Err(rejection), node.range(&query)),
            Ok(result) => prop_assert_eq!(Ok(result), node.range(&query)),
        }
    }
}
