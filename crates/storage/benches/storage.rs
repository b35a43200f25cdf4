//! What the disk's side costs: the log's group commit, apply through the state's database, reads,
//! snapshots.
//!
//! Everything runs on real files below the temporary directory of the system. Syncs are on where
//! they are part of what is measured, and say more about the disk than about this code; the item is
//! one command (or one row).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::Bytes;
use conclave_state::{Command, KeyRange, Put, RangeQuery, read};
use conclave_storage::types::{C, Entry, Payload, log_id};
use conclave_storage::{AppliedBatch, ApplySink, Identity, Opened, Options, Pack, SegmentWriter, open};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use std::sync::Arc;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const ORIGIN: u64 = 1;
const KEYS: u64 = 100_000;

fn main() {
    divan::main();
}

/// Lets go of everything at once, like a sink whose readers keep up.
struct Sink;

impl ApplySink for Sink {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}

/// A member's directory, opened.
struct World {
    opened: Opened,
    runtime: Runtime,
    index: u64,
    random: u64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster_id: 1, member_id: 1, name: "a".to_owned(), incarnation: 1 };
        let opened = open(Options::new(dir.path()), identity, ORIGIN, Arc::new(Sink)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        World { opened, runtime, index: 0, random: 0x9e37_79b9_7f4a_7c15, _dir: dir }
    }

    /// With `keys` keys of 256 bytes applied, all of them on the disk.
    fn filled(keys: u64) -> World {
        let mut world = World::new();
        for chunk in (0..keys).collect::<Vec<_>>().chunks(1000) {
            let puts: Vec<_> = chunk.iter().map(|n| put(key(*n))).collect();
            let entry = world.entry(&puts);
            world.apply(vec![entry]);
        }
        world.opened.state.flush().unwrap();
        world
    }

    /// Below `limit`, the same in every run.
    fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn entry(&mut self, commands: &[Command]) -> Entry {
        let mut segment = SegmentWriter::new();
        commands.iter().for_each(|command| {
            segment.push(command);
        });
        let pack = Pack::join(vec![segment.finish(ORIGIN, self.index)]);
        self.index += 1;
        Entry { log_id: log_id(1, self.index - 1), payload: Payload::Normal(pack) }
    }

    fn puts(&mut self, count: u64) -> Entry {
        let puts: Vec<_> = (0..count).map(|_| put(key(self.random(KEYS)))).collect();
        self.entry(&puts)
    }

    fn append(&mut self, entries: Vec<Entry>) {
        let (tx, rx) = <C as openraft::type_config::TypeConfigExt>::oneshot();
        let log = &mut self.opened.log;
        self.runtime.block_on(async {
            log.append(entries, IOFlushed::signal(tx)).await.unwrap();
            rx.await.unwrap().unwrap();
        });
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        let machine = &mut self.opened.machine;
        let entries = futures::stream::iter(entries.into_iter().map(|e| Ok((e, None))));
        self.runtime.block_on(machine.apply(entries)).unwrap();
    }
}

fn key(n: u64) -> Bytes {
    format!("key/{n:012}").into()
}

fn put(key: Bytes) -> Command {
    Command::Put(Put { key, value: vec![7; 256].into(), ..Put::default() })
}

/// One append, one write, one sync; `count` commands in it.
#[divan::bench(args = [1, 64, 256])]
fn log_append(bencher: Bencher<'_, '_>, count: u64) {
    let mut world = World::new();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let entry = world.puts(count);
        world.append(vec![entry]);
    });
}

/// 64 appends that wait together: what the writer makes of them is one write and one sync.
#[divan::bench]
fn log_group_commit(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    bencher.counter(ItemsCount::new(64u64)).bench_local(|| {
        let entries: Vec<Entry> = (0..64).map(|_| world.puts(1)).collect();
        let log = &mut world.opened.log;
        world.runtime.block_on(async {
            let mut told = Vec::new();
            for entry in entries {
                let (tx, rx) = <C as openraft::type_config::TypeConfigExt>::oneshot();
                log.append([entry], IOFlushed::signal(tx)).await.unwrap();
                told.push(rx);
            }
            for rx in told {
                rx.await.unwrap().unwrap();
            }
        });
    });
}

/// What a follower spends on a pack before it appends it; `apply` decodes the pack again.
#[divan::bench(args = [1, 64, 256])]
fn check_a_pack(bencher: Bencher<'_, '_>, count: u64) {
    let puts: Vec<_> = (0..count).map(|n| put(key(n))).collect();
    let mut segment = SegmentWriter::new();
    puts.iter().for_each(|command| {
        segment.push(command);
    });
    let pack = segment.finish(ORIGIN, 1);
    bencher.counter(ItemsCount::new(count)).bench_local(|| conclave_storage::proposal::check_pack(&pack).unwrap());
}

/// Puts of random keys out of 100,000 that exist, as apply does them on every member.
#[divan::bench(args = [1, 64, 256], sample_count = 1000, sample_size = 1)]
fn apply_puts(bencher: Bencher<'_, '_>, count: u64) {
    let mut world = World::filled(KEYS);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let entry = world.puts(count);
        world.apply(vec![entry]);
    });
}

/// Puts of keys that do not exist, over 100,000 others: what a key among them costs to be missed.
#[divan::bench(args = [1, 64, 256], sample_count = 1000, sample_size = 1)]
fn apply_new_keys(bencher: Bencher<'_, '_>, count: u64) {
    let mut world = World::filled(KEYS);
    let mut next = 0;
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        // In no order, and between those that exist.
        let new = |n: u64| Bytes::from(format!("key/{:012}+", n.wrapping_mul(0x9e37_79b9) % KEYS * 1_000 + n / KEYS));
        let puts: Vec<_> = (next..next + count).map(|n| put(new(n))).collect();
        next += count;
        let entry = world.entry(&puts);
        world.apply(vec![entry]);
    });
}

/// Reads of one key, each through a view of its own; `written` puts are not on the disk yet.
#[divan::bench(args = [0, 50_000])]
fn point_read(bencher: Bencher<'_, '_>, written: u64) {
    let mut world = written_on(written);
    bencher.bench_local(|| {
        let key = key(world.random(KEYS));
        let view = world.opened.state.view();
        let query = RangeQuery { range: KeyRange { key, end: Bytes::new() }, ..RangeQuery::default() };
        assert_eq!(read::range(&view, &query, view.bounds(), None).unwrap().unwrap().kvs.len(), 1);
    });
}

/// Reads of 100 keys in a row.
#[divan::bench(args = [0, 50_000])]
fn range_read(bencher: Bencher<'_, '_>, written: u64) {
    let mut world = written_on(written);
    bencher.counter(ItemsCount::new(100u64)).bench_local(|| {
        let from = world.random(KEYS - 100);
        let view = world.opened.state.view();
        let range = KeyRange { key: key(from), end: key(from + 100) };
        let query = RangeQuery { range, ..RangeQuery::default() };
        assert_eq!(read::range(&view, &query, view.bounds(), None).unwrap().unwrap().kvs.len(), 100);
    });
}

fn written_on(written: u64) -> World {
    let mut world = World::filled(KEYS);
    for _ in 0..written / 250 {
        let entry = world.puts(250);
        world.apply(vec![entry]);
    }
    world
}

/// A snapshot of 100,000 keys of which 1,000 were put since the last one.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn snapshot_build(bencher: Bencher<'_, '_>) {
    let mut world = World::filled(KEYS);
    bencher.bench_local(|| {
        let entry = world.puts(1000);
        world.apply(vec![entry]);
        let World { opened, runtime, .. } = &mut world;
        runtime.block_on(async { opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap() })
    });
}
