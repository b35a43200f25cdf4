//! Campaigns: the place, the win, and how one ends without it.

use anyhow::{Context, Result, ensure};
use cluster_tests::client::{grant, revoke};
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use cluster_tests::wait::{SOON, eventually};
use conclave_api::conclave::v1::election_response::Standing;
use conclave_api::conclave::v1::{Caller, CampaignRequest, EnterRequest};
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn the_place_is_told_and_then_the_win() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let mut nodes = [elections(&cluster, 0).await?, elections(&cluster, 1).await?, elections(&cluster, 2).await?];
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(grant(&client, LASTING).await?);
    }
    let first = won(&mut campaign(&mut nodes[0], "a", sessions[0]).await?).await?;
    let token = first.token.context("a win comes with a token")?;
    let led = first.term.context("a win comes with the term")?;
    assert_eq!((first.standing, token.fence), (i32::from(Standing::Leads), led.id));
    // Each through another member.
    let mut b = campaign(&mut nodes[0], "b", sessions[1]).await?;
    assert_eq!(before(&mut b).await?, 1);
    let mut c = campaign(&mut nodes[1], "c", sessions[2]).await?;
    assert_eq!(before(&mut c).await?, 2);
    let mut d = campaign(&mut nodes[2], "d", sessions[3]).await?;
    assert_eq!(before(&mut d).await?, 3);
    silent(&mut d).await?;
    promote(&mut nodes[0], "d").await?;
    assert_eq!((before(&mut d).await?, before(&mut c).await?), (2, 3));
    leave(&mut nodes[1], "b").await?;
    assert_eq!(ending(&mut b).await?.code(), Code::NotFound);
    assert_eq!((before(&mut d).await?, before(&mut c).await?), (1, 2));
    revoke(&client, sessions[0]).await?;
    let second = won(&mut d).await?.term.context("a win comes with the term")?;
    assert_eq!((second.leader.as_str(), second.seq), ("d", 2));
    assert_eq!(before(&mut c).await?, 1);
    anoint(&mut nodes[0], "c").await?;
    assert_eq!(won(&mut c).await?.term.context("no term")?.seq, 3);
    Ok(())
}

#[tokio::test]
async fn who_leads_already_wins_at_once() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let first = won(&mut campaign(&mut at, "a", session).await?).await?;
    let again = won(&mut campaign(&mut at, "a", session).await?).await?;
    assert_eq!((again.token, again.changed), (first.token, false));
    // Neither of the calls' ends took it away.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(order(&term(&mut at).await?), ["a"]);
    Ok(())
}

#[tokio::test]
async fn cancelling_leaves_unless_told_to_stay() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    enter(&mut at, "a", session).await?;
    let mut b = campaign(&mut at, "b", session).await?;
    let stay = CampaignRequest { enter: Some(entering("c", session)), stay: true, ..Default::default() };
    let mut c = campaign_for(&mut at, stay).await?;
    assert_eq!((before(&mut b).await?, before(&mut c).await?), (1, 2));
    drop(b);
    assert_eq!(before(&mut c).await?, 1);
    drop(c);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(order(&term(&mut at).await?), ["a", "c"]);
    // Two calls for one candidacy: the last to go leaves.
    let mut one = campaign(&mut at, "d", session).await?;
    let mut two = campaign(&mut at, "d", session).await?;
    assert_eq!((before(&mut one).await?, before(&mut two).await?), (2, 2));
    drop(one);
    silent(&mut two).await?;
    drop(two);
    let gone = async || {
        let term = term(&mut at.clone()).await?;
        ensure!(order(&term) == ["a", "c"], "{:?}", order(&term));
        Ok(())
    };
    eventually("the cancelled one to leave", SOON, gone).await
}

#[tokio::test]
async fn a_call_that_ends_late_leaves_what_was_entered_again_elsewhere() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let (mut one, mut other) = (elections(&cluster, 0).await?, elections(&cluster, 1).await?);
    let (leader, old, new) =
        (grant(&client, LASTING).await?, grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    enter(&mut one, "a", leader).await?;
    // The process comes back elsewhere, with its session or a new one, before its old connection is
    // found to be dead.
    for (id, session) in [("b", old), ("c", new)] {
        let mut dead = campaign(&mut one, id, old).await?;
        before(&mut dead).await?;
        let enter = Some(EnterRequest { takeover: session != old, ..entering(id, session) });
        let mut live = campaign_for(&mut other, CampaignRequest { enter, ..Default::default() }).await?;
        before(&mut live).await?;
        drop(dead);
        silent(&mut live).await?;
        drop(live);
    }
    Ok(())
}

#[tokio::test]
async fn time_is_limited() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 1).await?);
    let session = grant(&client, LASTING).await?;
    enter(&mut at, "a", session).await?;
    for stay in [false, true] {
        let began = Instant::now();
        let enter = Some(entering("b", session));
        let mut b = campaign_for(&mut at, CampaignRequest { enter, timeout_ms: 300, stay }).await?;
        assert_eq!(before(&mut b).await?, 1);
        assert_eq!(ending(&mut b).await?.code(), Code::DeadlineExceeded);
        ensure!(began.elapsed() >= Duration::from_millis(300), "too early: {:?}", began.elapsed());
        let expected: &[&str] = if stay { &["a", "b"] } else { &["a"] };
        assert_eq!(order(&term(&mut at).await?), expected);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_is_told_of_a_win_that_is_over() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 2).await?);
    let (first, second) = (grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    enter(&mut at, "a", first).await?;
    let mut b = campaign(&mut at, "b", second).await?;
    assert_eq!(before(&mut b).await?, 1);
    // Its session lapses while it waits.
    revoke(&client, second).await?;
    let lapsed = ending(&mut b).await?;
    assert_eq!((lapsed.code(), lapsed.message()), (Code::NotFound, "etcdserver: requested lease not found"));
    let refused = campaign(&mut at, "b", second).await.expect_err("there is no such session");
    assert_eq!(refused.code(), Code::NotFound);
    // It is taken out, and comes back: another candidacy.
    let mut c = campaign(&mut at, "c", first).await?;
    assert_eq!(before(&mut c).await?, 1);
    evict(&mut at, "c", "for a test").await?;
    let evicted = ending(&mut c).await?;
    assert_eq!(evicted.code(), Code::NotFound);
    assert_eq!(evicted.message(), "conclave: no longer a candidate (evicted: for a test)");
    let mut d = campaign(&mut at, "d", first).await?;
    assert_eq!(before(&mut d).await?, 1);
    delete(&mut at).await?;
    let deleted = ending(&mut d).await?;
    assert_eq!(deleted.message(), "conclave: no longer a candidate (the election was deleted)");
    Ok(())
}

/// Real time: a session that nobody keeps alive.
#[tokio::test]
async fn a_session_that_runs_out_ends_the_campaign() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let (lasting, short) = (grant(&client, LASTING).await?, grant(&client, 2).await?);
    enter(&mut at, "a", lasting).await?;
    let mut b = campaign(&mut at, "b", short).await?;
    assert_eq!(before(&mut b).await?, 1);
    let over = cluster_tests::wait::within("the session to run out", SOON, b.message()).await?;
    assert_eq!(over.expect_err("the session is gone").code(), Code::NotFound);
    assert_eq!(order(&term(&mut at).await?), ["a"]);
    Ok(())
}

/// The Raft leader dies while candidates wait on the other members: they notice nothing but the
/// win.
#[tokio::test]
async fn a_change_of_raft_leaders_is_invisible() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let session = grant(&client, LASTING).await?;
    let leader = cluster.leader().await?;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let (mut at, mut there) = (elections(&cluster, one).await?, elections(&cluster, other).await?);
    enter(&mut at, "a", session).await?;
    let mut b = campaign(&mut at, "b", session).await?;
    let mut c = campaign(&mut there, "c", session).await?;
    assert_eq!((before(&mut b).await?, before(&mut c).await?), (1, 2));
    cluster.node(leader).kill()?;
    cluster.leader_other_than(leader).await?;
    leave(&mut there, "a").await?;
    won(&mut b).await?;
    assert_eq!(before(&mut c).await?, 1);
    leave(&mut at, "b").await?;
    won(&mut c).await?;
    Ok(())
}

/// One command a grant: what each operation writes to the log.
#[tokio::test]
async fn log_entries_are_counted() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    cluster.version_is_decided().await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let start = raft_index(&client).await?;
    won(&mut campaign(&mut at, "a", session).await?).await?;
    assert_eq!(raft_index(&client).await? - start, 1, "a campaign without competition");
    let mut waiting = Vec::new();
    for i in 0..20 {
        let mut campaign = campaign(&mut at, &format!("w{i:02}"), session).await?;
        assert_eq!(before(&mut campaign).await?, i + 1);
        waiting.push(campaign);
    }
    assert_eq!(raft_index(&client).await? - start, 21, "a place in line each");
    leave(&mut at, "a").await?;
    won(&mut waiting.remove(0)).await?;
    for (i, campaign) in waiting.iter_mut().enumerate() {
        while before(campaign).await? != i as u64 + 1 {}
    }
    assert_eq!(raft_index(&client).await? - start, 22, "a hand-over is the release and nothing else");
    term(&mut at).await?;
    enter(&mut at, "w00", session).await?;
    assert_eq!(raft_index(&client).await? - start, 23, "a read writes nothing, entering again is a command");
    Ok(())
}

#[tokio::test]
async fn higher_priority_waits_further_ahead() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let of = |id: &str, priority| EnterRequest { priority, ..entering(id, session) };
    for (id, priority) in [("a", 0), ("b", 0), ("c", 5), ("d", 5), ("e", -1)] {
        at.enter(of(id, priority)).await?;
    }
    assert_eq!(order(&term(&mut at).await?), ["a", "c", "d", "b", "e"]);
    let preempting = EnterRequest { preempt: true, ..of("f", 9) };
    let mut f = campaign_for(&mut at, CampaignRequest { enter: Some(preempting), ..Default::default() }).await?;
    won(&mut f).await?;
    assert_eq!(order(&term(&mut at).await?), ["f", "a", "c", "d", "b", "e"]);
    Ok(())
}

/// The members that candidates wait at are stopped in an orderly way: nobody leaves, and the places
/// are found again elsewhere.
#[tokio::test]
async fn a_member_that_stops_leaves_nobody() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let session = grant(&cluster.client_of_all()?, LASTING).await?;
    let (mut at, mut there) = (elections(&cluster, 0).await?, elections(&cluster, 1).await?);
    enter(&mut at, "a", session).await?;
    let mut b = campaign(&mut there, "b", session).await?;
    let mut c = campaign(&mut at, "c", session).await?;
    assert_eq!((before(&mut b).await?, before(&mut c).await?), (1, 2));
    cluster.node(1).terminate(SOON).await?;
    assert_eq!(ending(&mut b).await?.code(), Code::Unavailable);
    silent(&mut c).await?;
    let mut b = campaign(&mut at, "b", session).await?;
    assert_eq!(before(&mut b).await?, 1);
    leave(&mut at, "a").await?;
    won(&mut b).await?;
    Ok(())
}

/// A remembered answer is no news of the present.
#[tokio::test]
async fn a_repeated_campaign_does_not_win_again() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut at = elections(&cluster, 0).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let caller = Some(Caller { session, dedupe_id: vec![7; 16].into(), expect: None });
    let enter = Some(EnterRequest { caller, ..entering("a", session) });
    let request = CampaignRequest { enter, ..Default::default() };
    let first = won(&mut campaign_for(&mut at, request.clone()).await?).await?;
    let again = won(&mut campaign_for(&mut at, request.clone()).await?).await?;
    assert_eq!((again.token, again.term), (first.token, first.term));
    leave(&mut at, "a").await?;
    let over = campaign_for(&mut at, request).await.expect_err("it was won, and is over");
    assert_eq!(over.code(), Code::NotFound, "{over}");
    assert_eq!(order(&term(&mut at).await?), [""; 0]);
    Ok(())
}
