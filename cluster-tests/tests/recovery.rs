//! Nodes that go and come back: nothing acknowledged is lost, nothing wrong is read, and all nodes
//! come to hold the same.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    check,
    client::{connect, get, grant, present, put, put_leased, put_request},
    cluster::Cluster,
    history::History,
    load::Load,
    report,
    status::metric,
    wait::{LONG, SOON, eventually, within},
};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

async fn rest(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn told(what: &str, history: &History) {
    let (acknowledged, unknown) = history.counts();
    report(&format!("{what}: {acknowledged} operations acknowledged, {unknown} unknown"));
}

/// A read must not wait for a write: after a restart the committed state is there by the new
/// leader's own doing.
#[tokio::test]
async fn all_restart_a_hundred_times_and_are_read_without_a_write() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    for i in 0..20 {
        put(&cluster.client(i % 3)?, &format!("k{i}"), "v").await?;
    }
    let written = put(&cluster.client(0)?, "last", "x").await?;
    let mut longest = Duration::ZERO;
    for round in 0..100 {
        if round % 2 == 0 {
            cluster.kill_all()?;
        } else {
            cluster.terminate_all().await?;
        }
        cluster.spawn_all()?;
        cluster.ready_all().await?;
        for i in 0..3 {
            let began = Instant::now();
            let client = cluster.client(i)?;
            // Ready means that it serves; an election in between may fail one read, which is asked
            // again at once.
            let read = async || Ok(client.kv().range(cluster_tests::client::get_request("last")).await?);
            let answer = eventually("a read after a restart", SOON, read).await;
            let answer = answer.with_context(|| format!("round {round}, through n{}", i + 1))?;
            longest = longest.max(began.elapsed());
            let revision = answer.header.context("no header")?.revision;
            ensure!(answer.count == 1 && revision == written, "round {round}, n{}: revision {revision}", i + 1);
        }
    }
    report(&format!("100 restarts of all nodes: the longest first read took {longest:.0?}"));
    ensure!(longest < Duration::from_secs(5), "a read took {longest:?}");
    check::digests_equal(&cluster).await.map(drop)
}

#[tokio::test]
async fn followers_restart_fifty_times_under_load() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load { clients: 12, keys: 50, pause: Duration::ZERO, ..Default::default() };
    let running = load.start(&cluster.endpoints())?;
    for round in 0..50 {
        let leader = cluster.leader().await?;
        let follower = (leader + 1 + round % 2) % 3;
        if round % 5 == 4 {
            cluster.node(follower).terminate(SOON).await?;
            cluster.node(follower).spawn()?;
            cluster.node(follower).ready(LONG).await?;
        } else {
            cluster.restart(follower).await?;
        }
        check::digests_equal(&cluster).await.with_context(|| format!("after restart {round}"))?;
    }
    let history = running.stop().await?;
    told("50 restarts of followers", &history);
    check::everything(&cluster, &history, &load.prefix).await?;
    // A stop flushes; what was flushed must be the same, too.
    cluster.terminate_all().await?;
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    check::everything(&cluster, &history, &load.prefix).await.map(drop)
}

/// Stops some nodes in one way or another under load, and lets them come back.
async fn disturb(size: usize, sets: &[Vec<usize>], kill: bool) -> Result<()> {
    let mut cluster = Cluster::start(size).await?;
    let load = Load::default();
    let running = load.start(&cluster.endpoints())?;
    for nodes in sets {
        for i in nodes {
            if kill {
                cluster.node(*i).kill()?;
            } else {
                cluster.node(*i).pause()?;
            }
        }
        let away_since = running.recorder().now();
        rest(500).await;
        let going_on = async || {
            let first = running.recorder().history().first_write_sent_after(away_since);
            first.context("no write went through").map(drop)
        };
        eventually(&format!("a write while {nodes:?} were away"), SOON, going_on).await?;
        for i in nodes {
            if kill {
                cluster.node(*i).spawn()?;
            } else {
                cluster.node(*i).resume()?;
            }
        }
        if kill {
            cluster.ready_all().await?;
        }
        rest(300).await;
    }
    let history = running.stop().await?;
    told(&format!("{} faults among {size} nodes, {}", sets.len(), if kill { "killed" } else { "stopped" }), &history);
    check::everything(&cluster, &history, &load.prefix).await.map(drop)
}

/// Twice each, so that the leader is among them more than once.
fn singles() -> Vec<Vec<usize>> {
    [0, 1, 2, 0, 1, 2].map(|i| vec![i]).to_vec()
}

fn pairs_of_five() -> Vec<Vec<usize>> {
    (0..5).flat_map(|a| (a + 1..5).map(move |b| vec![a, b])).collect()
}

#[tokio::test]
async fn any_one_of_three_is_killed() -> Result<()> {
    disturb(3, &singles(), true).await
}

#[tokio::test]
async fn any_one_of_three_stops_and_goes_on() -> Result<()> {
    disturb(3, &singles(), false).await
}

#[tokio::test]
async fn any_two_of_five_are_killed() -> Result<()> {
    disturb(5, &pairs_of_five(), true).await
}

#[tokio::test]
async fn any_two_of_five_stop_and_go_on() -> Result<()> {
    disturb(5, &pairs_of_five(), false).await
}

#[tokio::test]
async fn all_are_killed_at_once_and_come_back() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load { pause: Duration::ZERO, clients: 16, ..Default::default() };
    let running = load.start(&cluster.endpoints())?;
    for _ in 0..8 {
        rest(400).await;
        cluster.kill_all()?;
        cluster.spawn_all()?;
        cluster.ready_all().await?;
    }
    rest(400).await;
    let history = running.stop().await?;
    told("8 deaths of all nodes", &history);
    check::everything(&cluster, &history, &load.prefix).await.map(drop)
}

/// What the member misses is no longer in the others' logs.
#[tokio::test]
async fn down_for_long_it_comes_back_by_snapshot() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &["--snapshot-count", "100"]).await?;
    let leader = cluster.leader().await?;
    let away = (leader + 1) % 3;
    let client = cluster.client(leader)?;
    put(&client, "before", "x").await?;
    cluster.node(away).kill()?;
    let value = "x".repeat(1000);
    for i in 0..5000 {
        put(&client, &format!("k{}", i % 500), &value).await?;
    }
    cluster.restart(away).await?;
    let revision = check::digests_equal(&cluster).await?;
    ensure!(revision > 5000, "at revision {revision}");
    ensure!(cluster.node(away).life()?.contains("receiving a snapshot"), "it came back, but not by a snapshot");
    // It takes part again: with another node away the cluster still writes.
    cluster.node((leader + 2) % 3).kill()?;
    eventually("a write", SOON, async || put(&client, "after", "x").await).await?;
    cluster.restart(away).await?;
    let kept = eventually("a read", SOON, async || Ok(get(&cluster.client(away)?, "before").await?)).await?;
    ensure!(kept.is_some(), "the snapshot does not outlive a restart");
    cluster.restart((leader + 2) % 3).await?;
    check::digests_equal(&cluster).await.map(drop)
}

/// Far fewer than between two snapshots. The member that was away finds that what it misses is
/// gone.
#[tokio::test]
async fn a_log_of_few_large_entries_is_cut() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &["--max-log-bytes", &(16 << 20).to_string()]).await?;
    let leader = cluster.leader().await?;
    let away = (leader + 1) % 3;
    let client = cluster.client(leader)?;
    put(&client, "before", "x").await?;
    cluster.node(away).kill()?;
    let value = "x".repeat(1 << 20);
    for i in 0..60 {
        put(&client, &format!("k{}", i % 3), &value).await?;
    }
    let cut = async |cluster: &Cluster, i: usize| {
        let bytes = metric(&cluster.endpoint(i), "conclave_log_bytes", SOON)?;
        let mib = f64::from(1 << 20);
        // A megabyte is counted at once, and one entry may have begun it.
        ensure!(bytes <= 18.0 * mib, "n{} has {bytes} bytes of log", i + 1);
        ensure!(bytes > 6.0 * mib, "n{} kept only {bytes} bytes of log", i + 1);
        Ok(())
    };
    for i in [leader, (leader + 2) % 3] {
        eventually("a shorter log", LONG, async || cut(&cluster, i).await).await?;
    }
    cluster.restart(away).await?;
    check::digests_equal(&cluster).await?;
    ensure!(cluster.node(away).life()?.contains("receiving a snapshot"), "it came back, but not by a snapshot");
    // What a restart finds on the disk is no more than that either.
    cluster.terminate_all().await?;
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    for i in 0..40 {
        put(&cluster.client(away)?, &format!("k{}", i % 3), &value).await?;
    }
    for i in 0..3 {
        eventually("a shorter log", LONG, async || cut(&cluster, i).await).await?;
    }
    ensure!(get(&cluster.client(away)?, "before").await?.is_some(), "a write is gone");
    check::digests_equal(&cluster).await.map(drop)
}

/// It may have voted: under its old identity it could vote twice.
#[tokio::test]
async fn a_member_that_lost_its_data_does_not_rejoin() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load::default();
    let running = load.start(&cluster.endpoints())?;
    rest(300).await;
    let lost = cluster.leader().await?;
    cluster.node(lost).kill()?;
    cluster.wipe(lost)?;
    cluster.node(lost).spawn()?;
    let status = cluster.node(lost).exit(SOON).await?;
    let said = cluster.node(lost).life()?;
    ensure!(!status.success(), "it ended with {status}");
    for word in ["started before", "bring back the directory", "leave this member out"] {
        ensure!(said.to_lowercase().contains(word), "it does not say {word:?}: {said}");
    }
    // Also once the others have been restarted: they remember on disk.
    for other in [(lost + 1) % 3, (lost + 2) % 3] {
        cluster.restart(other).await?;
    }
    cluster.node(lost).spawn()?;
    let status = cluster.node(lost).exit(SOON).await?;
    ensure!(!status.success(), "it ended with {status}");
    let survivor = cluster.client((lost + 1) % 3)?;
    eventually("a write", SOON, async || put(&survivor, "after", "x").await).await?;
    let history = running.stop().await?;
    let keys = cluster_tests::client::list(&survivor, &load.prefix).await?;
    check::acknowledged(&history, &load.prefix, &keys)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "cp ended with {copied}");
    Ok(())
}

/// Together with a member that was away meanwhile it is a majority, and neither has what was
/// written.
#[tokio::test]
async fn an_older_copy_never_hides_what_was_acknowledged() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let leader = cluster.leader().await?;
    let (turned_back, lagging) = ((leader + 1) % 3, (leader + 2) % 3);
    put(&cluster.client(leader)?, "before", "x").await?;
    cluster.node(lagging).kill()?;
    cluster.node(turned_back).kill()?;
    let copy = cluster.dir().join("copy");
    copy_tree(&cluster.data_dir(turned_back), &copy)?;
    cluster.node(turned_back).spawn()?;
    cluster.node(turned_back).ready(LONG).await?;
    let client = cluster.client(leader)?;
    for i in 0..200 {
        eventually("a write", SOON, async || put(&client, &format!("k{i}"), "x").await).await?;
    }
    // What is known on the leader's disk lags by a second.
    rest(3000).await;
    cluster.kill_all()?;
    cluster.wipe(turned_back)?;
    copy_tree(&copy, &cluster.data_dir(turned_back))?;

    for i in [turned_back, lagging] {
        cluster.node(i).spawn()?;
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        for i in [turned_back, lagging] {
            let client = cluster.client(i)?.with_timeout(Duration::from_millis(500));
            if let Ok(found) = get(&client, "k199").await {
                ensure!(found.is_some(), "an acknowledged write cannot be read");
            }
        }
        rest(100).await;
    }
    ensure!(cluster.node(turned_back).life()?.contains("was copied or restored"), "it does not say what it waits for");

    cluster.node(leader).spawn()?;
    let status = cluster.node(turned_back).exit(LONG).await?;
    let said = cluster.node(turned_back).life()?;
    ensure!(!status.success(), "it ended with {status}");
    for words in ["lacks what it has acknowledged", "never an older copy", "leave this member out"] {
        ensure!(said.to_lowercase().contains(words), "it does not say {words:?}: {said}");
    }
    let client = cluster.client(lagging)?;
    for i in 0..200 {
        let read = async || Ok(get(&client, &format!("k{i}")).await?);
        ensure!(eventually("a read", SOON, read).await?.is_some(), "k{i} is gone");
    }
    Ok(())
}

/// From the kill to the first acknowledgement of a write that was sent after it. Writes are sent
/// all the time, through the nodes that live, whether or not earlier ones have been answered.
async fn gap_after_kill(cluster: &mut Cluster, leader: usize) -> Result<Duration> {
    let mut endpoints = cluster.endpoints();
    endpoints.remove(leader);
    let clients = endpoints.into_iter().map(|one| connect(&[one])).collect::<Result<Vec<_>>>()?;
    for client in &clients {
        present(client).await?;
    }
    cluster.node(leader).kill()?;
    let killed = Instant::now();
    let mut attempts = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut number = 0;
    let first = async {
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let client = clients[number % clients.len()].clone();
                    number += 1;
                    attempts.spawn(async move { client.kv().put(put_request("probe", "x")).await });
                }
                Some(attempt) = attempts.join_next() => {
                    if matches!(attempt, Ok(Ok(_))) {
                        return killed.elapsed();
                    }
                }
            }
        }
    };
    within("a write after the leader's death", SOON, first).await
}

#[tokio::test]
async fn writes_go_on_soon_after_the_leaders_death() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let mut gaps = Vec::new();
    for _ in 0..9 {
        cluster.serves_everywhere().await?;
        let leader = cluster.leader().await?;
        gaps.push(gap_after_kill(&mut cluster, leader).await?);
        cluster.restart(leader).await?;
        // Caught up before the next one goes.
        check::digests_equal(&cluster).await?;
    }
    gaps.sort();
    let median = gaps[gaps.len() / 2];
    report(&format!("writes after the leader's death: median {median:.0?} of {gaps:.0?} (the aim is 600ms)"));
    ensure!(median < Duration::from_millis(1500), "the median is {median:?}");
    Ok(())
}

/// A lease lives at least its TTL from the last keep-alive that was answered, also across changes
/// of the leader; and it does end.
#[tokio::test]
async fn leases_outlive_leaders_and_restarts() -> Result<()> {
    const TTL: i64 = 3;
    let mut cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?.with_timeout(Duration::from_secs(2));
    let lease = grant(&client, TTL).await?;
    put_leased(&client, "leased", "x", lease).await?;
    for _ in 0..3 {
        let leader = cluster.leader().await?;
        let endpoint = cluster.endpoint((leader + 1) % 3);
        cluster.node(leader).kill()?;
        let kept = async || {
            let mut stream = connect(std::slice::from_ref(&endpoint))?.lease().keep_alives();
            stream.send(lease).await?;
            let answer = within("a keep-alive", Duration::from_secs(1), stream.next()).await??;
            ensure!(answer.context("the stream ended")?.ttl > 0, "the lease is gone");
            Ok(())
        };
        eventually("a keep-alive", SOON, kept).await?;
        cluster.restart(leader).await?;
    }
    let last = Instant::now();
    cluster.kill_all()?;
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let mut there = true;
    while there {
        let asked = Instant::now();
        // An election may fail a read; it says nothing about the lease then.
        if let Ok(found) = get(&client, "leased").await {
            there = found.is_some();
            let due = last + Duration::from_secs(u64::try_from(TTL)?);
            ensure!(there || Instant::now() >= due, "the lease ended {:?} early", due - asked);
        }
        ensure!(last.elapsed() < LONG, "the lease never ends");
        rest(50).await;
    }
    let ended = last.elapsed();
    // The new leader gives every lease its full time again.
    ensure!(ended < Duration::from_secs(15), "a lease of {TTL} s ended after {ended:?}");
    Ok(())
}
