//! Pins: a claim that does not expire for a while.

use anyhow::{Context, Result, ensure};
use cluster_tests::kit::{
    LATE,
    claims::{Fate, name, start},
};
use conclave_api::conclave::v1::{
    Caller, CloseSessionRequest, GetClaimRequest, PinRequest, UnpinRequest, claim_result::Outcome,
};
use std::time::{Duration, Instant};
use tonic::Code;

fn pin(entity: &str) -> PinRequest {
    PinRequest { claim: name("db"), entity: entity.into(), reason: "upgrade".into(), ..Default::default() }
}

#[tokio::test]
async fn a_pinned_claim_lasts_and_has_its_whole_time_when_the_last_pin_goes() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let node = &nodes[0];
    ensure!(node.claims().pin(pin("op")).await?.into_inner().changed, "also before anybody holds it");
    ensure!(!nodes[1].claims().pin(pin("op")).await?.into_inner().changed, "twice is once");
    let fence = node.claim("db", "a", 1_000).await?.fence_of(Outcome::Taken)?;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    nodes[2].claim("db", "b", 1_000).await?.fence_of(Outcome::Denied)?;
    let get = GetClaimRequest { claim: name("db"), ..Default::default() };
    let got = nodes[1].claims().get(get).await?.into_inner();
    ensure!(got.holder == "a" && got.pins.len() == 1 && got.pins[0].reason == "upgrade", "{got:?}");
    ensure!(nodes[1].claim("db", "a", 1_000).await?.fence_of(Outcome::Extended)? == fence, "its time was over");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let began = Instant::now();
    let unpin = UnpinRequest { claim: name("db"), entity: "op".into(), ..Default::default() };
    ensure!(nodes[2].claims().unpin(unpin).await?.into_inner().changed);
    nodes[1].vacant("db", 0).await?;
    let lasted = began.elapsed();
    ensure!(lasted >= Duration::from_secs(1) && lasted < Duration::from_secs(1) + LATE, "{lasted:?}");
    Ok(())
}

#[tokio::test]
async fn a_pin_goes_with_its_session_or_its_time() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    node.claim("db", "a", 500).await?.fence_of(Outcome::Taken)?;
    let session = node.open(60_000).await?;
    let caller = Some(Caller { session, ..Caller::default() });
    node.claims().pin(PinRequest { caller, with_session: true, ..pin("client") }).await?;
    node.claims().pin(PinRequest { max_duration_ms: 1_500, ..pin("short") }).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.check("db", "a").await?;
    node.sessions().close(CloseSessionRequest { session }).await?;
    node.check("db", "a").await?;
    node.vacant("db", 0).await?;
    let bad = node.claims().pin(PinRequest { with_session: true, ..pin("x") }).await;
    let bad = bad.err().context("a pin of no session")?;
    ensure!(bad.code() == Code::InvalidArgument && bad.message().contains("with_session"), "{bad}");
    Ok(())
}
