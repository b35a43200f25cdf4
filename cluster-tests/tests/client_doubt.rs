//! The client library when answers are lost or late, members are paused, and history is compacted
//! under it. Each case runs on Conclave and on etcd.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcd::{Server, application},
    on_both,
    proxy::Proxy,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Client, Election, Error, ErrorKind, Held, Isolation, KeyRange, LostReason, Mutex, Put, Session, SessionState, Watch,
};
use futures::StreamExt;
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::time::sleep;

on_both!(
    a_session_opened_slowly_is_alive,
    a_session_is_opened_though_the_answer_to_its_grant_is_lost,
    a_session_that_nobody_waits_for_leaves_no_lease,
    a_place_is_found_though_the_answer_to_taking_it_is_lost,
    a_request_that_arrives_after_the_release_leaves_no_place,
    waiting_does_not_mind_compaction,
    a_transaction_whose_revision_is_compacted_is_repeated,
    a_watch_leaves_a_paused_member,
    a_resumed_leadership_is_no_longer_that_of_the_session_before,
);

#[tokio::test]
async fn a_resumed_session_of_milliseconds_is_not_rounded_up() -> Result<()> {
    let cluster = Server::Conclave.start(1).await?;
    let client = application(&cluster)?;
    let ttl = Duration::from_millis(1500);
    let lease = Session::open_precisely(&client, ttl).await?.orphan();
    let session = Session::resume(&client, lease).await?;
    ensure!(session.ttl() == ttl && session.remaining() < ttl, "{:?}", session.ttl());
    sleep(ttl * 2).await;
    ensure!(session.state() == SessionState::Safe, "{:?}", session.state());
    Ok(())
}

/// A client that talks to member 0 through a wire that can be cut, and leaves it soon for member 1.
fn through(cluster: &Cluster) -> Result<(Proxy, Client)> {
    let proxy = Proxy::start(&cluster.endpoint(0))?;
    let endpoints = [proxy.endpoint(), cluster.endpoint(1)];
    let client = Client::builder().endpoints(endpoints).timeout(Duration::from_secs(4));
    Ok((proxy, client.attempt_timeout(Duration::from_secs(1)).build()?))
}

async fn places(client: &Client, prefix: &str) -> Result<usize, Error> {
    Ok(client.range(KeyRange::prefix(prefix.to_owned())).await?.kvs.len())
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn a_session_opened_slowly_is_alive(server: Server) -> Result<()> {
    let mut cluster = server.start(1).await?;
    let client = application(&cluster)?;
    client.put("connected", "").await?;
    cluster.node(0).pause()?;
    let opening = tokio::spawn(async move { Session::open(&client, Duration::from_secs(2)).await });
    // Longer than the TTL: the grant is sent, and answered after the pause.
    sleep(Duration::from_secs(4)).await;
    cluster.node(0).resume()?;
    let session = within("opening", SOON, opening).await???;
    ensure!(session.state() == SessionState::Safe, "{:?}", session.state());
    sleep(session.ttl()).await;
    ensure!(session.state() == SessionState::Safe, "{:?}", session.state());
    Ok(())
}

async fn a_session_is_opened_though_the_answer_to_its_grant_is_lost(server: Server) -> Result<()> {
    let cluster = server.start(3).await?;
    let (proxy, client) = through(&cluster)?;
    let other = Client::new([cluster.endpoint(2)])?;
    client.put("connected", "").await?;
    let before = other.leases().await?.len();
    proxy.cut_answers();
    // The TTL is shorter than the time until the grant is given up: the lease of the lost answer
    // may be gone again.
    for ttl in [Duration::from_secs(10), Duration::from_secs(2)] {
        let session = within("opening", LONG, Session::open(&client, ttl)).await??;
        ensure!(session.state() == SessionState::Safe, "{ttl:?}: {:?}", session.state());
        ensure!(other.lease_info(session.lease(), false).await.is_ok());
        ensure!(other.leases().await?.len() == before + 1, "there is never a second lease");
        session.close().await?;
        // Again by the wire that answers no more.
        sleep(Duration::from_secs(6)).await;
    }
    Ok(())
}

async fn a_session_that_nobody_waits_for_leaves_no_lease(server: Server) -> Result<()> {
    let cluster = server.start(3).await?;
    let (proxy, client) = through(&cluster)?;
    let other = Client::new([cluster.endpoint(2)])?;
    client.put("connected", "").await?;
    let ttl = Duration::from_secs(600);
    // Dropped after ever more time: before the request, with it under way, and when it was granted.
    for micros in [0, 100, 500, 1_000, 5_000, 20_000] {
        drop(tokio::time::timeout(Duration::from_micros(micros), Session::open(&client, ttl)).await);
    }
    // And one whose grant arrives long after it was given up.
    proxy.delay_requests(Duration::from_secs(3));
    ensure!(within("nothing", Duration::from_millis(300), Session::open(&client, ttl)).await.is_err());
    sleep(Duration::from_secs(4)).await;
    let none_left = async || {
        let left = other.leases().await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    };
    eventually("no lease", LONG, none_left).await
}

async fn a_place_is_found_though_the_answer_to_taking_it_is_lost(server: Server) -> Result<()> {
    let cluster = server.start(3).await?;
    let (proxy, client) = through(&cluster)?;
    let other = Client::new([cluster.endpoint(2)])?;
    let session = Session::open(&client, Duration::from_secs(10)).await?;
    proxy.cut_answers();
    let began = Instant::now();
    let mut guard = within("the lock", SOON, Mutex::new("m").lock(&session)).await??;
    ensure!(began.elapsed() > Duration::from_millis(900), "the first answer was lost");
    let kv = other.get(guard.key().clone()).await?.context("its place")?;
    ensure!(kv.create_revision == guard.fence() && kv.version == 1, "taken once: {kv:?}");
    ensure!(guard.txn().then([Put::new("by", "holder")]).commit().await?.succeeded);
    guard.unlock().await?;
    proxy.mend();
    sleep(Duration::from_secs(1)).await;
    ensure!(places(&other, "m/").await? == 0);
    Ok(())
}

async fn a_request_that_arrives_after_the_release_leaves_no_place(server: Server) -> Result<()> {
    let cluster = server.start(3).await?;
    let (proxy, client) = through(&cluster)?;
    let other = Client::new([cluster.endpoint(2)])?;
    let session = Session::open(&client, Duration::from_secs(20)).await?;
    proxy.delay_requests(Duration::from_secs(3));
    let mut guard = within("the lock", SOON, Mutex::new("m").lock(&session)).await??;
    let fence = guard.fence();
    guard.unlock().await?;
    ensure!(places(&other, "m/").await? == 0);
    // The first request, given up after one second, arrives now and takes a place that nobody asks
    // for any more.
    sleep(Duration::from_secs(4)).await;
    ensure!(!session.is_lost());
    let gone = async || {
        ensure!(places(&other, "m/").await? == 0, "a place is left");
        Ok(())
    };
    eventually("an empty queue", LONG, gone).await?;
    let next = Session::open(&other, Duration::from_secs(10)).await?;
    let next = within("the lock", SOON, Mutex::new("m").lock(&next)).await??;
    ensure!(next.fence() > fence && !session.is_lost());
    Ok(())
}

async fn waiting_does_not_mind_compaction(server: Server) -> Result<()> {
    let mut cluster = server.start(3).await?;
    let client = application(&cluster)?;
    let other = Client::new([cluster.endpoint(1), cluster.endpoint(2)])?;
    let (mutex, election) = (Mutex::new("m"), Election::new(&client, "e"));
    let holder = Session::open(&other, LONG).await?;
    let guards = (mutex.lock(&holder).await?, Election::new(&other, "e").campaign(&holder, "old").await?);
    let session = Session::open(&client, LONG).await?;
    let waiting = futures::future::join(mutex.lock(&session), election.campaign(&session, "new"));
    let mut waiting = pin!(waiting);
    ensure!(within("nothing", Duration::from_secs(1), &mut waiting).await.is_err());
    // Everything that they began to watch from is compacted while their member does not answer.
    cluster.node(0).pause()?;
    for i in 0..20 {
        within("a write", LONG, async { while other.put("x", i.to_string()).await.is_err() {} }).await?;
    }
    let now = other.put("x", "last").await?.header.revision;
    other.compact(now, true).await?;
    drop(guards);
    let (lock, leadership) = within("what was waited for", LONG, waiting).await?;
    let (mut lock, leadership) = (lock?, leadership?);
    ensure!(lock.why_lost().is_none() && leadership.why_lost().is_none());
    lock.unlock().await?;
    cluster.node(0).resume()?;
    Ok(())
}

async fn a_transaction_whose_revision_is_compacted_is_repeated(server: Server) -> Result<()> {
    let cluster = server.start(1).await?;
    let client = application(&cluster)?;
    client.put("a", "1").await?;
    client.put("b", "1").await?;
    let mut runs = 0;
    let sum = client.stm(Isolation::SerializableSnapshot, async |txn| {
        runs += 1;
        let a = txn.get("a").await?;
        if runs == 1 {
            client.put("b", "2").await?;
            let now = client.put("x", "").await?.header.revision;
            client.compact(now, false).await?;
        }
        let b = txn.get("b").await?;
        txn.put("c", [a.unwrap_or_default(), b.unwrap_or_default()].concat());
        Ok::<_, Error>(())
    });
    sum.await?;
    ensure!(runs == 2 && client.get("c").await?.is_some_and(|kv| kv.value == "12"), "{runs} runs");
    Ok(())
}

async fn a_watch_leaves_a_paused_member(server: Server) -> Result<()> {
    let mut cluster = server.start(3).await?;
    let client = application(&cluster)?;
    let writer = Client::new([cluster.endpoint(1), cluster.endpoint(2)])?;
    let mut watch = client.watch(Watch::new(KeyRange::prefix("w/"))).await?;
    writer.put("w/1", "").await?;
    ensure!(within("the first", SOON, watch.next()).await?.context("the end")??.events.len() == 1);
    cluster.node(0).pause()?;
    let write = async || Ok(writer.put("w/2", "").await?);
    let last = eventually("a write without the paused member", LONG, write).await?.header.revision;
    // Probed after 6 s of silence, given up after 3 s more.
    let began = Instant::now();
    let (mut seen, mut at) = (0, 0);
    while at < last {
        let batch = within("the next", LONG, watch.next()).await?.context("the end")??;
        for event in batch.events {
            ensure!(event.kv.key == "w/2" && event.kv.mod_revision > at, "{event:?} after {at}");
            (seen, at) = (seen + 1, event.kv.mod_revision);
        }
    }
    ensure!(seen >= 1 && began.elapsed() < Duration::from_secs(20), "{seen} after {:?}", began.elapsed());
    cluster.node(0).resume()?;
    Ok(())
}

async fn a_resumed_leadership_is_no_longer_that_of_the_session_before(server: Server) -> Result<()> {
    let cluster = server.start(1).await?;
    let client = application(&cluster)?;
    let (one, two) = (Session::open(&client, LONG).await?, Session::open(&client, LONG).await?);
    let three = Session::open(&client, LONG).await?;
    let election = Election::new(&client, "e");
    let before = election.campaign(&one, "value").await?;
    let after = election.resume(&two, before.key().clone(), before.rev()).await?;
    let hasty = election.resume(&three, after.key().clone(), after.rev()).await?;
    ensure!(within("the loss", SOON, before.lost()).await? == LostReason::KeyGone);
    ensure!(within("the loss", SOON, after.lost()).await? == LostReason::KeyGone);
    ensure!(kind(before.txn().then([Put::new("by", "before")]).commit().await) == Some(ErrorKind::NotLeader));
    let (key, rev) = (hasty.key().clone(), hasty.rev());
    hasty.proclaim("again").await?;
    // Leaving office without having heard does not take it from the new one, nor does the end of a
    // session before.
    drop(after);
    let after = election.resume(&two, key, rev).await?;
    drop((before, hasty));
    one.close().await?;
    three.close().await?;
    // What others did with the key before does not count against it.
    sleep(Duration::from_secs(1)).await;
    ensure!(after.txn().then([Put::new("by", "after")]).commit().await?.succeeded && after.why_lost().is_none());
    ensure!(election.leader().await?.lease == two.lease());
    Ok(())
}
