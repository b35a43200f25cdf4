//! Processes that are killed: at random moments, and at each named crash point. What a child has
//! reported through its pipe must be there afterwards, and its directory must be served.
//!
//! This test program runs itself again as the child. Needs the feature `failpoints`.
#![cfg(feature = "failpoints")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::*;
use conclave_state::{Command, DeleteRange, KeyRange, Machine, MemoryView, Position, read};
use conclave_storage::types::{Entry, LogId, log_id, vote};
use conclave_storage::{CheckpointFile, CheckpointReceiver, Opened, codec, failpoint, open};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{RaftLogReader, RaftSnapshotBuilder};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const CHILD: &str = "CONCLAVE_CRASH_CHILD";
const DIR: &str = "CONCLAVE_CRASH_DIR";

/// The command at index `i`, in any term.
fn commands(i: u64) -> Vec<Command> {
    match i {
        _ if i % 40 == 39 => vec![Command::Compact { revision: i.cast_signed() / 2 }],
        _ if i % 11 == 10 => {
            let range = KeyRange { key: format!("key{}", i % 5).into(), end: "key3".into() };
            vec![Command::DeleteRange(DeleteRange { range, prev_kv: false })]
        }
        _ => (0..=i % 3).map(|n| put(format!("key{}", (i * 7 + n) % 23), format!("value {i} {n}"))).collect(),
    }
}

fn right(term: u64, i: u64) -> Entry {
    entry(term, i, &commands(i))
}

/// An entry that is taken back before it is acknowledged: its term is odd.
fn wrong(term: u64, i: u64) -> Entry {
    entry(term, i, &[put("wrong", format!("{i}"))])
}

fn is_right(e: &Entry) -> bool {
    e.log_id.leader_id.term.is_multiple_of(2)
}

/// The state as it should be, entry by entry.
struct Model {
    machine: Machine,
    rows: MemoryView,
    digests: Vec<u64>,
}

impl Model {
    fn new() -> Model {
        let rows = MemoryView::new();
        Model { machine: Machine::load(&rows).unwrap(), rows, digests: Vec::new() }
    }

    fn digest(&mut self, index: u64) -> u64 {
        while self.digests.len() as u64 <= index {
            let i = self.digests.len() as u64;
            let mut batch = self.machine.begin(&self.rows);
            for command in commands(i) {
                batch.apply(Position { index: i, term: 2 }, &command, false).unwrap();
            }
            let changes = batch.finish();
            self.rows.write(&changes.writes);
            self.digests.push(self.machine.digest());
        }
        self.digests[index as usize]
    }
}

/// Small limits, so that everything happens often.
fn small(dir: &Path) -> conclave_storage::Options {
    let mut o = options(dir);
    o.on_fatal = Arc::new(|reason| {
        println!("FATAL {reason}");
        std::process::exit(3);
    });
    (o.log.cache_bytes, o.state.flush_bytes, o.state.sweep_changes) = (4000, 30_000, 5);
    o
}

fn open_small(dir: &Path) -> Opened {
    open(small(dir), identity(), ORIGIN, Arc::new(Sink::default())).unwrap_or_else(|e| panic!("refused: {e}"))
}

/// Applies everything that is in the log and not yet applied. Returns the next index.
async fn recover(opened: &mut Opened) -> u64 {
    let all = opened.log.try_get_log_entries(0..).await.unwrap();
    let last = all.iter().rev().find(|e| is_right(e)).map(|e| e.log_id);
    let last = last.or(opened.log.get_log_state().await.unwrap().last_purged_log_id);
    opened.log.truncate_after(last).await.unwrap();
    let applied = opened.machine.applied_state().await.unwrap().0;
    let next = applied.map_or(0, |id| id.index + 1);
    if let Some(applied) = applied.filter(|a| last.is_none_or(|last| last.index < a.index)) {
        // As openraft does when a snapshot was installed and the log not purged yet.
        opened.log.purge(applied).await.unwrap();
    }
    let rest: Vec<Entry> = all.into_iter().filter(|e| e.log_id.index >= next && Some(e.log_id) <= last).collect();
    apply(&mut opened.machine, rest).await.unwrap();
    last.map_or(0, |id| id.index + 1).max(next)
}

/// The child that writes until it dies.
async fn write_on(dir: &Path) {
    let mut opened = open_small(dir);
    let mut next = recover(&mut opened).await;
    let mut term = opened.log.read_vote().await.unwrap().map_or(2, |v| v.leader_id.term + 2);
    loop {
        opened.log.save_vote(&vote(term, 10, true)).await.unwrap();
        println!("VOTE {term}");
        for round in 0..20 {
            let batch: Vec<Entry> = (next..=next + next % 3).map(|i| right(term, i)).collect();
            append(&mut opened.log, batch.clone()).await.unwrap();
            let last = batch.last().unwrap().log_id;
            println!("ACK {next} {} {term}", last.index);
            apply(&mut opened.machine, batch).await.unwrap();
            opened.log.save_committed(Some(last)).await.unwrap();
            next = last.index + 1;
            if round % 7 == 3 {
                assert!(opened.registry.register(next, term).unwrap());
                println!("REGISTERED {next} {term}");
            }
            if round % 9 == 4 {
                opened.state.flush().unwrap();
            }
        }
        if next % 2 == 0 {
            let snapshot = opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
            let upto = snapshot.meta.last_log_id.unwrap().index.saturating_sub(30);
            if let Some(e) = opened.log.try_get_log_entries(upto..=upto).await.unwrap().pop() {
                opened.log.purge(e.log_id).await.unwrap();
            }
        }
        // A leader that is not one: its entries are taken back.
        let lost: Vec<Entry> = (next..next + 3).map(|i| wrong(term + 1, i)).collect();
        opened.log.append(lost, IOFlushed::noop()).await.unwrap();
        opened.log.truncate_after(Some(log_id(term, next - 1))).await.unwrap();
        term += 2;
    }
}

/// The child that installs a snapshot, which lies in `<dir>.snapshot`, and writes a little more.
async fn install(dir: &Path) {
    let mut opened = open_small(dir);
    let from = dir.with_extension("snapshot");
    let meta = codec::decode_snapshot_meta(&std::fs::read(dir.with_extension("meta")).unwrap()).unwrap();
    let target = meta.last_log_id.unwrap();
    let mut next = recover(&mut opened).await;
    if next == 0 {
        append(&mut opened.log, (0..20).map(|i| right(2, i)).collect()).await.unwrap();
        println!("ACK 0 19 2");
        next = recover(&mut opened).await;
    }
    if next <= target.index {
        let files: Vec<CheckpointFile> = std::fs::read_dir(&from)
            .unwrap()
            .map(|f| f.unwrap())
            .map(|f| {
                let bytes = std::fs::read(f.path()).unwrap();
                let name = f.file_name().into_string().unwrap();
                CheckpointFile { name, size: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) }
            })
            .collect();
        let mut receiver = CheckpointReceiver::begin(&opened.state.snapshot_dir(), files.clone()).unwrap();
        for (position, file) in files.iter().enumerate().filter(|(_, file)| file.size > 0) {
            receiver.write(position, 0, &std::fs::read(from.join(&file.name)).unwrap()).unwrap();
        }
        let received = receiver.finish().unwrap();
        opened.machine.install_snapshot(&meta, received).await.unwrap();
        println!("INSTALLED");
    }
    if opened.log.get_log_state().await.unwrap().last_log_id < Some(target) {
        opened.log.purge(target).await.unwrap();
        next = target.index + 1;
    }
    let more: Vec<Entry> = (next..next + 5).map(|i| right(6, i)).collect();
    append(&mut opened.log, more.clone()).await.unwrap();
    println!("ACK {next} {} 6", next + 4);
    apply(&mut opened.machine, more).await.unwrap();
}

#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match what.as_str() {
            "write" => write_on(&dir).await,
            "install" => install(&dir).await,
            other => panic!("no child {other}"),
        }
    });
    println!("DONE");
}

/// What children have reported.
#[derive(Default)]
struct Reports {
    terms: BTreeMap<u64, u64>,
    vote: u64,
    registered: BTreeMap<u64, u64>,
    installed: bool,
    done: bool,
}

impl Reports {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        match words.first().copied() {
            Some("ACK") => self.terms.extend((number(1)..=number(2)).map(|i| (i, number(3)))),
            Some("VOTE") => self.vote = number(1),
            Some("REGISTERED") => drop(self.registered.insert(number(1), number(2))),
            Some("INSTALLED") => self.installed = true,
            Some("DONE") => self.done = true,
            Some("FATAL") => panic!("{line}"),
            _ => {}
        }
    }
}

/// Runs a child until it dies, or is killed after `patience`. Whether it died by itself.
fn run(what: &str, dir: &Path, failpoint: &str, patience: Duration, reports: &mut Reports) -> bool {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, what)
        .env(DIR, dir)
        .env("CONCLAVE_FAILPOINT", failpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let lines = std::thread::spawn(move || {
        // A line that was cut off by the kill was not reported.
        let mut whole = Vec::new();
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|n| n > 0) {
            whole.extend(line.strip_suffix('\n').map(str::to_owned));
            line.clear();
        }
        whole
    });
    let begin = std::time::Instant::now();
    let mut own = true;
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > patience {
            child.kill().unwrap();
            own = false;
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    reports.done = false;
    lines.join().unwrap().iter().for_each(|l| reports.hear(l));
    assert!(!said.contains("panicked"), "the child panicked: {said}");
    assert!(status.code().is_none() || reports.done, "the child ended with {status}: {said}");
    own
}

/// Opens a copy of what the child left: everything reported is there, and the rest fits.
async fn verify(dir: &Path, reports: &Reports, model: &mut Model) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    let mut opened = open_small(copy.path());
    let state = opened.log.get_log_state().await.unwrap();
    let purged = state.last_purged_log_id.map_or(0, |id| id.index + 1);
    let entries = opened.log.try_get_log_entries(0..).await.unwrap();
    assert_eq!(entries.first().map_or(purged, |e| e.log_id.index), purged);
    assert_eq!(entries.last().map(|e| e.log_id).or(state.last_purged_log_id), state.last_log_id);
    for e in &entries {
        let (term, index) = (e.log_id.leader_id.term, e.log_id.index);
        assert_eq!(*e, if is_right(e) { right(term, index) } else { wrong(term, index) });
        assert!(
            reports.terms.get(&index).is_none_or(|acked| *acked == term),
            "entry {index} was acknowledged otherwise"
        );
    }
    let applied = opened.machine.applied_state().await.unwrap().0;
    let end = entries.last().map_or(purged, |e| e.log_id.index + 1).max(applied.map_or(0, |a| a.index + 1));
    if let Some((last, _)) = reports.terms.last_key_value() {
        assert!(*last < end, "acknowledged up to {last}, found up to {end}");
    }
    assert!(opened.log.read_vote().await.unwrap().map_or(0, |v| v.leader_id.term) >= reports.vote);
    let committed: Option<LogId> = opened.log.read_committed().await.unwrap();
    assert!(committed <= state.last_log_id);
    for (member, incarnation) in &reports.registered {
        assert_eq!(opened.registry.holder(*member), Some(*incarnation));
    }
    if let Some(applied) = applied {
        assert_eq!(opened.state.digest(), model.digest(applied.index), "at {}", applied.index);
    }
    let next = recover(&mut opened).await;
    if next > 0 {
        assert_eq!(opened.state.digest(), model.digest(next - 1));
        if model.digests.len() as u64 == next {
            let view = opened.state.view();
            let found = read::hash_history(&view, 0, view.bounds()).unwrap().unwrap();
            let wanted = read::hash_history(&model.rows, 0, view.bounds()).unwrap().unwrap();
            assert_eq!(found, wanted, "the rows differ at {}", next - 1);
        }
        assert!(opened.state.swept(Duration::from_secs(20)), "sweeping does not go on");
    }
    commit(&mut opened, vec![right(1 << 20, next)]).await;
    assert_eq!(opened.log.try_get_log_entries(next..).await.unwrap().len(), 1);
    next
}

#[tokio::test]
async fn killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reports, mut model) = (Reports::default(), Model::new());
    let mut round = 0u64;
    // On a busy machine a child does little before it is killed: more rounds then.
    while round < 25 || (reports.terms.len() <= 500 && round < 300) {
        round += 1;
        let patience = Duration::from_millis(30 + (round * 7919) % 400);
        run("write", dir.path(), "", patience, &mut reports);
        verify(dir.path(), &reports, &mut model).await;
    }
    assert!(reports.terms.len() > 500, "only {} entries were acknowledged", reports.terms.len());
}

#[tokio::test]
async fn killed_at_each_crash_point() {
    for name in failpoint::OF_STORAGE.iter().filter(|n| !n.starts_with("install")) {
        let dir = tempfile::tempdir().unwrap();
        let (mut reports, mut model) = (Reports::default(), Model::new());
        let once = matches!(*name, "identity-before-rename" | "open-before-marker");
        for count in [1, 2, 3, 7] {
            let own = run("write", dir.path(), &format!("{name}:{count}"), Duration::from_secs(20), &mut reports);
            assert!(own || once, "{name}:{count} was never reached");
            verify(dir.path(), &reports, &mut model).await;
            if once {
                break;
            }
        }
        run("write", dir.path(), "", Duration::from_millis(300), &mut reports);
        verify(dir.path(), &reports, &mut model).await;
    }
}

#[tokio::test]
async fn killed_while_a_snapshot_is_installed() {
    let home = tempfile::tempdir().unwrap();
    let mut leader = open_small(&home.path().join("leader"));
    commit(&mut leader, (0..150).map(|i| right(4, i)).collect()).await;
    assert!(leader.state.swept(Duration::from_secs(10)));
    let snapshot = leader.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut model = Model::new();
    let points = failpoint::OF_STORAGE.iter().filter(|n| n.starts_with("install")).flat_map(|n| [(*n, 1), (*n, 2)]);
    for (i, (name, count)) in points.enumerate() {
        let dir = home.path().join(format!("follower{i}"));
        copy_dir(snapshot.snapshot.path(), &dir.with_extension("snapshot"));
        std::fs::write(dir.with_extension("meta"), codec::encode_snapshot_meta(&snapshot.meta)).unwrap();
        let mut reports = Reports::default();
        run("install", &dir, &format!("{name}:{count}"), Duration::from_secs(20), &mut reports);
        let crashed = !reports.done;
        assert!(crashed || count == 2, "{name} was never reached");
        let next = verify(&dir, &reports, &mut model).await;
        assert!(if reports.installed { next >= 150 } else { next <= 20 || next == 150 }, "{next}");
        run("install", &dir, "", Duration::from_secs(20), &mut reports);
        assert!(reports.done);
        assert_eq!(verify(&dir, &reports, &mut model).await, if crashed { 155 } else { 160 });
        let states =
            std::fs::read_dir(dir.join("state")).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(states, 1, "replaced directories stay");
    }
}
