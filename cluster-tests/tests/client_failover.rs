//! The client library while members are killed and wires are cut. Each case runs on three members
//! of Conclave and of etcd.

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcd::{Server, application},
    on_both,
    proxy::Proxy,
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Client, Election, Error, ErrorKind, Get, Held, KeyRange, Leading, LostReason, Mutex, Put, Ran, Session,
    SessionState, Watch, run_as_leader,
};
use futures::StreamExt;
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::sleep};

on_both!(
    a_campaign_survives_its_member,
    a_held_lock_survives_its_member,
    a_watch_goes_on_without_gap_or_repeat,
    a_watch_says_what_is_compacted,
    a_session_survives_its_member,
    writes_are_never_sent_twice_and_doubt_is_reported,
    a_cut_off_leader_knows_before_the_next_one_leads,
    work_is_stopped_while_nobody_else_leads,
    a_dead_endpoint_is_left,
);

const TTL: Duration = Duration::from_secs(4);

/// The members, and a client whose first endpoint is member 0.
async fn three(server: Server) -> Result<(Cluster, Client)> {
    let cluster = server.start(3).await?;
    let client = application(&cluster)?;
    Ok((cluster, client))
}

/// A client of member 1 alone, which nobody harms.
fn bystander(cluster: &Cluster) -> Result<Client> {
    Ok(Client::new([cluster.endpoint(1)])?)
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn a_campaign_survives_its_member(server: Server) -> Result<()> {
    let (mut cluster, client) = three(server).await?;
    let other = bystander(&cluster)?;
    let (election, holder) = (Election::new(&other, "e"), Session::open(&other, LONG).await?);
    let mut leadership = election.campaign(&holder, "first").await?;
    let session = Session::open(&client, LONG).await?;
    let mut campaign = pin!(async { Election::new(&client, "e").campaign(&session, "second").await });
    ensure!(within("nothing", Duration::from_secs(1), &mut campaign).await.is_err());
    cluster.node(0).kill()?;
    ensure!(within("nothing", Duration::from_secs(2), &mut campaign).await.is_err());
    ensure!(other.range(Get::new(KeyRange::prefix("e/"))).await?.kvs.len() == 2, "its place is kept, and is one");
    let resigning = within("resigning", LONG, leadership.resign());
    let (won, resigned) = futures::future::join(within("the grant", LONG, campaign), resigning).await;
    resigned??;
    let won = won??;
    ensure!(won.fence() > leadership.fence());
    ensure!(election.leader().await?.value == "second");
    Ok(())
}

async fn a_held_lock_survives_its_member(server: Server) -> Result<()> {
    let (mut cluster, client) = three(server).await?;
    let session = Session::open(&client, LONG).await?;
    let mut guard = Mutex::new("m").lock(&session).await?;
    cluster.node(0).kill()?;
    let guarded = async || Ok(guard.txn().then([Put::new("by", "holder")]).commit().await?);
    eventually("a guarded write through another member", LONG, guarded).await?;
    ensure!(guard.why_lost().is_none());
    within("the unlock", LONG, guard.unlock()).await??;
    let left = bystander(&cluster)?.range(KeyRange::prefix("m/")).await?;
    ensure!(left.kvs.is_empty());
    Ok(())
}

async fn a_watch_goes_on_without_gap_or_repeat(server: Server) -> Result<()> {
    const WRITES: usize = 300;
    let (mut cluster, client) = three(server).await?;
    let writer = bystander(&cluster)?;
    let mut watch = client.watch(Watch::new(KeyRange::prefix("w/"))).await?;
    let writing = tokio::spawn(async move {
        for i in 0..WRITES {
            // Unique values; a write in doubt is settled by reading before the next.
            let key = format!("w/{i}");
            while writer.put(key.clone(), "").await.is_err() {
                sleep(Duration::from_millis(50)).await;
                if let Ok(Some(_)) = writer.get(key.clone()).await {
                    break;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut seen, mut killed, mut last) = (Vec::new(), false, 0);
    while seen.len() < WRITES {
        let batch = within("a change", LONG, watch.next()).await?.context("the watch ended")??;
        for event in batch.events {
            ensure!(event.kv.mod_revision > last, "revisions rise: {} after {last}", event.kv.mod_revision);
            last = event.kv.mod_revision;
            seen.push(String::from_utf8(event.kv.key.to_vec())?);
        }
        if !killed && seen.len() > 50 {
            cluster.node(0).kill()?;
            killed = true;
        }
    }
    writing.await?;
    let written: Vec<_> = (0..WRITES).map(|i| format!("w/{i}")).collect();
    ensure!(seen == written, "every change once, in order");
    Ok(())
}

async fn a_watch_says_what_is_compacted(server: Server) -> Result<()> {
    let (_cluster, client) = three(server).await?;
    let first = client.put("c", "1").await?.header.revision;
    let last = client.put("c", "2").await?.header.revision;
    client.compact(last, false).await?;
    let mut watch = client.watch(Watch::new("c").from_revision(first)).await?;
    let error = within("the end", SOON, watch.next()).await?.context("no error")?.err().context("no error")?;
    ensure!(error.kind() == ErrorKind::OutOfRange && error.compacted() == Some(last), "{error:?}");
    ensure!(watch.next().await.is_none());
    Ok(())
}

async fn a_session_survives_its_member(server: Server) -> Result<()> {
    let (mut cluster, client) = three(server).await?;
    let session = Session::open(&client, TTL).await?;
    client.put_with(Put::new("mine", "").lease(session.lease())).await?;
    cluster.node(0).kill()?;
    sleep(session.ttl() * 2).await;
    ensure!(!session.is_lost(), "{:?}", session.state());
    ensure!(session.state() == SessionState::Safe, "{:?}", session.state());
    ensure!(client.get("mine").await?.is_some());
    Ok(())
}

async fn writes_are_never_sent_twice_and_doubt_is_reported(server: Server) -> Result<()> {
    let (cluster, client) = three(server).await?;
    let proxy = Proxy::start(&cluster.endpoint(0))?;
    let through = Client::builder().endpoints([proxy.endpoint()]).timeout(Duration::from_secs(2)).build()?;
    through.put("k", "1").await?;
    proxy.cut();
    let error = through.put("k", "2").await.err().context("nobody could answer")?;
    ensure!(error.outcome_unknown() && !error.is_retryable() && !error.is_final(), "{error:?}");
    // It was sent once: when the wire is mended it arrives, or is gone with its call, but never
    // twice.
    proxy.mend();
    sleep(Duration::from_millis(500)).await;
    let version = client.get("k").await?.context("written")?.version;
    ensure!(version <= 2, "{version}");
    ensure!(through.get("k").await?.is_some(), "reads are tried again");
    // Where nobody listens there is no doubt.
    let nobody = Client::builder().endpoints(["127.0.0.1:9"]).timeout(Duration::from_secs(1)).build()?;
    let error = nobody.put("k", "3").await.err().context("nobody listens")?;
    ensure!(error.is_retryable() && !error.outcome_unknown(), "{error:?}");
    Ok(())
}

async fn a_cut_off_leader_knows_before_the_next_one_leads(server: Server) -> Result<()> {
    let (cluster, client) = three(server).await?;
    let proxy = Proxy::start(&cluster.endpoint(0))?;
    let through = Client::builder().endpoints([proxy.endpoint()]).timeout(Duration::from_secs(2)).build()?;
    let session = Session::open(&through, TTL).await?;
    let leadership = Election::new(&through, "e").campaign(&session, "old").await?;
    let token = leadership.token();

    let heir = Session::open(&client, LONG).await?;
    let next = tokio::spawn(async move {
        let won = Election::new(&client, "e").campaign(&heir, "new").await;
        (won, Instant::now())
    });
    sleep(Duration::from_secs(1)).await;
    ensure!(!next.is_finished());

    proxy.cut();
    let cut = Instant::now();
    // The last keep-alive that was answered was sent at most a third of the TTL before the cut.
    let reason = within("the loss", LONG, leadership.lost()).await?;
    let lost = Instant::now();
    ensure!(reason == LostReason::Expired, "{reason:?}");
    let after = lost - cut;
    ensure!(after > TTL / 2 && after < TTL + Duration::from_millis(500), "lost {after:?} after the cut");
    ensure!(leadership.session().remaining().is_zero());

    let (won, granted) = within("the next leader", LONG, next).await??;
    let won = won?;
    ensure!(granted > lost, "granted {:?} before the old leader knew", lost - granted);
    ensure!(won.fence() > leadership.fence());
    // The old leader's proof is worth nothing, even in the hands of somebody who can reach the
    // cluster.
    let other = bystander(&cluster)?;
    ensure!(kind(other.guarded(token).then([Put::new("by", "old")]).commit().await) == Some(ErrorKind::NotHeld));
    proxy.mend();
    ensure!(kind(leadership.txn().then([Put::new("by", "old")]).commit().await) == Some(ErrorKind::NotLeader));
    ensure!(other.get("by").await?.is_none());
    ensure!(session.is_lost(), "a late answer does not bring it back");
    Ok(())
}

async fn work_is_stopped_while_nobody_else_leads(server: Server) -> Result<()> {
    let (cluster, client) = three(server).await?;
    let proxy = Proxy::start(&cluster.endpoint(0))?;
    let through = Client::builder().endpoints([proxy.endpoint()]).timeout(Duration::from_secs(2)).build()?;
    let session = Session::open(&through, TTL).await?;
    let leadership = Election::new(&through, "e").campaign(&session, "old").await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let running = run_as_leader(leadership, async |leading: Leading| {
        let _stopped = WhenDropped(tell.clone());
        leading.stopping().await;
        let _ = tell.send("told");
        std::future::pending::<()>().await;
    });
    let look = async {
        sleep(Duration::from_secs(1)).await;
        proxy.cut();
        let first = told.recv().await;
        let second = told.recv().await;
        let lost = session.is_lost();
        (first, second, lost, client.get(format!("e/{:x}", session.lease())).await)
    };
    let (ran, (first, second, lost, key)) = within("the stop", LONG, futures::future::join(running, look)).await?;
    ensure!(ran == Ran::Stopped(None), "{ran:?}");
    ensure!((first, second) == (Some("told"), Some("stopped")), "{first:?}, then {second:?}");
    ensure!(!lost && key?.is_some(), "it still led when the work had stopped");
    Ok(())
}

struct WhenDropped(mpsc::UnboundedSender<&'static str>);

impl Drop for WhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send("stopped");
    }
}

async fn a_dead_endpoint_is_left(server: Server) -> Result<()> {
    let (mut cluster, _) = three(server).await?;
    // Nobody listens at the first; the second hangs.
    let endpoints = ["http://127.0.0.1:9".to_owned(), cluster.endpoint(0), cluster.endpoint(1), cluster.endpoint(2)];
    let client = Client::builder().endpoints(endpoints).attempt_timeout(Duration::from_secs(1)).build()?;
    client.put("k", "v").await?;
    ensure!(client.endpoints()[1].in_use && client.endpoints()[0].failures > 0);
    cluster.node(0).pause()?;
    let began = Instant::now();
    let read = async || Ok(client.get("k").await?);
    eventually("a read elsewhere", LONG, read).await?;
    let took = began.elapsed();
    cluster.node(0).resume()?;
    // One attempt, and an election if it was the leader that hangs.
    ensure!(took < Duration::from_secs(8), "{took:?}");
    if !client.endpoints()[2].in_use && !client.endpoints()[3].in_use {
        bail!("{:?}", client.endpoints());
    }
    Ok(())
}
