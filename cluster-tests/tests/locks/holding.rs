//! Who may hold beside whom, fences and tokens, release.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use tonic::Code;

#[tokio::test]
async fn one_holds_alone_and_others_follow_in_order() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let first = node.take(session, vec![alone(L)]).await?;
    ensure!(first.fence > 0 && first.held_since == first.fence, "{first:?}");
    ensure!(first.token.as_ref().is_some_and(|token| token.fence == first.fence && token.guards.len() == 1));
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(node.wait_for(node.lasting().await?).await?);
    }
    let line = node.look(L).await?;
    ensure!((line.holder_count, line.waiting_count) == (1, 5), "{line:?}");
    let (mut last, mut token) = (first.fence, first.token);
    for (mut one, state) in waiting.into_iter().zip(line.waiting) {
        still_waits(&mut one).await?;
        ensure!(node.guarded(&token).await?, "the token of the holder does not hold");
        ensure!(node.release(0, last).await?);
        let got = granted(one).await?;
        ensure!(got.fence == state.fence && got.fence > last, "out of turn: {got:?} instead of {state:?}");
        ensure!(got.held_since > got.fence, "{got:?}");
        ensure!(!node.guarded(&token).await?, "a token outlives its lock");
        (last, token) = (got.fence, got.token);
    }
    ensure!(node.guarded(&token).await?);
    Ok(())
}

#[tokio::test]
async fn those_who_share_pass_nobody_who_waits() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let reader = node.take(session, vec![shared(L)]).await?;
    let another = node.take(session, vec![shared(L)]).await?;
    let writer = node.queue(asking(session, vec![alone(L)])).await?;
    // It would fit beside those who hold, but not before who waits.
    let mut late = node.queue(asking(session, vec![shared(L)])).await?;
    let mut later = node.queue(asking(session, vec![shared(L)])).await?;
    ensure!(node.attempt(session, vec![shared(L)]).await? == 0);
    node.release(session, reader.fence).await?;
    node.release(session, another.fence).await?;
    let writer = granted(writer).await?;
    still_waits(&mut late).await?;
    still_waits(&mut later).await?;
    node.release(session, writer.fence).await?;
    let (late, later) = (granted(late).await?, granted(later).await?);
    ensure!(late.held_since == later.held_since, "two that share come together: {late:?}, {later:?}");
    ensure!(node.look(L).await?.holder_count == 2);
    Ok(())
}

#[tokio::test]
async fn a_semaphore_gives_what_it_has() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let two = node.take(session, vec![permits(L, 2, 5)]).await?;
    let three = node.take(session, vec![permits(L, 3, 5)]).await?;
    let look = node.look(L).await?;
    ensure!((look.used, look.capacity, look.holder_count) == (5, 5, 2), "{look:?}");
    let mut four = node.queue(asking(session, vec![permits(L, 4, 5)])).await?;
    let mut one = node.queue(asking(session, vec![permits(L, 1, 5)])).await?;
    node.release(session, two.fence).await?;
    still_waits(&mut four).await?;
    // It would fit, but it is not its turn.
    still_waits(&mut one).await?;
    node.release(session, three.fence).await?;
    granted(four).await?;
    granted(one).await?;
    let differs = node.acquire(asking(session, vec![permits(L, 1, 6)])).await.unwrap_err();
    ensure!(differs.code() == Code::FailedPrecondition && differs.message().contains('5'), "{differs}");
    ensure!(node.attempt(session, vec![alone(L)]).await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_release_is_fenced() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let (session, other) = (node.lasting().await?, node.lasting().await?);
    let first = node.take(session, vec![alone(L)]).await?;
    let foreign = node.release(other, first.fence).await.unwrap_err();
    ensure!(foreign.code() == Code::FailedPrecondition, "{foreign}");
    ensure!(node.release(session, first.fence).await?);
    ensure!(!node.release(session, first.fence).await?, "what is gone is no error, and is not released twice");
    let second = node.take(other, vec![alone(L)]).await?;
    ensure!(second.fence > first.fence);
    ensure!(!node.release(session, first.fence).await?, "an old fence releases nothing");
    ensure!(node.look(L).await?.holders[0].fence == second.fence);
    // Who waits stops waiting by its fence as well.
    let waiting = node.wait_for(session).await?;
    let fence = node.look(L).await?.waiting[0].fence;
    ensure!(node.release(session, fence).await?);
    let ended = refused(waiting).await?;
    ensure!(ended.code() == Code::Aborted, "{ended}");
    Ok(())
}

#[tokio::test]
async fn fences_rise_over_all_lives_of_a_name() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let mut last = 0;
    for round in 0..20 {
        let session = node.lasting().await?;
        let got = node.take(session, vec![alone(L)]).await?;
        ensure!(got.fence > last, "{} after {last}", got.fence);
        last = got.fence;
        if round % 2 == 0 {
            node.release(session, got.fence).await?;
        } else {
            node.close(session).await?;
        }
        ensure!(node.look(L).await?.holder_count == 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_try_takes_what_is_free_and_leaves_no_trace() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let fence = node.attempt(session, vec![alone(L)]).await?;
    ensure!(fence > 0);
    let before = node.look(L).await?;
    for _ in 0..3 {
        ensure!(node.attempt(session, vec![alone(L)]).await? == 0);
        ensure!(node.attempt(session, vec![alone("free"), shared(L)]).await? == 0);
    }
    let after = node.look(L).await?;
    ensure!(before.header.map(|h| h.revision) == after.header.map(|h| h.revision), "a failed try left something");
    ensure!(node.look("free").await?.holder_count == 0);
    Ok(())
}
