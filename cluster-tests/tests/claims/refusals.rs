//! What is asked wrongly: refused with a word about what is wrong, and without effect.

use anyhow::{Context, Result, ensure};
use cluster_tests::kit::{
    Node,
    claims::{item, name, start},
};
use conclave_api::conclave::v1::{
    Caller, ClaimItem, ClaimResult, Limits, Name, RevokeRequest, SetLimitsRequest, claim_result::Outcome,
};
use tonic::{Code, Status};

fn says(refused: Result<impl Sized, Status>, code: Code, words: &str) -> Result<()> {
    let refused = refused.err().with_context(|| format!("accepted instead of: {words}"))?;
    ensure!(refused.code() == code && refused.message().contains(words), "{refused:?} instead of {code:?} {words}");
    Ok(())
}

async fn invalid(node: &Node, item: ClaimItem, words: &str) -> Result<()> {
    says(node.one(item).await, Code::InvalidArgument, words)
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_a_word() -> Result<()> {
    let (cluster, nodes) = start(1).await?;
    cluster.version_is_decided().await?;
    let node = &nodes[0];
    let index = node.index().await?;
    let good = || item("db", "a", 1_000);
    let named = |name: &str| Some(Name { namespace: String::new(), name: name.into() });
    invalid(node, ClaimItem { claim: None, ..good() }, "items[0].claim is missing").await?;
    invalid(node, ClaimItem { claim: named(""), ..good() }, "items[0].claim.name is empty").await?;
    invalid(node, ClaimItem { claim: named("a\nb"), ..good() }, "items[0].claim.name has a control character").await?;
    invalid(node, ClaimItem { claim: named(&"x".repeat(300)), ..good() }, "has 300 bytes").await?;
    invalid(node, ClaimItem { holder: String::new(), ..good() }, "items[0].holder is empty").await?;
    invalid(node, item("db", "a", 0), "items[0].duration_ms is 0").await?;
    invalid(node, item("db", "a", u64::MAX), "items[0].duration_ms is 18446744073709551615").await?;
    invalid(node, ClaimItem { twin: 7, ..good() }, "items[0].twin").await?;
    let caller = |dedupe: &'static [u8]| Caller { dedupe_id: dedupe.into(), ..Caller::default() };
    says(node.bulk(caller(b"short"), vec![good()]).await, Code::InvalidArgument, "caller.dedupe_id has 5 bytes")?;
    says(node.bulk(Caller::default(), vec![]).await, Code::InvalidArgument, "items is empty")?;
    let many = (0..10_001).map(|_| item("d", "a", 1_000)).collect();
    says(node.bulk(Caller::default(), many).await, Code::InvalidArgument, "items has 10001 entries")?;
    let million = (0..1_000_000).map(|_| ClaimItem::default()).collect();
    let refused = node.bulk(Caller::default(), million).await;
    ensure!(refused.is_err_and(|refused| refused.code() != Code::Ok && !refused.message().is_empty()));
    says(node.vacant("db", -1).await, Code::InvalidArgument, "min_revision is negative")?;
    let limits = Some(Limits { min_ms: 2, max_ms: 1, max_waiting: 0 });
    let set = SetLimitsRequest { namespace: "x".into(), limits, ..Default::default() };
    says(node.claims().set_limits(set).await, Code::InvalidArgument, "limits.min_ms is above max_ms")?;
    ensure!(node.index().await? == index, "nothing of it was proposed");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_done_is_told_so() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let fate = async |item: ClaimItem| -> Result<ClaimResult> { Ok(node.one(item).await?) };
    let long = fate(item("db", "a", 60_001)).await?;
    ensure!(long.outcome() == Outcome::BadDuration && (long.min_ms, long.max_ms) == (200, 60_000), "{long:?}");
    let usual = ClaimItem { claim: Some(Name { namespace: String::new(), name: "db".into() }), ..item("", "a", 1_000) };
    let short = fate(usual).await?;
    ensure!(short.outcome() == Outcome::BadDuration && (short.min_ms, short.max_ms) == (5_000, 300_000), "{short:?}");
    says(node.bulk(stranger_of(99), vec![item("db", "a", 1_000)]).await, Code::NotFound, "lease not found")?;
    says(node.check("db", "a").await, Code::FailedPrecondition, "\"a\" is not leader of \"db\"")?;
    node.claim("db", "a", 30_000).await?;
    // Also when the claim could be extended without a command.
    says(node.bulk(stranger_of(99), vec![item("db", "a", 1_000)]).await, Code::NotFound, "lease not found")?;
    let revoke = RevokeRequest { claim: name("db"), holder: Some("b".into()), ..Default::default() };
    says(node.claims().revoke(revoke).await, Code::FailedPrecondition, "held by another")?;
    Ok(())
}

fn stranger_of(session: i64) -> Caller {
    Caller { session, ..Caller::default() }
}
