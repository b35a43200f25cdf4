//! What ends a wait: a deadline, the session, the caller, the member that it is connected to, a
//! change of Raft leader.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use cluster_tests::wait::within;
use conclave_api::conclave::v1::AcquireRequest;
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn a_wait_ends_at_its_deadline() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[1];
    let session = node.lasting().await?;
    let held = node.take(session, vec![alone(L)]).await?;
    let began = Instant::now();
    let waiting = node.queue(AcquireRequest { wait_ms: 700, ..asking(session, vec![alone(L)]) }).await?;
    let ended = refused(waiting).await?;
    ensure!(ended.code() == Code::DeadlineExceeded, "{ended}");
    ensure!(began.elapsed() >= Duration::from_millis(700), "too early: {:?}", began.elapsed());
    ensure!(began.elapsed() < Duration::from_secs(5), "too late: {:?}", began.elapsed());
    node.until(L, "an empty line", |lock| lock.waiting_count == 0).await?;
    ensure!(node.look(L).await?.holders[0].fence == held.fence);
    // In time is in time.
    let waiting = node.queue(AcquireRequest { wait_ms: 60_000, ..asking(session, vec![alone(L)]) }).await?;
    node.release(session, held.fence).await?;
    granted(waiting).await?;
    Ok(())
}

#[tokio::test]
async fn nobody_is_granted_whose_session_is_over() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let lasting = node.lasting().await?;
    let held = node.take(lasting, vec![alone(L)]).await?;
    let (closed, short) = (node.lasting().await?, node.open(2_000).await?);
    let first = node.wait_for(closed).await?;
    let second = node.wait_for(short).await?;
    let third = node.wait_for(lasting).await?;
    node.close(closed).await?;
    for gone in [first, second] {
        let ended = refused(gone).await?;
        ensure!(ended.code() == Code::NotFound, "{ended}");
    }
    ensure!(node.look(L).await?.waiting_count == 1);
    node.release(lasting, held.fence).await?;
    granted(third).await?;
    let unknown = node.acquire(asking(closed, vec![alone("other")])).await.unwrap_err();
    ensure!(unknown.code() == Code::NotFound, "{unknown}");
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_cancelled_gives_its_place_up() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let session = nodes[0].lasting().await?;
    let held = nodes[0].take(session, vec![alone(L)]).await?;
    for node in &nodes {
        let waiting = node.wait_for(session).await?;
        let behind = node.wait_for(session).await?;
        waiting.abort();
        let left = node.until(L, "one waits on", |lock| lock.waiting_count == 1).await?;
        behind.abort();
        node.until(L, "nobody waits", |lock| lock.waiting_count == 0).await?;
        ensure!(left.holders[0].fence == held.fence);
    }
    // Cancelled at any moment, also before the command is decided and just after the grant. An
    // answer that was on its way when the call was cancelled is lost. The next call with the same
    // id gets it again, or learns that the request was given up.
    for round in 0..60_u8 {
        let node = nodes[usize::from(round) % 3].clone();
        let request = AcquireRequest { caller: retried(session, round), ..asking(session, vec![alone("quick")]) };
        let asked = tokio::spawn({
            let (node, request) = (node.clone(), request.clone());
            async move { node.acquire(request).await }
        });
        tokio::time::sleep(Duration::from_micros(u64::from(round) * 60)).await;
        asked.abort();
        drop(asked.await);
        match within("an answer", AT_ONCE, node.acquire(request)).await? {
            Ok(got) => drop(node.release(session, got.fence).await?),
            Err(ended) => ensure!(ended.code() == Code::Aborted, "{ended}"),
        }
        nodes[0].until("quick", "nobody left behind", |lock| lock.holder_count + lock.waiting_count == 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_change_of_raft_leader_is_not_seen_by_those_who_wait() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    let leader = cluster.leader().await?;
    let node = &nodes[(leader + 1) % 3];
    let session = node.lasting().await?;
    let held = node.take(session, vec![alone(L)]).await?;
    let mut waiting = node.wait_for(session).await?;
    cluster.node(leader).kill()?;
    // Asked while nobody leads.
    let asked = node.clone();
    let behind = tokio::spawn(async move { asked.acquire(asking(session, vec![alone(L)])).await });
    cluster.leader_other_than(leader).await?;
    still_waits(&mut waiting).await?;
    node.release(session, held.fence).await?;
    let got = granted(waiting).await?;
    node.release(session, got.fence).await?;
    ensure!(granted(behind).await?.fence > got.fence);
    Ok(())
}

#[tokio::test]
async fn a_waiter_whose_member_dies_finds_its_place_at_another() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    let leader = cluster.leader().await?;
    let (dying, living) = ((leader + 1) % 3, &nodes[leader]);
    let session = living.lasting().await?;
    let held = living.take(session, vec![alone(L)]).await?;
    let request = AcquireRequest { caller: retried(session, 1), ..asking(session, vec![alone(L)]) };
    let lost = nodes[dying].queue(request.clone()).await?;
    let place = living.until(L, "the place", |lock| lock.waiting_count == 1).await?.waiting[0].fence;
    let behind = living.wait_for(session).await?;
    cluster.node(dying).kill()?;
    let ended = refused(lost).await?;
    ensure!(ended.code() == Code::Unavailable || ended.code() == Code::Unknown, "{ended}");
    let asked = living.clone();
    let again = tokio::spawn(async move { asked.acquire(request).await });
    tokio::time::sleep(A_WHILE).await;
    let line = living.look(L).await?;
    ensure!(line.waiting_count == 2 && line.waiting[0].fence == place, "{line:?}");
    living.release(session, held.fence).await?;
    let got = granted(again).await?;
    ensure!(got.fence == place, "another place: {got:?}");
    living.release(session, got.fence).await?;
    granted(behind).await?;
    Ok(())
}

#[tokio::test]
async fn a_deadline_holds_without_the_member_that_was_asked() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    let leader = cluster.leader().await?;
    let (dying, living) = ((leader + 1) % 3, &nodes[leader]);
    let session = living.lasting().await?;
    living.take(session, vec![alone(L)]).await?;
    let lost = nodes[dying].queue(AcquireRequest { wait_ms: 1_500, ..asking(session, vec![alone(L)]) }).await?;
    cluster.node(dying).kill()?;
    drop(lost);
    ensure!(living.look(L).await?.waiting_count == 1);
    living.until(L, "an empty line", |lock| lock.waiting_count == 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_retried_request_takes_one_place() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let session = nodes[0].lasting().await?;
    let first = AcquireRequest { caller: retried(session, 7), ..asking(session, vec![alone(L)]) };
    let got = nodes[0].acquire(first.clone()).await?;
    // Answered from memory, with what is so now.
    for node in &nodes {
        let again = node.acquire(first.clone()).await?;
        ensure!(
            (again.fence, again.held_since, again.token == got.token) == (got.fence, got.held_since, true),
            "{again:?}"
        );
    }
    ensure!(nodes[0].look(L).await?.waiting_count == 0);
    let second = AcquireRequest { caller: retried(session, 8), ..asking(session, vec![alone(L)]) };
    let one = nodes[0].queue(second.clone()).await?;
    let asked = nodes[0].clone();
    let twin = tokio::spawn({
        let second = second.clone();
        async move { asked.acquire(second).await }
    });
    tokio::time::sleep(A_WHILE).await;
    ensure!(nodes[0].look(L).await?.waiting_count == 1, "a retry took a place of its own");
    // The last of this node's calls to go takes the place along, and not before.
    one.abort();
    tokio::time::sleep(A_WHILE).await;
    ensure!(nodes[0].look(L).await?.waiting_count == 1, "the place went with the first");
    nodes[0].release(session, got.fence).await?;
    let next = granted(twin).await?;
    // What it was remembered to hold it has lost.
    let stale = nodes[1].acquire(first).await.unwrap_err();
    ensure!(stale.code() == Code::Aborted, "{stale}");
    ensure!(nodes[2].acquire(second).await?.fence == next.fence);
    Ok(())
}

#[tokio::test]
async fn a_stream_tells_of_the_place_and_then_of_the_grant() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[2];
    let session = node.lasting().await?;
    let mut fences = vec![node.take(session, vec![alone(L)]).await?.fence];
    for _ in 0..3 {
        drop(node.wait_for(session).await?);
    }
    fences.extend(node.until(L, "three wait", |lock| lock.waiting_count == 3).await?.waiting.iter().map(|w| w.fence));
    let other = node.take(session, vec![alone("m")]).await?.fence;
    let mut stream = node.stream(asking(session, vec![alone("m"), alone(L)])).await?;
    let (own, places) = before(&mut stream).await?;
    ensure!(own > fences[3] && places == 3, "{own} with {places} before");
    node.release(session, other).await?;
    let mut least = places;
    for fence in fences.drain(..3) {
        node.release(session, fence).await?;
    }
    while least > 0 {
        let (fence, now) = before(&mut stream).await?;
        ensure!(fence == own && now < least, "{now} after {least}");
        least = now;
    }
    node.release(session, fences[0]).await?;
    let got = held(&mut stream).await?;
    ensure!(got.fence == own && node.guarded(&got.token).await?, "{got:?}");
    // A free lock: only the grant is told. A failed try: only the failure.
    let mut free = node.stream(asking(session, vec![alone("free")])).await?;
    ensure!(held(&mut free).await?.fence > own);
    let mut vain = node.stream(AcquireRequest { try_only: true, ..asking(session, vec![alone(L)]) }).await?;
    ensure!(held(&mut vain).await?.fence == 0);
    // Hanging up gives the place up.
    let mut stream = node.stream(asking(session, vec![alone(L)])).await?;
    before(&mut stream).await?;
    drop(stream);
    node.until(L, "an empty line", |lock| lock.waiting_count == 0).await?;
    let mut lost = node.stream(asking(node.open(2_000).await?, vec![alone(L)])).await?;
    let ended = ending(&mut lost).await?;
    ensure!(ended.code() == Code::NotFound, "{ended}");
    Ok(())
}
