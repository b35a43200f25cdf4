//! Snapshots from one member to another.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::*;
use conclave_state::Command;
use conclave_state::read;
use conclave_storage::types::{Membership, Payload, Snapshot, SnapshotMeta, StoredMembership, log_id};
use conclave_storage::{CheckpointFile, CheckpointReceiver, Opened, open};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

async fn build(opened: &mut Opened) -> conclave_storage::types::Snapshot {
    opened.machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap()
}

/// 100 entries, one of them a membership.
async fn leader(dir: &Path) -> Opened {
    let mut opened = open_at(dir);
    let mut entries: Vec<_> = (0..100).map(|i| numbered(2, i, 9)).collect();
    let voters = BTreeSet::from([10, 11]);
    entries[50].payload = Payload::Membership(Membership::new_with_defaults(vec![voters], []));
    commit(&mut opened, entries).await;
    opened
}

fn dirs(opened: &Opened) -> usize {
    std::fs::read_dir(opened.state.snapshot_dir()).unwrap().count()
}

#[tokio::test]
async fn a_snapshot_makes_the_follower_equal_and_survives_a_restart() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = leader(a.path()).await;
    let snapshot = build(&mut leader).await;
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(2, 99)));
    assert_eq!(*snapshot.meta.last_membership.log_id(), Some(log_id(2, 50)));

    let sink = Arc::new(Sink::default());
    let mut follower = open_with(b.path(), sink.clone()).unwrap();
    commit(&mut follower, (0..5).map(|i| numbered(1, i, 9)).collect()).await;
    let before = follower.state.view();
    let received = transfer(&snapshot.snapshot, &follower.state.snapshot_dir()).unwrap();
    follower.machine.install_snapshot(&snapshot.meta, received).await.unwrap();
    follower.log.purge(log_id(2, 99)).await.unwrap();
    assert_eq!(sink.installed.load(Ordering::SeqCst), 1);

    let same = |follower: &Opened| {
        assert_eq!(follower.state.digest(), leader.state.digest());
        assert_eq!((follower.state.revision(), follower.state.applied_index()), (leader.state.revision(), 99));
        let hash = |o: &Opened| {
            let view = o.state.view();
            read::hash_history(&view, 0, view.bounds()).unwrap().unwrap()
        };
        assert_eq!(hash(follower), hash(&leader));
    };
    same(&follower);
    assert_eq!(*follower.state.applied().borrow(), 99);
    // A view of the old state still reads it.
    assert_eq!(before.bounds().current, 6);
    assert!(read::version_at(&before, b"key0", 6).unwrap().is_some());
    drop(before);
    assert_eq!(follower.machine.applied_state().await.unwrap(), leader.machine.applied_state().await.unwrap());
    let current = follower.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, snapshot.meta);
    assert_eq!(std::fs::read_dir(b.path().join("state")).unwrap().count(), 2, "the old state's directory is gone");
    commit(&mut follower, vec![numbered(2, 100, 9)]).await;
    drop((current, follower));

    let mut again = open_with(b.path(), sink).unwrap();
    assert_eq!(again.machine.applied_state().await.unwrap().0, Some(log_id(2, 100)));
    assert_eq!(dirs(&again), 0);
}

#[tokio::test]
async fn an_installed_snapshot_may_be_ahead_of_the_log() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = leader(a.path()).await;
    let snapshot = build(&mut leader).await;
    let mut follower = open_at(b.path());
    commit(&mut follower, (0..5).map(|i| numbered(1, i, 9)).collect()).await;
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
    // The crash comes before the log is purged.
    drop(follower);
    let again = open_at(b.path());
    assert_eq!(again.state.digest(), leader.state.digest());
}

/// Each of these would end the node if it came as far as an installation.
#[tokio::test]
async fn what_is_not_the_announced_state_is_recognized() {
    let a = tempfile::tempdir().unwrap();
    let mut leader = leader(a.path()).await;
    let Snapshot { meta, snapshot } = build(&mut leader).await;
    snapshot.require(&meta).unwrap();
    let other = SnapshotMeta { last_log_id: Some(log_id(2, 98)), ..meta.clone() };
    assert!(snapshot.require(&other).unwrap_err().to_string().contains("announced was index 98"));
    let other = SnapshotMeta { last_membership: StoredMembership::default(), ..meta.clone() };
    assert!(snapshot.require(&other).unwrap_err().to_string().contains("membership of nothing"));
    // Looking has not changed what is installed.
    let b = tempfile::tempdir().unwrap();
    let mut follower = open_at(b.path());
    follower.machine.install_snapshot(&meta, snapshot.clone()).await.unwrap();
    assert_eq!(follower.state.digest(), leader.state.digest());

    let mut files = std::fs::read_dir(snapshot.path()).unwrap().map(|e| e.unwrap().path());
    let table = files.find(|p| p.extension().is_some_and(|e| e == "sst")).unwrap();
    std::fs::remove_file(table).unwrap();
    assert!(snapshot.require(&meta).unwrap_err().to_string().contains("not a state"));
    std::fs::write(snapshot.path().join("CURRENT"), "rubbish\n").unwrap();
    assert!(snapshot.require(&meta).unwrap_err().to_string().contains("not a state"));
}

#[tokio::test]
async fn what_was_built_is_kept_once_and_old_directories_go() {
    let a = tempfile::tempdir().unwrap();
    let mut leader = leader(a.path()).await;
    assert!(leader.machine.get_current_snapshot().await.unwrap().is_none());
    let first = build(&mut leader).await;
    commit(&mut leader, vec![numbered(2, 100, 9)]).await;
    let second = build(&mut leader).await;
    assert_eq!(dirs(&leader), 2);
    assert_eq!(second.meta.last_log_id, Some(log_id(2, 100)));
    // A transfer that still reads the first keeps it.
    assert!(!first.snapshot.files().unwrap().is_empty());
    drop(first);
    assert_eq!(dirs(&leader), 1);
    drop(second);
    assert_eq!(dirs(&leader), 1);
    let current = leader.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta.last_log_id, Some(log_id(2, 100)));
}

#[tokio::test]
async fn snapshots_are_built_while_entries_are_applied() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = leader(a.path()).await;
    let mut builder = leader.machine.get_snapshot_builder().await;
    let building = tokio::spawn(async move { builder.build_snapshot().await.unwrap() });
    for i in 100..400 {
        commit(&mut leader, vec![numbered(2, i, 9)]).await;
    }
    let snapshot = building.await.unwrap();
    let last = snapshot.meta.last_log_id.unwrap().index;
    assert!((99..400).contains(&last), "{last}");
    // Its contents match exactly the point in time that it shows.
    let mut follower = open_at(b.path());
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    follower.log.purge(snapshot.meta.last_log_id.unwrap()).await.unwrap();
    commit(&mut follower, (last + 1..400).map(|i| numbered(2, i, 9)).collect()).await;
    assert_eq!(follower.state.digest(), leader.state.digest());
}

#[tokio::test]
async fn what_arrives_damaged_is_refused_and_leaves_nothing() {
    let a = tempfile::tempdir().unwrap();
    let mut leader = leader(a.path()).await;
    let snapshot = build(&mut leader).await.snapshot;
    let into = tempfile::tempdir().unwrap();
    let files = snapshot.files().unwrap();
    let big = files.iter().max_by_key(|f| f.size).unwrap().clone();
    let whole = snapshot.read_chunk(&big.name, 0, usize::MAX).unwrap();
    let begin = || CheckpointReceiver::begin(into.path(), vec![big.clone()]).unwrap();

    let mut damaged = whole.to_vec();
    damaged[big.size as usize / 2] ^= 4;
    let mut receiver = begin();
    receiver.write(0, 0, &damaged).unwrap();
    assert!(receiver.finish().unwrap_err().to_string().contains("damaged"));

    let mut short = begin();
    short.write(0, 0, &whole[1..]).unwrap();
    assert!(short.finish().unwrap_err().to_string().contains("announced"));

    assert!(begin().write(0, 1, &whole).is_err(), "not from the start");
    assert!(begin().write(1, 0, &whole).is_err(), "a file that is not announced");
    assert!(begin().write(0, 0, &[]).is_err(), "no step forward");
    let mut long = begin();
    long.write(0, 0, &whole).unwrap();
    assert!(long.write(0, big.size, &[0]).is_err());
    drop(long);

    let small = |name: &str| CheckpointFile { name: name.into(), size: 1, crc32c: crc32c::crc32c(b"x") };
    let two = || CheckpointReceiver::begin(into.path(), vec![small("a"), small("b")]).unwrap();
    let mut disorder = two();
    assert!(disorder.write(1, 0, b"x").is_err(), "the first is not complete");
    drop(disorder);
    let mut disorder = two();
    disorder.write(0, 0, b"x").unwrap();
    disorder.write(1, 0, b"x").unwrap();
    assert!(disorder.write(0, 1, b"x").is_err(), "back to the first");
    drop(disorder);

    // More than there is room for, in one file or in all; more files than a checkpoint has.
    let sized = |name: &str, size| CheckpointFile { name: name.into(), size, crc32c: 0 };
    assert!(CheckpointReceiver::begin(into.path(), vec![sized("a", u64::MAX), sized("b", u64::MAX)]).is_err());
    let many = (0..100_000).map(|n| sized(&format!("f{n}"), 0)).collect();
    assert!(CheckpointReceiver::begin(into.path(), many).is_err());
    assert!(CheckpointReceiver::begin(into.path(), vec![]).is_err());

    for name in ["../x", "/etc/passwd", "a/b", "", ".", "..", ".hidden"] {
        let file = CheckpointFile { name: name.into(), size: 1, crc32c: 0 };
        assert!(CheckpointReceiver::begin(into.path(), vec![file]).is_err(), "{name}");
        assert!(snapshot.read_chunk(name, 0, 1).is_err(), "{name}");
    }
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0);
}

/// The state from a snapshot is swept further, from wherever the sender had swept to.
#[tokio::test]
async fn sweeping_goes_on_after_an_installation() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = leader(a.path()).await;
    commit(&mut leader, vec![entry(2, 100, &[Command::Compact { revision: 90 }])]).await;
    let snapshot = build(&mut leader).await;
    let mut follower = open_at(b.path());
    follower.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(follower.state.compacted(), 90);
    assert!(follower.state.swept(std::time::Duration::from_secs(10)));
}

/// After a failed sync the contents of the disk are unknown, so the node must stop.
#[tokio::test]
async fn receiving_ends_the_node_if_the_disk_fails_and_for_nothing_else() {
    use std::io::{Error, ErrorKind};
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = told.clone();
    let mut options = options(dir.path());
    options.on_fatal = Arc::new(move |reason| tell.lock().unwrap().push(reason));
    let opened = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    for kind in [ErrorKind::InvalidData, ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        assert_eq!(opened.state.receiving_failed(Error::new(kind, "not this time")).kind(), kind);
    }
    // Too many open files.
    assert_eq!(opened.state.receiving_failed(Error::from_raw_os_error(24)).raw_os_error(), Some(24));
    // A leader that names a file twice, or a file elsewhere, or as no disk can.
    let file = |name: &str| CheckpointFile { name: name.to_owned(), size: 1, crc32c: 0 };
    for files in [vec![file("a"), file("a")], vec![file("../a")], vec![file(&"x".repeat(400))]] {
        let refused = CheckpointReceiver::begin(&opened.state.snapshot_dir(), files).err().unwrap();
        opened.state.receiving_failed(refused);
    }
    assert!(told.lock().unwrap().is_empty());
    let said = opened.state.receiving_failed(Error::from_raw_os_error(5)).to_string();
    let begin = format!("receiving a snapshot in {}: Input/output error", dir.path().display());
    assert!(said.starts_with(&begin), "{said}");
    assert_eq!(*told.lock().unwrap(), [said]);
}

/// A file with a damaged block, and a table among its files that is large enough to have some.
fn damage_a_block(dir: &Path) {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    let tables = files.filter(|p| p.extension().is_some_and(|e| e == "sst"));
    let table = tables.max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 0x10;
    // The state has the same file by a hard link: it stays as it is.
    std::fs::remove_file(&table).unwrap();
    std::fs::write(&table, bytes).unwrap();
}

#[tokio::test]
async fn damaged_blocks_are_found_before_sending_and_after_receiving() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stopped = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut options = options(a.path());
    let told = stopped.clone();
    options.on_fatal = Arc::new(move |reason| told.lock().unwrap().push(reason));
    let mut leader = open(options, identity(), ORIGIN, Arc::new(Sink::default())).unwrap();
    commit(&mut leader, (0..500).map(|i| numbered(2, i, 400)).collect()).await;
    let snapshot = build(&mut leader).await;
    damage_a_block(snapshot.snapshot.path());

    // The files are what they are, and each arrives as it is.
    let files: Vec<CheckpointFile> = std::fs::read_dir(snapshot.snapshot.path())
        .unwrap()
        .map(|f| f.unwrap())
        .map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap()))
        .map(|(name, bytes)| CheckpointFile { name, size: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) })
        .collect();
    let follower = open_at(b.path());
    let mut receiver = CheckpointReceiver::begin(&follower.state.snapshot_dir(), files.clone()).unwrap();
    for (position, file) in files.iter().enumerate().filter(|(_, file)| file.size > 0) {
        let bytes = std::fs::read(snapshot.snapshot.path().join(&file.name)).unwrap();
        receiver.write(position, 0, &bytes).unwrap();
    }
    let e = receiver.finish().unwrap().require(&snapshot.meta).unwrap_err();
    assert!(e.to_string().contains("it is not a state") && e.to_string().contains("checksum"), "{e}");

    assert_eq!(*stopped.lock().unwrap(), Vec::<String>::new());
    assert!(snapshot.snapshot.files().is_err());
    let stopped = stopped.lock().unwrap();
    assert!(stopped.iter().any(|reason| reason.contains("reading a snapshot")), "{stopped:?}");
}
