//! Watch: a snapshot, then every change; resumed without a gap.

use anyhow::{Context, Result, ensure};
use cluster_tests::kit::{locks::*, *};
use conclave_api::conclave::v1::lock_event::{Change, Type};
use conclave_api::conclave::v1::{Cause, LockEvent, WatchLockRequest};
use conclave_api::etcdserverpb::CompactionRequest;
use tonic::{Code, Streaming};

async fn event(watch: &mut Streaming<LockEvent>) -> Result<(i64, bool, Vec<(Type, i64, Cause, i64)>)> {
    let LockEvent { header, changes, snapshot } = next(watch).await?;
    ensure!(changes.iter().all(|change| change.owner.starts_with("owner ")), "{changes:?}");
    let short = |change: &Change| (change.r#type(), change.fence, change.cause(), change.previous_fence);
    Ok((header.context("no header")?.revision, snapshot, changes.iter().map(short).collect()))
}

const NO: Cause = Cause::Unspecified;

#[tokio::test]
async fn every_change_is_told_once_and_in_order() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[1];
    let mut empty = node.watch(WatchLockRequest::default()).await?;
    ensure!(event(&mut empty).await?.1, "a watch of nothing begins with a snapshot, too");
    let session = node.lasting().await?;
    let first = node.take(session, vec![alone(L)]).await?.fence;
    let waiting = node.wait_for(session).await?;
    let second = node.look(L).await?.waiting[0].fence;
    let mut watch = node.watch(WatchLockRequest::default()).await?;
    let mut bare = node.watch(WatchLockRequest { no_snapshot: true, ..Default::default() }).await?;
    let (from, snapshot, changes) = event(&mut watch).await?;
    ensure!(snapshot && from >= second);
    ensure!(changes == [(Type::Held, first, Cause::Acquired, 0), (Type::Waits, second, NO, 0)], "{changes:?}");
    nodes[2].release(session, first).await?;
    granted(waiting).await?;
    let quitter = node.wait_for(session).await?;
    let third = node.look(L).await?.waiting[0].fence;
    quitter.abort();
    node.until(L, "an empty line", |lock| lock.waiting_count == 0).await?;
    node.evict(second, 0).await?;
    let expected = [
        vec![(Type::Released, first, NO, 0), (Type::Held, second, Cause::Released, first)],
        vec![(Type::Waits, third, NO, 0)],
        vec![(Type::Withdrawn, third, NO, 0)],
        vec![(Type::Released, second, NO, 0)],
    ];
    let mut revisions = Vec::new();
    for wanted in &expected {
        let (revision, snapshot, changes) = event(&mut watch).await?;
        ensure!(!snapshot && changes == *wanted, "{changes:?} instead of {wanted:?}");
        ensure!(event(&mut bare).await? == (revision, false, changes));
        revisions.push(revision);
    }
    ensure!(revisions.is_sorted_by(|a, b| a < b) && revisions[0] > from, "{revisions:?}");
    // Resumed after each of them, at every member.
    for (at, revision) in revisions.iter().enumerate() {
        let from = WatchLockRequest { start_revision: revision + 1, ..Default::default() };
        let mut resumed = nodes[at % 3].watch(from).await?;
        for (revision, wanted) in revisions.iter().zip(&expected).skip(at + 1) {
            ensure!(event(&mut resumed).await? == (*revision, false, wanted.clone()));
        }
    }
    let all =
        [vec![(Type::Held, first, Cause::Acquired, 0)], vec![(Type::Waits, second, NO, 0)]].into_iter().chain(expected);
    for wanted in all {
        ensure!(event(&mut empty).await?.2 == wanted);
    }
    Ok(())
}

#[tokio::test]
async fn history_that_is_gone_is_said_to_be() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let first = node.take(session, vec![alone(L)]).await?.fence;
    node.release(session, first).await?;
    let last = node.take(session, vec![alone(L)]).await?.fence;
    node.kv().compact(CompactionRequest { revision: last, physical: true }).await?;
    let mut old = node.watch(WatchLockRequest { start_revision: first, ..Default::default() }).await?;
    let ended = ending(&mut old).await?;
    ensure!(ended.code() == Code::OutOfRange, "{ended}");
    let mut anew = node.watch(WatchLockRequest::default()).await?;
    ensure!(event(&mut anew).await?.2 == [(Type::Held, last, Cause::Acquired, 0)]);
    Ok(())
}

#[tokio::test]
async fn a_watch_survives_the_death_of_the_raft_leader() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    let leader = cluster.leader().await?;
    let node = &nodes[(leader + 1) % 3];
    let session = node.lasting().await?;
    let mut watch = node.watch(WatchLockRequest::default()).await?;
    event(&mut watch).await?;
    cluster.node(leader).kill()?;
    cluster.leader_other_than(leader).await?;
    let got = node.take(session, vec![shared(L)]).await?.fence;
    ensure!(event(&mut watch).await?.2 == [(Type::Held, got, Cause::Acquired, 0)]);
    Ok(())
}
