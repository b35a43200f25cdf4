//! A correct system, simulated: one sequential store, clients with random delays, and outcomes that
//! stay unknown.
//!
//! Everything happens as a task at a moment of simulated time. A call is recorded, takes effect
//! later, and is answered later still; some answers are lost, before or after the effect. What the
//! store does is kept as simple as can be, so that it is plainly right.

mod claims;
mod kv;
mod leases;
mod locks;
mod members;
mod queue;
mod store;
mod watches;

use conclave_trials::history::{
    Answer, Bounds, Call, Digest, Entry, Event, Fact, Failure, Leader, Log, Logged, Mark, Process, Record, State,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};
use store::Store;

pub(crate) const MS: u64 = 1_000_000;

type Task = Box<dyn FnOnce(&mut Sim)>;
type Effect = Box<dyn FnOnce(&mut Sim) -> Result<Answer, Failure>>;
type Then = Box<dyn FnOnce(&mut Sim, u64, Option<Answer>)>;

pub(crate) struct Sim {
    random: u64,
    now: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    tasks: HashMap<u64, Task>,
    next_task: u64,
    next_process: u64,
    next_value: u64,
    records: Vec<Record>,
    store: Store,
    locks: locks::Locks,
    queue: queue::Queue,
    claims: claims::Claims,
}

/// A whole good history.
pub(crate) fn history(seed: u64) -> Vec<Record> {
    let mut sim = Sim {
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        now: 1_000 * MS,
        due: BinaryHeap::new(),
        tasks: HashMap::new(),
        next_task: 0,
        next_process: 1,
        next_value: 1,
        records: Vec::new(),
        store: Store::default(),
        locks: locks::Locks::default(),
        queue: queue::Queue::default(),
        claims: claims::Claims::default(),
    };
    let bounds = Bounds { max_unknown: 0.5, wake: 20 * MS, live: 400 * MS, ..Bounds::default() };
    sim.fact(None, Fact::Bounds(bounds));
    kv::start(&mut sim);
    watches::start(&mut sim);
    leases::start(&mut sim);
    locks::start(&mut sim);
    queue::start(&mut sim);
    claims::start(&mut sim);
    members::start(&mut sim);
    for i in 0..20_u64 {
        let term = 3 + i / 10;
        sim.after(i * 300 * MS, move |sim| sim.fact(Some(1), Fact::Leader(Leader { leader: term % 3 + 1, term })));
    }
    sim.run();
    sim.now += 20_000 * MS;
    sim.fact(None, Fact::Phase("drained".into()));
    sim.finish();
    sim.records
}

impl Sim {
    fn run(&mut self) {
        while let Some(Reverse((time, task))) = self.due.pop() {
            self.now = time;
            let task = self.tasks.remove(&task).expect("each task is due once");
            task(self);
        }
    }

    /// What the members hold at the end.
    fn finish(&mut self) {
        for node in 1..=3 {
            let revision = self.store.revision;
            let kvs = self.store.keys.values().cloned().collect();
            let asked = self.now;
            self.now += MS;
            self.fact(Some(node), Fact::State(State { asked, prefix: String::new(), revision, kvs }));
            let digest = Digest { revision, compacted: 0, digest: "ab12".into(), kind: "hashkv".into() };
            self.fact(Some(node), Fact::Digest(digest));
            for index in [64, 128] {
                self.fact(Some(node), Fact::Mark(Mark { index, digest: format!("{index:x}") }));
            }
        }
        for node in 1..=3 {
            self.log(node);
        }
    }

    /// What is left of a member's log: an entry for each revision, the first ones purged.
    fn log(&mut self, node: u32) {
        let before = 10;
        let purged = before + u64::from(node);
        let mut written: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
        for record in &self.records {
            let Entry::Fact(Fact::Revision(told)) = &record.entry else { continue };
            let puts = told.changes.iter().filter_map(|change| Some((change.key.clone(), change.value.clone()?)));
            written.insert(before + told.revision.unsigned_abs(), puts.collect());
        }
        let applied = before + self.store.revision.unsigned_abs();
        let log =
            Log { member: node.into(), purged, applied, applied_term: 1 + applied / 40, revision: self.store.revision };
        self.fact(Some(node), Fact::Log(log));
        for index in purged + 1..=applied {
            let mut entry = Logged { index, term: 1 + index / 40, record: format!("{index:x}"), ..Logged::default() };
            let sure = index % 2 == 0;
            *(if sure { &mut entry.puts } else { &mut entry.maybe }) = written.remove(&index).unwrap_or_default();
            self.fact(Some(node), Fact::Logged(entry));
        }
        // Not applied yet, and so of any kind.
        let tail =
            Logged { index: applied + 1, term: 100 + u64::from(node), record: node.to_string(), ..Logged::default() };
        self.fact(Some(node), Fact::Logged(tail));
    }

    /// From 0 to `below` - 1.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn delay(&mut self) -> u64 {
        MS / 10 + self.random(3 * MS)
    }

    fn after(&mut self, delay: u64, task: impl FnOnce(&mut Sim) + 'static) {
        self.next_task += 1;
        self.due.push(Reverse((self.now + delay, self.next_task)));
        self.tasks.insert(self.next_task, Box::new(task));
    }

    fn process(&mut self) -> u64 {
        self.next_process += 1;
        self.next_process
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }

    fn record(&mut self, process: Process, node: Option<u32>, entry: Entry) {
        self.records.push(Record { index: 0, process, time: self.now, clock: None, node, entry });
    }

    fn fact(&mut self, node: Option<u32>, fact: Fact) {
        self.record(Process::Harness("observer".into()), node, Entry::Fact(fact));
    }

    fn event(&mut self, process: u64, event: Event) {
        self.record(Process::Client(process), None, Entry::Event(event));
    }

    fn settle(&mut self, process: u64, answer: Result<Answer, Failure>) -> Option<Answer> {
        let entry = match &answer {
            Ok(answer) => Entry::Ok(answer.clone()),
            Err(failure) => Entry::Fail(failure.clone()),
        };
        self.record(Process::Client(process), None, entry);
        answer.ok()
    }

    /// A call that is answered as soon as it took effect. Of a thousand, so many `doubtful` ones
    /// have no known outcome.
    fn call(&mut self, process: u64, call: Call, doubtful: u64, effect: Effect, then: Then) {
        self.record(Process::Client(process), None, Entry::Invoke(call));
        let (there, back) = (self.delay(), self.delay());
        if self.random(1000) < doubtful {
            if self.random(2) == 0 {
                // It takes effect, perhaps long after the client gave up.
                let late = there + self.random(400 * MS);
                self.after(late, move |sim| drop(effect(sim)));
            }
            self.after(200 * MS, move |sim| {
                let failure = Failure { code: "timeout".into(), error: "no answer".into() };
                sim.record(Process::Client(process), None, Entry::Info(failure));
                let next = sim.process();
                then(sim, next, None);
            });
            return;
        }
        self.after(there, move |sim| {
            let answer = effect(sim);
            sim.after(back, move |sim| {
                let answer = sim.settle(process, answer);
                // A client that was answered does not send the next call in the same instant.
                sim.after(1000, move |sim| then(sim, process, answer));
            });
        });
    }
}

fn failure(code: &str, error: &str) -> Failure {
    Failure { code: code.into(), error: error.into() }
}
