//! What a hand-over costs the member that those who wait are connected to: the holder goes, the
//! next is told, one more waits.
//!
//! The waiting alone, fed with changes that were made before: no state machine, no socket. The item
//! is one hand-over.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::Bytes;
use conclave_gateway::follow::{Feed, History, StateAt, StateSource, ViewAt};
use conclave_gateway::waiters::Waiters;
use conclave_state::read::{self, Bounds};
use conclave_state::{
    Changes, Command, Dequeue, DequeueBy, Enqueue, Fault, LeaseGrant, Machine, MemoryView, Place, Position, QueueKind,
    Response, Step, Table, View,
};
use divan::{AllocProfiler, Bencher};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, yield_now};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const NAME: &[u8] = b"bench";

fn main() {
    divan::main();
}

/// The rows that everybody sees, as of what was shown.
#[derive(Clone)]
struct Rows(Arc<Mutex<Arc<MemoryView>>>);

impl Rows {
    fn show(&self, changes: &Changes) {
        Arc::make_mut(&mut self.0.lock()).write(&changes.writes);
    }
}

impl StateSource for Rows {
    fn bounds(&self) -> Bounds {
        read::meta(&**self.0.lock()).unwrap().bounds()
    }

    fn open(&self) -> Result<Box<dyn StateAt>, Fault> {
        Ok(Box::new(ViewAt::new(Now(self.0.lock().clone()))?))
    }
}

struct Now(Arc<MemoryView>);

impl View for Now {
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
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.0.scan(table, from, below, visit)
    }
}

struct World {
    machine: Machine,
    rows: MemoryView,
}

impl World {
    fn apply(&mut self, command: &Command) -> (Response, Changes) {
        let mut batch = self.machine.begin(&self.rows);
        let outcome = batch.apply(Position { index: 1, term: 1 }, command, true).unwrap();
        let changes = batch.finish();
        self.rows.write(&changes.writes);
        (outcome.result.unwrap(), changes)
    }

    fn enqueue(&mut self, lease: i64) -> (Place, Changes) {
        let (kind, name) = (QueueKind::Lock, Bytes::from_static(NAME));
        let asked = Enqueue { kind, name, lease, grant_ttl_ms: 0, value: Bytes::new(), attempt: 0 };
        match self.apply(&Command::Enqueue(asked)) {
            (Response::Enqueue(place), changes) => (place, changes),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[divan::bench(args = [1, 50, 10_000])]
fn hand_over(bencher: Bencher<'_, '_>, waiting: i64) {
    let rows = MemoryView::new();
    let mut world = World { machine: Machine::load(&rows).unwrap(), rows };
    for id in 1..waiting + 2 {
        world.apply(&Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 }));
    }
    let line: VecDeque<Place> = (1..waiting + 2).map(|lease| world.enqueue(lease).0).collect();
    let rows = Rows(Arc::new(Mutex::new(Arc::new(world.rows.clone()))));
    let feed = Feed::new(History::new(Arc::new(rows.clone())));
    let waiters = Waiters::new(feed.clone());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let wait = |place: Place| -> JoinHandle<()> {
        let waiters = waiters.clone();
        runtime.spawn(async move {
            waiters.wait(NAME, &place).await.unwrap();
        })
    };
    let mut calls: VecDeque<JoinHandle<()>> = line.iter().skip(1).cloned().map(&wait).collect();
    runtime.block_on(yield_now());
    let (mut world, mut line) = (world, line);
    let inputs = std::cell::RefCell::new((&mut world, &mut line));
    bencher
        .with_inputs(|| {
            let (world, line) = &mut *inputs.borrow_mut();
            let Place { key, create_revision, lease, .. } = line.pop_front().unwrap();
            let (_, gone) =
                world.apply(&Command::Dequeue(Dequeue { key, by: DequeueBy::CreateRevision(create_revision) }));
            let (place, come) = world.enqueue(lease);
            line.push_back(place.clone());
            (gone, come, place)
        })
        .bench_local_values(|(gone, come, place)| {
            for changes in [gone, come] {
                rows.show(&changes);
                feed.observe(&changes);
            }
            calls.push_back(wait(place));
            runtime.block_on(calls.pop_front().unwrap()).unwrap();
        });
}
