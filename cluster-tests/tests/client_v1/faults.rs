//! What a member's death, a cut wire and a lost answer do to what is held, waited for and watched.

use super::mute::Mute;
use anyhow::{Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcd::application,
    kit::{
        A_WHILE,
        client::{beginning_at, kind, next},
    },
    proxy::Proxy,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Claims, Client, ErrorKind, Held, Locks, LostReason, Put, QueueElection, Session,
    claims::{Bid, ClaimManager, Limits},
    locks::Want,
    queue::{ElectionWatch, Promotion},
};
use std::{
    pin::pin,
    time::{Duration, Instant},
};

const TTL: Duration = Duration::from_millis(2500);

/// A client behind wires that can be cut.
fn wired(cluster: &Cluster) -> Result<(Vec<Proxy>, Client)> {
    let mut wires = Vec::new();
    for endpoint in cluster.endpoints() {
        wires.push(Proxy::start(&endpoint)?);
    }
    let client = Client::new(wires.iter().map(Proxy::endpoint))?;
    Ok((wires, client))
}

#[tokio::test]
async fn a_campaign_outlives_its_member() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let (stays, moves) = (beginning_at(&cluster, 1)?, beginning_at(&cluster, 0)?);
    let ttl = Duration::from_secs(20);
    let (held_by, waits_by) = (Session::open(&stays, ttl).await?, Session::open(&moves, ttl).await?);
    let of = |client: &Client| QueueElection::new(client, "e");
    let mut leader = of(&stays).candidate(&held_by, "leader").campaign().await?;
    let mut waiting = of(&moves).candidate(&waits_by, "waits").campaigning();
    within("a place", SOON, waiting.next()).await??;
    of(&stays).candidate(&held_by, "later").enter().await?;
    cluster.node(0).kill()?;
    let next = async {
        let won = loop {
            if let conclave_client::queue::Progress::Won(won) = waiting.next().await? {
                break won;
            }
        };
        Ok::<_, conclave_client::Error>(won)
    };
    let mut next = pin!(next);
    ensure!(within("nothing", Duration::from_secs(2), &mut next).await.is_err());
    leader.resign().await?;
    // It kept its place before the one that came later.
    let won = within("the win", LONG, next).await??;
    ensure!(won.fence() > leader.fence() && won.why_lost().is_none());
    won.txn().then([Put::new("k", "v")]).commit().await?;
    Ok(())
}

#[tokio::test]
async fn waiting_for_a_lock_or_a_claim_outlives_its_member() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let (stays, moves) = (beginning_at(&cluster, 1)?, beginning_at(&cluster, 0)?);
    let ttl = Duration::from_secs(20);
    let (held_by, waits_by) = (Session::open(&stays, ttl).await?, Session::open(&moves, ttl).await?);
    let mut hold = Locks::new(&stays).acquire(&held_by, Want::exclusive("l")).await?;
    Claims::new(&stays).claim(&Bid::new("c", "first")).await?;
    let (locks, claims, bid) = (Locks::new(&moves), Claims::new(&moves), Bid::new("c", "second"));
    let mut lock = pin!(locks.acquire(&waits_by, Want::exclusive("l")));
    let mut claim = pin!(claims.claim_in_line(&bid));
    let mut vacant = pin!(claims.await_vacant("c"));
    ensure!(within("nothing", A_WHILE, &mut lock).await.is_err());
    ensure!(within("nothing", A_WHILE, &mut claim).await.is_err());
    ensure!(within("nothing", A_WHILE, &mut vacant).await.is_err());
    cluster.node(0).kill()?;
    ensure!(within("nothing", A_WHILE, &mut lock).await.is_err());
    hold.unlock().await?;
    Claims::new(&stays).revoke("c", Some("first")).await?;
    let (lock, claim, vacant) = tokio::join!(
        within("the lock", LONG, lock),
        within("the claim", LONG, claim),
        within("the vacancy", LONG, vacant)
    );
    ensure!(lock??.fence() > hold.fence());
    ensure!(vacant??.revision == claim??.fence, "the wait misses no end, also of a claim that went on at once");
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_without_gap_or_repeat() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let (writer, watcher) = (beginning_at(&cluster, 2)?, beginning_at(&cluster, 0)?);
    let (election, session) =
        (QueueElection::new(&writer, "e"), Session::open(&writer, Duration::from_secs(20)).await?);
    let mut events = QueueElection::new(&watcher, "e").watch(ElectionWatch::new()).await?;
    next(&mut events).await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        for id in 0..10 {
            let candidacy = election.candidate(&session, format!("{round}-{id}"));
            expected.push(candidacy.enter().await?.header.revision);
        }
        let before = expected.len();
        match round {
            0 => cluster.node(0).kill()?,
            1 => {
                cluster.restart(0).await?;
                cluster.node(1).kill()?;
            }
            _ => cluster.restart(1).await?,
        }
        ensure!(expected.len() == before);
    }
    for revision in expected {
        let event = next(&mut events).await?;
        ensure!(event.revision == revision, "{} instead of {revision}", event.revision);
    }
    Ok(())
}

#[tokio::test]
async fn a_cut_off_leader_knows_before_another_leads_and_cannot_write() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (wires, cut_off) = wired(&cluster)?;
    let others = application(&cluster)?;
    let session = Session::open(&cut_off, TTL).await?;
    ensure!(session.ttl() == TTL, "{:?}", session.ttl());
    let leader = QueueElection::new(&cut_off, "e").candidate(&session, "old").campaign().await?;
    let hold = Locks::new(&cut_off).acquire(&session, Want::exclusive("l")).await?;
    let (next_session, token, lock_token) = (Session::open(&others, TTL).await?, leader.token(), hold.token());
    let election = QueueElection::new(&others, "e");
    let next = tokio::spawn({
        let (election, session) = (election.clone(), next_session.clone());
        async move { (election.candidate(&session, "new").campaign().await, Instant::now()) }
    });
    let next_lock = tokio::spawn({
        let (locks, session) = (Locks::new(&others), next_session.clone());
        async move { (locks.acquire(&session, Want::exclusive("l")).await, Instant::now()) }
    });
    tokio::time::sleep(A_WHILE).await;
    wires.iter().for_each(Proxy::cut);
    let cut = Instant::now();
    let left = session.remaining();
    ensure!(left > TTL / 2 && leader.why_lost().is_none());
    let mut lost = leader.lost();
    ensure!(within("nothing", left.saturating_sub(Duration::from_millis(100)), &mut lost).await.is_err(), "not before");
    ensure!(within("the loss", Duration::from_secs(1), lost).await? == LostReason::Expired);
    let knew = Instant::now();
    ensure!(knew.duration_since(cut) >= left - Duration::from_millis(20));
    ensure!(hold.why_lost() == Some(LostReason::Expired) && session.is_lost());
    let (new_leader, at) = within("the next leader", LONG, next).await??;
    let (new_hold, lock_at) = within("the next holder", LONG, next_lock).await??;
    let (new_leader, new_hold) = (new_leader?, new_hold?);
    ensure!(at > knew && lock_at > knew, "granted {:?} before the old one knew", knew.duration_since(at.min(lock_at)));
    ensure!(new_leader.fence() > leader.fence() && new_hold.fence() > hold.fence());
    // What the old one had on its way arrives when the wire is whole again: refused by the store
    // itself.
    wires.iter().for_each(Proxy::mend);
    let late = |token| cut_off.guarded(token).then([Put::new("k", "old")]);
    let refused = async || match kind(late(token.clone()).commit().await) {
        Some(ErrorKind::NotHeld) => Ok(()),
        other => anyhow::bail!("{other:?}"),
    };
    eventually("the refusal", SOON, refused).await?;
    ensure!(kind(late(lock_token).commit().await) == Some(ErrorKind::NotHeld));
    new_leader.txn().then([Put::new("k", "new")]).commit().await?;
    ensure!(others.get("k").await?.is_some_and(|kv| kv.value == "new"));
    Ok(())
}

#[tokio::test]
async fn what_waits_on_a_wire_that_is_cut_goes_on_at_another_member() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (wires, _) = wired(&cluster)?;
    let second = Duration::from_secs(1);
    let client = Client::builder().endpoints(wires.iter().map(Proxy::endpoint)).probe(second, second).build()?;
    let (others, ttl) = (application(&cluster)?, Duration::from_secs(20));
    let (held_by, waits_by) = (Session::open(&others, ttl).await?, Session::open(&client, ttl).await?);
    let mut leader = QueueElection::new(&others, "e").candidate(&held_by, "leader").campaign().await?;
    let mut hold = Locks::new(&others).acquire(&held_by, Want::exclusive("l")).await?;
    let candidate = QueueElection::new(&client, "e").candidate(&waits_by, "waits");
    let locks = Locks::new(&client);
    let (mut campaign, mut lock) = (pin!(candidate.campaign()), pin!(locks.acquire(&waits_by, Want::exclusive("l"))));
    ensure!(within("nothing", A_WHILE, &mut campaign).await.is_err());
    ensure!(within("nothing", A_WHILE, &mut lock).await.is_err());
    wires[0].cut();
    // Granted while nobody can tell it.
    leader.resign().await?;
    hold.unlock().await?;
    let (won, locked) = tokio::join!(within("the win", LONG, campaign), within("the lock", LONG, lock));
    let (won, locked) = (won??, locked??);
    ensure!(won.fence() > leader.fence() && locked.fence() > hold.fence());
    let state = Locks::new(&others).get("l").await?;
    ensure!(state.holders.count == 1 && state.waiting.count == 0 && state.holders.requests[0].fence == locked.fence());
    // What the cut-off member does when the wire is whole again concerns nobody.
    wires[0].mend();
    tokio::time::sleep(second * 2).await;
    ensure!(won.why_lost().is_none() && locked.why_lost().is_none());
    won.txn().then([Put::new("k", "v")]).commit().await?;
    locked.txn().then([Put::new("k", "w")]).commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_cut_off_claim_ends_here_before_it_ends_there() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (wires, cut_off) = wired(&cluster)?;
    let others = Claims::new(&application(&cluster)?);
    let limits = Limits { min: Duration::from_millis(500), max: Duration::from_secs(60), max_waiting: 10 };
    others.set_limits("default", Some(limits)).await?;
    let builder = ClaimManager::builder(&Claims::new(&cut_off), "c", "old").bounds(limits.min, limits.max);
    let hold = builder.duration(TTL).renewal(TTL / 5).build()?.acquire().await?;
    tokio::time::sleep(TTL).await;
    wires.iter().for_each(Proxy::cut);
    let left = hold.remaining();
    ensure!(left > TTL / 2, "{left:?}");
    let next = tokio::spawn({
        let others = others.clone();
        async move { (others.claim_in_line(&Bid::new("c", "new").lasting(TTL)).await, Instant::now()) }
    });
    let mut lost = hold.lost();
    ensure!(within("nothing", left.saturating_sub(Duration::from_millis(100)), &mut lost).await.is_err(), "not before");
    ensure!(within("the loss", Duration::from_secs(1), lost).await? == LostReason::Expired);
    let knew = Instant::now();
    let (claim, at) = within("the next holder", LONG, next).await??;
    ensure!(at > knew && claim?.fence > hold.fence());
    Ok(())
}

#[tokio::test]
async fn an_operation_whose_answer_is_lost_takes_effect_once() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let plain = application(&cluster)?;
    let session = Session::open(&plain, Duration::from_secs(30)).await?;
    let election = QueueElection::new(&plain, "e");
    for id in ["a", "b", "c", "d", "e"] {
        election.candidate(&session, id).enter().await?;
    }
    let order = async || -> Result<Vec<String>> {
        Ok(election.candidates(10, 0).await?.candidates.into_iter().map(|candidate| candidate.id).collect())
    };
    let mute = Mute::start(&cluster.endpoint(0)).await?;
    let client = Client::new([mute.endpoint.clone(), cluster.endpoint(1)])?;
    let muted = QueueElection::new(&client, "e");
    muted.term().await?;
    mute.mute();
    let answer = muted.promote("e", Promotion::Places(1)).await?;
    ensure!(answer.changed && client.endpoints()[0].failures > 0, "the first answer was to be lost");
    ensure!(order().await? == ["a", "b", "c", "e", "d"], "one place: {:?}", order().await?);

    // A campaign whose answer is lost has one candidate, and a lock one request.
    let mute = Mute::start(&cluster.endpoint(0)).await?;
    let client = Client::new([mute.endpoint.clone(), cluster.endpoint(1)])?;
    let own = Session::resume(&client, session.lease()).await?;
    mute.mute();
    let hold = within("the lock", LONG, Locks::new(&client).acquire(&own, Want::exclusive("l"))).await??;
    ensure!(client.endpoints()[0].failures > 0, "the first answer was to be lost");
    let state = Locks::new(&plain).get("l").await?;
    ensure!(state.holders.count == 1 && state.waiting.count == 0 && state.holders.requests[0].fence == hold.fence());
    Ok(())
}
