//! Calls that give up, for all kinds of places alike: every order of asking, asking again, giving
//! up and being granted, against a model of a few lines.
//!
//! Two attempts of one client ask for the same place, and may ask again at any moment, also after
//! they were cancelled: a command that arrives late, or twice, is the same command. Somebody else
//! holds what they wait for, and leaves at any moment.

#![allow(clippy::expect_used, reason = "memory can be read")]

use conclave_state::coord::read;
use conclave_state::*;
use std::collections::BTreeSet;

const SESSION: LeaseId = 1;
const OTHER: LeaseId = 2;
const ATTEMPTS: [u64; 2] = [11, 12];
const LONGEST: usize = 6;

/// A kind of place, with one place of it that another session holds at first.
trait Kind {
    /// Whether a request that has ended stays ended when it is asked for again.
    const ONCE: bool = false;

    fn ask(session: LeaseId, attempt: u64) -> Command;
    fn cancel(attempt: u64) -> Command;
    fn other_leaves(node: &Node) -> Command;
    /// Whether the place is held, if it is there.
    fn place(view: &MemoryView) -> Option<bool>;
}

struct Node {
    view: MemoryView,
    machine: Machine,
}

impl Node {
    fn new<K: Kind>() -> Node {
        let view = MemoryView::new();
        let machine = Machine::load(&view).expect("memory can be read");
        let mut node = Node { view, machine };
        for id in [SESSION, OTHER] {
            node.apply(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 })).expect("it is a new lease");
        }
        node.apply(K::ask(OTHER, 0)).expect("nobody else asks");
        node
    }

    fn apply(&mut self, command: Command) -> Result<Response, Rejection> {
        let mut batch = self.machine.begin(&self.view);
        let outcome = batch.apply(Position { index: 1, term: 1 }, &command, true).expect("memory can be read");
        let changes = batch.finish();
        self.view.write(&changes.writes);
        outcome.result
    }
}

fn coord(session: LeaseId, dedupe: Option<[u8; 16]>, body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session, dedupe, expect: None, body }))
}

fn name() -> Name {
    Name { namespace: "n".into(), name: "x".into() }
}

fn cancel(attempt: u64, place: PlaceId) -> Command {
    Command::Cancel(Cancel { session: SESSION, attempt, place })
}

/// A key in a queue of etcd's wire.
struct Key;

impl Kind for Key {
    fn ask(lease: LeaseId, attempt: u64) -> Command {
        let (kind, name, value) = (QueueKind::Election, "q".into(), "v".into());
        Command::Enqueue(Enqueue { kind, name, lease, grant_ttl_ms: 0, value, attempt })
    }

    fn cancel(attempt: u64) -> Command {
        cancel(attempt, PlaceId::Key(queue_key(b"q", SESSION)))
    }

    fn other_leaves(_: &Node) -> Command {
        let range = KeyRange { key: queue_key(b"q", OTHER), end: "".into() };
        Command::DeleteRange(DeleteRange { range, prev_kv: false })
    }

    fn place(view: &MemoryView) -> Option<bool> {
        let keys = conclave_state::read::lease_keys(view, SESSION).expect("memory can be read");
        let first = queue::first(view, b"q", 0).expect("memory can be read");
        (!keys.is_empty()).then(|| first.is_some_and(|(_, key)| key == queue_key(b"q", SESSION)))
    }
}

struct Candidate;

impl Kind for Candidate {
    fn ask(session: LeaseId, attempt: u64) -> Command {
        let candidate = format!("c{session}");
        coord(session, None, CoordBody::Enter(Enter { election: name(), candidate, attempt, ..Enter::default() }))
    }

    fn cancel(attempt: u64) -> Command {
        cancel(attempt, PlaceId::Candidate { election: name(), candidate: format!("c{SESSION}") })
    }

    fn other_leaves(_: &Node) -> Command {
        let candidate = format!("c{OTHER}");
        coord(OTHER, None, CoordBody::Leave(Leave { election: name(), candidate, ..Leave::default() }))
    }

    fn place(view: &MemoryView) -> Option<bool> {
        let candidate = format!("c{SESSION}");
        let there = read::candidate(view, &name(), &candidate).expect("memory can be read").is_some();
        let leader = read::election(view, &name()).expect("memory can be read").and_then(|state| state.term.leader);
        there.then(|| leader == Some(candidate))
    }
}

/// A request for two locks that both attempts make under one dedupe id.
struct Request;

impl Kind for Request {
    const ONCE: bool = true;

    fn ask(session: LeaseId, attempt: u64) -> Command {
        coord(session, Some([7; 16]), CoordBody::Acquire(acquire(attempt)))
    }

    fn cancel(attempt: u64) -> Command {
        cancel(attempt, PlaceId::Request { fence: 0, dedupe: Some([7; 16]) })
    }

    fn other_leaves(node: &Node) -> Command {
        let fence = requests(&node.view).into_iter().find(|one| one.lease == OTHER).map_or(0, |one| one.fence);
        coord(OTHER, None, CoordBody::Release(Release { fence, ..Release::default() }))
    }

    fn place(view: &MemoryView) -> Option<bool> {
        requests(view).into_iter().find(|one| one.lease == SESSION).map(|one| one.held_since != 0)
    }
}

fn acquire(attempt: u64) -> Acquire {
    let part =
        |name: &str| LockPart { lock: Name { namespace: "n".into(), name: name.into() }, mode: LockMode::Exclusive };
    Acquire { parts: vec![part("x"), part("y")], attempt, ..Acquire::default() }
}

fn requests(view: &MemoryView) -> Vec<read::RequestState> {
    let mut all = read::lock_holders(view, &name(), 0, 9).expect("memory can be read");
    all.extend(read::lock_waiting(view, &name(), 0, 9).expect("memory can be read"));
    all
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(u64),
    Cancel(u64),
    OtherLeaves,
}

/// What should be so.
#[derive(Default)]
struct Model {
    /// Who asked for the place and did not give up, the oldest first.
    place: Option<Vec<u64>>,
    asked: bool,
    cancelled: BTreeSet<u64>,
    free: bool,
}

impl Model {
    /// Gives the answer to a cancellation, or whether the step is refused.
    fn step<K: Kind>(&mut self, step: Step) -> Result<bool, Rejection> {
        match (step, &mut self.place) {
            (Step::Ask(attempt), _) if self.cancelled.contains(&attempt) => return Err(Rejection::Cancelled),
            (Step::Ask(attempt), Some(place)) if !place.contains(&attempt) => place.push(attempt),
            (Step::Ask(_), Some(_)) => {}
            (Step::Ask(_), None) if K::ONCE && self.asked => {}
            (Step::Ask(attempt), None) => (self.place, self.asked) = (Some(vec![attempt]), true),
            (Step::OtherLeaves, _) => self.free = true,
            (Step::Cancel(attempt), place) => {
                self.cancelled.insert(attempt);
                let Some(left) = place.as_mut().filter(|place| place.contains(&attempt)) else { return Ok(false) };
                let was_last = left.last() == Some(&attempt);
                left.retain(|other| *other != attempt);
                let ended = left.is_empty() || (was_last && !self.free);
                place.take_if(|_| ended);
                return Ok(ended);
            }
        }
        Ok(false)
    }
}

fn follow<K: Kind>(steps: &[Step]) {
    let (mut node, mut model) = (Node::new::<K>(), Model::default());
    for step in steps {
        let command = match *step {
            Step::Ask(attempt) => K::ask(SESSION, attempt),
            Step::Cancel(attempt) => K::cancel(attempt),
            Step::OtherLeaves => K::other_leaves(&node),
        };
        let result = node.apply(command);
        let expected = model.step::<K>(*step);
        match (&result, *step) {
            (Ok(Response::Cancel { ended }), _) => assert_eq!(Ok(*ended), expected, "{step:?} of {steps:?}"),
            (result, _) => assert_eq!(result.as_ref().err(), expected.as_ref().err(), "{step:?} of {steps:?}"),
        }
        let held = model.place.as_ref().map(|_| model.free);
        assert_eq!(K::place(&node.view), held, "after {step:?} of {steps:?}");
    }
    if ATTEMPTS.iter().all(|attempt| model.cancelled.contains(attempt)) {
        assert_eq!(K::place(&node.view), None, "nobody is left who asks: {steps:?}");
    }
    node.apply(Command::LeaseRevoke { id: SESSION }).expect("it is there");
    let _ = node.apply(K::other_leaves(&node));
    node.apply(Command::LeaseRevoke { id: OTHER }).expect("it is there");
    assert_eq!(node.view.rows(Table::Lease), 0, "after {steps:?}");
    let election = coord(0, None, CoordBody::DeleteElection(name()));
    let _ = node.apply(election);
    assert_eq!(node.view.rows(Table::Coord), 0, "after {steps:?}");
}

fn every_order<K: Kind>() {
    let [one, two] = ATTEMPTS;
    let all = [Step::Ask(one), Step::Ask(two), Step::Cancel(one), Step::Cancel(two), Step::OtherLeaves];
    let orders = (0..LONGEST).fold(1, |orders, _| orders * all.len());
    for number in 0..orders {
        let mut rest = number;
        let steps: Vec<Step> = (0..LONGEST)
            .map(|_| {
                let step = all[rest % all.len()];
                rest /= all.len();
                step
            })
            .collect();
        follow::<K>(&steps);
    }
}

#[test]
fn a_key_of_a_queue_goes_with_the_calls_that_asked_for_it() {
    every_order::<Key>();
}

#[test]
fn a_candidate_goes_with_the_calls_that_entered_it() {
    every_order::<Candidate>();
}

#[test]
fn a_request_for_locks_goes_with_the_calls_that_made_it() {
    every_order::<Request>();
}

/// Without a dedupe id each attempt has a request of its own.
#[test]
fn an_attempt_without_a_dedupe_id_gives_up_its_own_request() {
    let ask = |attempt| coord(SESSION, None, CoordBody::Acquire(acquire(attempt)));
    let give_up = |attempt| cancel(attempt, PlaceId::Request { fence: 0, dedupe: None });
    let fence = |result| match result {
        Ok(Response::Coord(CoordResponse::Lock { fence, .. })) => fence,
        other => panic!("{other:?}"),
    };
    let mut node = Node::new::<Request>();
    let [one, two] = ATTEMPTS;
    let (first, second) = (fence(node.apply(ask(one))), fence(node.apply(ask(two))));
    assert_ne!(first, second);
    assert_eq!(fence(node.apply(ask(one))), first, "it is found again");
    assert_eq!(node.apply(give_up(one)), Ok(Response::Cancel { ended: true }));
    assert_eq!(node.apply(ask(one)), Err(Rejection::Cancelled));
    assert_eq!(requests(&node.view).iter().filter(|one| one.lease == SESSION).count(), 1);
    assert_eq!(fence(node.apply(ask(two))), second);
}

/// A lease remembers its last attempts that were cancelled, and no more.
#[test]
fn cancelled_attempts_are_bounded() {
    let mut node = Node::new::<Key>();
    for attempt in 1..=100 {
        node.apply(Key::cancel(attempt)).expect("nothing refuses it");
    }
    let size = |node: &Node| {
        let mut longest = 0;
        let visit = &mut |_: &[u8], row: &[u8]| {
            longest = row.len().max(longest);
            Ok(view::Step::Next)
        };
        node.view.scan(Table::Lease, b"", &[0xff], visit).expect("memory can be read");
        longest
    };
    assert_eq!(size(&node), 8 * (2 + 32));
    assert_eq!(node.apply(Key::ask(SESSION, 69)), Err(Rejection::Cancelled), "the last 32 are remembered");
    assert!(node.apply(Key::ask(SESSION, 68)).is_ok());
}
