//! The log under a slow disk, a forgetful one and a broken one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::{HeldDisk, Sink, append, blank, entry, eventually, identity, numbered, options, put};
use conclave_storage::codec::encode_log_id;
use conclave_storage::log::disk::{LogOp, Slot};
use conclave_storage::types::{C, Entry, LogId, Payload, log_id, vote};
use conclave_storage::{LogDisk, LogStore, MemoryDisk, Opened, open_on};
use futures::StreamExt;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Rig {
    _dir: tempfile::TempDir,
    opened: Opened,
}

fn rig(disk: &MemoryDisk, change: impl FnOnce(&mut conclave_storage::Options)) -> Rig {
    rig_on(Arc::new(disk.clone()), change)
}

fn rig_on(disk: Arc<dyn LogDisk>, change: impl FnOnce(&mut conclave_storage::Options)) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    change(&mut options);
    let opened = open_on(disk, options, &identity(), 1, Arc::new(Sink::default())).unwrap();
    Rig { _dir: dir, opened }
}

async fn all(log: &mut LogStore) -> Vec<Entry> {
    log.try_get_log_entries(0..).await.unwrap()
}

#[tokio::test]
async fn appended_is_readable_before_it_is_written() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |o| o.log.cache_bytes = 1);
    disk.slow_down(Duration::from_millis(50), Duration::from_millis(50));
    let log = &mut rig.opened.log;
    for i in 0..20 {
        log.append([blank(1, i)], IOFlushed::noop()).await.unwrap();
        assert_eq!(all(log).await.len() as u64, i + 1);
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, i)));
    }
}

#[tokio::test]
async fn a_vote_waits_for_every_append_before_it() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |_| {});
    disk.slow_down(Duration::ZERO, Duration::from_millis(20));
    let log = &mut rig.opened.log;
    for i in 0..50 {
        log.append([blank(1, i)], IOFlushed::noop()).await.unwrap();
    }
    log.save_vote(&vote(2, 1, false)).await.unwrap();
    let found = disk.crash(0);
    assert_eq!(found.ends(0).unwrap(), Some((0, 49)));
}

/// Acknowledged writes survive the loss of everything that was not synced; and what is found is
/// always a prefix.
#[tokio::test]
async fn a_crash_loses_only_what_was_not_acknowledged() {
    for survivors in 0..4 {
        let disk = MemoryDisk::new();
        let mut rig = rig(&disk, |_| {});
        let mut last = 0;
        for round in 0..30u64 {
            append(&mut rig.opened.log, vec![numbered(1, 2 * round, 5), numbered(1, 2 * round + 1, 5)]).await.unwrap();
            last = 2 * round + 1;
            if round % 7 == 0 {
                rig.opened.log.save_vote(&vote(round + 1, 1, true)).await.unwrap();
            }
        }
        disk.slow_down(Duration::ZERO, Duration::from_secs(1));
        for i in last + 1..last + 4 {
            rig.opened.log.append([numbered(1, i, 5)], IOFlushed::noop()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut after = super_open(&disk.crash(survivors));
        let entries = all(&mut after.opened.log).await;
        assert!(entries.len() as u64 > last, "acknowledged entries are missing");
        for (i, e) in entries.iter().enumerate() {
            assert_eq!(*e, numbered(1, i as u64, 5));
        }
        assert_eq!(after.opened.log.read_vote().await.unwrap(), Some(vote(29, 1, true)));
    }
}

fn super_open(disk: &MemoryDisk) -> Rig {
    rig(disk, |_| {})
}

#[tokio::test]
async fn committed_never_passes_the_entries_that_are_written() {
    let disk = MemoryDisk::new();
    let mut first = rig(&disk, |_| {});
    append(&mut first.opened.log, vec![blank(1, 0), blank(1, 1)]).await.unwrap();
    disk.slow_down(Duration::from_millis(100), Duration::ZERO);
    first.opened.log.save_committed(Some(log_id(1, 5))).await.unwrap();
    first.opened.log.append([blank(1, 2)], IOFlushed::noop()).await.unwrap();
    first.opened.log.save_vote(&vote(1, 1, true)).await.unwrap();
    let mut second = super_open(&disk.crash(0));
    assert!(second.opened.log.read_committed().await.unwrap() <= Some(log_id(1, 2)));
}

/// Where entries of an older term stand at and behind the index, an entry that was never committed
/// must not be taken for one that was.
#[tokio::test]
async fn committed_is_believed_only_of_an_entry_that_is_there() {
    let disk = MemoryDisk::new();
    let mut first = rig(&disk, |_| {});
    append(&mut first.opened.log, (0..10).map(|i| blank(1, i)).collect()).await.unwrap();
    drop(first);
    for (stored, believed) in [(log_id(2, 7), None), (log_id(1, 12), None), (log_id(1, 7), Some(log_id(1, 7)))] {
        disk.write(vec![LogOp::Set { slot: Slot::Committed, record: encode_log_id(&stored) }]).unwrap();
        disk.sync().unwrap();
        let mut again = super_open(&disk.crash(0));
        assert_eq!(again.opened.log.read_committed().await.unwrap(), believed, "stored was {stored}");
    }
}

fn stored_committed(disk: &MemoryDisk) -> Option<LogId> {
    let record = disk.slot(Slot::Committed).unwrap();
    record.map(|r| conclave_storage::codec::decode_log_id(&r).unwrap())
}

/// The writer is at an older group when entries are replaced by those of another term, and these
/// are committed.
#[tokio::test]
async fn committed_waits_for_its_entry_where_another_one_stood() {
    let held = HeldDisk::new();
    let mut rig = rig_on(held.clone(), |o| o.log.group_bytes = 1);
    let log = &mut rig.opened.log;
    append(log, (0..10).map(|i| blank(1, i)).collect()).await.unwrap();
    let hold = held.hold();
    log.append([blank(1, 10)], IOFlushed::noop()).await.unwrap();
    log.append([blank(1, 11)], IOFlushed::noop()).await.unwrap();
    log.truncate_after(Some(log_id(1, 5))).await.unwrap();
    log.append([blank(2, 6), blank(2, 7)], IOFlushed::noop()).await.unwrap();
    log.save_committed(Some(log_id(2, 7))).await.unwrap();
    // Up to the entries that are about to be truncated.
    hold.permit(2);
    eventually("they are written", || held.disk.ends(0).unwrap() == Some((0, 11)));
    let found = held.disk.crash(usize::MAX);
    assert_eq!(stored_committed(&found), None);
    assert_eq!(super_open(&found).opened.log.read_committed().await.unwrap(), None);
    drop(hold);
    log.save_vote(&vote(2, 1, true)).await.unwrap();
    log.save_vote(&vote(3, 1, false)).await.unwrap();
    assert_eq!(stored_committed(&held.disk), Some(log_id(2, 7)));
}

#[tokio::test]
async fn an_answer_keeps_to_its_limit_also_where_disk_and_memory_meet() {
    const LIMIT: usize = 3_000;
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |o| (o.log.cache_bytes, o.log.read_bytes) = (4_000, LIMIT));
    let log = &mut rig.opened.log;
    append(log, (0..40).map(|i| entry(1, i, &[put("key", vec![b'x'; 100])])).collect()).await.unwrap();
    let bytes = |e: &Entry| if let Payload::Normal(pack) = &e.payload { pack.0.len() } else { 0 };
    for from in 0..40 {
        let got = log.limited_get_log_entries(from, 40).await.unwrap();
        assert_eq!(got.first().map(|e| e.log_id), Some(log_id(1, from)));
        let all: usize = got.iter().map(bytes).sum();
        assert!(all < LIMIT + bytes(&got[0]), "{all} bytes from {from} on");
    }
}

/// A part of what was asked for would be taken for the whole.
#[tokio::test]
async fn what_is_purged_is_not_left_out_without_a_word() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |_| {});
    let log = &mut rig.opened.log;
    append(log, (0..10).map(|i| blank(1, i)).collect()).await.unwrap();
    log.purge(log_id(1, 4)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(4, 10).await.unwrap(), []);
    assert_eq!(log.limited_get_log_entries(5, 10).await.unwrap().len(), 5);
    assert!(log.entries_stream(4..10).await.next().await.unwrap().is_err());
    assert_eq!(log.entries_stream(5..10).await.filter(|e| std::future::ready(e.is_ok())).count().await, 5);
    // Here nothing says that the range exists.
    assert_eq!(log.try_get_log_entries(4..10).await.unwrap().len(), 5);
}

/// Entries `from..to` of a megabyte each; there is not one command behind them.
async fn append_megabytes(log: &mut LogStore, range: std::ops::Range<u64>) {
    let value = vec![7; 1 << 20];
    for index in range {
        append(log, vec![entry(1, index, &[put("key", &value)])]).await.unwrap();
    }
}

/// What `dir` takes, without the journals: they come and go by their own bound.
fn table_bytes(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|e| e == "sst"))
        .filter_map(|f| Some(f.metadata().ok()?.len()))
        .sum()
}

#[tokio::test]
async fn the_log_knows_what_it_takes() {
    let close = |bytes: u64, megabytes: u64| bytes.abs_diff(megabytes << 20) < 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut opened = common::open_at(dir.path());
    let size = opened.log.size();
    assert_eq!(size.bytes(), 0);
    append_megabytes(&mut opened.log, 0..110).await;
    assert!(close(size.bytes(), 110), "{}", size.bytes());
    opened.log.truncate_after(Some(log_id(1, 99))).await.unwrap();
    assert!(close(size.bytes(), 100), "{}", size.bytes());
    assert_eq!((size.beyond(40 << 20), size.beyond(200 << 20)), (Some(59), None));
    drop((opened, size));

    // Of what was truncated some may still be on the disk.
    let mut again = common::open_at(dir.path());
    let size = again.log.size();
    assert!((98 << 20..115 << 20).contains(&size.bytes()), "{}", size.bytes());
    let upto = size.beyond(40 << 20).unwrap();
    assert!((55..70).contains(&upto), "{upto}");
    again.log.purge(log_id(1, upto)).await.unwrap();
    assert!(close(size.bytes(), 40), "{}", size.bytes());
    append_megabytes(&mut again.log, 100..110).await;
    assert!(close(size.bytes(), 50), "{}", size.bytes());
}

/// However few the entries are, and wherever in a file the purges end.
#[tokio::test]
async fn what_is_purged_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = common::open_at(dir.path());
    for begin in (0..600).step_by(15) {
        append_megabytes(&mut opened.log, begin..begin + 15).await;
        opened.log.purge(log_id(1, begin + 10)).await.unwrap();
    }
    let files = dir.path().join("log");
    eventually("the files go", || table_bytes(&files) < 100 << 20);
}

#[tokio::test]
async fn a_broken_disk_fails_everything_after_it_and_is_reported() {
    let disk = MemoryDisk::new();
    let reported = Arc::new(AtomicBool::new(false));
    let told = reported.clone();
    let mut rig = rig(&disk, |o| o.on_fatal = Arc::new(move |_| told.store(true, Ordering::SeqCst)));
    append(&mut rig.opened.log, vec![blank(1, 0)]).await.unwrap();
    disk.break_down("no more");
    assert!(append(&mut rig.opened.log, vec![blank(1, 1)]).await.is_err());
    assert!(reported.load(Ordering::SeqCst));
    assert!(rig.opened.log.save_vote(&vote(1, 1, true)).await.is_err());
    assert!(rig.opened.registry.register(5, 5).is_err());
    assert_eq!(rig.opened.registry.holder(5), None);
}

/// No error tells of a disk that hangs.
#[tokio::test]
async fn a_disk_that_hangs_is_seen() {
    let held = HeldDisk::new();
    let mut rig = rig_on(held.clone(), |_| {});
    let step = rig.opened.log.writer_step();
    append(&mut rig.opened.log, vec![blank(1, 0)]).await.unwrap();
    eventually("the writer has nothing to do", || step.lasts().is_none());
    let hold = held.hold();
    rig.opened.log.append([blank(1, 1)], IOFlushed::noop()).await.unwrap();
    eventually("it waits", || step.lasts().is_some());
    let (before, pause) = (step.lasts().unwrap(), Duration::from_millis(50));
    tokio::time::sleep(pause).await;
    assert!(step.lasts().unwrap() >= before + pause);
    drop(hold);
    eventually("it goes on", || step.lasts().is_none());
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |o| o.log.queue_bytes = 2000);
    disk.slow_down(Duration::ZERO, Duration::from_millis(100));
    let begin = Instant::now();
    for i in 0..20 {
        rig.opened.log.append([blank(1, i)], IOFlushed::noop()).await.unwrap();
    }
    assert!(begin.elapsed() > Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_group_reports_its_newest_append() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |_| {});
    disk.slow_down(Duration::ZERO, Duration::from_millis(10));
    let before = rig.opened.log.stats().syncs;
    let mut waiting = Vec::new();
    for i in 0..100 {
        let (tx, rx) = C::oneshot();
        rig.opened.log.append([blank(1, i)], IOFlushed::signal(tx)).await.unwrap();
        waiting.push(rx);
    }
    for rx in waiting {
        rx.await.unwrap().unwrap();
    }
    assert!(rig.opened.log.stats().syncs - before < 10, "{:?}", rig.opened.log.stats());
}

#[tokio::test]
async fn registrations_are_first_come_first_served_and_survive() {
    let disk = MemoryDisk::new();
    let first = rig(&disk, |_| {});
    assert!(first.opened.registry.register(1, 10).unwrap());
    assert!(first.opened.registry.register(1, 10).unwrap());
    assert!(!first.opened.registry.register(1, 11).unwrap());
    let second = super_open(&disk.crash(0));
    assert!(!second.opened.registry.register(1, 11).unwrap());
    assert!(second.opened.registry.register(1, 10).unwrap());
    assert_eq!(second.opened.registry.holder(1), Some(10));
}

/// What the writer of the test below tells its readers.
#[derive(Default)]
struct Told {
    /// Indexes in `[purged, settled)` are never truncated again, and were appended before this was
    /// stored.
    settled: AtomicU64,
    purged: AtomicU64,
    stop: AtomicBool,
}

/// Reads here and there until told to stop; returns how often.
async fn read_on(mut log: LogStore, told: Arc<Told>, mut seed: u64) -> u64 {
    let mut reads = 0;
    while !told.stop.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let end = told.settled.load(Ordering::SeqCst);
        // Far enough above the purge that it does not pass the reader.
        let low = told.purged.load(Ordering::SeqCst) + 200;
        if end <= low {
            continue;
        }
        let from = if seed.is_multiple_of(3) { low } else { low + (seed >> 33) % (end - low) };
        let limited = seed.is_multiple_of(2);
        let got = if limited {
            log.limited_get_log_entries(from, end).await.unwrap()
        } else {
            log.try_get_log_entries(from..end).await.unwrap()
        };
        if told.purged.load(Ordering::SeqCst) >= from {
            continue;
        }
        assert!(!got.is_empty() && (limited || got.len() as u64 == end - from));
        for (i, e) in (from..).zip(&got) {
            assert_eq!(*e, numbered(e.log_id.leader_id.term, i, 7));
        }
        assert!(got.is_sorted_by_key(|e| e.log_id.leader_id.term), "terms run backwards");
        reads += 1;
    }
    reads
}

/// One writer appends, truncates, purges and lets entries fall out of a tiny cache, over a slow
/// disk. Readers must always see exactly what is there: no gap, no short answer, and at each index
/// the entry of the newest term.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_entry_while_the_log_changes() {
    let disk = MemoryDisk::new();
    let mut rig = rig(&disk, |o| (o.log.cache_bytes, o.log.read_bytes) = (3000, 2000));
    disk.slow_down(Duration::from_micros(300), Duration::from_micros(700));
    let told = Arc::new(Told::default());
    let readers: Vec<_> =
        (1..4).map(|seed| tokio::spawn(read_on(rig.opened.log.clone(), told.clone(), seed))).collect();
    let (mut next, mut term) = (0u64, 1u64);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        let log = &mut rig.opened.log;
        let batch: Vec<Entry> = (next..next + 7).map(|i| numbered(term, i, 7)).collect();
        log.append(batch, IOFlushed::noop()).await.unwrap();
        next += 7;
        if next % 5 == 0 {
            // Takes back what was not settled, and writes it again in another term.
            let back = next - 5;
            let last = log.try_get_log_entries(back - 1..back).await.unwrap().pop().unwrap().log_id;
            log.truncate_after(Some(last)).await.unwrap();
            term += 1;
            let again: Vec<Entry> = (back..next).map(|i| numbered(term, i, 7)).collect();
            log.append(again, IOFlushed::noop()).await.unwrap();
            let seen = log.try_get_log_entries(back..next).await.unwrap();
            assert!(seen.iter().all(|e| e.log_id.leader_id.term == term), "an entry of the old term came back");
        }
        told.settled.store(next - 5, Ordering::SeqCst);
        if next % 700 == 0 && next > 2100 {
            let upto = next - 2000;
            let id = log.try_get_log_entries(upto..=upto).await.unwrap().pop().unwrap().log_id;
            // Told first: a reader that finds its entries gone must be able to know why.
            told.purged.store(upto, Ordering::SeqCst);
            log.purge(id).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    told.stop.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 50);
    }
}
