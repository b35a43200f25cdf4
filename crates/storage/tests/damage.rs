//! Files cut short and bits flipped: a directory is served as a whole prefix of what was written,
//! or refused with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::*;
use conclave_state::{Step, Table, View};
use conclave_storage::types::Entry;
use conclave_storage::{OpenError, Opened};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ACKED: u64 = 100;

/// The write-ahead log that is being written.
fn wal(dir: &Path) -> PathBuf {
    let logs = std::fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().path());
    logs.filter(|p| p.extension().is_some_and(|e| e == "log")).max().unwrap()
}

/// Where it is marked up to where the log is synced.
fn mark(dir: &Path) -> PathBuf {
    dir.join("log/SYNCED")
}

/// A directory with `ACKED` acknowledged entries and 50 more that are not known to be synced, and
/// where the first of those begin in the write-ahead log.
async fn written() -> (tempfile::TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    for i in 0..ACKED {
        append(&mut opened.log, vec![numbered(1, i, 9)]).await.unwrap();
    }
    let acked = wal(dir.path()).metadata().unwrap().len();
    let marked = std::fs::read(mark(dir.path())).unwrap();
    for i in 0..25 {
        append(&mut opened.log, vec![numbered(1, ACKED + 2 * i, 9), numbered(1, ACKED + 2 * i + 1, 9)]).await.unwrap();
    }
    drop(opened);
    std::fs::write(mark(dir.path()), marked).unwrap();
    (dir, acked)
}

async fn entries(opened: &mut Opened) -> Vec<Entry> {
    let all = opened.log.try_get_log_entries(0..).await.unwrap();
    let last = opened.log.get_log_state().await.unwrap().last_log_id;
    assert_eq!(all.last().map(|e| e.log_id), last);
    for (i, e) in all.iter().enumerate() {
        assert_eq!(*e, numbered(1, i as u64, 9));
    }
    all
}

/// Opens a copy whose write-ahead log was changed.
async fn after(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, OpenError> {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    let file = wal(copy.path());
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    let mut opened = open_with(copy.path(), Arc::new(Sink::default()))?;
    Ok(entries(&mut opened).await.len() as u64)
}

#[tokio::test]
async fn a_torn_end_costs_only_what_was_not_acknowledged() {
    let (dir, acked) = written().await;
    let end = wal(dir.path()).metadata().unwrap().len();
    let mut before = 0;
    let mut cut = acked;
    while cut <= end {
        let found = after(dir.path(), |bytes| bytes.truncate(cut as usize)).await.unwrap();
        assert!(found >= ACKED && found >= before, "cut at {cut} of {end}: {found} entries");
        before = found;
        // Every byte around the first border, then in steps that hit all parts of a record.
        cut += if cut < acked + 12 { 1 } else { 37 };
    }
    assert_eq!(after(dir.path(), |_| {}).await.unwrap(), ACKED + 50);
    // What was being written when the power went can also be zeros, from a sector on.
    let found = after(dir.path(), |bytes| bytes[(acked as usize + 90).next_multiple_of(512)..].fill(0)).await.unwrap();
    assert!((ACKED..ACKED + 50).contains(&found), "{found}");
}

#[tokio::test]
async fn a_log_cut_below_what_was_acknowledged_is_refused() {
    let (dir, acked) = written().await;
    let mut cut = 0;
    while cut < acked {
        let found = after(dir.path(), |bytes| bytes.truncate(cut as usize)).await;
        assert!(matches!(found, Err(OpenError::Corrupt { .. })), "cut at {cut} of {acked}: {found:?}");
        cut += acked / 40;
    }
}

/// Without knowledge of what was synced, a length that leads past the end looks like a write that
/// was not finished.
#[tokio::test]
async fn the_last_acknowledged_write_is_never_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    for i in 0..20 {
        append(&mut opened.log, vec![numbered(1, i, 9)]).await.unwrap();
    }
    drop(opened);
    let bytes = std::fs::read(wal(dir.path())).unwrap();
    let last = *records(&bytes).last().unwrap();
    let head = 7 * 8;
    for bit in (0..head).chain((head..(bytes.len() - last) * 8).step_by(37)) {
        let found = after(dir.path(), |bytes| bytes[last + bit / 8] ^= 1 << (bit % 8)).await;
        assert!(matches!(found, Err(OpenError::Corrupt { .. })), "bit {bit}: {found:?}");
    }
    let found = after(dir.path(), |bytes| bytes[last..].fill(0)).await;
    assert!(matches!(found, Err(OpenError::Corrupt { .. })), "{found:?}");
}

/// A manifest gets a record for each table that a flush wrote, before one sync.
#[tokio::test]
async fn a_flush_that_a_power_cut_ended_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..ACKED).map(|i| numbered(1, i, 9)).collect()).await;
    opened.state.flush().unwrap();
    commit(&mut opened, (ACKED..ACKED + 50).map(|i| numbered(1, i, 9)).collect()).await;
    let before = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), before.path());
    opened.state.flush().unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), copy.path());
    drop(opened);
    let manifest = |dir: &Path| {
        let files = std::fs::read_dir(dir.join("state/db-1")).unwrap().map(|e| e.unwrap().path());
        files.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST")).max().unwrap()
    };
    let (old, new) = (std::fs::read(manifest(before.path())).unwrap(), std::fs::read(manifest(copy.path())).unwrap());
    assert!(new.starts_with(&old) && new.len() > old.len() + 100, "{} and {}", old.len(), new.len());
    let sectors: Vec<usize> = (old.len() / 512..new.len().div_ceil(512)).collect();
    for lost in 0..1_u32 << sectors.len().min(5) {
        for cut in [new.len(), (old.len() + new.len()) / 2] {
            let state = tempfile::tempdir().unwrap();
            copy_dir(copy.path(), state.path());
            // The flush is not recorded in the log before it is done.
            std::fs::remove_dir_all(state.path().join("log")).unwrap();
            copy_dir(&before.path().join("log"), &state.path().join("log"));
            let mut torn = new.clone();
            for (n, sector) in sectors.iter().enumerate().filter(|(n, _)| lost >> n & 1 == 1) {
                let _ = n;
                torn[(sector * 512).max(old.len())..((sector + 1) * 512).min(new.len())].fill(0);
            }
            torn.truncate(cut);
            std::fs::write(manifest(state.path()), torn).unwrap();
            let mut opened = open_with(state.path(), Arc::new(Sink::default()))
                .unwrap_or_else(|e| panic!("sectors {lost:b} lost, cut at {cut}: {e}"));
            assert_eq!(entries(&mut opened).await.len() as u64, ACKED + 50);
        }
    }
}

#[tokio::test]
async fn a_state_shows_that_the_log_lost_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..ACKED).map(|i| numbered(1, i, 9)).collect()).await;
    commit(&mut opened, vec![numbered(1, ACKED, 9)]).await;
    opened.state.flush().unwrap();
    drop(opened);
    let bytes = wal(dir.path()).metadata().unwrap().len();
    for lost in [130, 1000, bytes / 2] {
        let e = after(dir.path(), |bytes| bytes.truncate(bytes.len() - lost as usize)).await.unwrap_err();
        assert!(e.to_string().contains("its end is gone") || e.to_string().contains("is not whole"), "{e}");
        // Also if nothing is known of what was synced.
        let unmarked = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), unmarked.path());
        std::fs::remove_file(mark(unmarked.path())).unwrap();
        let e = after(unmarked.path(), |bytes| bytes.truncate(bytes.len() - lost as usize)).await.unwrap_err();
        assert!(e.to_string().contains("the end of the log is lost") || e.to_string().contains("missing"), "{e}");
    }
}

#[tokio::test]
async fn flipped_bits_are_refused() {
    let (dir, acked) = written().await;
    for n in 0..80u64 {
        let at = n.wrapping_mul(2_654_435_761) % acked;
        let found = after(dir.path(), |bytes| bytes[at as usize] ^= 1 << (n % 8)).await;
        let text = found.expect_err("a flipped bit in what was acknowledged").to_string();
        assert!(text.contains("cannot be read") || text.contains("missing"), "{text}");
    }
}

/// Where the records of a write-ahead log of one block begin.
fn records(bytes: &[u8]) -> Vec<usize> {
    let next = |at: &usize| {
        let length = bytes.get(at + 4..at + 6)?.try_into().unwrap();
        Some(at + 7 + usize::from(u16::from_le_bytes(length)))
    };
    std::iter::successors(Some(0), next).take_while(|at| *at < bytes.len()).collect()
}

/// RocksDB believes the head of a record before it has checked it: it would search a journal for
/// ever, or end it there.
#[tokio::test]
async fn every_bit_of_a_record_s_head_counts() {
    let (dir, acked) = written().await;
    let records = records(&std::fs::read(wal(dir.path())).unwrap());
    let acknowledged = records.iter().filter(|at| **at < acked as usize).count();
    for record in [0, 1, acknowledged / 2, acknowledged - 1] {
        for bit in 0..7 * 8 {
            let at = records[record] + bit / 8;
            let found = after(dir.path(), |bytes| bytes[at] ^= 1 << (bit % 8)).await;
            let text = found.expect_err(&format!("record {record}, bit {bit}")).to_string();
            assert!(text.contains("cannot be read") || text.contains("missing"), "{text}");
        }
    }
}

#[tokio::test]
async fn damaged_tables_of_the_state_are_errors_not_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path());
    commit(&mut opened, (0..500).map(|i| numbered(1, i, 50)).collect()).await;
    opened.state.flush().unwrap();
    let whole = rows(&opened).unwrap();
    drop(opened);
    let state = dir.path().join("state/db-1");
    let tables = std::fs::read_dir(&state).unwrap().map(|e| e.unwrap().path());
    let table =
        tables.filter(|p| p.extension().is_some_and(|e| e == "sst")).max_by_key(|p| p.metadata().unwrap().len());
    let table = table.unwrap();
    let bytes = std::fs::read(&table).unwrap();
    let mut noticed = 0;
    for n in 0..20 {
        let mut changed = bytes.clone();
        let at = n * changed.len() / 20;
        changed[at] ^= 0x10;
        std::fs::write(&table, changed).unwrap();
        match open_with(dir.path(), Arc::new(Sink::default())) {
            Ok(opened) => match rows(&opened) {
                Ok(rows) => assert_eq!(rows, whole),
                Err(_) => noticed += 1,
            },
            Err(e) => {
                assert!(e.to_string().contains("the state"), "{e}");
                noticed += 1;
            }
        }
    }
    assert!(noticed >= 10, "{noticed}");
}

type Row = (Vec<u8>, Vec<u8>);

fn rows(opened: &Opened) -> Result<Vec<Row>, conclave_state::Fault> {
    let view = opened.state.view();
    let mut all = Vec::new();
    for table in Table::ALL {
        view.scan(table, &[], &[0xff; 16], &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            Ok(Step::Next)
        })?;
    }
    Ok(all)
}
