//! "At least the duration, from when the call was made", while leaders are killed and stopped.
//!
//! The holder extends as long as it likes; then somebody who waits for the end measures from before
//! the last call that was answered.

use anyhow::{Result, ensure};
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{
    LATE, Node,
    claims::{Fate, item, start},
};
use cluster_tests::wait::{LONG, eventually, within};
use conclave_api::conclave::v1::{Caller, claim_result::Outcome};
use rand::RngExt;
use std::time::{Duration, Instant};

const DURATION: u64 = 1_500;

/// Extends through any node until it is answered; returns when the call was made.
async fn extend(nodes: &[Node], claim: &str, begin: bool) -> Result<Instant> {
    let outcome = if begin { Outcome::Taken } else { Outcome::Extended };
    let ask = async || {
        let at = rand::rng().random_range(0..nodes.len());
        let made = Instant::now();
        let call = nodes[at].bulk(Caller::default(), vec![item(claim, "a", DURATION)]);
        let answer = tokio::time::timeout(Duration::from_secs(1), call).await??;
        // A call of which nothing was heard may have taken it before.
        let taken = begin && answer.results[0].outcome() == Outcome::Extended;
        if !taken {
            answer.results[0].fence_of(outcome)?;
        }
        Ok(made)
    };
    eventually("a claim", LONG, ask).await
}

async fn round(cluster: &mut Cluster, nodes: &[Node], number: usize) -> Result<()> {
    let claim = format!("c{number}");
    let mut made = extend(nodes, &claim, true).await?;
    let leader = cluster.leader().await?;
    // Some extensions, without any pause before the leader goes.
    for _ in 0..rand::rng().random_range(0..20) {
        made = extend(nodes, &claim, false).await?;
    }
    let watcher = nodes[(leader + 1) % nodes.len()].clone();
    let ended = tokio::spawn(async move {
        let vacant = async || Ok(watcher.vacant(&claim, 0).await?);
        eventually("the end", LONG, vacant).await.map(|_| Instant::now())
    });
    if number.is_multiple_of(2) {
        cluster.node(leader).kill()?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.restart(leader).await?;
    } else {
        cluster.node(leader).pause()?;
        let stopped = rand::rng().random_range(100..2_500);
        tokio::time::sleep(Duration::from_millis(stopped)).await;
        cluster.node(leader).resume()?;
    }
    let changed = Instant::now();
    let ended = within("the end of the claim", LONG, ended).await???;
    let lasted = ended - made;
    ensure!(lasted >= Duration::from_millis(DURATION), "round {number}: over after {lasted:?}");
    let late = ended.saturating_duration_since(changed);
    ensure!(late <= Duration::from_millis(2 * DURATION) + LATE, "round {number}: {late:?} after the leader was back");
    Ok(())
}

#[tokio::test]
async fn no_claim_ends_early_whatever_happens_to_the_leader() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    for number in 0..8 {
        round(&mut cluster, &nodes, number).await?;
    }
    Ok(())
}
