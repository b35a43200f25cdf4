//! The Rust crate `etcd-client`, unchanged, against three nodes.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    wait::{SOON, within},
};
use etcd_client::{
    Client, Compare, CompareOp, EventType, GetOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions,
    SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};

async fn connected(cluster: &Cluster) -> Result<Client> {
    Ok(Client::connect(cluster.endpoints(), None).await?)
}

#[tokio::test]
async fn kv() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut client = connected(&cluster).await?;
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        client.put(key, value, None).await?;
    }
    let before = client.put("a", "4", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(before.prev_key().context("no previous value")?.value(), b"1");
    let newest = GetOptions::new().with_all_keys().with_sort(SortTarget::Mod, SortOrder::Descend).with_limit(2);
    let found = client.get("", Some(newest)).await?;
    let keys: Vec<_> = found.kvs().iter().map(|kv| kv.key_str().unwrap_or("?")).collect();
    assert_eq!((keys, found.count(), found.more()), (vec!["a", "c"], 3, true));
    let txn = Txn::new()
        .when([Compare::value("a", CompareOp::Equal, "4"), Compare::version("x", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("x", "5", None), TxnOp::delete("b", None)])
        .or_else([TxnOp::get("a", None)]);
    ensure!(client.txn(txn.clone()).await?.succeeded(), "the comparison holds");
    ensure!(!client.txn(txn).await?.succeeded(), "the comparison holds no longer");
    assert_eq!(client.delete("x", None).await?.deleted(), 1);
    Ok(())
}

#[tokio::test]
async fn watch_and_lease() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut client = connected(&cluster).await?;
    let mut events = client.watch("w", Some(WatchOptions::new().with_prefix().with_prev_key())).await?;
    let lease = client.lease_grant(2, None).await?;
    client.put("w1", "x", Some(PutOptions::new().with_lease(lease.id()))).await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(lease.id()).await?;
    keeper.keep_alive().await?;
    let answer = within("a keep-alive", SOON, kept.message()).await??.context("no keep-alive")?;
    assert_eq!((answer.id(), answer.ttl()), (lease.id(), lease.ttl()));
    // Left alone, the lease lapses and takes its key along.
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = within("an event", SOON, events.message()).await??.context("the watch ended")?;
        seen.extend(message.events().iter().cloned());
    }
    assert_eq!((seen[0].event_type(), seen[1].event_type()), (EventType::Put, EventType::Delete));
    assert_eq!(seen[1].prev_kv().context("no previous value")?.value(), b"x");
    keeper.keep_alive().await?;
    let answer = within("a keep-alive", SOON, kept.message()).await??;
    ensure!(answer.is_none_or(|answer| answer.ttl() <= 0), "a lapsed lease was kept alive");
    Ok(())
}

#[tokio::test]
async fn lock() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (mut first, mut second) = (connected(&cluster).await?, connected(&cluster).await?);
    let lease = first.lease_grant(60, None).await?.id();
    let held = first.lock("l", Some(LockOptions::new().with_lease(lease))).await?;
    assert_eq!(held.key(), format!("l/{lease:x}").as_bytes());
    let mut waiting = tokio::spawn(async move {
        let lock = second.lock("l", None).await?;
        second.unlock(lock.key()).await?;
        anyhow::Ok(lock.key().to_vec())
    });
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut waiting).await;
    ensure!(early.is_err(), "two hold one lock");
    first.unlock(held.key()).await?;
    let key = within("the lock", SOON, waiting).await???;
    ensure!(key.starts_with(b"l/") && key != held.key(), "{key:?}");
    Ok(())
}

#[tokio::test]
async fn election() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut client = connected(&cluster).await?;
    let nobody = client.leader("e").await.err().context("somebody leads")?.to_string();
    ensure!(nobody.contains("election: no leader"), "{nobody}");
    let (anna, bert) = (client.lease_grant(60, None).await?.id(), client.lease_grant(60, None).await?.id());
    // etcd answers an observation only once there is something to observe.
    let mut observer = client.clone();
    let (observed, first) = tokio::join!(observer.observe("e"), client.campaign("e", "anna", anna));
    let (mut observed, first) = (observed?, first?);
    let leader = first.leader().context("no leader key")?.clone();
    assert_eq!((leader.name(), leader.lease()), (&b"e"[..], anna));
    assert_eq!(leader.key(), format!("e/{anna:x}").as_bytes());
    let value = async |stream: &mut etcd_client::ObserveStream| -> Result<String> {
        let seen = within("an observation", SOON, stream.message()).await??.context("the observation ended")?;
        Ok(seen.kv().context("no key observed")?.value_str()?.to_owned())
    };
    assert_eq!(value(&mut observed).await?, "anna");
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.campaign("e", "bert", bert).await });
    client.proclaim("anna II", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    assert_eq!(value(&mut observed).await?, "anna II");
    assert_eq!(client.leader("e").await?.kv().context("no leader")?.value(), b"anna II");
    ensure!(!waiting.is_finished(), "two lead");
    client.resign(Some(ResignOptions::new().with_leader(leader.clone()))).await?;
    let second = within("the election", SOON, waiting).await???;
    assert_eq!(second.leader().context("no leader key")?.lease(), bert);
    assert_eq!(value(&mut observed).await?, "bert");
    let late = client.proclaim("ghost", Some(ProclaimOptions::new().with_leader(leader))).await;
    let late = late.err().context("who resigned proclaimed")?.to_string();
    ensure!(late.contains("election: not leader"), "{late}");
    Ok(())
}
