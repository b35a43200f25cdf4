//! What commands cost in the state machine alone: no disk, no log, rows in memory.
//!
//! Each function is one step of the kind that its name says; the item is one command (or one
//! lease). Allocations are counted too: they tell a regression apart from a busy machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::Bytes;
use conclave_state::{
    Acquire, Command, Compare, Coord, CoordBody, CoordResponse, Dequeue, DequeueBy, Enqueue, Expire, KeyRange,
    LeaseGrant, LockMode, LockPart, Machine, MemoryView, Name, Op, Position, Put, QueueKind, Relation, Release,
    Response, Target, Txn,
};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const TERM: u64 = 1;

fn main() {
    divan::main();
}

/// A machine with its rows, which goes on where it stands.
struct World {
    machine: Machine,
    rows: MemoryView,
    index: u64,
    random: u64,
}

impl World {
    fn new() -> World {
        let rows = MemoryView::new();
        World { machine: Machine::load(&rows).unwrap(), rows, index: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// One batch; the last answer.
    fn apply(&mut self, commands: &[Command]) -> Response {
        self.index += 1;
        let mut batch = self.machine.begin(&self.rows);
        let mut last = Response::Unasked;
        for command in commands {
            last = batch.apply(Position { index: self.index, term: TERM }, command, true).unwrap().result.unwrap();
        }
        self.rows.write(&batch.finish().writes);
        last
    }

    /// Below `limit`, the same in every run.
    fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn key(&mut self, keys: u64) -> Bytes {
        format!("key/{:012}", self.random(keys)).into()
    }

    /// `keys` keys with values of 256 bytes.
    fn filled(keys: u64) -> World {
        let mut world = World::new();
        for chunk in (0..keys).collect::<Vec<_>>().chunks(1000) {
            let puts: Vec<_> = chunk.iter().map(|n| put(format!("key/{n:012}").into(), 0)).collect();
            world.apply(&puts);
        }
        world
    }

    fn grant(&mut self, leases: std::ops::Range<i64>) {
        let grants: Vec<_> = leases.map(|id| Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 })).collect();
        self.apply(&grants);
    }

    fn coord(&mut self, session: i64, body: CoordBody) -> Response {
        self.apply(&[Command::Coord(Box::new(Coord { session, dedupe: None, expect: None, body }))])
    }

    /// Stands in the line of the one lock there is; the fence.
    fn acquire(&mut self, lease: i64) -> i64 {
        let lock = Name { namespace: "bench".to_owned(), name: "lock".to_owned() };
        let parts = vec![LockPart { lock, mode: LockMode::Exclusive }];
        let asked = self.coord(lease, CoordBody::Acquire(Acquire { parts, ..Acquire::default() }));
        let Response::Coord(CoordResponse::Lock { fence, .. }) = asked else { panic!("an answer to Acquire") };
        fence
    }

    fn enqueue(&mut self, kind: QueueKind, name: &str, lease: i64) -> Response {
        let name = name.to_owned().into();
        self.apply(&[Command::Enqueue(Enqueue { kind, name, lease, grant_ttl_ms: 0, value: Bytes::new(), attempt: 0 })])
    }
}

fn put(key: Bytes, lease: i64) -> Command {
    Command::Put(Put { key, value: vec![7; 256].into(), lease, ..Put::default() })
}

fn puts(world: &mut World, count: u64) -> Vec<Command> {
    (0..count).map(|_| put(world.key(100_000), 0)).collect()
}

#[divan::bench(args = [1, 64, 256])]
fn puts_in_one_batch(bencher: Bencher<'_, '_>, count: u64) {
    let mut world = World::filled(100_000);
    let batches: Vec<_> = (0..16).map(|_| puts(&mut world, count)).collect();
    let mut next = batches.iter().cycle();
    bencher.counter(ItemsCount::new(count)).bench_local(|| world.apply(next.next().unwrap()));
}

#[divan::bench]
fn txn_compare_and_put(bencher: Bencher<'_, '_>) {
    let mut world = World::filled(100_000);
    let txns: Vec<_> = (0..256)
        .map(|_| {
            let key = world.key(100_000);
            let range = KeyRange { key: key.clone(), end: Bytes::new() };
            let compare = Compare { range, relation: Relation::Greater, target: Target::Version(0) };
            let put = Op::Put(Put { key, value: vec![7; 256].into(), ..Put::default() });
            Command::Txn(Txn { compares: vec![compare], success: vec![put], failure: Vec::new() })
        })
        .collect();
    bencher.counter(ItemsCount::new(256u64)).bench_local(|| world.apply(&txns));
}

/// One lock of etcd's wire with 3,000 in line: the holder leaves, and a new one stands in line at
/// its end.
#[divan::bench]
fn lock_hand_over(bencher: Bencher<'_, '_>) {
    hand_over(bencher, QueueKind::Lock, 3000);
}

/// The same as an election with one candidate more: what campaign and resign cost.
#[divan::bench]
fn campaign_and_resign(bencher: Bencher<'_, '_>) {
    hand_over(bencher, QueueKind::Election, 1);
}

fn hand_over(bencher: Bencher<'_, '_>, kind: QueueKind, waiting: i64) {
    let mut world = World::new();
    world.grant(1..waiting + 2);
    let mut line: std::collections::VecDeque<_> = (1..waiting + 2)
        .map(|lease| {
            let Response::Enqueue(place) = world.enqueue(kind, "bench", lease) else { panic!("a place") };
            (lease, place)
        })
        .collect();
    bencher.bench_local(|| {
        let (lease, place) = line.pop_front().unwrap();
        world.apply(&[Command::Dequeue(Dequeue {
            key: place.key,
            by: DequeueBy::CreateRevision(place.create_revision),
        })]);
        let Response::Enqueue(place) = world.enqueue(kind, "bench", lease) else { panic!("a place") };
        line.push_back((lease, place));
    });
}

/// A lock of conclave.v1 with 3,000 in line.
#[divan::bench]
fn coord_lock_hand_over(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    world.grant(1..3002);
    let mut line: std::collections::VecDeque<_> = (1..3002).map(|lease| (lease, world.acquire(lease))).collect();
    bencher.bench_local(|| {
        let (lease, fence) = line.pop_front().unwrap();
        world.coord(lease, CoordBody::Release(Release { fence, ..Release::default() }));
        line.push_back((lease, world.acquire(lease)));
    });
}

/// 20,000 leases with a key each lapse at once.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn expire_20_000_leases(bencher: Bencher<'_, '_>) {
    const LEASES: i64 = 20_000;
    bencher
        .counter(ItemsCount::new(LEASES as u64))
        .with_inputs(|| {
            let mut world = World::new();
            world.grant(1..LEASES + 1);
            let puts: Vec<_> = (1..=LEASES).map(|id| put(format!("session/{id:x}").into(), id)).collect();
            world.apply(&puts);
            world
        })
        .bench_local_values(|mut world| {
            world.apply(&[Command::Expire(Expire { leases: (1..=LEASES).collect(), term: TERM, observed: u64::MAX })]);
            world
        });
}
