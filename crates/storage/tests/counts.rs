//! Counts of living keys: they belong to the moment of their view, and few rows are visited for
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::*;
use conclave_state::read::{self, ReadStop};
use conclave_state::{Command, DeleteRange, KeyRange, LeaseGrant, Put, RangeQuery};
use conclave_storage::types::Entry;
use conclave_storage::{Opened, StateView};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use std::time::{Duration, Instant};

/// More than the two blocks at the ends of a range, and far less than a range.
const BUDGET: usize = 1_200;

const RANGES: [(&str, &str); 5] = [("", "\0"), ("k", "l"), ("k003", "k0151"), ("k01500", "k015001"), ("x", "\0")];

fn key(number: usize) -> bytes::Bytes {
    format!("k{number:05}").into()
}

fn puts(index: u64, keys: impl Iterator<Item = usize>, lease: i64) -> Entry {
    let put = |number| Command::Put(Put { key: key(number), value: "v".into(), lease, ..Put::default() });
    entry(1, index, &keys.map(put).collect::<Vec<_>>())
}

fn deletes(index: u64, keys: impl Iterator<Item = usize>) -> Entry {
    let delete = |number| {
        let range = KeyRange { key: key(number), end: bytes::Bytes::new() };
        Command::DeleteRange(DeleteRange { range, ..DeleteRange::default() })
    };
    entry(1, index, &keys.map(delete).collect::<Vec<_>>())
}

fn query((key, end): (&'static str, &'static str)) -> RangeQuery {
    RangeQuery { range: KeyRange { key: key.into(), end: end.into() }, ..RangeQuery::default() }
}

/// The count of a range by visiting its keys.
fn visited(view: &StateView, range: (&'static str, &'static str)) -> i64 {
    let found = read::range(view, &query(range), view.bounds(), None).unwrap().unwrap();
    assert_eq!(found.count, i64::try_from(found.kvs.len()).unwrap());
    found.count
}

/// The count, if it costs few rows.
fn counted(view: &StateView, range: (&'static str, &'static str)) -> Option<i64> {
    let query = RangeQuery { count_only: true, ..query(range) };
    match read::range(view, &query, view.bounds(), Some(BUDGET)).unwrap() {
        Ok(found) => Some(found.count),
        Err(stop) => {
            assert_eq!(stop, ReadStop::OverBudget);
            None
        }
    }
}

fn check(view: &StateView) {
    for range in RANGES {
        assert_eq!(counted(view, range), Some(visited(view, range)), "{range:?} at {}", view.bounds().current);
    }
}

/// Counting begins in the background. The state has more keys than the budget.
async fn await_counts(opened: &Opened) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while counted(&opened.state.view(), ("", "\0")).is_none() {
        assert!(Instant::now() < deadline, "the keys are not counted");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn filled(dir: &std::path::Path, keys: usize) -> Opened {
    let mut opened = open_at(dir);
    commit(&mut opened, vec![puts(0, 0..keys, 0)]).await;
    opened
}

#[tokio::test]
async fn each_view_has_the_counts_of_its_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = filled(dir.path(), 4_000).await;
    await_counts(&opened).await;
    let mut views = vec![opened.state.view()];
    for round in 0..12 {
        let (born, gone) = (4_000 + round * 1_000, round * 1_300);
        let entries = vec![
            puts(1 + 2 * round as u64, (born..born + 1_000).chain(0..10), 0),
            deletes(2 + 2 * round as u64, (gone..gone + 1_290).chain(0..5)),
        ];
        commit(&mut opened, entries).await;
        views.push(opened.state.view());
    }
    views.iter().for_each(check);
    let totals: Vec<i64> = views.iter().map(|view| visited(view, ("", "\0"))).collect();
    assert!(totals.windows(2).all(|pair| pair[0] != pair[1]), "{totals:?}");
}

/// A revocation of a lease with many keys is written on another thread, while views show the state
/// before it.
#[tokio::test]
async fn counts_wait_for_a_write_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = filled(dir.path(), 2_000).await;
    commit(&mut opened, vec![entry(1, 1, &[Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 60_000 })])]).await;
    commit(&mut opened, vec![puts(2, 2_000..5_000, 7)]).await;
    await_counts(&opened).await;
    let revoke = entry(1, 3, &[Command::LeaseRevoke { id: 7 }]);
    append(&mut opened.log, vec![revoke.clone()]).await.unwrap();
    let state = opened.state.clone();
    let mut applying = std::pin::pin!(opened.machine.apply(futures::stream::iter([Ok((revoke, None))])));
    let mut views = Vec::new();
    loop {
        tokio::select! {
            biased;
            applied = &mut applying => break applied.unwrap(),
            () = tokio::task::yield_now() => views.push(state.view()),
        }
    }
    views.push(state.view());
    for view in &views {
        let expected = if view.applied_index() == 2 { 5_000 } else { 2_000 };
        assert_eq!(counted(view, ("", "\0")), Some(expected));
    }
    // The others are as these; visiting all keys of each takes long.
    [views.first(), views.last()].into_iter().flatten().for_each(check);
}

#[tokio::test]
async fn a_restart_and_a_snapshot_count_anew() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(filled(a.path(), 5_000).await);
    let mut leader = open_at(a.path());
    commit(&mut leader, vec![deletes(1, 1_000..1_500)]).await;
    await_counts(&leader).await;
    check(&leader.state.view());

    let mut follower = open_at(b.path());
    commit(&mut follower, vec![puts(0, 7_000..7_300, 0)]).await;
    let snapshot = leader.machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap();
    let received = transfer(&snapshot.snapshot, &follower.state.snapshot_dir()).unwrap();
    follower.machine.install_snapshot(&snapshot.meta, received).await.unwrap();
    await_counts(&follower).await;
    check(&follower.state.view());
    assert_eq!(counted(&follower.state.view(), ("", "\0")), Some(4_500));
}

/// Keys that come and go while the keys are counted for the first time.
#[tokio::test]
async fn changes_during_the_first_count_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 20_000).await);
    let mut opened = open_at(dir.path());
    for round in 0..20 {
        commit(&mut opened, vec![deletes(1 + 2 * round, 0..50), puts(2 + 2 * round, 25..100, 0)]).await;
    }
    await_counts(&opened).await;
    check(&opened.state.view());
}
