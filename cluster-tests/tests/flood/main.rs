//! Hostile clients of each kind beside normal ones: no election, no failed call, memory within its
//! bounds, and a turn for everybody.
//!
//! `CONCLAVE_FLOOD_SECONDS` is how long each part lasts (6 in the test suite, 30 to be sure).
//! Latencies without and with hostile clients are reported (`--nocapture`); on a quiet machine the
//! 99th percentile should at most double.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod hostile;
mod raw;

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{bytes, get, put},
    cluster::Cluster,
    report,
};
use conclave_client::{
    api::etcdserverpb::{PutRequest, RequestOp, StatusRequest, TxnRequest, request_op},
    wire::Client,
};
use hostile::{BURNERS, Hostile, KINDS, Target};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Normal clients, each with one call at a time.
const CLIENTS: usize = 64;

/// What a member may take more than at rest (docs/limits.md): 128 MiB of large answers, 256 MiB of
/// others, and the requests themselves.
const MEMORY: u64 = 640 << 20;

fn length() -> Duration {
    let seconds = std::env::var("CONCLAVE_FLOOD_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

/// Keys for ranges that are long, and some that are large together.
async fn fill(client: &Client) -> Result<()> {
    let op = |key: String, size: usize| {
        let put = PutRequest { key: bytes(key), value: vec![b'v'; size].into(), ..Default::default() };
        RequestOp { request: Some(request_op::Request::RequestPut(put)) }
    };
    for part in 0..160 {
        let success = (0..125).map(|at| op(format!("fill/{:05}", part * 125 + at), 16)).collect();
        client.kv().txn(TxnRequest { success, ..Default::default() }).await?;
    }
    for at in 0..14 {
        let success = vec![op(format!("big/{at}"), 64 << 10)];
        client.kv().txn(TxnRequest { success, ..Default::default() }).await?;
    }
    Ok(())
}

/// What normal clients saw.
#[derive(Default)]
struct Seen {
    /// Of each client.
    done: Vec<u64>,
    took: Vec<Duration>,
    errors: Vec<String>,
}

impl Seen {
    fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// Normal clients at all members, for so long.
async fn normal(cluster: &Cluster, how_long: Duration) -> Result<Seen> {
    let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..CLIENTS {
        let client = cluster.client(number % cluster.size())?;
        let (seen, over) = (seen.clone(), over.clone());
        running.push(tokio::spawn(async move {
            let key = format!("normal/{number}");
            let (mut took, mut errors) = (Vec::new(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let value = took.len().to_string();
                let begin = Instant::now();
                match put(&client, &key, &value).await {
                    Ok(_) => took.push(begin.elapsed()),
                    Err(error) => errors.push(format!("{error:#}")),
                }
                let begin = Instant::now();
                match get(&client, &key).await {
                    Ok(Some(found)) if found.value == value => took.push(begin.elapsed()),
                    Ok(found) => errors.push(format!("{found:?} instead of {value}")),
                    Err(error) => errors.push(format!("{error:#}")),
                }
            }
            let mut seen = seen.lock().unwrap();
            seen.done.push(took.len() as u64);
            seen.took.extend(took);
            seen.errors.extend(errors);
        }));
    }
    tokio::time::sleep(how_long).await;
    over.store(true, Ordering::Relaxed);
    for client in running {
        client.await?;
    }
    Ok(Arc::into_inner(seen).context("all have ended")?.into_inner().unwrap())
}

/// Tasks that end with this.
struct Crowd(Vec<JoinHandle<()>>);

impl Crowd {
    fn of(kinds: &[(&'static str, Hostile)], target: &Target) -> Crowd {
        Crowd(kinds.iter().map(|(_, attack)| tokio::spawn(attack(target.clone()))).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn memory(cluster: &mut Cluster, i: usize) -> Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", cluster.node(i).id()?))?;
    let pages: u64 = statm.split_whitespace().nth(1).context("resident pages")?.parse()?;
    Ok(pages * 4096)
}

async fn standing(cluster: &Cluster, i: usize) -> Result<(u64, u64)> {
    let status = cluster.client(i)?.maintenance().status(StatusRequest::default()).await?;
    Ok((status.leader, status.raft_term))
}

/// A filled cluster of three, and its leader, where it is attacked.
async fn start() -> Result<(Cluster, Target, usize)> {
    let cluster = Cluster::start(3).await?;
    let leader = cluster.leader().await?;
    let client = cluster.client(leader)?;
    fill(&client).await?;
    let address = cluster.endpoint(leader).trim_start_matches("http://").to_owned();
    Ok((cluster, Target { address, client }, leader))
}

/// Hostile clients of these kinds for a while. No election, and every normal client goes on.
async fn withstand(
    cluster: &mut Cluster,
    target: &Target,
    leader: usize,
    kinds: &[(&'static str, Hostile)],
    how_long: Duration,
) -> Result<Seen> {
    let names: Vec<_> = kinds.iter().map(|(name, _)| *name).collect();
    let before = standing(cluster, leader).await?;
    let rest = memory(cluster, leader)?;
    let crowd = Crowd::of(kinds, target);
    let mut most = rest;
    let seen = {
        let pid = cluster.node(leader).id()?;
        let watching = Arc::new(AtomicBool::new(true));
        let (watched, peak) = (watching.clone(), Arc::new(Mutex::new(0)));
        let highest = peak.clone();
        let watcher = tokio::spawn(async move {
            while watched.load(Ordering::Relaxed) {
                if let Ok(statm) = std::fs::read_to_string(format!("/proc/{pid}/statm"))
                    && let Some(pages) = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok())
                {
                    let mut highest = highest.lock().unwrap();
                    *highest = pages.max(*highest);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let seen = normal(cluster, how_long).await?;
        watching.store(false, Ordering::Relaxed);
        watcher.await?;
        most = most.max(*peak.lock().unwrap() * 4096);
        seen
    };
    drop(crowd);
    for i in 0..cluster.size() {
        ensure!(cluster.node(i).running()?, "{names:?}: it ended:\n{}", cluster.node(i).tail(10));
        ensure!(standing(cluster, i).await? == before, "{names:?}: an election at member {i}");
    }
    let (errors, least) = (seen.errors.len(), seen.done.iter().min().copied().unwrap_or(0));
    report(&format!(
        "{names:?}: {} calls, the fewest of a client {least}, p99 {:.1?}, {} MiB more",
        seen.took.len(),
        seen.p99(),
        (most - rest) >> 20
    ));
    ensure!(errors == 0, "{names:?}: {errors} calls failed: {:?}", &seen.errors[..errors.min(3)]);
    ensure!(least >= how_long.as_secs(), "{names:?}: a client had {least} answers");
    ensure!(most - rest <= MEMORY, "{names:?}: {} MiB more than at rest", (most - rest) >> 20);
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_of_every_kind_beside_normal_ones() -> Result<()> {
    let (mut cluster, target, leader) = start().await?;
    let alone = normal(&cluster, length() / 3).await?.p99();
    let beside = withstand(&mut cluster, &target, leader, &KINDS, length()).await?.p99();
    report(&format!("p99 {alone:.1?} alone, {beside:.1?} beside hostile clients of all kinds"));
    cluster.serves_everywhere().await
}

/// On two cores beside all other processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_burn_a_core_move_no_leadership() -> Result<()> {
    let (mut cluster, target, leader) = start().await?;
    for burner in &BURNERS {
        withstand(&mut cluster, &target, leader, std::slice::from_ref(burner), length() / 5).await?;
    }
    cluster.serves_everywhere().await
}
