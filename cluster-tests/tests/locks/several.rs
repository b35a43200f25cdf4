//! Several locks at once: all or none, and no deadlock.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use cluster_tests::wait::within;
use futures::future::try_join_all;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;

#[tokio::test]
async fn all_or_none() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let b = node.take(session, vec![alone("b")]).await?;
    let mut both = node.queue(asking(session, vec![alone("a"), shared("b")])).await?;
    still_waits(&mut both).await?;
    // Nobody holds a, but it is not free either.
    let a = node.look("a").await?;
    ensure!((a.holder_count, a.waiting_count) == (0, 1), "{a:?}");
    ensure!(node.attempt(session, vec![alone("a")]).await? == 0);
    node.release(session, b.fence).await?;
    let both = granted(both).await?;
    let token = both.token.clone();
    ensure!(token.as_ref().is_some_and(|token| token.guards.len() == 2), "{both:?}");
    ensure!(node.guarded(&token).await?);
    ensure!(node.look("a").await?.holders[0].fence == node.look("b").await?.holders[0].fence);
    ensure!(node.release(session, both.fence).await?);
    ensure!(!node.guarded(&token).await?);
    ensure!(node.look("a").await?.holder_count + node.look("b").await?.holder_count == 0);
    Ok(())
}

#[tokio::test]
async fn requests_for_many_locks_in_any_order_all_come_to_their_turn() -> Result<()> {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let (_cluster, nodes) = start(3).await?;
    let work = (0..12).map(|worker| {
        let node = nodes[worker % nodes.len()].clone();
        async move {
            let session = node.lasting().await?;
            let mut held = BTreeSet::new();
            for _ in 0..15 {
                let mut names = NAMES;
                names.shuffle(&mut rand::rng());
                let wanted = rand::rng().random_range(1..=NAMES.len());
                let parts = names[..wanted].iter().map(|name| alone(name)).collect();
                let got = node.acquire(asking(session, parts)).await?;
                ensure!(node.guarded(&got.token).await?, "a grant that is none");
                ensure!(held.insert(got.fence), "a fence given twice");
                ensure!(node.release(session, got.fence).await?);
            }
            Ok(held)
        }
    });
    let fences = within("the end of all work", std::time::Duration::from_secs(120), try_join_all(work)).await??;
    let all: usize = fences.iter().map(BTreeSet::len).sum();
    ensure!(fences.into_iter().flatten().collect::<BTreeSet<_>>().len() == all, "two held under one fence");
    Ok(())
}
