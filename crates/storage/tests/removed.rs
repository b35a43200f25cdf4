//! Reads do not pay for what was removed: RocksDB's own count of the rows that a read passes over,
//! after few and after many rounds of writing and deleting.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test stops at the first surprise")]

mod common;

use bytes::Bytes;
use common::*;
use conclave_state::{
    Command, Compare, DeleteRange, Dequeue, DequeueBy, Enqueue, KeyRange, LeaseGrant, Put, QueueKind, RangeQuery,
    Relation, Target, Txn, queue, queue_key, read, read::ReadStop,
};
use conclave_storage::{Opened, Options, StateView, open};
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What RocksDB passes over for one kept iterator before it gives up, twice, and some steps.
const FLAT: u64 = 1_000;

const ROUNDS: i64 = 10_000;

/// How many rows RocksDB stepped or passed over on this thread.
fn passed(work: impl FnOnce()) -> u64 {
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut context = PerfContext::default();
    context.reset();
    work();
    let passed =
        context.metric(PerfMetric::InternalKeySkippedCount) + context.metric(PerfMetric::InternalDeleteSkippedCount);
    set_perf_stats(PerfStatsLevel::Disable);
    passed
}

struct Member {
    opened: Opened,
    next: u64,
}

impl Member {
    fn new(options: Options) -> Member {
        let opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
        let next = if opened.state.revision() == 1 { 0 } else { opened.state.applied_index() + 1 };
        Member { opened, next }
    }

    async fn apply(&mut self, commands: &[Command]) {
        for commands in commands.chunks(1_000) {
            let entry = entry(1, self.next, commands);
            self.next += 1;
            commit(&mut self.opened, vec![entry]).await;
        }
    }

    /// Rounds of each kind: one key, many keys, leases, and places in a queue.
    async fn rounds(&mut self, rounds: i64) {
        self.apply(&[put("a", "1"), put("z", "1")]).await;
        let each = |lease: i64| {
            let place = Enqueue {
                kind: QueueKind::Lock,
                name: "queue".into(),
                lease,
                grant_ttl_ms: 60_000,
                value: Bytes::new(),
                attempt: 0,
            };
            let many = format!("many/{lease}");
            [
                put("one/key", "1"),
                delete("one/key"),
                put(&many, "1"),
                delete(&many),
                Command::Enqueue(place),
                Command::Dequeue(Dequeue { key: queue_key(b"queue", lease), by: DequeueBy::Lock }),
                Command::LeaseRevoke { id: lease },
            ]
        };
        let commands: Vec<Command> = (1..=rounds).flat_map(each).collect();
        self.apply(&commands).await;
    }

    async fn compact(&mut self) {
        let revision = self.opened.state.revision();
        self.apply(&[Command::Compact { revision }]).await;
        assert!(self.opened.state.swept(Duration::from_secs(60)));
    }
}

fn delete(key: &str) -> Command {
    let range = KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() };
    Command::DeleteRange(DeleteRange { range, prev_kv: false })
}

fn query(key: &'static str, end: &'static str) -> RangeQuery {
    RangeQuery { range: KeyRange { key: key.into(), end: end.into() }, ..RangeQuery::default() }
}

fn count(view: &StateView, query: &RangeQuery) -> i64 {
    read::range(view, query, view.bounds(), None).unwrap().unwrap().count
}

/// Each kind of read that must not depend on what was removed.
fn reads(view: &StateView) -> Vec<(&'static str, u64)> {
    let all = RangeQuery { count_only: true, ..query("\0", "\0") };
    let revision = view.bounds().current;
    vec![
        ("get", passed(|| assert_eq!(count(view, &query("one/key", "")), 0))),
        ("get of one of many", passed(|| assert_eq!(count(view, &query("many/7", "")), 0))),
        ("prefix of one key", passed(|| assert_eq!(count(view, &query("one/", "one0")), 0))),
        ("prefix of many keys", passed(|| assert_eq!(count(view, &query("many/", "many0")), 0))),
        ("count", passed(|| assert_eq!(count(view, &all), 2))),
        (
            "page",
            passed(|| {
                let page = read::page(view, &query("a", "zz"), view.bounds(), 10, 1_000).unwrap().unwrap();
                assert_eq!((page.0.len(), page.1), (2, None));
            }),
        ),
        ("lease", passed(|| assert_eq!(read::lease_ttl(view, 7).unwrap(), None))),
        ("keys of a lease", passed(|| assert_eq!(read::lease_keys(view, 7).unwrap().len(), 0))),
        ("leases", passed(|| assert_eq!(read::leases(view).unwrap().len(), 0))),
        ("history", passed(|| drop(read::history(view, revision, revision, 10).unwrap()))),
        ("first of a queue", passed(|| assert_eq!(queue::first(view, b"queue", 0).unwrap(), None))),
    ]
}

fn flat(member: &Member) -> Option<Vec<(&'static str, u64)>> {
    let reads = reads(&member.opened.state.view());
    let flat = reads.iter().all(|(_, passed)| *passed < FLAT);
    if !flat {
        eprintln!("{reads:?}");
    }
    flat.then_some(reads)
}

/// Waits until reads are flat. Each look is followed by a small write: RocksDB removes the markers
/// of deleted rows once the views that were open when they were written are gone, and the newest
/// view is kept open until the next write.
async fn until_flat(what: &str, member: &mut Member) {
    for _ in 0..500 {
        if flat(member).is_some() {
            return;
        }
        member.apply(&[put("a", "1")]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

fn options_with(dir: &Path, flush_bytes: u64) -> Options {
    let mut options = options(dir);
    options.state.flush_bytes = flush_bytes;
    options
}

#[tokio::test]
async fn reads_do_not_pass_over_what_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::new(options_with(dir.path(), 64 << 20));
    member.rounds(ROUNDS).await;
    // Uncompacted: the versions are there. Then without them, and after a restart.
    member.opened.state.flush().unwrap();
    until_flat("reads are flat before the compaction", &mut member).await;
    member.compact().await;
    // What was swept is still in the write buffers here.
    let kv = ["get", "get of one of many", "prefix of one key", "prefix of many keys", "count", "page", "history"];
    let swept = reads(&member.opened.state.view());
    assert!(swept.iter().filter(|(what, _)| kv.contains(what)).all(|(_, passed)| *passed < FLAT), "{swept:?}");
    until_flat("reads are flat after the compaction", &mut member).await;
    member.opened.state.flush().unwrap();
    drop(member);
    let mut member = Member::new(options_with(dir.path(), 64 << 20));
    until_flat("reads are flat after a restart", &mut member).await;
    let compare = |range: RangeQuery| {
        let compares =
            vec![Compare { range: range.range, relation: Relation::Equal, target: Target::CreateRevision(0) }];
        Command::Txn(Txn { compares, success: Vec::new(), failure: Vec::new() })
    };
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut context = PerfContext::default();
    context.reset();
    member.apply(&[compare(query("one/key", "")), put("one/key", "2"), delete("many/7")]).await;
    assert!(context.metric(PerfMetric::InternalDeleteSkippedCount) < FLAT, "a compare and a put in apply");
}

/// Without any flush but those that deletions bring about.
#[tokio::test]
async fn deletions_bring_about_the_flush_that_removes_them() {
    const DELETIONS: u64 = 1_024;
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::new(options_with(dir.path(), 2_048 * DELETIONS));
    member.rounds(ROUNDS).await;
    let bound = 4 * DELETIONS + FLAT;
    eventually("what reads pass over is bounded", || {
        let reads = reads(&member.opened.state.view());
        let bounded = reads.iter().all(|(_, passed)| *passed < bound);
        if !bounded {
            eprintln!("{reads:?}");
        }
        bounded
    });
}

/// A lease that keys were attached to and detached from again, and one lease's key many times.
#[tokio::test]
async fn the_keys_of_a_lease_do_not_pass_over_those_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::new(options_with(dir.path(), 64 << 20));
    member.apply(&[Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 60_000 })]).await;
    let attach = |n: i64| {
        let key = format!("key/{n}");
        let put = Put { key: Bytes::from(key.clone()), lease: 7, ..Put::default() };
        [Command::Put(put), delete(&key)]
    };
    let commands: Vec<Command> = (0..ROUNDS).flat_map(attach).collect();
    member.apply(&commands).await;
    member.opened.state.flush().unwrap();
    for _ in 0..500 {
        let view = member.opened.state.view();
        if passed(|| assert_eq!(read::lease_keys(&view, 7).unwrap().len(), 0)) < FLAT {
            return;
        }
        drop(view);
        member.apply(&[put("a", "1")]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: the keys of the lease are found at once");
}

/// A revision that is not the newest: one key costs a search, and a range with a budget stops where
/// much was swept, so that it goes on beside the event loop.
#[tokio::test]
async fn older_revisions_do_not_pass_over_what_was_swept_on_the_event_loop() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is flushed, so every deletion stands in the write buffer.
    let mut member = Member::new(options_with(dir.path(), 1 << 30));
    member.rounds(ROUNDS).await;
    member.compact().await;
    let revision = member.opened.state.revision();
    member.apply(&[put("a", "2")]).await;
    let view = member.opened.state.view();
    let one = RangeQuery { revision, ..query("one/key", "") };
    let cost = passed(|| assert_eq!(count(&view, &one), 0));
    assert!(cost < FLAT, "one key: {cost}");
    let many = RangeQuery { revision, ..query("many/", "many0") };
    let mut found = None;
    let cost = passed(|| found = Some(read::range(&view, &many, view.bounds(), Some(1_000)).unwrap()));
    assert!(cost < FLAT, "a range with a budget: {cost}");
    assert_eq!(found, Some(Err(ReadStop::OverBudget)));
    let cost = passed(|| assert_eq!(count(&view, &many), 0));
    assert!(cost > FLAT, "without a budget it is answered, and passes over what was swept: {cost}");
}
