//! What a hand-over costs the member that those who wait are connected to: the holder goes, the next is told, one more waits.
//!
//! The queue's view alone, fed with changes that were made before: no state machine, no socket. The item is one hand-over.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::Bytes;
use conclave_gateway::waiters::{Look, Source, Waiters, look};
use conclave_state::{
    Changes, Command, Dequeue, DequeueBy, Enqueue, Fault, LeaseGrant, Machine, MemoryView, Place, Position, QueueKind,
    Response,
};
use divan::{AllocProfiler, Bencher};
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

/// The queue as it was when everybody stood in it; later it is known from changes alone.
struct Rows(MemoryView);

impl Source for Rows {
    fn look(&self) -> Result<Box<dyn Look>, Fault> {
        look(self.0.clone())
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
    let waiters = Waiters::with_source(Arc::new(Rows(world.rows.clone())));
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
            waiters.observe(&gone);
            waiters.observe(&come);
            calls.push_back(wait(place));
            runtime.block_on(calls.pop_front().unwrap()).unwrap();
        });
}
