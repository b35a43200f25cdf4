//! Locks and elections while somebody waits: who is served, in which order, and what becomes of
//! those who go.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster_tests::{
    client::{
        bytes, campaign, connect, count, delete, enqueue_by_recipe, get, grant, leader, list, lock, proclaim, put,
        put_leased, queue_key, resign, revoke, text, unlock,
    },
    cluster::Cluster,
    etcdctl::Etcdctl,
    kit::{AT_ONCE, LASTING},
    wait::{LONG, SOON, eventually, within},
};
use conclave_client::{
    Error,
    api::etcdserverpb::{LeaseKeepAliveRequest, LeaseTimeToLiveRequest},
    api::v3electionpb::LeaderKey,
    wire::Client,
};
use futures::future::join_all;
use rand::RngExt;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tonic::Code;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Lock,
    Election,
}

impl Kind {
    const BOTH: [Self; 2] = [Self::Lock, Self::Election];

    /// Waits for the lock or the office; returns the key.
    async fn wait(self, client: &Client, name: &str, lease: i64) -> Result<Bytes, Error> {
        match self {
            Self::Lock => lock(client, name, lease).await,
            Self::Election => campaign(client, name, lease, "value").await.map(|leader| leader.key),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lock => "l",
            Self::Election => "e",
        }
    }

    /// Waits in a task of its own, and until the key is in the queue.
    async fn queue(self, client: &Client, lease: i64) -> Result<Waiting> {
        let waiting = {
            let client = client.clone();
            tokio::spawn(async move { self.wait(&client, self.name(), lease).await })
        };
        in_queue(client, self.name(), lease).await?;
        Ok(waiting)
    }

    /// The error is one of those that etcd's texts have for a waiter whose place is gone.
    fn lost(self, ended: &Result<Bytes, Error>) -> Result<()> {
        let error = ended.as_ref().err().context("a waiter without a place won")?;
        let text = match self {
            Self::Lock => "mutex: session is expired",
            Self::Election => "election: not leader",
        };
        ensure!([text, "etcdserver: requested lease not found"].contains(&error.message()), "{error}");
        Ok(())
    }
}

type Waiting = JoinHandle<Result<Bytes, Error>>;

async fn in_queue(client: &Client, name: &str, lease: i64) -> Result<()> {
    let there = async || get(client, &queue_key(name, lease)).await?.context("not in the queue yet");
    eventually("a place in the queue", SOON, there).await.map(drop)
}

/// The queue's keys, first in line first.
async fn places(client: &Client, name: &str) -> Result<Vec<(String, i64)>> {
    let keys = list(client, &format!("{name}/")).await?;
    Ok(keys.into_iter().map(|kv| (text(&kv.key), kv.create_revision)).collect())
}

/// Three nodes and a client of each.
async fn three() -> Result<(Cluster, [Client; 3])> {
    let cluster = Cluster::start(3).await?;
    let clients = [cluster.client(0)?, cluster.client(1)?, cluster.client(2)?];
    Ok((cluster, clients))
}

/// A holds, B waits behind A, C behind B. B's place goes in some way: B is told at once, and C is
/// next.
async fn place_goes(kind: Kind, how: impl AsyncFn(&Client, i64) -> Result<()>, ttl: i64) -> Result<()> {
    let (_cluster, [one, two, three]) = three().await?;
    let (a, b, c) = (grant(&one, LASTING).await?, grant(&two, ttl).await?, grant(&three, LASTING).await?);
    let held = kind.wait(&one, kind.name(), a).await?;
    let lost = kind.queue(&two, b).await?;
    let next = kind.queue(&three, c).await?;
    how(&one, b).await?;
    kind.lost(&within("the end of a waiter without a place", AT_ONCE, lost).await??)?;
    ensure!(!next.is_finished(), "two hold at once");
    delete(&one, &held).await?;
    let granted = within("the next in line", AT_ONCE, next).await???;
    assert_eq!(text(&granted), queue_key(kind.name(), c));
    assert_eq!(places(&one, kind.name()).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_lapses_ends_its_waiter() -> Result<()> {
    for kind in Kind::BOTH {
        let lapse = async |client: &Client, lease: i64| {
            let key = queue_key(kind.name(), lease);
            let gone = async || {
                ensure!(get(client, &key).await?.is_none(), "still there");
                Ok(())
            };
            eventually("the lapse of a lease", SOON, gone).await
        };
        place_goes(kind, lapse, 2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_revoked_ends_its_waiter() -> Result<()> {
    for kind in Kind::BOTH {
        place_goes(kind, async |client: &Client, lease| Ok(revoke(client, lease).await?), LASTING).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_deleted_ends_its_waiter() -> Result<()> {
    for kind in Kind::BOTH {
        let remove = async |client: &Client, lease| {
            delete(client, queue_key(kind.name(), lease).as_bytes()).await?;
            Ok(())
        };
        place_goes(kind, remove, LASTING).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_unknown_gets_no_place() -> Result<()> {
    let (_cluster, [one, ..]) = three().await?;
    for kind in Kind::BOTH {
        let error = kind.wait(&one, kind.name(), 4711).await.err().context("a place without a lease")?;
        assert_eq!((error.code(), error.message()), (Code::NotFound, "etcdserver: requested lease not found"));
        assert_eq!(places(&one, kind.name()).await?, []);
    }
    Ok(())
}

#[tokio::test]
async fn a_cancelled_waiter_leaves_no_key() -> Result<()> {
    let (_cluster, [one, two, _]) = three().await?;
    for kind in Kind::BOTH {
        let (a, b) = (grant(&one, LASTING).await?, grant(&one, LASTING).await?);
        kind.wait(&one, kind.name(), a).await?;
        let waiting = kind.queue(&two, b).await?;
        waiting.abort();
        let only_the_holder = async || {
            ensure!(count(&one, &format!("{}/", kind.name())).await? == 1, "a key is left");
            Ok(())
        };
        eventually("the key's removal", AT_ONCE, only_the_holder).await?;
    }
    Ok(())
}

/// Cancelled at any moment of the first round: before it is sent, on its way, proposed, or just in
/// the queue.
#[tokio::test]
async fn a_waiter_cancelled_in_its_first_round_leaves_no_key() -> Result<()> {
    let (cluster, [one, ..]) = three().await?;
    for kind in Kind::BOTH {
        let holder = grant(&one, LASTING).await?;
        kind.wait(&one, kind.name(), holder).await?;
        for round in 0..150 {
            // Each with its own connection, so that some cancel by a reset stream and some by a
            // lost connection.
            let client = cluster.client(round % 3)?;
            let lease = grant(&client, LASTING).await?;
            let patience = Duration::from_micros(rand::rng().random_range(0..3000));
            let attempt = tokio::time::timeout(patience, kind.wait(&client, kind.name(), lease)).await;
            ensure!(attempt.is_err(), "two hold at once: {attempt:?}");
        }
        let only_the_holder = async || {
            let left = places(&one, kind.name()).await?;
            ensure!(left.len() == 1, "keys are left: {left:?}");
            Ok(())
        };
        eventually("the removal of all keys", SOON, only_the_holder).await?;
        // Whatever was still on its way must not come later either.
        tokio::time::sleep(Duration::from_millis(500)).await;
        only_the_holder().await?;
    }
    Ok(())
}

/// Waits for a lock whatever becomes of the connection, with one lease, and tells how often the
/// call failed.
async fn persist(endpoints: &[String], name: &str, lease: i64) -> Result<(Bytes, usize)> {
    let mut failures = 0;
    loop {
        let client = connect(&[endpoints[failures % endpoints.len()].clone()])?;
        match lock(&client, name, lease).await {
            Ok(key) => return Ok((key, failures)),
            Err(error) => {
                ensure!(error.code() != Code::NotFound && failures < 200, "{error}");
                failures += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test]
async fn the_clusters_leader_dies_while_a_hundred_wait() -> Result<()> {
    let (mut cluster, _) = three().await?;
    let victim = cluster.leader().await?;
    let survivor = cluster.client((victim + 1) % 3)?;
    let holder = grant(&survivor, LASTING).await?;
    let held = lock(&survivor, "l", holder).await?;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for i in 0..100 {
        let lease = grant(&survivor, LASTING).await?;
        // The node it is connected to first, then the others: all waiters of the victim must move.
        let mut endpoints = cluster.endpoints();
        endpoints.rotate_left(i % 3);
        let served = Arc::clone(&served);
        let waiter = async move {
            let (key, failures) = persist(&endpoints, "l", lease).await?;
            served.lock().expect("nobody panics here").push(text(&key));
            // Through the node that is alive by now, whichever it is.
            let client = connect(&endpoints)?;
            eventually("an unlock", LONG, async || Ok(unlock(&client, &key).await?)).await?;
            anyhow::Ok((i % 3, failures))
        };
        waiters.push(tokio::spawn(waiter));
    }
    let all = async || {
        ensure!(count(&survivor, "l/").await? == 101, "not all are in the queue");
        Ok(())
    };
    eventually("101 places", LONG, all).await?;
    let before = places(&survivor, "l").await?;

    cluster.node(victim).kill()?;
    cluster.leader_other_than(victim).await?;
    assert_eq!(eventually("the queue", SOON, async || places(&survivor, "l").await).await?, before, "a place is lost");
    unlock(&survivor, &held).await?;
    let ends = within("a hundred hand-overs", LONG, join_all(waiters)).await?;
    for end in ends {
        let (first, failures) = end??;
        ensure!(first == victim || failures == 0, "a waiter at n{} saw the leader's death", first + 1);
    }
    let order: Vec<String> = before.into_iter().skip(1).map(|(key, _)| key).collect();
    assert_eq!(*served.lock().expect("nobody panics here"), order, "served out of order");
    Ok(())
}

/// A client that campaigns at the moment when the leader goes is served: a place that is asked for
/// twice is one place.
#[tokio::test]
async fn a_campaign_outlives_the_clusters_leader() -> Result<()> {
    let (mut cluster, _) = three().await?;
    let victim = cluster.leader().await?;
    let endpoint = cluster.endpoint((victim + 1) % 3);
    let until = Instant::now() + Duration::from_secs(3);
    let mut candidates = Vec::new();
    for i in 0..24 {
        let client = connect(std::slice::from_ref(&endpoint))?;
        let lease = grant(&client, LASTING).await?;
        let candidate = async move {
            let mut terms = 0;
            while Instant::now() < until {
                let leader = campaign(&client, &format!("e{i}"), lease, "me").await.context("campaign")?;
                eventually("a resignation", SOON, async || Ok(resign(&client, &leader).await?)).await?;
                terms += 1;
            }
            anyhow::Ok(terms)
        };
        candidates.push(tokio::spawn(candidate));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.node(victim).kill()?;
    for candidate in join_all(candidates).await {
        ensure!(candidate?? > 0, "a candidate was never elected");
    }
    Ok(())
}

#[tokio::test]
async fn unlock_deletes_nothing_but_its_lock() -> Result<()> {
    let (_cluster, [one, two, _]) = three().await?;
    let lease = grant(&one, LASTING).await?;
    put(&one, "precious", "x").await?;
    unlock(&one, b"precious").await.context("Unlock of a foreign key is no error")?;
    ensure!(get(&one, "precious").await?.is_some(), "a foreign key is gone");
    enqueue_by_recipe(&one, "raw", lease, "").await?;
    unlock(&two, queue_key("raw", lease).as_bytes()).await?;
    ensure!(get(&one, &queue_key("raw", lease)).await?.is_some(), "a place of somebody's own recipe is gone");
    let office = campaign(&one, "office", lease, "x").await?;
    unlock(&two, &office.key).await?;
    ensure!(leader(&one, "office").await.is_ok(), "an office is gone");

    let key = lock(&one, "l", lease).await?;
    delete(&two, &key).await?;
    put_leased(&two, &text(&key), "re-created", lease).await?;
    unlock(&one, &key).await?;
    ensure!(get(&one, &text(&key)).await?.is_some(), "a re-created key is gone");
    delete(&two, &key).await?;

    let key = lock(&one, "l", lease).await?;
    put_leased(&two, &text(&key), "overwritten", lease).await?;
    unlock(&two, &key).await?;
    ensure!(get(&one, &text(&key)).await?.is_none(), "an overwritten lock is the same lock");
    unlock(&one, &key).await.context("a second Unlock is no error")?;
    Ok(())
}

#[tokio::test]
async fn proclaim_keeps_the_keys_lease() -> Result<()> {
    let (_cluster, [one, two, _]) = three().await?;
    let (lease, other) = (grant(&one, LASTING).await?, grant(&one, LASTING).await?);
    let office = campaign(&one, "e", lease, "first").await?;
    for (told, value) in [(lease, "second"), (0, "third"), (other, "fourth")] {
        proclaim(&two, &LeaderKey { lease: told, ..office.clone() }, value).await?;
        let kv = leader(&one, "e").await?.kv.context("no leader")?;
        assert_eq!((text(&kv.value), kv.lease, kv.create_revision), (value.into(), lease, office.rev));
    }
    revoke(&one, lease).await?;
    let error = proclaim(&one, &office, "ghost").await.err().context("a ghost proclaimed")?;
    assert_eq!(error.message(), "election: not leader");
    Ok(())
}

#[tokio::test]
async fn a_stale_resign_is_harmless() -> Result<()> {
    let (_cluster, [one, two, _]) = three().await?;
    let (a, b) = (grant(&one, LASTING).await?, grant(&one, LASTING).await?);
    let first = campaign(&one, "e", a, "a").await?;
    resign(&one, &first).await?;
    let second = campaign(&one, "e", a, "a again").await?;
    ensure!(second.key == first.key && second.rev > first.rev, "{first:?}, then {second:?}");
    resign(&two, &first).await.context("a stale Resign is no error")?;
    let kv = leader(&one, "e").await?.kv.context("a stale Resign took the office")?;
    assert_eq!(kv.create_revision, second.rev);
    let stale = proclaim(&one, &first, "ghost").await.err().context("a stale Proclaim")?;
    assert_eq!((stale.code(), stale.message()), (Code::FailedPrecondition, "election: not leader"));
    let waiting = Kind::Election.queue(&two, b).await?;
    resign(&one, &second).await?;
    within("the next in line", AT_ONCE, waiting).await???;
    Ok(())
}

#[tokio::test]
async fn the_same_lease_keeps_its_place() -> Result<()> {
    let (_cluster, [one, two, three]) = three().await?;
    for kind in Kind::BOTH {
        let leases = [grant(&one, LASTING).await?, grant(&one, LASTING).await?, grant(&one, LASTING).await?];
        let held = kind.wait(&one, kind.name(), leases[0]).await?;
        let again = within("asking again", AT_ONCE, kind.wait(&two, kind.name(), leases[0])).await??;
        assert_eq!(again, held, "who holds may ask again");
        let (b, c) = (kind.queue(&two, leases[1]).await?, kind.queue(&three, leases[2]).await?);
        let before = places(&one, kind.name()).await?;
        let second = kind.queue(&three, leases[1]).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(places(&one, kind.name()).await?, before, "asking again changed the queue");
        delete(&one, &held).await?;
        let (b, second) = (within("b", AT_ONCE, b).await???, within("b again", AT_ONCE, second).await???);
        assert_eq!((text(&b), b), (queue_key(kind.name(), leases[1]), second));
        ensure!(!c.is_finished(), "two hold at once");
    }
    Ok(())
}

#[tokio::test]
async fn a_campaign_again_changes_the_value_and_keeps_the_place() -> Result<()> {
    let (_cluster, [one, ..]) = three().await?;
    let lease = grant(&one, LASTING).await?;
    let first = campaign(&one, "e", lease, "old").await?;
    let second = campaign(&one, "e", lease, "new").await?;
    assert_eq!((first.rev, &first.key), (second.rev, &second.key));
    assert_eq!(leader(&one, "e").await?.kv.context("no leader")?.value, bytes("new"));
    Ok(())
}

async fn remaining(client: &Client, lease: i64) -> Result<i64> {
    Ok(client.lease().time_to_live(LeaseTimeToLiveRequest { id: lease, keys: false }).await?.ttl)
}

/// etcd's lease of 60 seconds for who brings none. Waits longer than that, so this test takes its
/// time.
#[tokio::test]
async fn a_lock_without_a_lease_is_refreshed_while_it_waits() -> Result<()> {
    const GRANTED: i64 = 60;
    let (_cluster, [one, two, _]) = three().await?;
    let holder = grant(&one, LASTING).await?;
    for kind in Kind::BOTH {
        kind.wait(&one, kind.name(), holder).await?;
    }
    let wait = |kind: Kind| {
        let client = two.clone();
        tokio::spawn(async move { kind.wait(&client, kind.name(), 0).await })
    };
    let waiting = Kind::BOTH.map(wait);
    tokio::time::sleep(Duration::from_secs(63)).await;
    for (kind, waiting) in Kind::BOTH.into_iter().zip(waiting) {
        ensure!(!waiting.is_finished(), "a waiter without a lease gave up: {:?}", waiting.await);
        delete(&one, queue_key(kind.name(), holder).as_bytes()).await?;
        let key = within("the next in line", AT_ONCE, waiting).await???;
        let kv = get(&one, &text(&key)).await?.context("granted without a key")?;
        let left = remaining(&one, kv.lease).await?;
        ensure!((GRANTED - 3..=GRANTED).contains(&left), "{left} seconds are left at the grant");
    }
    Ok(())
}

/// What etcd's own clients do: hold while no older key is left under the name.
async fn own_recipe(client: &Client, name: &str, lease: i64) -> Result<()> {
    let mine = queue_key(name, lease);
    let first = async || {
        let queue = places(client, name).await?;
        let first = &queue.first().context("the queue is empty")?.0;
        ensure!(*first == mine, "{first} is before {mine}");
        Ok(())
    };
    eventually("an own recipe's turn", LONG, first).await
}

/// Every other waiter runs the recipe itself; the server's queue must give way to them and they to
/// it.
#[tokio::test]
async fn recipes_and_the_servers_queue_share_one_order() -> Result<()> {
    let (_cluster, clients) = three().await?;
    for kind in Kind::BOTH {
        let served = Arc::new(Mutex::new(Vec::new()));
        let holder = grant(&clients[0], LASTING).await?;
        kind.wait(&clients[0], kind.name(), holder).await?;
        let mut waiters = Vec::new();
        for i in 0..12 {
            let client = clients[i % 3].clone();
            let lease = grant(&client, LASTING).await?;
            let served = Arc::clone(&served);
            if i % 2 == 0 {
                enqueue_by_recipe(&client, kind.name(), lease, "recipe").await?;
            }
            let queue = client.clone();
            let waiter = async move {
                if i % 2 == 0 {
                    own_recipe(&client, kind.name(), lease).await?;
                } else {
                    kind.wait(&client, kind.name(), lease).await?;
                }
                let key = queue_key(kind.name(), lease);
                served.lock().expect("nobody panics here").push(key.clone());
                tokio::time::sleep(Duration::from_millis(20)).await;
                ensure!(delete(&client, key.as_bytes()).await? == 1, "{key} was gone while it held");
                Ok(())
            };
            waiters.push(tokio::spawn(waiter));
            in_queue(&queue, kind.name(), lease).await?;
        }
        let order: Vec<String> =
            places(&clients[0], kind.name()).await?.into_iter().skip(1).map(|(key, _)| key).collect();
        assert_eq!(order.len(), 12);
        delete(&clients[0], queue_key(kind.name(), holder).as_bytes()).await?;
        for end in within("all turns", LONG, join_all(waiters)).await? {
            end??;
        }
        assert_eq!(*served.lock().expect("nobody panics here"), order, "served out of order");
    }
    Ok(())
}

#[tokio::test]
async fn etcdctl_and_the_servers_queue_share_one_order() -> Result<()> {
    let (cluster, [one, ..]) = three().await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    let (b, d) = (grant(&one, LASTING).await?, grant(&one, LASTING).await?);
    let mut a = etcdctl.start(&["lock", "l"])?;
    a.line().await?;
    let b = Kind::Lock.queue(&one, b).await?;
    let mut c = etcdctl.start(&["lock", "l"])?;
    eventually("three places", SOON, async || {
        ensure!(places(&one, "l").await?.len() == 3, "not yet");
        Ok(())
    })
    .await?;
    let d = Kind::Lock.queue(&one, d).await?;
    ensure!(!b.is_finished(), "b did not wait for etcdctl");
    a.interrupt().await?;
    let held = within("b", AT_ONCE, b).await???;
    c.silent_for(Duration::from_millis(300)).await?;
    unlock(&one, &held).await?;
    c.line().await?;
    ensure!(!d.is_finished(), "d did not wait for etcdctl");
    c.interrupt().await?;
    within("d", AT_ONCE, d).await???;

    let mut anna = etcdctl.start(&["elect", "e", "anna"])?;
    anna.line().await?;
    let lease = grant(&one, LASTING).await?;
    let bert = Kind::Election.queue(&one, lease).await?;
    let mut carl = etcdctl.start(&["elect", "e", "carl"])?;
    eventually("three places", SOON, async || {
        ensure!(places(&one, "e").await?.len() == 3, "not yet");
        Ok(())
    })
    .await?;
    anna.interrupt().await?;
    let office = within("bert", AT_ONCE, bert).await???;
    carl.silent_for(Duration::from_millis(300)).await?;
    delete(&one, &office).await?;
    carl.line().await?;
    assert_eq!(carl.line().await?, "carl");
    Ok(())
}

/// A holder that keeps its lease alive keeps its lock; its keep-alives may go through any node.
#[tokio::test]
async fn a_lease_kept_alive_through_any_node_holds() -> Result<()> {
    let (_cluster, clients) = three().await?;
    let lease = grant(&clients[0], 2).await?;
    lock(&clients[0], "l", lease).await?;
    let mut streams = Vec::new();
    for client in &clients {
        streams.push(client.lease().keep_alives());
    }
    for beat in 0..12 {
        let stream = &mut streams[beat % 3];
        stream.sender().send(LeaseKeepAliveRequest { id: lease }).await?;
        let answer = within("a keep-alive", AT_ONCE, stream.next()).await??.context("the stream ended")?;
        ensure!(answer.ttl > 0, "the lease lapsed at beat {beat}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    ensure!(get(&clients[1], &queue_key("l", lease)).await?.is_some(), "the lock is gone");
    Ok(())
}
