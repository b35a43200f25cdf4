//! SIGTERM: leadership goes to somebody else, the process ends quickly with status 0, and nothing
//! is lost.

use anyhow::{Result, ensure};
use cluster_tests::{
    check,
    client::{grant, lock, put, queue_key},
    cluster::Cluster,
    load::Load,
    report,
    wait::{SOON, eventually},
};
use conclave_client::api::etcdserverpb::WatchCreateRequest;
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// How long a stop may take on a busy machine.
const QUICKLY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_leader_hands_over_and_ends() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let leader = cluster.leader().await?;
        let load = Load { prefix: format!("load/{}/", gaps.len()), ..Default::default() };
        let running = load.start(&cluster.endpoints())?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let asked = running.recorder().now();
        let (status, took) = cluster.node(leader).terminate(SOON).await?;
        ensure!(status.success(), "ended with {status}");
        ensure!(took < QUICKLY, "took {took:?}");
        cluster.leader_other_than(leader).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.restart(leader).await?;
        let history = running.stop().await?;
        check::everything(&cluster, &history, &load.prefix).await?;
        let resumed = history.first_write_sent_after(asked).unwrap_or(Duration::MAX).saturating_sub(asked);
        gaps.push((resumed, took));
    }
    report(&format!("SIGTERM of the leader, until the next write and until the end: {gaps:.0?}"));
    gaps.sort();
    // Handed over, not elected after a silence: no election timeout passes.
    ensure!(gaps[gaps.len() / 2].0 < Duration::from_millis(600), "{gaps:?}");
    Ok(())
}

/// Open watches, waiting locks and keep-alive streams do not hold up the end.
#[tokio::test]
async fn open_streams_hold_up_nothing() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    for i in 0..3 {
        let client = cluster.client(i)?;
        let lease = grant(&client, 300).await?;
        let mut kept = client.lease().keep_alives();
        kept.send(lease).await?;
        kept.next().await?;
        let mut watch = client.watch().open();
        watch.create(WatchCreateRequest { key: "k".into(), ..Default::default() }).await?;
        watch.next().await?;
        let holder = grant(&client, 300).await?;
        let name = format!("l{i}");
        lock(&client, &name, holder).await?;
        let (waiting, waits_on) = (client.clone(), name.clone());
        let waiting = tokio::spawn(async move { lock(&waiting, &waits_on, lease).await });
        let queued = async || {
            let key = queue_key(&name, lease);
            ensure!(cluster_tests::client::get(&client, &key).await?.is_some(), "not in the queue");
            Ok(())
        };
        eventually("a waiter", SOON, queued).await?;
        let (status, took) = cluster.node(i).terminate(SOON).await?;
        ensure!(status.success() && took < QUICKLY, "n{} ended with {status} after {took:?}", i + 1);
        let ended = tokio::time::timeout(SOON, waiting).await??;
        ensure!(ended.is_err(), "a waiter at a node that is gone holds a lock");
        cluster.restart(i).await?;
    }
    Ok(())
}

/// Nor do connections at the peers' port, whatever they have said so far.
#[tokio::test]
async fn half_open_connections_hold_up_nothing() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    for i in 0..3 {
        let mut open = Vec::new();
        for said in [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"conc",
            b"conclave log 1\n",
            b"conclave log 1\n\0\0\0\x06\x08",
        ] {
            let mut connection = TcpStream::connect(("127.0.0.1", cluster.address(i).peer)).await?;
            connection.write_all(said).await?;
            open.push(connection);
        }
        put(&cluster.client(i)?, "k", "v").await?;
        let (status, took) = cluster.node(i).terminate(SOON).await?;
        ensure!(status.success() && took < QUICKLY, "n{} ended with {status} after {took:?}", i + 1);
        cluster.restart(i).await?;
    }
    Ok(())
}

#[tokio::test]
async fn all_at_once_and_back() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    put(&cluster.client(0)?, "k", "v").await?;
    for _ in 0..3 {
        cluster.terminate_all().await?;
        cluster.spawn_all()?;
        cluster.ready_all().await?;
        cluster.serves_everywhere().await?;
        check::digests_equal(&cluster).await?;
    }
    let value = cluster_tests::client::get(&cluster.client(2)?, "k").await?;
    ensure!(value.is_some(), "the key is gone");
    Ok(())
}
