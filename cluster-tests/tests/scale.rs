//! Many at once: leases that lapse together, waiters on one lock.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster_tests::{
    client::{connect, count, grant, list, lock, put_leased, text, unlock},
    cluster::Cluster,
    report,
    wait::{LONG, eventually, within},
};
use conclave_client::{api::etcdserverpb::LeaseLeasesRequest, wire::Client};
use futures::{StreamExt, stream};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Calls under way at once.
const PARALLEL: usize = 128;

/// Several connections, spread over the nodes.
fn connections(cluster: &Cluster, each: usize) -> Result<Vec<Client>> {
    let endpoints = cluster.endpoints();
    (0..each * endpoints.len()).map(|i| connect(&[endpoints[i % endpoints.len()].clone()])).collect()
}

/// Grants leases, each with a key if `prefix` is given.
async fn leases(clients: &[Client], number: usize, ttl: i64, prefix: Option<&str>) -> Result<Vec<i64>> {
    let one = |i: usize| {
        let client = clients[i % clients.len()].clone();
        let key = prefix.map(|prefix| format!("{prefix}{i}"));
        async move {
            let id = grant(&client, ttl).await?;
            if let Some(key) = key {
                put_leased(&client, &key, "x", id).await?;
            }
            anyhow::Ok(id)
        }
    };
    let all: Vec<Result<i64>> = stream::iter(0..number).map(one).buffer_unordered(PARALLEL).collect().await;
    all.into_iter().collect()
}

/// Keeps all alive once, over one stream.
async fn keep_alive(client: &Client, ids: &[i64]) -> Result<()> {
    let mut stream = client.lease().keep_alives();
    let (sender, ids_to_send) = (stream.sender(), ids.to_vec());
    let asking = tokio::spawn(async move {
        for id in ids_to_send {
            if sender.send(conclave_client::api::etcdserverpb::LeaseKeepAliveRequest { id }).await.is_err() {
                break;
            }
        }
    });
    for i in 0..ids.len() {
        let answer = within("a keep-alive", LONG, stream.next()).await??.context("the stream ended")?;
        ensure!(answer.ttl > 0, "keep-alive {i}: the lease is gone");
    }
    asking.await?;
    Ok(())
}

#[tokio::test]
async fn twenty_thousand_leases_lapse_together() -> Result<()> {
    const LEASES: usize = 20_000;
    const TTL: i64 = 30;
    let cluster = Cluster::start(3).await?;
    let clients = connections(&cluster, 4)?;
    let ids = leases(&clients, LEASES, TTL, Some("leased/")).await?;
    let observer = cluster.client(0)?;
    assert_eq!(count(&observer, "leased/").await?, i64::try_from(LEASES)?);
    // From here on all have the same time left, up to the time that this takes.
    let first = Instant::now();
    keep_alive(&cluster.client(1)?, &ids).await?;
    let ttl = Duration::from_secs(u64::try_from(TTL)?);
    let (earliest, latest) = (first + ttl, Instant::now() + ttl);

    tokio::time::sleep_until((earliest - Duration::from_millis(300)).into()).await;
    let early = count(&observer, "leased/").await?;
    ensure!(Instant::now() >= earliest || early == i64::try_from(LEASES)?, "{early} are left before the time");
    let all_gone = async || {
        let left = count(&observer, "leased/").await?;
        ensure!(left == 0, "{left} keys are left");
        Ok(())
    };
    eventually("the lapse of all leases", LONG, all_gone).await?;
    let late = Instant::now().saturating_duration_since(latest);
    let left = observer.lease().leases(LeaseLeasesRequest {}).await?.leases.len();
    assert_eq!(left, 0, "leases are left");
    report(&format!(
        "{LEASES} leases, kept alive within {:.1?}, were gone {late:.2?} after the last was due",
        latest - earliest
    ));
    // 2 seconds, and room for a busy machine.
    ensure!(late < Duration::from_secs(4), "the last lease was gone {late:?} late");
    cluster_tests::check::digests_equal(&cluster).await.map(drop)
}

#[tokio::test]
async fn ten_thousand_wait_for_one_lock() -> Result<()> {
    const WAITERS: usize = 10_000;
    let cluster = Cluster::start(3).await?;
    let clients = connections(&cluster, 8)?;
    let observer = cluster.client(0)?;
    let holder = grant(&observer, 600).await?;
    let held = lock(&observer, "l", holder).await?;
    let ids = leases(&clients, WAITERS, 600, None).await?;
    let served = Arc::new(Mutex::new(Vec::<Bytes>::with_capacity(WAITERS)));
    let waiters = ids.into_iter().enumerate().map(|(i, lease)| {
        let (client, served) = (clients[i % clients.len()].clone(), Arc::clone(&served));
        tokio::spawn(async move {
            let key = lock(&client, "l", lease).await?;
            served.lock().expect("nobody panics here").push(key.clone());
            unlock(&client, &key).await
        })
    });
    let waiters: Vec<_> = waiters.collect();
    let places = i64::try_from(WAITERS)? + 1;
    let queued = async || {
        let there = count(&observer, "l/").await?;
        ensure!(there == places, "{there} places of {places}");
        Ok(())
    };
    eventually("all waiters in the queue", 2 * LONG, queued).await?;
    let order: Vec<String> = list(&observer, "l/").await?.iter().map(|kv| text(&kv.key)).skip(1).collect();
    ensure!(served.lock().expect("nobody panics here").is_empty(), "somebody was served while the lock is held");

    let began = Instant::now();
    unlock(&observer, &held).await?;
    for waiter in waiters {
        within("all turns", 3 * LONG, waiter).await???;
    }
    let took = began.elapsed();
    let rate = f64::from(u32::try_from(WAITERS)?) / took.as_secs_f64();
    report(&format!("{WAITERS} waiters on one lock were served in {took:.1?}, {rate:.0}/s"));
    let served: Vec<String> = served.lock().expect("nobody panics here").iter().map(|key| text(key)).collect();
    assert_eq!(served.len(), order.len());
    let out_of_order = served.iter().zip(&order).position(|(one, other)| one != other);
    ensure!(out_of_order.is_none(), "served out of order from number {out_of_order:?} on");
    assert_eq!(count(&observer, "l/").await?, 0);
    Ok(())
}
