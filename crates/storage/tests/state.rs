//! The state: answers, views, gaps, restarts, sweeping, and directories that must be refused.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::*;
use conclave_state::read::{self, ReadStop};
use conclave_state::{Command, KeyRange, LeaseGrant, Put, RangeQuery, Rejection, Response, Table, View};
use conclave_storage::types::{C, log_id, vote};
use conclave_storage::{DumpedPayload, OpenError, Opened, StateView, Stopped, open};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn get(view: &StateView, key: &str, revision: i64) -> Result<Option<String>, Rejection> {
    let query = RangeQuery {
        range: KeyRange { key: key.to_owned().into(), end: bytes::Bytes::new() },
        revision,
        ..RangeQuery::default()
    };
    match read::range(view, &query, view.bounds(), None).unwrap() {
        Ok(found) => Ok(found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())),
        Err(ReadStop::Rejected(rejection)) => Err(rejection),
        Err(ReadStop::OverBudget) => unreachable!("no budget"),
    }
}

fn sendable<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn answers_are_those_of_this_process_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let mut opened = open_with(dir.path(), sink.clone()).unwrap();
    let mut mixed = entry(1, 1, &[put("a", "1"), put("b", "2")]);
    let segments = vec![
        segment(ORIGIN, 10, &[put("a", "1"), Command::Compact { revision: 100 }]),
        segment(ORIGIN + 1, 10, &[put("x", "other")]),
        segment(ORIGIN, 11, &[put("c", "3")]),
    ];
    mixed.payload = conclave_storage::types::Payload::Normal(conclave_storage::Pack::join(segments));
    commit(&mut opened, vec![blank(1, 0), mixed, numbered(1, 2, 3)]).await;
    let answers = std::mem::take(&mut *sink.answers.lock().unwrap());
    assert_eq!(
        answers.iter().map(|a| (a.seq, a.index, a.term)).collect::<Vec<_>>(),
        [(10, 1, 1), (11, 1, 1), (2, 2, 1)]
    );
    assert_eq!(answers[0].outcomes.len(), 2);
    assert_eq!(answers[0].outcomes[0].result, Ok(Response::Put { prev: None }));
    assert_eq!(answers[0].outcomes[1].result, Err(Rejection::FutureRevision { current: 2 }));
    assert_eq!(answers[1].outcomes[0].revision, 4);
    assert_eq!(*sink.revisions.lock().unwrap(), [2, 3, 4, 5]);
    assert_eq!((opened.state.revision(), opened.state.applied_index(), opened.state.applied_term()), (5, 2, 1));
    assert_eq!(*opened.state.applied().borrow(), 2);
}

#[tokio::test]
async fn a_view_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, vec![entry(1, 0, &[put("k", "old")])]).await;
    let view = sendable(opened.state.view());
    commit(&mut opened, vec![entry(1, 1, &[put("k", "new"), put("l", "1")])]).await;
    let (old, new) = tokio::task::spawn_blocking(move || (get(&view, "k", 0), get(&view, "l", 0))).await.unwrap();
    assert_eq!((old, new), (Ok(Some("old".into())), Ok(None)));
    let view = opened.state.view();
    assert_eq!(get(&view, "k", 0), Ok(Some("new".into())));
    assert_eq!(get(&view, "k", 2), Ok(Some("old".into())));
    assert_eq!(view.bounds().current, 4);
}

#[tokio::test]
async fn a_gap_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, vec![blank(1, 0), blank(1, 1)]).await;
    let e = apply(&mut opened.machine, vec![blank(1, 3)]).await.unwrap_err();
    assert!(e.to_string().contains("entries are missing"), "{e}");
    let e = apply(&mut opened.machine, vec![blank(1, 1)]).await.unwrap_err();
    assert!(e.to_string().contains("entries are missing"), "{e}");
}

#[tokio::test]
async fn groups_are_bounded_and_change_nothing() {
    let mut digests = Vec::new();
    for commands in [1, 7, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.state.apply_commands = commands;
        let mut opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
        commit(&mut opened, (0..100).map(|i| numbered(1, i, 9)).collect()).await;
        digests.push((opened.state.digest(), opened.state.revision()));
    }
    assert_eq!((digests[0], digests[0]), (digests[1], digests[2]));
}

#[tokio::test]
async fn a_restart_finds_log_and_state_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..50).map(|i| numbered(1, i, 9)).collect()).await;
    opened.log.save_vote(&vote(3, 10, true)).await.unwrap();
    opened.log.save_committed(Some(log_id(1, 49))).await.unwrap();
    opened.state.flush().unwrap();
    let before = (opened.state.digest(), opened.state.revision());
    drop(opened);
    let mut again = open_at(dir.path());
    assert_eq!((again.state.digest(), again.state.revision()), before);
    assert_eq!(again.state.applied_index(), 49);
    assert_eq!(again.log.read_vote().await.unwrap(), Some(vote(3, 10, true)));
    assert_eq!(again.log.read_committed().await.unwrap(), Some(log_id(1, 49)));
    assert_eq!(again.log.try_get_log_entries(0..).await.unwrap().len(), 50);
    commit(&mut again, vec![numbered(1, 50, 9)]).await;
}

#[tokio::test]
async fn apply_waits_until_the_log_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let disk = conclave_storage::MemoryDisk::new();
    let sink = Arc::new(Sink::default());
    let mut opened =
        conclave_storage::open_on(Arc::new(disk.clone()), options(dir.path()), &identity(), ORIGIN, sink).unwrap();
    disk.slow_down(Duration::ZERO, Duration::from_millis(200));
    let entries = vec![numbered(1, 0, 1), numbered(1, 1, 1)];
    opened.log.append(entries.clone(), IOFlushed::<C>::noop()).await.unwrap();
    let begin = std::time::Instant::now();
    apply(&mut opened.machine, entries).await.unwrap();
    assert!(begin.elapsed() > Duration::from_millis(150), "{:?}", begin.elapsed());
    assert_eq!(disk.volatile(), 0);
}

#[tokio::test]
async fn compaction_is_swept_and_views_from_before_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.state.sweep_changes = 10;
    let mut opened = open(options.clone(), identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    commit(&mut opened, (0..500).map(|i| numbered(1, i, 5)).collect()).await;
    let old = opened.state.view();
    commit(&mut opened, vec![entry(1, 500, &[Command::Compact { revision: 400 }])]).await;
    assert!(opened.state.swept(Duration::from_secs(10)));
    // Revision 2 put key0 = 0; the entry of index i made revision i + 2.
    assert_eq!(get(&old, "key0", 2), Ok(Some("0".into())));
    let new = opened.state.view();
    assert_eq!(get(&new, "key0", 399), Err(Rejection::Compacted { compacted: 400 }));
    assert_eq!(get(&new, "key3", 400), Ok(Some("398".into())));
    assert_eq!(get(&new, "key4", 400), Ok(Some("394".into())));
    let rows = |view: &StateView| {
        let mut count = 0;
        view.scan(Table::Kv, &[], &[0xff; 8], &mut |_, _| {
            count += 1;
            Ok(conclave_state::Step::Next)
        })
        .unwrap();
        count
    };
    assert_eq!(rows(&old), 500);
    assert_eq!(rows(&new), 5 + 101);
    drop((old, new, opened));
    // Nothing is left to do after a restart, and the next compaction goes on from there.
    let mut again = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    assert!(again.state.swept(Duration::from_secs(1)));
    commit(&mut again, vec![entry(1, 501, &[Command::Compact { revision: 501 }])]).await;
    assert!(again.state.swept(Duration::from_secs(10)));
    // A view is used again while nothing is applied, and keeps what it saw: the thread that counts
    // keys after the start may have made one before the sweep.
    commit(&mut again, vec![numbered(1, 502, 5)]).await;
    assert_eq!(rows(&again.state.view()), 5 + 1);
}

/// A seek into thousands of removed rows takes the bounded way, and finds the same.
#[tokio::test]
async fn long_runs_of_removed_rows_change_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    let all: Vec<Command> = (0..3000).map(|i| put(format!("m{i:05}"), "x")).collect();
    let delete = Command::DeleteRange(conclave_state::DeleteRange {
        range: KeyRange { key: "m".into(), end: "n".into() },
        prev_kv: false,
    });
    commit(&mut opened, vec![entry(1, 0, &[put("a", "1"), put("z", "2")]), entry(1, 1, &all), entry(1, 2, &[delete])])
        .await;
    let revision = opened.state.revision();
    commit(&mut opened, vec![entry(1, 3, &[put("a", "3"), Command::Compact { revision: revision + 1 }])]).await;
    assert!(opened.state.swept(Duration::from_secs(20)));
    let view = opened.state.view();
    for key in ["m00000", "m01500", "m02999", "lll", "n"] {
        assert_eq!(get(&view, key, 0), Ok(None), "{key}");
    }
    assert_eq!(get(&view, "z", 0), Ok(Some("2".into())));
    let everything = RangeQuery { range: KeyRange { key: "a".into(), end: "\0".into() }, ..RangeQuery::default() };
    let found = read::range(&view, &everything, view.bounds(), None).unwrap().unwrap();
    assert_eq!(found.kvs.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>(), ["a", "z"]);
    commit(&mut opened, vec![entry(1, 4, &[put("m01500", "back")])]).await;
    assert_eq!(get(&opened.state.view(), "m01500", 0), Ok(Some("back".into())));
}

#[tokio::test]
async fn the_flusher_bounds_what_is_not_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.state.flush_interval = Duration::from_millis(50);
    let mut opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    commit(&mut opened, vec![numbered(1, 0, 1)]).await;
    let tables = || {
        let dirs =
            std::fs::read_dir(dir.path().join("state")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let files = dirs.flat_map(|d| std::fs::read_dir(d).unwrap());
        files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "sst")).count()
    };
    eventually("a flush", || tables() > 0);
    assert!(opened.state.size_bytes() > 0);
    assert!(opened.state.size_in_use_bytes() > 0);
}

#[tokio::test]
async fn a_stopped_member_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..20).map(|i| numbered(2, i, 9)).collect()).await;
    opened.state.flush().unwrap();
    let standing = opened.state.status();
    drop(opened);
    let stopped = Stopped::open(dir.path()).unwrap();
    let rows: Vec<_> = stopped.entries(5).unwrap().take(3).map(|r| r.unwrap()).collect();
    assert_eq!(rows.iter().map(|r| r.index).collect::<Vec<_>>(), [5, 6, 7]);
    let content = rows[0].content.as_ref().unwrap();
    let DumpedPayload::Segments(segments) = &content.payload else { panic!("{content:?}") };
    assert_eq!(content.term, 2);
    assert!(format!("{:?}", segments[0].commands[0]).contains("key5"), "{segments:?}");
    assert_eq!(stopped.entries(18).unwrap().count(), 2);
    let log = stopped.log().unwrap();
    assert_eq!((log.first, log.last.map(|id| id.index), log.purged), (Some(0), Some(19), None));
    assert_eq!(log.flushed.map(|id| id.index), Some(19));
    assert_eq!(stopped.state().unwrap().status, standing);
    assert_eq!((standing.applied_index, standing.applied_term), (19, 2));
}

#[tokio::test]
async fn looking_at_a_purged_log_begins_behind_the_purge() {
    let dir = used().await;
    let stopped = Stopped::open(dir.path()).unwrap();
    let log = stopped.log().unwrap();
    assert_eq!((log.first, log.purged.map(|id| id.index)), (Some(10), Some(9)));
    assert_eq!(stopped.entries(0).unwrap().next().unwrap().unwrap().index, 10);
    assert_eq!(stopped.state().unwrap().status.applied_index, 29);
}

#[test]
fn what_is_no_data_directory_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Stopped::open(dir.path()), Err(OpenError::NoMember { .. })));
    assert!(matches!(Stopped::open(&dir.path().join("nothing")), Err(OpenError::NoMember { .. })));
}

/// Two members apply the same entries in groups of different sizes: their marks are equal wherever
/// both have one.
#[tokio::test]
async fn marks_do_not_depend_on_the_groups() {
    let entries = || (0..400).map(|i| numbered(1, i, 9));
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut marks = Vec::new();
    for (dir, size) in dirs.iter().zip([1, 97]) {
        let mut opened = open_at(dir.path());
        let all: Vec<_> = entries().collect();
        for group in all.chunks(size) {
            commit(&mut opened, group.to_vec()).await;
        }
        let (standing, told) = opened.state.digest_checkpoints();
        assert_eq!((standing.applied_index, standing.digest), (399, opened.state.digest()));
        assert_eq!(told.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 64, 128, 192, 256, 320, 384]);
        marks.push(told);
    }
    assert_eq!(marks[0], marks[1]);
    let different: std::collections::BTreeSet<_> = marks[0].iter().map(|(_, digest)| digest).collect();
    assert_eq!(different.len(), marks[0].len());
}

/// A directory with 40 entries of which 30 are applied and flushed, and 10 purged.
async fn used() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..30).map(|i| numbered(1, i, 9)).collect()).await;
    append(&mut opened.log, (30..40).map(|i| numbered(1, i, 9)).collect()).await.unwrap();
    opened.state.flush().unwrap();
    opened.log.purge(log_id(1, 9)).await.unwrap();
    opened.log.save_vote(&vote(1, 10, true)).await.unwrap();
    dir
}

fn refused(dir: &Path, says: &str) {
    match open_with(dir, Arc::new(Sink::default())) {
        Ok(_) => panic!("served, though: {says}"),
        Err(e) => assert!(e.to_string().contains(says), "{e}\ndoes not say\n{says}"),
    }
}

#[tokio::test]
async fn another_identity_is_refused() {
    let dir = used().await;
    for (change, says) in [
        ((|i| i.cluster_id = 9) as fn(&mut conclave_storage::Identity), "cluster id is c1, this member's is 9"),
        (|i| i.member_id = 9, "member id"),
        (|i| i.incarnation = 9, "incarnation"),
        (|i| i.name = "b".into(), "name"),
    ] {
        let mut other = identity();
        change(&mut other);
        let e = open(options(dir.path()), other, 1, Arc::new(Sink::default())).err().unwrap();
        assert!(e.to_string().contains(says), "{e}");
    }
}

#[tokio::test]
async fn what_is_missing_is_not_begun_again() {
    let dir = used().await;
    let away = dir.path().join("away");
    for (part, says) in
        [("log", "the log is missing"), ("state", "the state is missing"), ("IDENTITY", "the identity file is missing")]
    {
        std::fs::rename(dir.path().join(part), &away).unwrap();
        refused(dir.path(), says);
        if dir.path().join(part).exists() {
            std::fs::remove_dir_all(dir.path().join(part)).unwrap();
        }
        std::fs::rename(&away, dir.path().join(part)).unwrap();
    }
    // The log of another member.
    let other = tempfile::tempdir().unwrap();
    let mut b = identity();
    b.member_id = 0xb;
    drop(open(options(other.path()), b, 1, Arc::new(Sink::default())).unwrap());
    std::fs::rename(dir.path().join("log"), &away).unwrap();
    std::fs::rename(other.path().join("log"), dir.path().join("log")).unwrap();
    refused(dir.path(), "belongs to another member");
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    std::fs::rename(&away, dir.path().join("log")).unwrap();
    // Whole again, it is served.
    let mut opened = open_at(dir.path());
    assert_eq!(opened.machine.applied_state().await.unwrap().0, Some(log_id(1, 29)));
}

#[tokio::test]
async fn a_state_from_before_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..5).map(|i| numbered(1, i, 9)).collect()).await;
    drop(opened);
    copy_dir(&dir.path().join("state"), &copy.path().join("state"));
    let mut opened = open_at(dir.path());
    commit(&mut opened, (5..30).map(|i| numbered(1, i, 9)).collect()).await;
    opened.state.flush().unwrap();
    drop(opened);
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    copy_dir(&copy.path().join("state"), &dir.path().join("state"));
    refused(dir.path(), "gone back in time");
}

#[tokio::test]
async fn a_log_from_before_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..5).map(|i| numbered(1, i, 9)).collect()).await;
    drop(opened);
    copy_dir(&dir.path().join("log"), &copy.path().join("log"));
    let mut opened = open_at(dir.path());
    commit(&mut opened, (5..30).map(|i| numbered(1, i, 9)).collect()).await;
    drop(opened);
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    copy_dir(&copy.path().join("log"), &dir.path().join("log"));
    refused(dir.path(), "the end of the log is lost");
}

#[tokio::test]
async fn two_processes_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open_at(dir.path());
    let second = open_with(dir.path(), Arc::new(Sink::default())).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
}

#[tokio::test]
async fn a_damaged_identity_is_refused() {
    let dir = used().await;
    let file = dir.path().join("IDENTITY");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    refused(dir.path(), "checksum mismatch");
}

#[allow(dead_code, reason = "keeps the shape of what the server holds")]
fn shapes(opened: Opened) {
    sendable(opened.state.view());
    sendable(opened);
}

/// A heartbeat that waits for a deletion of many keys is one that is missed.
#[tokio::test]
async fn what_may_take_long_holds_up_nobody_on_this_thread() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let mut opened = open_with(dir.path(), sink.clone()).unwrap();
    let many: Vec<Command> = (0..5_000).map(|n| put(format!("k{n}"), "v")).collect();
    commit(&mut opened, vec![entry(1, 0, &many)]).await;
    let range = KeyRange { key: "k".into(), end: "l".into() };
    let delete = Command::DeleteRange(conclave_state::DeleteRange { range, prev_kv: false });
    for (index, command, aside) in [(1, put("other", "1"), false), (2, delete, true), (3, put("other", "2"), false)] {
        let entry = entry(1, index, &[command]);
        append(&mut opened.log, vec![entry.clone()]).await.unwrap();
        let mut applying = std::pin::pin!(opened.machine.apply(futures::stream::iter([Ok((entry, None))])));
        let mut turns = 0;
        loop {
            tokio::select! {
                biased;
                applied = &mut applying => break applied.unwrap(),
                () = tokio::task::yield_now() => turns += 1,
            }
        }
        assert_eq!(turns > 0, aside, "entry {index}: {turns} turns of others");
    }
    let answers = std::mem::take(&mut *sink.answers.lock().unwrap());
    let deleted = &answers.iter().find(|a| a.index == 2).unwrap().outcomes[0].result;
    assert!(matches!(deleted, Ok(Response::DeleteRange(deleted)) if deleted.deleted == 5_000), "{deleted:?}");
    let view = opened.state.view();
    assert_eq!((get(&view, "k7", 0), get(&view, "other", 0)), (Ok(None), Ok(Some("2".into()))));
}

/// Rows of leases have no revisions: a view that holds more than its numbers say would show a lease
/// before or after its time.
#[tokio::test]
async fn views_are_of_one_moment_while_much_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    for round in 0..20_i64 {
        let (id, first) = (round + 7, round.unsigned_abs() * 2);
        let mut many = vec![Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 })];
        many.extend((0..1_000).map(|n| {
            let (key, value) = (format!("k{n}").into(), "v".into());
            Command::Put(Put { key, value, lease: id, ..Put::default() })
        }));
        commit(&mut opened, vec![entry(1, first, &many)]).await;
        let before = opened.state.revision();
        let revoke = entry(1, first + 1, &[Command::LeaseRevoke { id }]);
        append(&mut opened.log, vec![revoke.clone()]).await.unwrap();
        let state = opened.state.clone();
        // Views that are let go would be handed out again.
        let mut views = Vec::new();
        let mut look = || {
            let view = state.view();
            let there = read::lease_ttl(&view, id).unwrap().is_some();
            assert_eq!(there, view.bounds().current == before, "round {round}");
            assert_eq!(there, view.applied_index() == first, "round {round}");
            assert_eq!(there, get(&view, "k7", 0).unwrap().is_some(), "round {round}");
            views.push(view);
            there
        };
        assert!(look());
        let mut applying = std::pin::pin!(opened.machine.apply(futures::stream::iter([Ok((revoke, None))])));
        loop {
            tokio::select! {
                biased;
                applied = &mut applying => break applied.unwrap(),
                () = tokio::task::yield_now() => assert!(look(), "round {round}: nothing is told before all is"),
            }
        }
        assert!(!look());
    }
}

#[tokio::test]
async fn any_read_of_damaged_rows_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..500).map(|i| numbered(1, i, 400)).collect()).await;
    opened.state.flush().unwrap();
    drop(opened);
    let files = std::fs::read_dir(dir.path().join("state/db-1")).unwrap().map(|e| e.unwrap().path());
    let tables = files.filter(|p| p.extension().is_some_and(|e| e == "sst"));
    let table = tables.max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 0x10;
    std::fs::write(&table, bytes).unwrap();

    let stopped = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut options = options(dir.path());
    let told = stopped.clone();
    options.on_fatal = Arc::new(move |reason| told.lock().unwrap().push(reason));
    let opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    let view = opened.state.view();
    let read = Table::ALL
        .iter()
        .try_for_each(|table| view.scan(*table, &[], &[0xff; 16], &mut |_, _| Ok(conclave_state::Step::Next)));
    assert!(read.is_err());
    let reasons = stopped.lock().unwrap();
    assert!(
        reasons.iter().any(|r| r.contains("reading the state") && r.contains("lost or changed data")),
        "{reasons:?}"
    );
}

/// Rows with a good checksum that do not decode, as an error of software would leave them.
#[tokio::test]
async fn a_row_that_does_not_decode_stops_the_node_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..5).map(|i| numbered(1, i, 40)).collect()).await;
    opened.state.flush().unwrap();
    drop(opened);
    let lease = |id: i64| [&b"l"[..], &(id ^ i64::MIN).to_be_bytes()].concat();
    let version = |key: &[u8], revision: i64| [b"k", key, b"\0\x01", &(revision ^ -1).to_be_bytes()[..]].concat();
    let change = |revision: i64| [&revision.to_be_bytes()[..], &[0; 4]].concat();
    let db = dir.path().join("state/db-1");
    let tables = rocksdb::DB::list_cf(&rocksdb::Options::default(), &db).unwrap();
    let raw = rocksdb::DB::open_cf(&rocksdb::Options::default(), &db, tables).unwrap();
    let write = |table: &str, key: &[u8]| {
        let table = raw.cf_handle(table).unwrap();
        raw.put_cf(table, key, b"short").unwrap();
        raw.flush_cf(table).unwrap();
    };
    write("lease", &lease(7));
    write("kv", &version(b"bad", 3));
    write("live", &[b"k", &b"bad"[..], b"\0\x01"].concat());
    write("rev", &change(900));
    drop(raw);

    type Read = fn(&conclave_storage::StateView) -> bool;
    fn range(end: &'static str) -> RangeQuery {
        RangeQuery { range: KeyRange { key: "bad".into(), end: end.into() }, ..RangeQuery::default() }
    }
    let one: Read = |view| read::range(view, &range(""), view.bounds(), None).is_err();
    let many: Read = |view| read::range(view, &range("bae"), view.bounds(), None).is_err();
    let lease: Read = |view| read::lease_ttl(view, 7).is_err();
    let leases: Read = |view| read::leases(view).is_err();
    let history: Read = |view| read::history(view, 900, 900, 10).is_err();
    for (at, fails) in [one, many, lease, leases, history].into_iter().enumerate() {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let stopped = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut options = options(copy.path());
        let told = stopped.clone();
        options.on_fatal = Arc::new(move |reason| told.lock().unwrap().push(reason));
        let opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
        assert!(stopped.lock().unwrap().is_empty(), "a start reads none of these");
        assert!(fails(&opened.state.view()), "read {at}");
        let reasons = stopped.lock().unwrap();
        assert!(reasons.iter().any(|reason| reason.contains("reading the state")), "read {at}: {reasons:?}");
    }
}

#[tokio::test]
async fn nobody_but_its_owner_can_read_a_directory() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let new = parent.path().join("data");
    drop(open_at(&new));
    assert_eq!((mode(&new), mode(&new.join("IDENTITY"))), (0o700, 0o600));
    // One that was made by hand, or by an older version.
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set(&new, 0o755);
    set(&new.join("IDENTITY"), 0o644);
    drop(open_at(&new));
    assert_eq!((mode(&new), mode(&new.join("IDENTITY"))), (0o700, 0o600));
    let shared = parent.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    set(&shared, 0o1777);
    drop(open_at(&shared));
    assert_eq!(shared.metadata().unwrap().permissions().mode() & 0o7777, 0o1777, "all users' directory stays theirs");
}
