//! What the harness sees by itself, over links that no fault touches: every revision from every
//! member, who leads, what each member holds.
//!
//! 1. A member's revisions come from one watch of the whole store, taken up where it ended; each is
//!    written when it comes. If what is next was compacted meanwhile, the watch goes on as a source
//!    of another name, which promises nothing about the gap.
//! 2. Leaders are written when they change, and again every second; at the end also those that the
//!    members wrote down themselves, for a leadership may be shorter than the time between two
//!    looks.
//! 3. States and digests are asked of one member each, so they say what that member has.

use super::observed::write;
use crate::{
    env::{Env, Host, World},
    history::{Digest, Fact, Journal, Leader, Revision, State, now},
    workload::messages::{change, kvs, range, revision},
};
use anyhow::{Context, Result, anyhow};
use conclave_api::etcdserverpb::{
    HashKvRequest, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient,
    maintenance_client::MaintenanceClient, watch_client::WatchClient, watch_request::RequestUnion,
};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(100);
/// What states are read of at the end.
const PREFIXES: [&str; 5] = ["kv/", "append/", "set/", "fenced/", "loose/"];

fn channel(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::try_from(url.to_owned())?.connect_timeout(Duration::from_millis(500));
    Ok(endpoint
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(2))
        .connect_lazy())
}

/// Everything that watches while a run goes on.
pub(super) struct Observer {
    world: Arc<World>,
    journal: Journal,
    stop: Arc<AtomicBool>,
    /// The last revision that each member's watch brought.
    seen: Vec<Arc<AtomicI64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Observer {
    pub(super) fn start(env: &Env, journal: &Journal, etcd: bool) -> Result<Self> {
        let world = Arc::clone(env);
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Vec<Arc<AtomicI64>> = (0..world.nodes()).map(|_| Arc::default()).collect();
        let mut threads = Vec::new();
        for (node, seen) in seen.iter().enumerate() {
            let (url, journal) = (world.endpoint(Host::Runner, node), journal.clone());
            let (seen, stop) = (Arc::clone(seen), Arc::clone(&stop));
            threads.push(world.inside(Host::Runner, move || {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
                // It ends only with the run.
                let _ = runtime.block_on(watch(&url, node, &journal, &seen, &stop));
            })?);
        }
        let (asked, leaders, stopped) = (Arc::clone(&world), journal.clone(), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || poll(&asked, &leaders, &stopped, etcd)));
        if !etcd {
            threads.push(super::standing::start(&world, journal, &stop)?);
        }
        Ok(Self { world, journal: journal.clone(), stop, seen, threads })
    }

    /// Waits until every member's watch has brought everything up to a revision.
    pub(super) fn has_seen(&self, revision: i64, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        while Instant::now() < until {
            if self.world.seated().into_iter().all(|node| self.seen[node].load(Ordering::Acquire) >= revision) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Reads what each member holds and its digest, at one revision. Returns the revision.
    pub(super) fn states(&self, lost: &[usize]) -> Result<i64> {
        let urls = self.world.endpoints(Host::Runner);
        let seated = self.world.seated();
        let strangers = (0..self.world.nodes()).filter(|node| !seated.contains(node));
        let (journal, lost) = (self.journal.clone(), lost.iter().copied().chain(strangers).collect::<Vec<_>>());
        let job = move || -> Result<i64> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(states(&urls, &journal, &lost))
        };
        self.world.inside(Host::Runner, job)?.join().map_err(|_| anyhow!("the reader of states failed"))?
    }

    pub(super) fn finish(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            // One that failed has written what it could.
            let _ = thread.join();
        }
    }
}

/// Says who leads, as each member tells.
fn poll(world: &Arc<World>, journal: &Journal, stop: &AtomicBool, etcd: bool) {
    let mut told: HashMap<usize, ((u64, u64), Instant)> = HashMap::new();
    // etcd tells term and leader from two looks: only what is so twice counts.
    let mut before: HashMap<usize, (u64, u64)> = HashMap::new();
    while !stop.load(Ordering::Acquire) {
        for (node, status) in world.statuses().into_iter().enumerate() {
            let Some(status) = status.filter(|status| status.leader_id != 0) else { continue };
            let now = (status.leader_id, status.term);
            if before.insert(node, now) != Some(now) && etcd {
                continue;
            }
            let known = told.get(&node).is_some_and(|(last, at)| *last == now && at.elapsed() < Duration::from_secs(1));
            if !known {
                write(journal, node, Fact::Leader(Leader { leader: now.0, term: now.1 }));
                told.insert(node, (now, Instant::now()));
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Who led, as the members' logs have it.
pub(super) fn leaders_of_logs(out: &Path, nodes: usize, journal: &Journal) -> Result<()> {
    for node in 0..nodes {
        let path = out.join(format!("n{}.log", node + 1));
        if !path.exists() {
            // It never was a member.
            continue;
        }
        let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for leader in log.lines().filter_map(leader_of_line) {
            write(journal, node, Fact::Leader(leader));
        }
    }
    Ok(())
}

/// `… leader known term=3 leader=5ae29500b2d55136`
fn leader_of_line(line: &str) -> Option<Leader> {
    let (_, told) = line.split_once("leader known term=")?;
    let (term, leader) = told.split_once(" leader=")?;
    Some(Leader { term: term.parse().ok()?, leader: u64::from_str_radix(leader.trim(), 16).ok()? })
}

async fn watch(url: &str, node: usize, journal: &Journal, seen: &AtomicI64, stop: &AtomicBool) -> Result<()> {
    let channel = channel(url)?;
    let (mut next, mut source, mut gaps) = (1, format!("watch n{}", node + 1), 0);
    while !stop.load(Ordering::Acquire) {
        let (asks, requests) = futures::channel::mpsc::unbounded();
        let all = range("");
        let create =
            WatchCreateRequest { key: all.key, range_end: all.range_end, start_revision: next, ..Default::default() };
        asks.unbounded_send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })?;
        let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let opened = tokio::time::timeout(Duration::from_secs(3), client.watch(requests)).await;
        let Ok(Ok(stream)) = opened else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        while !stop.load(Ordering::Acquire) {
            match tokio::time::timeout(Duration::from_millis(200), stream.message()).await {
                Err(_) => {}
                Ok(Ok(Some(message))) if message.canceled => {
                    if message.compact_revision >= next {
                        (next, gaps) = (message.compact_revision + 1, gaps + 1);
                        source = format!("watch n{} after gap {gaps}", node + 1);
                    }
                    break;
                }
                Ok(Ok(Some(message))) => take(&message, node, &source, journal, &mut next, seen),
                Ok(_) => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Writes the revisions of a message.
fn take(message: &WatchResponse, node: usize, source: &str, journal: &Journal, next: &mut i64, seen: &AtomicI64) {
    let changes: Vec<_> = message.events.iter().map(change).collect();
    for changes in changes.chunk_by(|a, b| a.modified == b.modified) {
        let revision = changes[0].modified;
        let told = Revision { source: source.to_owned(), revision, changes: changes.to_vec() };
        write(journal, node, Fact::Revision(told));
        *next = (*next).max(revision + 1);
        seen.fetch_max(revision, Ordering::AcqRel);
    }
}

async fn states(urls: &[String], journal: &Journal, lost: &[usize]) -> Result<i64> {
    let here = |node: &usize| !lost.contains(node);
    let mut newest = 0;
    for node in (0..urls.len()).filter(here) {
        let mut kv = KvClient::new(channel(&urls[node])?).max_decoding_message_size(usize::MAX);
        for prefix in PREFIXES {
            let asked = now();
            let read = kv.range(RangeRequest { limit: 0, ..range(prefix) });
            let response = tokio::time::timeout(Duration::from_secs(20), read).await;
            let response = response.with_context(|| format!("n{} gives no state", node + 1))??.into_inner();
            let revision = revision(response.header.as_ref());
            newest = newest.max(revision);
            let state = State { asked, prefix: prefix.into(), revision, kvs: kvs(&response) };
            write(journal, node, Fact::State(state));
        }
    }
    for node in (0..urls.len()).filter(here) {
        let mut maintenance = MaintenanceClient::new(channel(&urls[node])?);
        let hash = maintenance.hash_kv(HashKvRequest { revision: newest });
        // A compaction since then, or a member that is behind: the next digest tells.
        let Ok(Ok(hash)) = tokio::time::timeout(Duration::from_secs(20), hash).await else { continue };
        let hash = hash.into_inner();
        let digest = Digest {
            revision: newest,
            compacted: hash.compact_revision,
            digest: format!("{:08x}", hash.hash),
            kind: "hashkv".into(),
        };
        write(journal, node, Fact::Digest(digest));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_read_from_a_line_of_the_log() {
        let line = "2026-11-21T06:06:02Z  INFO conclave_node::leadership: leader known term=3 leader=5ae29500b2d55136";
        let leader = leader_of_line(line).map(|leader| (leader.term, leader.leader));
        assert_eq!(leader, Some((3, 0x5ae2_9500_b2d5_5136)));
        assert!(leader_of_line("INFO conclave_node::leadership: no leader term=2").is_none());
    }
}
