//! Claims, operation by operation, on one member.

use anyhow::{Result, ensure};
use cluster_tests::kit::{
    A_WHILE,
    client::{kind, next, one, session},
};
use cluster_tests::wait::{SOON, eventually, within};
use conclave_client::{
    Cause, Claims, Client, Compare, ErrorKind, Expect, Held, Leading, LostReason, Name, Put, Ran, Txn,
    claims::{Bid, ClaimEventKind, ClaimManager, Limits, Outcome, Pinning, Twin},
    run_as_leader,
};
use futures::TryStreamExt;
use std::{pin::pin, time::Duration};

const SHORT: Duration = Duration::from_millis(1500);

/// Claims that may be short.
async fn claims(client: &Client) -> Result<Claims> {
    let claims = Claims::new(client);
    let limits = Limits { min: Duration::from_millis(500), max: Duration::from_secs(60), max_waiting: 10 };
    ensure!(claims.set_limits("default", Some(limits)).await? && !claims.set_limits("default", Some(limits)).await?);
    Ok(claims)
}

fn bid(holder: &str) -> Bid {
    Bid::new("c", holder).lasting(Duration::from_secs(30))
}

#[tokio::test]
async fn a_claim_is_taken_extended_denied_and_checked() -> Result<()> {
    let (_cluster, client) = one().await?;
    let claims = claims(&client).await?;
    let (ours, theirs) = (bid("us"), bid("them"));
    ensure!(kind(claims.check("c", "us").await) == Some(ErrorKind::NotHeld));
    let taken = claims.claim(&ours).await?;
    ensure!(!taken.extended && taken.guaranteed == Duration::from_secs(30));
    let extended = claims.claim(&ours.clone().lasting(Duration::from_secs(40))).await?;
    ensure!(extended.extended && extended.fence == taken.fence && extended.valid_until > taken.valid_until);
    // Asking for less never shortens.
    claims.claim(&ours.clone().lasting(Duration::from_secs(1))).await?;
    ensure!(claims.get("c").await?.remaining.is_some_and(|left| left > Duration::from_secs(30)));
    let denied = claims.claim(&theirs).await.expect_err("it is held");
    ensure!(denied.kind() == ErrorKind::ClaimDenied && denied.message().contains("\"us\""), "{denied}");
    ensure!(kind(claims.claim(&ours.clone().lasting(Duration::from_secs(600))).await) == Some(ErrorKind::Invalid));

    // The token in a transaction, by hand.
    let token = claims.check("c", "us").await?;
    ensure!(token == taken.token);
    let write = |token: &conclave_client::Token| {
        Txn::new().when(token.assert_ops()).when([Compare::absent("never")]).then([Put::new("k", "v")])
    };
    ensure!(client.txn(write(&token)).await?.succeeded);
    let weak = claims.check_weakly("c", "us").await?;
    // Another instance of the same name.
    ensure!(kind(claims.claim(&bid("us")).await) == Some(ErrorKind::ClaimDenied));
    let sharing = bid("us").twin(Twin::Share);
    ensure!(kind(claims.claim(&sharing).await) == Some(ErrorKind::ClaimDenied));
    ensure!(claims.claim(&ours.clone().twin(Twin::Share)).await?.fence == taken.fence);
    ensure!(claims.claim(&sharing).await?.fence == taken.fence);
    let over = claims.claim(&bid("us").twin(Twin::TakeOver)).await?;
    ensure!(over.fence > taken.fence && !client.txn(write(&token)).await?.succeeded);
    ensure!(client.txn(Txn::new().when([weak]).then([Put::new("k", "w")])).await?.succeeded, "the weak one passes");
    ensure!(kind(claims.revoke("c", Some("them")).await) == Some(ErrorKind::NotHeld));
    ensure!(kind(claims.expecting(Expect::new().fence(1)).revoke("c", None).await) == Some(ErrorKind::NotAsExpected));
    ensure!(claims.revoke("c", None).await? && !claims.revoke("c", None).await?);
    ensure!(claims.claim(&theirs).await?.fence > over.fence);
    Ok(())
}

#[tokio::test]
async fn claims_in_bulk_are_decided_each_for_itself() -> Result<()> {
    let (_cluster, client) = one().await?;
    let claims = Claims::new(&client);
    claims.claim(&bid("them")).await?;
    let other = |name: &str| Bid::new(name, "us");
    let outcomes = claims.claim_all(&[bid("us"), other("d"), other("d"), other("e").lasting(SHORT)]).await?;
    ensure!(matches!(&outcomes[0], Outcome::Denied(by) if by.holder == "them" && by.fence > 0));
    ensure!(matches!(&outcomes[1], Outcome::Held(claim) if !claim.extended));
    ensure!(outcomes[2] == Outcome::Repeated);
    let (min, max) = (Duration::from_secs(5), Duration::from_secs(300));
    ensure!(outcomes[3] == Outcome::BadDuration { min, max });
    let names: Vec<Name> = claims.list(None).try_collect().await?;
    ensure!(names == ["c", "d"].map(Name::from));
    Ok(())
}

#[tokio::test]
async fn who_waits_is_served_in_turn_and_who_gives_up_is_gone() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (claims, session) = (claims(&client).await?, session(&client).await?);
    let first = claims.claim(&bid("first")).await?;
    let (one, two) = (bid("one"), bid("two"));
    let waiting = async |count| {
        let ask = async || {
            ensure!(claims.get("c").await?.waiting_count == count);
            Ok(())
        };
        eventually("a line of some length", SOON, ask).await
    };
    let with_session = claims.on_behalf_of(&session);
    let mut early = pin!(with_session.claim_in_line(&one));
    ensure!(within("nothing", A_WHILE, &mut early).await.is_err());
    {
        let mut given_up = pin!(claims.claim_in_line(&two));
        ensure!(within("nothing", A_WHILE, &mut given_up).await.is_err());
        waiting(2).await?;
    }
    waiting(1).await?;
    let state = claims.get("c").await?;
    ensure!(state.waiting[0].holder == "one" && state.waiting[0].session == session.lease());
    let ended = tokio::spawn({
        let claims = claims.clone();
        async move { claims.await_vacant("c").await }
    });
    tokio::time::sleep(A_WHILE).await;
    ensure!(!ended.is_finished());
    claims.revoke("c", Some("first")).await?;
    let ended = within("the end", SOON, ended).await???;
    let granted = within("the grant", SOON, early).await??;
    ensure!(ended.handed_over && granted.fence == ended.revision && granted.fence > first.fence);
    // It holds for the whole duration from the grant on, not from when the wait began.
    ensure!(claims.get("c").await?.remaining.is_some_and(|left| left > Duration::from_secs(25)));
    // A tenure that ended before is no reason to wait.
    ensure!(within("the end", SOON, claims.await_end("c", first.fence)).await??.revision == ended.revision);
    claims.revoke("c", None).await?;
    within("no tenure", SOON, claims.block_until_released("c")).await??;
    Ok(())
}

#[tokio::test]
async fn pins_keep_a_claim_from_expiring() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (claims, session) = (claims(&client).await?, session(&client).await?);
    ensure!(kind(claims.pin("c", Pinning::by("p").with_session()).await) == Some(ErrorKind::Invalid));
    let on_behalf = claims.on_behalf_of(&session);
    ensure!(on_behalf.pin("c", Pinning::by("p").reason("upgrade").with_session()).await?);
    ensure!(!on_behalf.pin("c", Pinning::by("p").reason("upgrade").with_session()).await?);
    claims.claim(&bid("us").lasting(SHORT)).await?;
    tokio::time::sleep(SHORT * 2).await;
    let state = claims.get("c").await?;
    ensure!(state.holder.is_some() && state.pins[0].reason == "upgrade" && state.pins[0].session == session.lease());
    ensure!(claims.unpin("c", "p").await? && !claims.unpin("c", "p").await?);
    within("the end", SOON, claims.await_vacant("c")).await??;
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_who_holds() -> Result<()> {
    let (_cluster, client) = one().await?;
    let claims = claims(&client).await?;
    let mut changes = claims.watch("c").await?;
    ensure!(next(&mut changes).await?.kind == ClaimEventKind::Snapshot);
    let fence = claims.claim(&bid("us").lasting(SHORT)).await?.fence;
    let held = next(&mut changes).await?;
    ensure!(held.kind == ClaimEventKind::Held && held.cause == Cause::Claimed && held.revision == fence);
    ensure!(held.holder.is_some_and(|by| by.holder == "us" && by.fence == fence));
    let vacant = next(&mut changes).await?;
    ensure!(vacant.kind == ClaimEventKind::Vacant && vacant.previous_holder.as_deref() == Some("us"));
    Ok(())
}

fn manager(claims: &Claims, holder: &str) -> Result<ClaimManager> {
    let builder =
        ClaimManager::builder(claims, "c", holder).bounds(Duration::from_millis(500), Duration::from_secs(60));
    Ok(builder.duration(SHORT).renewal(SHORT / 5).build()?)
}

#[tokio::test]
async fn a_manager_keeps_its_claim_and_gives_it_up() -> Result<()> {
    let (_cluster, client) = one().await?;
    let claims = claims(&client).await?;
    let (ours, theirs) = (manager(&claims, "us")?, manager(&claims, "them")?);
    let mut hold = ours.acquire().await?;
    let first = hold.valid_until();
    tokio::time::sleep(SHORT * 3).await;
    ensure!(hold.why_lost().is_none() && hold.valid_until() > first && !hold.remaining().is_zero());
    ensure!(theirs.try_acquire().await?.is_none());
    ensure!(claims.get("c").await?.holder.is_some_and(|by| by.fence == hold.fence()), "one tenure all the while");
    hold.txn().then([Put::new("k", "v")]).commit().await?;
    let mut next = pin!(theirs.acquire());
    ensure!(within("nothing", A_WHILE, &mut next).await.is_err());
    hold.release().await?;
    hold.release().await?;
    ensure!(hold.why_lost() == Some(LostReason::Released));
    let next = within("the grant", SOON, next).await??;
    ensure!(next.fence() > hold.fence());
    ensure!(kind(hold.txn().then([Put::new("k", "v")]).commit().await) == Some(ErrorKind::NotHeld));
    // Revoked: told long before the deadline; work under it is stopped.
    let ran = tokio::spawn(next.run(async |_| std::future::pending::<()>().await));
    tokio::time::sleep(A_WHILE).await;
    claims.revoke("c", None).await?;
    let Ran::Stopped(Some(LostReason::TakenAway(_))) = within("the stop", SOON, ran).await?? else {
        anyhow::bail!("stopped for another reason")
    };
    // A claim is a guard as any other: the same work runs under it as under a leadership.
    let ran = run_as_leader(ours.acquire().await?, async |leading: Leading| {
        let written = client.guarded(leading.token().clone()).then([Put::new("k", "led")]).commit().await;
        (leading.session().is_none(), leading.validity().remaining() <= SHORT, written.is_ok())
    });
    ensure!(ran.await == Ran::Finished((true, true, true)));
    ensure!(claims.get("c").await?.holder.is_none(), "given up before it returns");
    // A dropped hold gives up.
    drop(ours.acquire().await?);
    within("no tenure", SHORT / 2, claims.await_vacant("c")).await??;
    Ok(())
}

#[tokio::test]
async fn trackers_lead_in_turn() -> Result<()> {
    let (_cluster, client) = one().await?;
    let claims = claims(&client).await?;
    let ours = manager(&claims, "us")?.track();
    let lead = within("the lead", SOON, ours.wait_leader()).await?;
    ensure!(ours.claim_leader().await.is_some_and(|now| now.token == lead.token) && ours.claimed_until().is_some());
    let theirs = manager(&claims, "them")?.track();
    within("a follower", SOON, theirs.wait_follower()).await?;
    ensure!(theirs.claim_leader().await.is_none() && theirs.claimed_until().is_none());
    // It stays so while it is extended.
    tokio::time::sleep(SHORT * 2).await;
    ensure!(ours.claim_leader().await.is_some() && theirs.claim_leader().await.is_none());
    ours.stop().await?;
    let next = within("the lead", SOON, theirs.wait_leader()).await?;
    ensure!(next.token.fence > lead.token.fence);
    claims.revoke("c", Some("them")).await?;
    // It takes what is free again.
    let again = async || {
        let lead = theirs.claim_leader().await;
        ensure!(lead.is_some_and(|lead| lead.token.fence > next.token.fence));
        Ok(())
    };
    eventually("another tenure", SOON, again).await?;
    drop(theirs);
    within("no tenure", SHORT / 2, claims.await_vacant("c")).await??;
    Ok(())
}
