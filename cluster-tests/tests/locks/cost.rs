//! What locks cost: log entries, and the rate of hand-overs when very many wait.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use cluster_tests::{report, wait::within};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::time::{Duration, Instant};

#[tokio::test]
async fn one_entry_a_grant_and_none_for_a_hand_over() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let mut before = node.index().await?;
    let mut spent = async || {
        let now = node.index().await?;
        anyhow::Ok(now - std::mem::replace(&mut before, now))
    };
    let first = node.take(session, vec![alone(L), shared("m")]).await?;
    ensure!(spent().await? == 1, "an uncontended acquire is one entry");
    let waiting = node.wait_for(session).await?;
    ensure!(spent().await? == 1, "a place is one entry");
    node.release(session, first.fence).await?;
    let second = granted(waiting).await?;
    ensure!(spent().await? == 1, "a release is one entry, and the hand-over none");
    ensure!(node.attempt(session, vec![alone(L)]).await? == 0);
    ensure!(spent().await? == 1);
    let gone = node.wait_for(session).await?;
    gone.abort();
    node.until(L, "an empty line", |lock| lock.waiting_count == 0).await?;
    ensure!(spent().await? == 2, "a place and its end");
    let mut watch = node.watch(Default::default()).await?;
    next(&mut watch).await?;
    node.look(L).await?;
    ensure!(spent().await? == 0, "looking is free");
    node.release(session, second.fence).await?;
    Ok(())
}

#[tokio::test]
async fn thousands_on_one_lock_are_served_in_order() -> Result<()> {
    const MANY: usize = 3_000;
    const SOME: usize = 500;
    let (_cluster, nodes) = start(3).await?;
    let session = nodes[0].lasting().await?;
    let first = nodes[0].take(session, vec![alone(L)]).await?.fence;
    let mut waiting = FuturesUnordered::new();
    for at in 0..MANY {
        let node = nodes[at % 3].clone();
        waiting.push(tokio::spawn(async move { (at % 3, node.acquire(asking(session, vec![alone(L)])).await) }));
    }
    let all = async || {
        let look = nodes[0].look("l").await?;
        ensure!(look.waiting_count as usize == MANY, "{} wait", look.waiting_count);
        Ok(look)
    };
    let line = cluster_tests::wait::eventually("all in line", Duration::from_secs(60), all).await?;
    let line: Vec<i64> = line.waiting.iter().map(|waiter| waiter.fence).collect();
    let (index, began) = (nodes[0].index().await?, Instant::now());
    nodes[0].release(session, first).await?;
    let (mut served, mut marks) = (Vec::with_capacity(MANY), Vec::new());
    let (mut last_since, mut last) = (0, first);
    while served.len() < MANY {
        let (at, got) = within("a grant", AT_ONCE, waiting.next()).await?.expect("as many as were asked for")?;
        let got = got?;
        ensure!(got.fence > last && got.held_since > last_since, "{got:?} after {last}");
        (last, last_since) = (got.fence, got.held_since);
        served.push(got.fence);
        if served.len() % SOME == 0 {
            marks.push(began.elapsed());
        }
        ensure!(nodes[at].release(session, got.fence).await?);
    }
    let took = began.elapsed();
    ensure!(served == line, "not in the order of the line");
    let entries = nodes[0].index().await? - index;
    ensure!(entries as usize == MANY + 1, "{entries} entries for {MANY} hand-overs");
    let rate = |count: usize, took: Duration| count as f64 / took.as_secs_f64();
    let (first, last) = (rate(SOME, marks[0]), rate(SOME, took - marks[marks.len() - 2]));
    report(&format!(
        "{MANY} waiting for one lock: {:.0} hand-overs/s (the first {SOME} at {first:.0}/s, the last at {last:.0}/s)",
        rate(MANY, took)
    ));
    Ok(())
}
