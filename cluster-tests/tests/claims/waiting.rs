//! Waiting: for a vacancy, and in line.

use anyhow::{Context, Result, ensure};
use cluster_tests::kit::{
    Node,
    claims::{Fate, NAMESPACE, item, name, start},
};
use cluster_tests::wait::{SOON, eventually, within};
use conclave_api::conclave::v1::{
    Caller, ClaimItem, ClaimResult, CloseSessionRequest, GetClaimRequest, UnclaimRequest, claim_result::Outcome,
};
use conclave_api::etcdserverpb::{CompactionRequest, RangeRequest};
use futures::future::try_join_all;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

fn waiting(item: ClaimItem) -> ClaimItem {
    ClaimItem { wait: true, ..item }
}

fn ask(node: &Node, caller: Caller, item: ClaimItem) -> JoinHandle<Result<ClaimResult, Status>> {
    let node = node.clone();
    tokio::spawn(async move {
        let answer = node.bulk(caller, vec![item]).await?;
        answer.results.into_iter().next().ok_or_else(|| Status::internal("no result"))
    })
}

async fn in_line(node: &Node, claim: &str, count: u32) -> Result<()> {
    let line = async || {
        let get = GetClaimRequest { claim: name(claim), limit: 10, ..Default::default() };
        let got = node.claims().get(get).await?.into_inner();
        ensure!(got.waiting_count == count && got.waiting.len() as u32 == count.min(10), "{got:?}");
        Ok(())
    };
    eventually("a line", SOON, line).await
}

/// Every waiter hears of the first end, though the claim is taken again at once; and who comes late
/// finds it in history.
#[tokio::test]
async fn thousands_wait_and_nobody_misses_the_release() -> Result<()> {
    const WAITERS: usize = 3_000;
    let (_cluster, nodes) = start(3).await?;
    let held = nodes[0].bulk(Caller::default(), vec![item("db", "a", 60_000)]).await?;
    let from = held.header.context("no header")?.revision + 1;
    let wait = |i: usize| {
        let node = nodes[i % 3].clone();
        // Some from a revision, some from now.
        tokio::spawn(async move { node.vacant("db", if i.is_multiple_of(2) { from } else { 0 }).await })
    };
    let waiters: Vec<_> = (0..WAITERS).map(wait).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(waiters.iter().all(|waiter| !waiter.is_finished()), "nothing was released");
    let index = nodes[0].index().await?;
    let began = Instant::now();
    for holder in ["b", "c", "d"] {
        nodes[1].revoke("db").await?;
        nodes[1].claim("db", holder, 60_000).await?.fence_of(Outcome::Taken)?;
    }
    ensure!(nodes[0].index().await? - index == 6, "waiting costs no entry");
    let told = within("three thousand answers", SOON, try_join_all(waiters)).await??;
    cluster_tests::report(&format!("{WAITERS} waiters told within {:?}", began.elapsed()));
    let mut revisions = Vec::new();
    for answer in told {
        let answer = answer?;
        ensure!(!answer.handed_over, "{answer:?}");
        revisions.push(answer.revision);
    }
    revisions.dedup();
    ensure!(revisions.len() == 1 && revisions[0] >= from, "all of the first end: {revisions:?}");
    let late = nodes[2].vacant("db", from).await?;
    ensure!(late.revision == revisions[0], "{late:?}");
    let later = nodes[2].vacant("db", late.revision + 1).await?;
    ensure!(later.revision > late.revision, "{later:?}");
    nodes[2].revoke("db").await?;
    let now = nodes[0].vacant("db", 0).await?;
    ensure!(now.revision > later.revision, "at once: nobody holds it: {now:?}");
    let compact = CompactionRequest { revision: now.revision, ..Default::default() };
    nodes[0].kv().compact(compact).await?;
    let gone = nodes[0].vacant("db", from).await.err().context("history is gone")?;
    ensure!(gone.code() == Code::OutOfRange, "{gone}");
    Ok(())
}

#[tokio::test]
async fn the_first_in_line_is_given_it_for_its_whole_time() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    nodes[0].claim("db", "a", 2_000).await?.fence_of(Outcome::Taken)?;
    let began = Instant::now();
    let b = ask(&nodes[1], Caller::default(), waiting(item("db", "b", 1_000)));
    in_line(&nodes[0], "db", 1).await?;
    let c = ask(&nodes[2], Caller::default(), waiting(item("db", "c", 1_000)));
    in_line(&nodes[0], "db", 2).await?;
    let freed = nodes[0].vacant("db", 0).await?;
    ensure!(freed.handed_over, "{freed:?}");
    let taken = b.await??;
    ensure!(taken.fence_of(Outcome::Taken)? == freed.revision, "{taken:?}");
    // The guarantee counts from the call, which waited.
    ensure!(taken.guaranteed_ms > 2_000, "{taken:?}");
    nodes[2].vacant("db", freed.revision + 1).await?;
    let lasted = began.elapsed();
    ensure!(lasted >= Duration::from_millis(taken.guaranteed_ms), "{lasted:?} instead of {}", taken.guaranteed_ms);
    let after = c.await??.fence_of(Outcome::Taken)?;
    ensure!(after > taken.fence);
    Ok(())
}

#[tokio::test]
async fn a_place_in_line_ends_by_its_time_its_session_or_when_it_is_given_up() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let fence = node.claim("db", "a", 60_000).await?.fence;
    let timed = ClaimItem { wait_ms: 700, ..waiting(item("db", "b", 1_000)) };
    let began = Instant::now();
    let lapsed = ask(node, Caller::default(), timed).await??;
    ensure!(lapsed.fence_of(Outcome::Denied)? == fence && lapsed.holder == "a", "{lapsed:?}");
    ensure!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    let session = node.open(60_000).await?;
    let c = ask(node, Caller { session, ..Caller::default() }, waiting(item("db", "c", 1_000)));
    in_line(node, "db", 1).await?;
    node.sessions().close(CloseSessionRequest { session }).await?;
    let ended = c.await?.err().context("the session is gone")?;
    ensure!(ended.code() == Code::NotFound, "{ended}");
    let d = ask(node, Caller::default(), waiting(item("db", "d", 1_000)));
    in_line(node, "db", 1).await?;
    // A place outlives the call, and the next call finds it again.
    d.abort();
    let d = ask(node, Caller::default(), waiting(item("db", "d", 1_000)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    in_line(node, "db", 1).await?;
    let unclaim = UnclaimRequest { claim: name("db"), holder: "d".into(), instance: "1".into(), ..Default::default() };
    ensure!(node.claims().unclaim(unclaim.clone()).await?.into_inner().changed);
    ensure!(!node.claims().unclaim(unclaim).await?.into_inner().changed);
    d.await??.fence_of(Outcome::Denied)?;
    // Of several items nobody waits with the call.
    let several = vec![waiting(item("db", "e", 1_000)), waiting(item("free", "e", 1_000))];
    let several = node.bulk(Caller::default(), several).await?.results;
    ensure!(several[0].outcome() == Outcome::Waiting && several[0].ticket > 0, "{several:?}");
    several[1].fence_of(Outcome::Taken)?;
    Ok(())
}

/// Its claim is revoked as soon as it has it, through another member, while others write: the
/// answer's revision is one at which it held.
#[tokio::test]
async fn a_claim_that_was_waited_for_has_a_revision_at_which_it_was_held() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let mut taken = 0;
    for round in 0..60 {
        let claim = format!("db{round}");
        nodes[0].claim(&claim, "a", 60_000).await?.fence_of(Outcome::Taken)?;
        let waiter = {
            let (node, item) = (nodes[1].clone(), waiting(item(&claim, "b", 60_000)));
            tokio::spawn(async move { node.bulk(Caller::default(), vec![item]).await })
        };
        in_line(&nodes[2], &claim, 1).await?;
        nodes[2].revoke(&claim).await?;
        let revoked = nodes[2].revoke(&claim).await?;
        let answer = within("an answer", SOON, waiter).await???;
        let revision = answer.header.context("no header")?.revision;
        let result = answer.results.into_iter().next().context("no result")?;
        if result.outcome() != Outcome::Taken {
            continue;
        }
        taken += 1;
        let fence = result.token.as_ref().context("no token")?.fence;
        let key = format!("/_conclave/c/{NAMESPACE}/{claim}/tenure/{fence:016x}").into_bytes();
        let range = RangeRequest { key: key.into(), revision, ..Default::default() };
        let found = nodes[0].kv().range(range).await?.into_inner();
        ensure!(found.count == 1, "round {round}: fence {fence} does not stand at revision {revision} ({revoked})");
    }
    cluster_tests::report(&format!("{taken} of 60 were told that they held"));
    Ok(())
}
