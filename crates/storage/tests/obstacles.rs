//! What stands in the way of a start and has lost nothing says so, and is never called lost data.
//!
//! Limits of the system are set by a shell, for this test program as its child.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

mod common;

use common::*;
use conclave_storage::OpenError;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const DIR: &str = "CONCLAVE_OBSTACLE_DIR";

/// The child: opens the directory, and says how that went.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    match open_with(Path::new(&dir), Arc::new(Sink::default())) {
        Ok(_) => println!("OPENED"),
        Err(e @ (OpenError::Io { .. } | OpenError::Obstacle { .. })) => println!("OBSTACLE {e}"),
        Err(e) => println!("WRONG {e}"),
    }
}

async fn used() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..300).map(|i| numbered(1, i, 50)).collect()).await;
    opened.state.flush().unwrap();
    commit(&mut opened, (300..400).map(|i| numbered(1, i, 50)).collect()).await;
    dir
}

/// What a child says that is started with this limit.
fn opened_with(limit: &str, dir: &Path) -> String {
    let script = format!("{limit}; exec \"$0\" --exact child --nocapture --test-threads=1");
    let mut shell = Command::new("sh");
    let child = shell.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(DIR, dir).output().unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    let said = said.lines().find_map(|line| {
        let at = ["OPENED", "OBSTACLE", "WRONG"].iter().filter_map(|word| line.find(word)).min()?;
        Some(line[at..].to_owned())
    });
    said.unwrap_or_else(|| format!("NOTHING: {} {}", child.status, String::from_utf8_lossy(&child.stderr)))
}

/// Otherwise a member that takes etcd's place would begin without etcd's data, and nobody would be
/// told.
#[test]
fn a_directory_of_etcd_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("member/snap")).unwrap();
    let refusal = open_with(dir.path(), Arc::new(Sink::default())).err().unwrap();
    assert!(matches!(refusal, OpenError::OfEtcd { .. }), "{refusal}");
    assert!(refusal.to_string().contains("/member/snap/db --data-dir"), "{refusal}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["member"], "nothing is written into it");
}

#[tokio::test]
async fn too_few_open_files() {
    let dir = used().await;
    let (mut refused, mut opened) = (0, 0);
    for limit in (10..42).step_by(2) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let said = opened_with(&format!("ulimit -n {limit}"), copy.path());
        if said.starts_with("OBSTACLE") {
            assert!(said.contains("no data is lost") && said.contains("ulimit -n"), "{limit} files: {said}");
            refused += 1;
        } else if said.starts_with("OPENED") {
            opened += 1;
        } else {
            // With a handful the test program itself cannot begin.
            assert!(said.starts_with("NOTHING") && limit < 16, "{limit} files: {said}");
        }
        // And nothing is lost.
        assert_eq!(opened_with("true", copy.path()), "OPENED");
    }
    assert!(refused > 5 && opened > 5, "{refused} refused, {opened} opened");
}

/// A file system that takes no more looks like a limit of the size of files, but for the number of
/// the error.
#[tokio::test]
async fn no_room() {
    let dir = used().await;
    let mut refused = 0;
    for blocks in 0..12 {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let said = opened_with(&format!("trap '' XFSZ; ulimit -f {blocks}"), copy.path());
        if said.starts_with("OBSTACLE") {
            assert!(said.contains("no data is lost") && said.contains("free some space"), "{blocks} blocks: {said}");
            refused += 1;
        } else {
            assert_eq!(said, "OPENED", "{blocks} blocks");
        }
        assert_eq!(opened_with("true", copy.path()), "OPENED");
    }
    assert!(refused > 3, "{refused} refused");
}
