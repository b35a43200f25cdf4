//! States to make snapshots of.

#![allow(dead_code, reason = "each test program uses a part")]

use conclave_backup::{Facts, Maker, Member, Step};
use conclave_state::{
    Acquire, Alarm, AlarmChange, AlarmKind, Claim, Command, Coord, CoordBody, DeleteRange, Enqueue, Enter, KeyRange,
    LeaseGrant, LockMode, LockPart, Machine, MemoryView, Name, Position, Put, QueueKind, RangeQuery, read,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(crate) struct Store {
    pub(crate) view: MemoryView,
    pub(crate) machine: Machine,
    pub(crate) index: u64,
}

impl Store {
    pub(crate) fn new() -> Store {
        let view = MemoryView::new();
        let machine = Machine::load(&view).expect("memory");
        Store { view, machine, index: 0 }
    }

    /// Whether it was accepted.
    pub(crate) fn apply(&mut self, command: &Command) -> bool {
        self.index += 1;
        let mut batch = self.machine.begin(&self.view);
        let outcome = batch.apply(Position { index: self.index, term: 1 }, command, true).expect("memory");
        let writes = batch.finish().writes;
        self.view.write(&writes);
        outcome.result.is_ok()
    }
}

pub(crate) fn facts() -> Facts {
    let member = |id, is_learner| Member {
        id,
        name: format!("m{id}"),
        peer_urls: vec!["http://127.0.0.1:2380".into()],
        client_urls: vec!["http://127.0.0.1:2379".into()],
        is_learner,
    };
    Facts { index: 77, term: 3, members: vec![member(0xff, false), member(0x1, true)] }
}

pub(crate) fn make(view: &MemoryView) -> Vec<u8> {
    let mut maker = Maker::new(facts(), tempfile::tempfile().expect("a file"));
    let mut bytes = Vec::new();
    loop {
        let remaining = maker.remaining();
        match maker.step(view).expect("it is made") {
            Step::Working => assert!(bytes.is_empty()),
            Step::Bytes(more) => {
                assert!(!more.is_empty());
                assert_eq!(maker.remaining(), remaining.map(|before| before - more.len() as u64));
                bytes.extend(more);
            }
            Step::Hash(hash) => {
                assert_eq!(remaining, Some(0));
                assert!(maker.step(view).is_err(), "nothing comes after the hash");
                return [&bytes[..], &hash].concat();
            }
        }
    }
}

/// All that can be read at a revision: key, numbers and value.
pub(crate) fn all(view: &MemoryView, revision: i64) -> BTreeMap<Vec<u8>, ([i64; 4], Vec<u8>)> {
    let range = KeyRange { key: "\0".into(), end: "\0".into() };
    let query = RangeQuery { range, revision, ..RangeQuery::default() };
    let bounds = read::meta(view).expect("memory").bounds();
    let found = read::range(view, &query, bounds, None).expect("memory").expect("not refused");
    let one = |kv: conclave_state::KeyValue| {
        (kv.key.to_vec(), ([kv.create_revision, kv.mod_revision, kv.version, kv.lease], kv.value.to_vec()))
    };
    found.kvs.into_iter().map(one).collect()
}

pub(crate) fn put(key: u8, value: usize, lease: i64) -> Command {
    Command::Put(Put { key: vec![b'a', key].into(), value: vec![key; value].into(), lease, ..Put::default() })
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    let lease = prop_oneof![3 => Just(0_i64), 1 => Just(7), 1 => Just(-7)];
    let range = |from: u8, to: u8| KeyRange { key: vec![b'a', from].into(), end: vec![b'a', to].into() };
    let command = prop_oneof![
        8 => (0..8_u8, 0..300_usize, lease).prop_map(|(key, value, lease)| put(key, value, lease)),
        2 => (0..8_u8, 0..8_u8).prop_map(move |(from, to)| {
            Command::DeleteRange(DeleteRange { range: range(from, to), ..DeleteRange::default() })
        }),
        1 => prop_oneof![Just(7_i64), Just(-7)].prop_map(|id| Command::LeaseGrant(LeaseGrant { id, ttl_ms: 1_500 })),
        1 => prop_oneof![Just(7_i64), Just(-7)].prop_map(|id| Command::LeaseRevoke { id }),
        1 => (0..60_i64).prop_map(|revision| Command::Compact { revision }),
    ];
    prop::collection::vec(command, 0..80)
}

/// A store in which everything is coordinated that can be.
pub(crate) fn coordinated() -> Store {
    let mut store = Store::new();
    let name = |name: &str| Name { namespace: "n".into(), name: name.into() };
    for id in [1, 2, -3] {
        assert!(store.apply(&Command::LeaseGrant(LeaseGrant { id, ttl_ms: 1_234 })));
    }
    let coord = |session, body| Command::Coord(Box::new(Coord { session, body, dedupe: None, expect: None }));
    for session in [1, 2] {
        let candidate = format!("c{session}");
        let enter = Enter { election: name("e"), candidate, instance: "i".into(), attempt: 5, ..Enter::default() };
        assert!(store.apply(&coord(session, CoordBody::Enter(enter))));
        let parts = vec![LockPart { lock: name("l"), mode: LockMode::Exclusive }];
        let acquire = Acquire { parts, owner: "o".into(), attempt: 9, ..Acquire::default() };
        assert!(store.apply(&coord(session, CoordBody::Acquire(acquire))));
        let holder = format!("h{session}");
        let claim = Claim { claim: name("c"), holder, instance: "i".into(), duration_ms: 5_000, ..Claim::default() };
        store.apply(&coord(session, CoordBody::Claim(vec![claim])));
    }
    let enqueue = |lease| Enqueue {
        kind: QueueKind::Lock,
        name: "q".into(),
        lease,
        grant_ttl_ms: 0,
        value: vec![].into(),
        attempt: 4,
    };
    assert!(store.apply(&Command::Enqueue(enqueue(1))));
    assert!(store.apply(&Command::Enqueue(enqueue(-3))));
    let alarm = Alarm { member: 7, kind: AlarmKind::NoSpace };
    assert!(store.apply(&Command::Alarm(AlarmChange { raise: true, alarm })));
    store
}
