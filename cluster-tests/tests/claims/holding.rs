//! Taking, extending, losing.

use anyhow::{Context, Result, ensure};
use cluster_tests::kit::{
    LATE,
    claims::{Fate, item, name, start},
};
use cluster_tests::wait::{SOON, within};
use conclave_api::conclave::v1::{
    Caller, Cause, ClaimEvent, ClaimItem, ClaimResult, CloseSessionRequest, Expect, GetClaimRequest, ListRequest,
    WatchClaimRequest, claim_event::Type, claim_item::Twin, claim_result::Outcome,
};
use std::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

#[tokio::test]
async fn taken_extended_never_shortened_denied_and_over_in_time() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let began = Instant::now();
    let taken = nodes[1].claim("db", "a", 3_000).await?;
    let fence = taken.fence_of(Outcome::Taken)?;
    ensure!(taken.guaranteed_ms == 3_000, "{taken:?}");
    let denied = nodes[2].claim("db", "b", 1_000).await?;
    ensure!(denied.fence_of(Outcome::Denied)? == fence && denied.holder == "a", "{denied:?}");
    ensure!(nodes[0].claim("db", "a", 500).await?.fence_of(Outcome::Extended)? == fence);
    // The shorter extension has taken nothing away.
    let over = nodes[2].vacant("db", 0).await?;
    let lasted = began.elapsed();
    ensure!(lasted >= Duration::from_secs(3), "over after {lasted:?}");
    ensure!(lasted <= Duration::from_millis(3_060) + LATE, "over only after {lasted:?}");
    ensure!(!over.handed_over);
    let next = nodes[0].claim("db", "b", 1_000).await?.fence_of(Outcome::Taken)?;
    ensure!(next > fence, "{next} after {fence}");
    // Who held it before extends nothing any more.
    nodes[1].claim("db", "a", 1_000).await?.fence_of(Outcome::Denied)?;
    let refused = nodes[1].check("db", "a").await.err().context("a holder of the past is one")?;
    ensure!(refused.code() == Code::FailedPrecondition && refused.message() == "\"a\" is not leader of \"db\"");
    Ok(())
}

#[tokio::test]
async fn an_extension_writes_nothing_and_everything_else_one_entry() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let mut index = nodes[0].index().await?;
    let mut wrote = async |expected: u64, what: &str| -> Result<()> {
        let now = nodes[0].index().await?;
        ensure!(now - index == expected, "{what}: {} entries", now - index);
        index = now;
        Ok(())
    };
    let fence = nodes[0].claim("db", "a", 30_000).await?.fence_of(Outcome::Taken)?;
    wrote(1, "a claim").await?;
    for round in 0..20 {
        for node in &nodes {
            let extended = node.claim("db", "a", 29_000 + round).await?;
            ensure!(extended.fence_of(Outcome::Extended)? == fence && extended.guaranteed_ms == 29_000 + round);
        }
    }
    wrote(0, "sixty extensions").await?;
    nodes[0].claim("db", "a", 40_000).await?.fence_of(Outcome::Extended)?;
    wrote(1, "a longer promise").await?;
    // Through a member that need not have applied that yet.
    nodes[1].claim("db", "a", 40_000).await?.fence_of(Outcome::Extended)?;
    wrote(0, "the same again").await?;
    let bulk = |holder: &str| (0..500).map(|i| item(&format!("c{i}"), holder, 30_000)).collect::<Vec<ClaimItem>>();
    let all = |outcome| move |result: &ClaimResult| result.outcome() == outcome;
    let taken = nodes[2].bulk(Caller::default(), bulk("a")).await?;
    ensure!(taken.results.iter().all(all(Outcome::Taken)));
    wrote(1, "five hundred claims").await?;
    let extended = nodes[1].bulk(Caller::default(), bulk("a")).await?;
    ensure!(extended.results.len() == 500 && extended.results.iter().all(all(Outcome::Extended)));
    wrote(0, "five hundred extensions").await?;
    // A new one among them costs an entry, for all together.
    let mixed = [bulk("a"), vec![item("new", "a", 30_000), item("c7", "a", 30_000)]].concat();
    let mixed = nodes[0].bulk(Caller::default(), mixed).await?.results;
    ensure!(mixed[499].outcome() == Outcome::Extended && mixed[500].outcome() == Outcome::Taken);
    ensure!(mixed[501].outcome() == Outcome::Repeated);
    wrote(1, "a mixed bulk").await
}

#[tokio::test]
async fn a_token_passes_over_extensions_and_fails_when_the_same_holder_begins_anew() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let taken = node.claim("db", "a", 30_000).await?;
    let guards = taken.token.clone().unwrap_or_default().guards;
    ensure!(node.guarded_put(guards.clone()).await?);
    node.claim("db", "a", 30_000).await?.fence_of(Outcome::Extended)?;
    node.claim("db", "a", 31_000).await?.fence_of(Outcome::Extended)?;
    ensure!(node.guarded_put(guards.clone()).await?, "an extension is the same tenure");
    let weak = node.check("db", "a").await?.weak.context("asked for")?;
    ensure!(node.revoke("db").await? && !node.revoke("db").await?);
    ensure!(!node.guarded_put(guards.clone()).await?, "nobody holds it");
    let again = node.claim("db", "a", 30_000).await?.fence_of(Outcome::Taken)?;
    ensure!(again > taken.fence);
    ensure!(!node.guarded_put(guards).await?, "the tenure is another");
    ensure!(node.guarded_put(vec![weak]).await?, "the holder is the same");
    let guards = node.check("db", "a").await?.token.unwrap_or_default().guards;
    ensure!(node.guarded_put(guards).await?);
    Ok(())
}

#[tokio::test]
async fn two_processes_of_one_name() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let ask = |instance: &str, twin: Twin| ClaimItem {
        instance: instance.into(),
        twin: twin.into(),
        ..item("db", "a", 20_000)
    };
    let first = node.one(ask("1", Twin::Deny)).await?.fence_of(Outcome::Taken)?;
    let denied = node.one(ask("2", Twin::Deny)).await?;
    ensure!(denied.fence_of(Outcome::Denied)? == first && denied.instance == "1");
    // A tenure is shared if both say so.
    node.one(ask("2", Twin::Share)).await?.fence_of(Outcome::Denied)?;
    ensure!(node.one(ask("1", Twin::Share)).await?.fence_of(Outcome::Extended)? == first);
    node.one(ask("2", Twin::Deny)).await?.fence_of(Outcome::Denied)?;
    for twice in [20_000, 20_000] {
        let share = ClaimItem { duration_ms: twice, ..ask("2", Twin::Share) };
        ensure!(node.one(share).await?.fence_of(Outcome::Extended)? == first);
    }
    let over = node.one(ask("2", Twin::TakeOver)).await?.fence_of(Outcome::Taken)?;
    ensure!(over > first);
    node.one(ask("1", Twin::Deny)).await?.fence_of(Outcome::Denied)?;
    Ok(())
}

/// Extensions without a command too: the second call of each kind is one, or would be.
#[tokio::test]
async fn whatever_is_left_out_no_two_hold_one_fence() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let (one, other) = (nodes[0].open(60_000).await?, nodes[0].open(60_000).await?);
    let ask = async |at: usize, session: i64, item: ClaimItem| -> Result<ClaimResult> {
        let answer = nodes[at].bulk(Caller { session, ..Caller::default() }, vec![item]).await?;
        answer.results.into_iter().next().context("no result")
    };
    let of = |claim: &str, instance: &str| ClaimItem { instance: instance.into(), ..item(claim, "host-7", 20_000) };
    for (claim, instance) in [("unnamed", ""), ("named", "i")] {
        let fence = ask(0, one, of(claim, instance)).await?.fence_of(Outcome::Taken)?;
        for at in 0..3 {
            ensure!(ask(at, one, of(claim, instance)).await?.fence_of(Outcome::Extended)? == fence);
            let denied = ask(at, other, of(claim, instance)).await?;
            ensure!(denied.fence_of(Outcome::Denied)? == fence && denied.holder == "host-7", "{denied:?}");
            let by_name = ClaimItem { instance: denied.instance, ..of(claim, "") };
            ask(at, other, by_name.clone()).await?.fence_of(Outcome::Denied)?;
            ask(at, 0, by_name).await?.fence_of(Outcome::Denied)?;
        }
        let refused = nodes[0].one(of(claim, "")).await.err().context("neither session nor instance")?;
        ensure!(
            refused.code() == Code::InvalidArgument && refused.message().contains("instance is empty"),
            "{refused}"
        );
        // Its token fails with a take-over, and the other's passes.
        let old = nodes[0].check(claim, "host-7").await?.token.unwrap_or_default().guards;
        ensure!(nodes[0].guarded_put(old.clone()).await?);
        let over = ClaimItem { twin: Twin::TakeOver.into(), ..of(claim, instance) };
        ensure!(ask(1, other, over).await?.fence_of(Outcome::Taken)? > fence);
        // A check may be answered from what the member knows: let it know of the take-over.
        nodes[0].index().await?;
        let new = nodes[0].check(claim, "host-7").await?.token.unwrap_or_default().guards;
        ensure!(!nodes[0].guarded_put(old).await? && nodes[0].guarded_put(new).await?);
        ask(2, one, of(claim, instance)).await?.fence_of(Outcome::Denied)?;
    }
    // A claim outlives its session: a caller with the same instance can extend it.
    nodes[0].sessions().close(CloseSessionRequest { session: other }).await?;
    let fence = ask(0, one, of("named", "j")).await?.fence_of(Outcome::Denied)?;
    ensure!(ask(1, one, of("named", "i")).await?.fence_of(Outcome::Extended)? == fence);
    Ok(())
}

#[tokio::test]
async fn an_operation_that_is_asked_again_takes_effect_once() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let caller = || Caller { dedupe_id: vec![7; 16].into(), ..Caller::default() };
    let again = async || -> Result<ClaimResult> {
        let answer = node.bulk(caller(), vec![item("db", "a", 20_000)]).await?;
        answer.results.into_iter().next().context("no result")
    };
    let fence = again().await?.fence_of(Outcome::Taken)?;
    // While it is held, the answer is of the present: from this call on.
    ensure!(again().await?.fence_of(Outcome::Extended)? == fence);
    ensure!(node.revoke("db").await?);
    let over = again().await?;
    ensure!(over.outcome() == Outcome::Denied && over.holder.is_empty() && over.fence == 0, "{over:?}");
    let other = node.claim("db", "b", 20_000).await?.fence_of(Outcome::Taken)?;
    let over = again().await?;
    ensure!(over.fence_of(Outcome::Denied)? == other && over.holder == "b", "{over:?}");
    // No other than was given it is told that it holds it, and nobody more than it was promised.
    ensure!(node.revoke("db").await?);
    let mixed = |holder: &str, millis| {
        let caller = Caller { dedupe_id: vec![8; 16].into(), ..Caller::default() };
        let items = vec![item("db", holder, millis)];
        async move { node.bulk(caller, items).await?.results.into_iter().next().context("no result") }
    };
    let fence = mixed("a", 20_000).await?.fence_of(Outcome::Taken)?;
    let longer = mixed("a", 40_000).await?;
    ensure!(longer.fence_of(Outcome::Taken)? == fence && longer.guaranteed_ms == 20_000, "{longer:?}");
    // The same id for another holder, or for something else, is refused.
    let another = mixed("b", 20_000).await.err().context("another holder's answer")?;
    let another = another.downcast_ref::<tonic::Status>().context("a status")?.code();
    ensure!(another == Code::InvalidArgument, "{another:?}");
    let bulk = node.bulk(caller(), vec![item("x", "a", 20_000), item("y", "a", 20_000)]).await;
    let refused = bulk.err().context("another operation's answer")?;
    ensure!(refused.code() == Code::InvalidArgument && refused.message().contains("dedupe_id"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn what_is_expected_must_be_so() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let expecting = |expect: Expect| Caller { expect: Some(expect), ..Caller::default() };
    let ask = async |expect: Expect| node.bulk(expecting(expect), vec![item("db", "a", 20_000)]).await;
    let nobody = || Expect { fence: Some(0), holder: Some(String::new()), ..Expect::default() };
    let fence = ask(nobody()).await?.results[0].fence_of(Outcome::Taken)?;
    let refused = ask(nobody()).await.err().context("it is held")?;
    ensure!(refused.code() == Code::FailedPrecondition && refused.message().contains(&fence.to_string()), "{refused}");
    let index = node.index().await?;
    let right = Expect { fence: Some(fence), holder: Some("a".into()), ..Expect::default() };
    ask(right).await?.results[0].fence_of(Outcome::Extended)?;
    ensure!(node.index().await? == index, "what the tenure proves needs no entry");
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_who_holds_it_and_goes_on_from_a_revision() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let watch = WatchClaimRequest { claim: name("db"), ..Default::default() };
    let mut events = nodes[1].claims().watch(watch.clone()).await?.into_inner();
    let mut next = async || events.message().await?.context("the watch ended");
    let snapshot = next().await?;
    ensure!(snapshot.r#type() == Type::Snapshot && snapshot.holder.is_empty(), "{snapshot:?}");
    let fence = nodes[0].claim("db", "a", 30_000).await?.fence;
    let held = next().await?;
    ensure!(held.r#type() == Type::Held && held.holder == "a" && held.fence == fence, "{held:?}");
    nodes[2].claim("db", "a", 30_000).await?.fence_of(Outcome::Extended)?;
    nodes[0].revoke("db").await?;
    let vacant = next().await?;
    ensure!(vacant.r#type() == Type::Vacant && vacant.previous_holder == "a", "{vacant:?}");
    nodes[0].claim("db", "b", 30_000).await?;
    let held = next().await?;
    ensure!(held.r#type() == Type::Held && held.holder == "b" && held.fence > fence, "{held:?}");
    let resumed = WatchClaimRequest { start_revision: fence + 1, ..watch.clone() };
    let mut events = nodes[2].claims().watch(resumed).await?.into_inner();
    let first = events.message().await?.context("the watch ended")?;
    let at = |event: &ClaimEvent| event.header.as_ref().map(|header| header.revision);
    ensure!(first.r#type() == Type::Vacant && first.previous_holder == "a", "{first:?}");
    ensure!(at(&first).is_some() && at(&first) == at(&vacant), "{first:?}");
    ensure!(first.cause() == Cause::Revoked && vacant.cause() == Cause::Revoked, "{first:?}, {vacant:?}");
    let mut events = nodes[2].claims().watch(watch).await?.into_inner();
    let snapshot = events.message().await?.context("the watch ended")?;
    ensure!(snapshot.r#type() == Type::Snapshot && snapshot.holder == "b", "{snapshot:?}");
    let watch = WatchClaimRequest { claim: name("short"), no_snapshot: true, ..Default::default() };
    let mut events = nodes[2].claims().watch(watch).await?.into_inner();
    nodes[0].claim("short", "a", 1_000).await?.fence_of(Outcome::Taken)?;
    let held = events.message().await?.context("the watch ended")?;
    ensure!(held.r#type() == Type::Held && held.cause() == Cause::Claimed, "{held:?}");
    let over = events.message().await?.context("the watch ended")?;
    ensure!(over.r#type() == Type::Vacant && over.cause() == Cause::Expired, "{over:?}");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_wants_a_leader_ends_without_one() -> Result<()> {
    let (mut cluster, nodes) = start(3).await?;
    let watch = |wants: bool| {
        let mut request = Request::new(WatchClaimRequest { claim: name("db"), ..Default::default() });
        if wants {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let mut claims = nodes[0].claims();
        async move { anyhow::Ok(claims.watch(request).await?.into_inner()) }
    };
    let (mut wants, mut waits) = (watch(true).await?, watch(false).await?);
    for events in [&mut wants, &mut waits] {
        events.message().await?.context("a snapshot")?;
    }
    cluster.node(1).kill()?;
    cluster.node(2).kill()?;
    let ended = within("the watch to end", SOON, wants.message()).await?.err().context("an end with a reason")?;
    ensure!(ended.code() == Code::Unavailable && ended.message() == "etcdserver: no leader", "{ended}");
    let more = tokio::time::timeout(Duration::from_millis(300), waits.message()).await;
    ensure!(more.is_err(), "{more:?}");
    Ok(())
}

#[tokio::test]
async fn claims_are_listed_and_looked_at() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    node.bulk(Caller::default(), (0..5).map(|i| item(&format!("c{i}"), "a", 30_000)).collect()).await?;
    let list = ListRequest { namespace: cluster_tests::kit::claims::NAMESPACE.into(), limit: 3, ..Default::default() };
    let page = node.claims().list(list.clone()).await?.into_inner();
    ensure!(page.more && page.names.len() == 3, "{page:?}");
    let rest = ListRequest { after: page.names.last().cloned(), ..list };
    let page = node.claims().list(rest).await?.into_inner();
    ensure!(!page.more && page.names.len() == 2 && page.names[1].name == "c4", "{page:?}");
    let get = GetClaimRequest { claim: name("c1"), ..Default::default() };
    let got = node.claims().get(get).await?.into_inner();
    ensure!(got.holder == "a" && got.longest_ms == 30_000, "{got:?}");
    ensure!((20_000..=30_000).contains(&got.remaining_ms), "{got:?}");
    Ok(())
}
