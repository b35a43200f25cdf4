//! etcdutl 3.7 reads snapshots, and agrees with what is shown of them here. Needs Go: where it is
//! missing the tests say so and pass.

use conclave_backup::{Facts, Maker, Snapshot, Step};
use conclave_state::{Command as Change, DeleteRange, KeyRange, LeaseGrant, Machine, MemoryView, Position, Put};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where etcd's tools are; `None` without Go.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn tools() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/etcd-tools");
    let built = Command::new(script).output().expect("the script can be run");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    match built.status.code() {
        Some(0) => Some(PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim_end())),
        Some(3) => {
            eprintln!("NOT TESTED: {said}");
            None
        }
        _ => panic!("{said}"),
    }
}

/// What the tool printed; it must succeed.
fn etcdutl(tools: &Path, args: &[&str]) -> String {
    let ran = Command::new(tools.join("etcdutl")).args(args).output().expect("it can be run");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "etcdutl {args:?}: {said}");
    String::from_utf8(ran.stdout).expect("text").trim_end().to_owned()
}

/// With so many keys, of which some are written again and some deleted.
fn state(keys: u32, value: usize, compacted: i64) -> MemoryView {
    let mut view = MemoryView::new();
    let mut machine = Machine::load(&view).expect("memory");
    let mut changes = vec![Change::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 60_500 })];
    let key = |n: u32| format!("key/{n:06}");
    let put = |n, lease| Put { key: key(n).into(), value: vec![b'v'; value].into(), lease, ..Put::default() };
    changes.extend((0..keys).map(|n| Change::Put(put(n, 0))));
    changes.extend((0..keys).step_by(3).map(|n| Change::Put(put(n, 7))));
    changes.extend((0..keys).step_by(5).map(|n| {
        let range = KeyRange { key: key(n).into(), end: vec![].into() };
        Change::DeleteRange(DeleteRange { range, ..DeleteRange::default() })
    }));
    if compacted > 0 {
        changes.push(Change::Compact { revision: compacted });
    }
    for change in &changes {
        let mut batch = machine.begin(&view);
        let outcome = batch.apply(Position { index: 1, term: 1 }, change, false).expect("memory");
        outcome.result.expect("accepted");
        let writes = batch.finish().writes;
        view.write(&writes);
    }
    view
}

fn write(view: &MemoryView, path: &Path) {
    let mut maker = Maker::new(Facts::default(), tempfile::tempfile().expect("a file"));
    let mut bytes = Vec::new();
    loop {
        match maker.step(view).expect("it is made") {
            Step::Working => {}
            Step::Bytes(more) => bytes.extend(more),
            Step::Hash(hash) => break bytes.extend(hash),
        }
    }
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn status_agrees_and_the_pages_are_sound() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("snapshot.db");
    let name = file.to_str().expect("text");
    for (keys, value, compacted) in [(0, 0, 0), (1, 10, 0), (900, 100, 0), (900, 100, 1_000), (60, 100_000, 30)] {
        write(&state(keys, value, compacted), &file);
        // It checks that each page is reachable once, and that keys rise.
        let said = etcdutl(&tools, &["snapshot", "status", name, "-w", "json"]);
        let status = Snapshot::new(fs::File::open(&file).expect("it is there")).status().expect("sound");
        let expected = format!(
            r#"{{"hash":{},"revision":{},"totalKey":{},"totalSize":{},"version":"3.6.0"}}"#,
            status.hash, status.revision, status.total_key, status.total_size
        );
        assert_eq!(said, expected, "{keys} keys");
    }
}

/// Each with a copy: `hashkv` changes the file.
#[test]
fn it_is_restored_and_hashed() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    write(&state(300, 50, 350), Path::new(&path("snapshot.db")));
    fs::copy(path("snapshot.db"), path("copy.db")).expect("it can be copied");
    let hash = etcdutl(&tools, &["hashkv", &path("copy.db"), "-w", "json"]);
    assert!(hash.contains(r#""compactRevision":350"#), "{hash}");
    etcdutl(&tools, &["snapshot", "restore", &path("snapshot.db"), "--data-dir", &path("plain")]);
    let bump = ["--bump-revision", "1000000", "--mark-compacted"];
    let restore = ["snapshot", "restore", &path("snapshot.db"), "--data-dir", &path("bumped")];
    etcdutl(&tools, &[&restore[..], &bump].concat());
    // What etcd made of it is read here too: from a data directory, so without a hash.
    let bumped = Snapshot::new(fs::File::open(path("bumped/member/snap/db")).expect("it is there"));
    let counts = bumped.verify().expect("sound");
    let before = Snapshot::new(fs::File::open(path("snapshot.db")).expect("it is there")).verify().expect("sound");
    assert_eq!((counts.revision, counts.compacted), (before.revision + 1_000_000, before.revision + 1_000_000));
    assert_eq!((counts.living_keys, counts.leases), (before.living_keys, before.leases));
}
