//! Queue elections, operation by operation, on one member.

use anyhow::{Result, ensure};
use cluster_tests::kit::{
    A_WHILE,
    client::{kind, next, nothing_left, one, session},
};
use cluster_tests::wait::{SOON, eventually, within};
use conclave_client::{
    Cause, Client, Error, ErrorKind, Expect, Held, LostReason, Name, Put, QueueElection, Ran, Session,
    queue::{ElectionEventKind, ElectionWatch, Eviction, Progress, Promotion, Standing},
    run_as_leader,
};
use futures::TryStreamExt;
use std::{pin::pin, time::Duration};

async fn order(election: &QueueElection) -> Result<Vec<String>> {
    Ok(election.candidates(100, 0).await?.candidates.into_iter().map(|candidate| candidate.id).collect())
}

/// An election with these candidates, all of one session.
async fn with(client: &Client, name: &str, ids: &[&str]) -> Result<(QueueElection, Session)> {
    let (election, session) = (QueueElection::new(client, name), session(client).await?);
    for id in ids {
        election.candidate(&session, *id).enter().await?;
    }
    Ok((election, session))
}

#[tokio::test]
async fn every_order_does_what_it_says() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &["a", "b", "c", "d"]).await?;
    let first = election.term().await?;
    ensure!(first.leader.as_deref() == Some("a") && first.waiting == 3 && first.seq == 1 && first.id > 0);
    ensure!(first.token.as_ref().is_some_and(|token| token.fence == first.id));

    let answer = election.promote("d", Promotion::Places(1)).await?;
    ensure!(answer.changed && answer.standing == Standing::Waiting && order(&election).await? == ["a", "b", "d", "c"]);
    election.promote("c", Promotion::FrontOfLine).await?;
    ensure!(order(&election).await? == ["a", "c", "b", "d"]);
    let answer = election.anoint("d").await?;
    ensure!(answer.standing == Standing::Leads && answer.token.is_some() && answer.term.id > first.id);
    ensure!(order(&election).await? == ["d", "a", "c", "b"]);
    election.demote("d", u32::MAX).await?;
    ensure!(order(&election).await? == ["a", "c", "b", "d"]);
    election.promote("b", Promotion::Lead).await?;
    ensure!(order(&election).await? == ["b", "a", "c", "d"]);
    election.evict("c", Eviction::new().reason("drained").cooldown(Duration::from_secs(60))).await?;
    ensure!(order(&election).await? == ["b", "a", "d"]);
    ensure!(kind(election.candidate(&session, "c").enter().await) == Some(ErrorKind::Refused), "it cools down");
    let answer = election.request_transfer("d", Some(Duration::from_secs(30)), false).await?;
    ensure!(answer.term.transfer_to.as_deref() == Some("d"));
    ensure!(!election.candidate(&session, "x").leave().await?.changed);
    ensure!(election.candidate(&session, "b").leave().await?.changed);
    ensure!(kind(election.anoint("nobody").await) == Some(ErrorKind::Refused));

    let stale = election.expecting(Expect::new().fence(first.id));
    ensure!(kind(stale.anoint("d").await) == Some(ErrorKind::NotAsExpected));
    ensure!(election.on_behalf_of(&session).anoint("d").await?.changed);

    let (other, _held) = with(&client, "other", &["d", "e"]).await?;
    ensure!(QueueElection::evict_everywhere(&client, None, "d", Eviction::new()).await? == 2);
    ensure!(order(&other).await? == ["e"]);
    let names: Vec<Name> = QueueElection::list(&client, None).try_collect().await?;
    ensure!(names == ["e", "other"].map(Name::from));
    election.delete().await?;
    ensure!(kind(election.delete().await) == Some(ErrorKind::NotFound));
    ensure!(election.term().await?.id == 0);
    // Closing takes the last candidates along.
    QueueElection::new(&client, "f").candidate(&session, "a").close().await?;
    ensure!(session.is_lost());
    Ok(())
}

#[tokio::test]
async fn a_campaign_tells_its_place_and_then_the_win() -> Result<()> {
    let (_cluster, client) = one().await?;
    let election = QueueElection::new(&client, "e");
    let (first, second, third) = (session(&client).await?, session(&client).await?, session(&client).await?);
    let mut leader = election.candidate(&first, "a").value("A").campaign().await?;
    let mut last = election.candidate(&third, "c").campaigning();
    ensure!(matches!(last.next().await?, Progress::Waiting { before: 1 }));
    // A higher priority stands further ahead.
    let mut urgent = election.candidate(&second, "b").priority(9).campaigning();
    ensure!(matches!(urgent.next().await?, Progress::Waiting { before: 1 }));
    ensure!(matches!(within("the new place", SOON, last.next()).await??, Progress::Waiting { before: 2 }));
    ensure!(kind(election.candidate(&first, "d").campaign_within(A_WHILE).await) == Some(ErrorKind::Deadline));
    leader.proclaim("A2").await?;
    leader.resign().await?;
    ensure!(leader.why_lost() == Some(LostReason::Released));
    ensure!(kind(leader.proclaim("late").await) == Some(ErrorKind::NotLeader));
    let Progress::Won(next) = within("the win", SOON, urgent.next()).await?? else { anyhow::bail!("still waiting") };
    ensure!(next.fence() > leader.fence() && next.term().leader.as_deref() == Some("b"));
    ensure!(kind(urgent.next().await) == Some(ErrorKind::Refused), "it is over");
    drop((next, urgent, last));
    nothing_left(&client).await
}

#[tokio::test]
async fn trying_leads_at_once_or_leaves_no_trace() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = (QueueElection::new(&client, Name::within("team", "e")), session(&client).await?);
    let leader = election.candidate(&session, "a").try_lead().await?;
    ensure!(leader.is_some() && election.candidate(&session, "b").try_lead().await?.is_none());
    ensure!(order(&election).await? == ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_deposed_leader_is_told_why_and_may_wait_again() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &[]).await?;
    let leader = election.candidate(&session, "a").campaign().await?;
    election.candidate(&session, "b").enter().await?;
    let token = leader.token();
    election.anoint("b").await?;
    ensure!(within("the loss", SOON, leader.lost()).await? == LostReason::TakenAway(Cause::Anointed));
    ensure!(kind(leader.txn().then([Put::new("k", "v")]).commit().await) == Some(ErrorKind::NotLeader));
    ensure!(kind(client.guarded(token).then([Put::new("k", "v")]).commit().await) == Some(ErrorKind::NotHeld));
    ensure!(client.get("k").await?.is_none() && order(&election).await? == ["b", "a"], "it is first in line");
    let fence = leader.fence();
    let mut again = pin!(leader.again());
    ensure!(within("nothing", A_WHILE, &mut again).await.is_err());
    election.candidate(&session, "b").leave().await?;
    let again = within("the win", SOON, again).await??;
    ensure!(again.fence() > fence);
    again.txn().then([Put::new("k", "v")]).commit().await?;
    // A deposed leader that does not wait leaves the line when it is dropped.
    election.candidate(&session, "b").enter().await?;
    election.anoint("b").await?;
    within("the loss", SOON, again.lost()).await?;
    drop(again);
    let alone = async || {
        ensure!(order(&election).await? == ["b"]);
        Ok(())
    };
    eventually("the line without the deposed", SOON, alone).await
}

#[tokio::test]
async fn leadership_is_handed_over_when_asked_for() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &[]).await?;
    let mut leader = election.candidate(&session, "a").campaign().await?;
    election.candidate(&session, "b").enter().await?;
    let asked = leader.asked_to_transfer();
    election.request_transfer("b", None, false).await?;
    ensure!(within("the request", SOON, asked).await? == "b");
    let answer = leader.transfer(None).await?;
    ensure!(
        answer.term.leader.as_deref() == Some("b")
            && leader.why_lost() == Some(LostReason::TakenAway(Cause::Transferred))
    );
    leader.resign().await?;
    ensure!(order(&election).await? == ["b"]);
    // Work under it stops with it, and the candidacy goes.
    let won = election.candidate(&session, "b").campaign().await?;
    let elsewhere = election.clone();
    let ran = run_as_leader(won, async |leading| {
        elsewhere.evict("b", Eviction::new().reason("test")).await.map(drop).ok();
        leading.stopping().await;
    });
    ensure!(within("the stop", SOON, ran).await? == Ran::Stopped(Some(LostReason::TakenAway(Cause::Evicted))));
    nothing_left(&client).await
}

#[tokio::test]
async fn work_that_is_asked_to_hand_over_ends_and_the_one_who_was_named_leads() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "pool", &[]).await?;
    let won = election.candidate(&session, "r1").campaign().await?;
    for id in ["r2", "r3"] {
        election.candidate(&session, id).enter().await?;
    }
    let operator = election.clone();
    let ran = run_as_leader(won, async |leading| {
        operator.request_transfer("r3", Some(Duration::from_secs(60)), false).await.map(drop)?;
        leading.stopping().await;
        let term = operator.term().await?;
        Ok::<_, Error>((leading.asked_to_transfer().await, term.leader))
    });
    let Ran::HandedOver(told) = within("the hand-over", SOON, ran).await? else { anyhow::bail!("not handed over") };
    ensure!(told? == ("r3".to_owned(), Some("r1".to_owned())), "it leads until its work has ended");
    ensure!(order(&election).await? == ["r3", "r2"]);
    // The same candidacy stands again, as in the guide's loop.
    let mut again = election.candidate(&session, "r1").campaigning();
    ensure!(matches!(within("the line", SOON, again.next()).await??, Progress::Waiting { before: 2 }));
    drop(again);
    // The one who was named is gone when the work ends: the first in line leads, and nobody is
    // stranded.
    let won = election.candidate(&session, "r3").campaign().await?;
    election.candidate(&session, "r4").enter().await?;
    let ran = run_as_leader(won, async |leading| {
        operator.request_transfer("r4", None, false).await.map(drop)?;
        leading.stopping().await;
        operator.evict("r4", Eviction::new()).await.map(drop)
    });
    ensure!(matches!(within("the end", SOON, ran).await?, Ran::HandedOver(Ok(()))));
    ensure!(election.term().await?.leader.as_deref() == Some("r2"));
    Ok(())
}

#[tokio::test]
async fn a_restarted_process_takes_its_place_over_once() -> Result<()> {
    let (_cluster, client) = one().await?;
    let election = QueueElection::new(&client, "pool");
    let (before, after) = (session(&client).await?, session(&client).await?);
    let first = election.candidate(&before, "host-7").takeover();
    let old = first.campaign().await?;
    // Without asking for it, a second process is refused.
    let refused = election.candidate(&after, "host-7");
    ensure!(kind(within("the refusal", SOON, refused.campaign()).await?) == Some(ErrorKind::AlreadyExists));
    let second = election.candidate(&after, "host-7").takeover();
    let new = within("the takeover", SOON, second.campaign()).await??;
    ensure!(new.fence() > old.fence());
    ensure!(within("the loss", SOON, old.lost()).await? == LostReason::TakenAway(Cause::TakenOver));
    // The first process is alive after all: it does not take the place back, whichever way it
    // stands again.
    ensure!(kind(within("no again", SOON, old.again()).await?) == Some(ErrorKind::AlreadyExists));
    ensure!(kind(within("no campaign", SOON, first.campaign()).await?) == Some(ErrorKind::AlreadyExists));
    ensure!(kind(within("no entry", SOON, first.clone().enter()).await?) == Some(ErrorKind::AlreadyExists));
    ensure!(new.why_lost().is_none() && order(&election).await? == ["host-7"]);
    Ok(())
}

#[tokio::test]
async fn who_is_taken_out_is_told_so_instead_of_waiting() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &["a"]).await?;
    let mut evicted = election.candidate(&session, "b").campaigning();
    evicted.next().await?;
    election.evict("b", Eviction::new().reason("no longer needed")).await?;
    let error = within("the refusal", SOON, evicted.next()).await?.expect_err("it is no candidate");
    ensure!(error.kind() == ErrorKind::NotLeader && error.message().contains("no longer needed"), "{error}");
    ensure!(order(&election).await? == ["a"]);
    let other = self::session(&client).await?;
    ensure!(kind(election.candidate(&other, "a").enter().await) == Some(ErrorKind::AlreadyExists));
    ensure!(election.candidate(&other, "a").takeover().enter().await?.standing == Standing::Leads);
    // A session that is gone ends the wait.
    let mut lapsed = election.candidate(&session, "c").campaigning();
    lapsed.next().await?;
    client.revoke(session.lease()).await?;
    let refused = kind(within("the refusal", SOON, lapsed.next()).await?);
    ensure!(matches!(refused, Some(ErrorKind::SessionLost | ErrorKind::LeaseNotFound)), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn dropped_futures_and_guards_leave_nothing_behind() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &[]).await?;
    // Dropped at whatever moment.
    for micros in (0..4000).step_by(250) {
        let candidate = election.candidate(&session, "a");
        drop(tokio::time::timeout(Duration::from_micros(micros), candidate.campaign()).await);
    }
    nothing_left(&client).await?;
    let leader = election.candidate(&session, "a").campaign().await?;
    for micros in (0..4000).step_by(250) {
        let candidate = election.candidate(&session, "b");
        drop(tokio::time::timeout(Duration::from_micros(micros), candidate.campaign()).await);
    }
    let alone = async || {
        ensure!(order(&election).await? == ["a"]);
        Ok(())
    };
    eventually("the leader alone", SOON, alone).await?;
    drop(leader);
    nothing_left(&client).await
}

#[tokio::test]
async fn a_watch_tells_every_change_with_its_cause() -> Result<()> {
    let (_cluster, client) = one().await?;
    let (election, session) = with(&client, "e", &["a"]).await?;
    let mut all = election.watch(ElectionWatch::new().with_candidates()).await?;
    let mut leaders = election.watch(ElectionWatch::new().leaders_only().no_snapshot()).await?;
    let snapshot = next(&mut all).await?;
    ensure!(snapshot.kind == ElectionEventKind::Snapshot && snapshot.term.leader.as_deref() == Some("a"));
    election.candidate(&session, "b").enter().await?;
    election.anoint("b").await?;
    election.evict("b", Eviction::new().reason("why not")).await?;
    election.candidate(&session, "a").leave().await?;
    election.delete().await?;
    let mut told = Vec::new();
    for _ in 0..5 {
        let event = next(&mut all).await?;
        told.push((event.kind, event.cause, event.term.candidates.len()));
    }
    use ElectionEventKind::{Changed, Deleted, Vacant};
    let expected = [
        (Changed, Cause::Entered, 2),
        (Changed, Cause::Anointed, 2),
        (Changed, Cause::Evicted, 1),
        (Vacant, Cause::Left, 0),
        (Deleted, Cause::Unknown, 0),
    ];
    ensure!(told == expected, "{told:?}");
    let anointed = next(&mut leaders).await?;
    ensure!(anointed.cause == Cause::Anointed && anointed.previous_leader.as_deref() == Some("a"));
    ensure!(next(&mut leaders).await?.reason == "why not");
    // Resumed from a revision.
    let mut rest = election.watch(ElectionWatch::new().from_revision(anointed.revision + 1)).await?;
    ensure!(next(&mut rest).await?.cause == Cause::Evicted);
    Ok(())
}
