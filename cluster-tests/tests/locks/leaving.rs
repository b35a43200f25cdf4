//! Locks that are taken away: eviction, lock-delay, cool-down, the longest hold.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use conclave_api::conclave::v1::AcquireRequest;
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn an_evicted_holder_is_followed_after_its_lock_delay() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(1_000);
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let delayed = AcquireRequest { lock_delay_ms: 1_000, ..asking(session, vec![alone(L)]) };
    let first = node.acquire(delayed.clone()).await?;
    let next = node.wait_for(session).await?;
    let began = Instant::now();
    ensure!(node.evict(first.fence, 0).await?);
    let look = node.look(L).await?;
    ensure!(look.delayed && look.holder_count == 0, "{look:?}");
    ensure!(!node.guarded(&first.token).await?);
    ensure!(node.attempt(session, vec![alone(L)]).await? == 0);
    let next = granted(next).await?;
    ensure!(began.elapsed() >= DELAY, "the delay was {:?}", began.elapsed());
    // A release is no loss: no delay.
    node.release(session, next.fence).await?;
    let again = node.acquire(delayed).await?;
    node.release(session, again.fence).await?;
    ensure!(node.attempt(session, vec![alone(L)]).await? > 0);
    Ok(())
}

#[tokio::test]
async fn an_evicted_owner_may_not_come_back_at_once() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let named = |owner: &str| AcquireRequest { owner: owner.into(), ..asking(session, vec![alone(L)]) };
    let first = node.acquire(named("bad")).await?;
    let began = Instant::now();
    ensure!(node.evict(first.fence, 1_000).await?);
    let kept_away = node.acquire(named("bad")).await.unwrap_err();
    ensure!(kept_away.code() == Code::FailedPrecondition, "{kept_away}");
    let says = kept_away.message();
    ensure!(says.contains("not to come back yet: ") && says.ends_with("s left"), "{kept_away}");
    let other = node.acquire(named("good")).await?;
    node.release(session, other.fence).await?;
    let back = async || Ok(node.acquire(named("bad")).await?);
    let back = cluster_tests::wait::eventually("the end of the cool-down", AT_ONCE, back).await?;
    ensure!(began.elapsed() >= Duration::from_millis(1_000), "after {:?}", began.elapsed());
    // Who waits is evicted as who holds is.
    let waiting = node.queue(named("patient")).await?;
    let fence = node.look(L).await?.waiting[0].fence;
    ensure!(node.evict(fence, 0).await?);
    ensure!(refused(waiting).await?.code() == Code::Aborted);
    node.release(session, back.fence).await?;
    Ok(())
}

#[tokio::test]
async fn the_longest_hold_ends_a_hold() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[1];
    let session = node.lasting().await?;
    let began = Instant::now();
    let first = node.acquire(AcquireRequest { max_hold_ms: 800, ..asking(session, vec![alone(L)]) }).await?;
    ensure!(node.guarded(&first.token).await?);
    let next = granted(node.wait_for(session).await?).await?;
    ensure!(began.elapsed() >= Duration::from_millis(800), "too early: {:?}", began.elapsed());
    ensure!(!node.guarded(&first.token).await? && node.guarded(&next.token).await?);
    ensure!(!node.release(session, first.fence).await?);
    Ok(())
}

#[tokio::test]
async fn what_a_session_held_goes_with_it() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let (session, other) = (node.open(2_000).await?, node.lasting().await?);
    let delayed = AcquireRequest { lock_delay_ms: 400, ..asking(session, vec![alone(L), shared("m")]) };
    let lost = node.acquire(delayed).await?;
    let next = granted(node.wait_for(other).await?).await?;
    ensure!(next.fence > lost.fence && !node.guarded(&lost.token).await?);
    ensure!(node.look("m").await?.holder_count == 0);
    Ok(())
}
