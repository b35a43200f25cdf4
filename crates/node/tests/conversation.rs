//! A fuzz target for whole conversations: what two members could say to a third, in any order, as
//! honest as the input wants it.
//!
//! The third one is a whole node with storage. Whatever it hears, it goes on, and starts again from
//! what it has on its disk.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod cluster;

use bytes::Bytes;
use cluster::{config, put};
use conclave_node::bootstrap::Plan;
use conclave_node::peer::memory::MemoryNetwork;
use conclave_node::peer::pb;
use conclave_node::peer::transport::{Link, PeerError, Transport};
use conclave_node::running::RunningNode;
use conclave_storage::SegmentWriter;
use conclave_storage::types::MemberNode;
use futures::{FutureExt, StreamExt};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// The two others: they know the third one and answer nothing else, so it hears only what the input
/// says.
struct World {
    network: MemoryNetwork,
    others: Vec<RunningNode>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (network, dir) = (MemoryNetwork::default(), tempfile::tempdir().unwrap());
        let others = [1, 2].map(|n| assemble(&network, dir.path(), n)).into();
        World { network, others, _dir: dir }
    }

    fn other(&self, n: u8) -> u64 {
        self.others[usize::from(n % 2)].node.identity.member_id
    }

    /// The third one, on a directory that it may have used before.
    async fn victim(&self, dir: &Path) -> RunningNode {
        let begun = Instant::now();
        let mut node = loop {
            match try_assemble(&self.network, dir, 0) {
                Ok(node) => break node,
                // One that was stopped lets go of its directory a moment later.
                Err(error) if begun.elapsed() < PATIENCE && error.to_string().contains("in use") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error:#}"),
            }
        };
        node.start_consensus().await.unwrap();
        node
    }
}

fn assemble(network: &MemoryNetwork, dir: &Path, n: usize) -> RunningNode {
    try_assemble(network, dir, n).unwrap()
}

fn try_assemble(network: &MemoryNetwork, dir: &Path, n: usize) -> anyhow::Result<RunningNode> {
    let config = config(dir, n, 3);
    let mut plan = Plan::new(&config).unwrap();
    // The same one each time: the others remember it.
    plan.identity.incarnation = 7;
    let id = plan.identity.member_id;
    let node = RunningNode::assemble(config, plan, network.transport(id))?;
    network.listen(id, node.handler.clone());
    Ok(node)
}

/// Reads messages from the input.
struct Script<'a> {
    bytes: &'a [u8],
    from: u64,
    term: u64,
    last: u64,
    members: Vec<u64>,
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// Mostly about what would be right.
    fn near(&mut self, right: u64) -> u64 {
        let byte = self.byte();
        match byte {
            0..=99 => right,
            100..=149 => right.wrapping_add(1),
            150..=179 => right.saturating_sub(1),
            180..=199 => right.wrapping_add(u64::from(byte - 180)),
            200..=219 => u64::from(byte - 200),
            220..=239 => u64::MAX - u64::from(byte - 220),
            _ => 1 << (byte - 192),
        }
    }

    fn flag(&mut self, right: bool) -> bool {
        right != (self.byte() > 230)
    }

    fn member(&mut self) -> u64 {
        let n = usize::from(self.byte()) % self.members.len();
        self.members[n]
    }

    fn id(&mut self) -> Option<pb::LogId> {
        if self.byte() > 240 {
            return None;
        }
        let (term, last) = (self.term, self.last);
        Some(pb::LogId { term: self.near(term), index: self.near(last) })
    }

    fn vote(&mut self, leads: bool) -> Option<pb::BallotVote> {
        let (term, from) = (self.term, self.from);
        let node = if self.byte() > 230 { self.member() } else { from };
        Some(pb::BallotVote { term: self.near(term), node, committed: self.flag(leads) })
    }

    fn segment(&mut self) -> Bytes {
        let mut writer = SegmentWriter::new();
        writer.push(&put("key", "value"));
        let mut segment = writer.finish(9, u64::from(self.byte())).to_vec();
        if self.byte() > 200 {
            let at = usize::from(self.byte()) % segment.len();
            segment[at] ^= self.byte();
        }
        segment.into()
    }

    fn membership(&mut self) -> pb::Membership {
        let members = self.members.clone();
        let node = |(n, id): (usize, &u64)| {
            let peer_urls = vec![format!("http://member{n}:2380")];
            pb::membership::Node { id: *id, name: format!("m{n}"), peer_urls }
        };
        let mut nodes: Vec<_> = members.iter().enumerate().map(node).collect();
        let ids = members[usize::from(self.byte()) % 2..].to_vec();
        if self.byte() > 200 {
            nodes[0].id = u64::from(self.byte());
        }
        pb::Membership { configs: vec![pb::membership::Voters { ids }], nodes }
    }

    fn entries(&mut self, previous: Option<pb::LogId>) -> Vec<pb::Entry> {
        let first = previous.map_or(0, |id| id.index.wrapping_add(1));
        let count = u64::from(self.byte() % 4);
        let term = self.term;
        let entry = |n: u64| {
            let payload = match self.byte() % 4 {
                0 => None,
                1 => Some(pb::entry::Payload::Membership(self.membership())),
                _ => Some(pb::entry::Payload::Pack(self.segment())),
            };
            pb::Entry { term: self.near(term), index: self.near(first.wrapping_add(n)), payload }
        };
        (0..count).map(entry).collect()
    }

    fn append(&mut self) -> pb::AppendRequest {
        let (vote, previous) = (self.vote(true), self.id());
        let entries = self.entries(previous);
        pb::AppendRequest { vote, previous, commit: self.id(), entries, quiet: self.byte() > 128, version: 0 }
    }

    fn snapshot(&mut self) -> Vec<pb::SnapshotPart> {
        let file = |size: u8| pb::snapshot_part::File { name: format!("f{size}"), size: u64::from(size), crc32c: 0 };
        let head = pb::snapshot_part::Head {
            vote: self.vote(true),
            last: self.id(),
            membership_at: self.id(),
            membership: Some(self.membership()),
            files: (0..self.byte() % 4).map(|_| file(self.byte())).collect(),
            version: 0,
        };
        let chunk = |script: &mut Script<'_>| pb::snapshot_part::Chunk {
            file: u32::from(script.byte() % 4),
            offset: script.near(0),
            data: vec![7; usize::from(script.byte())].into(),
        };
        let mut parts = vec![pb::snapshot_part::Part::Head(head)];
        for _ in 0..self.byte() % 4 {
            parts.push(pb::snapshot_part::Part::Chunk(chunk(self)));
        }
        parts.into_iter().map(|part| pb::SnapshotPart { part: Some(part) }).collect()
    }

    /// Sends one message; returns the result.
    async fn say(&mut self, link: &dyn Link) -> String {
        match self.byte() % 10 {
            0 => {
                let request = pb::VoteRequest {
                    vote: self.vote(false),
                    last: self.id(),
                    leadership_transfer: self.flag(true),
                    pre_vote: self.byte() > 200,
                };
                answer(link.vote(request)).await
            }
            1 => answer(link.heartbeat(pb::AppendRequest { entries: vec![], ..self.append() })).await,
            2 => {
                let to = self.member();
                answer(link.transfer_leader(pb::TransferRequest { from: self.vote(true), to, last: self.id() })).await
            }
            3 => answer(link.snapshot(futures::stream::iter(self.snapshot()).boxed())).await,
            4 => {
                let (term, segments) = (self.term, (0..self.byte() % 3).map(|_| self.segment()).collect());
                answer(link.forward(pb::ForwardRequest { term: self.near(term), segments })).await
            }
            5 => {
                let kept = i32::from(self.byte() % 4);
                let ids = (0..self.byte() % 4).map(i64::from).collect();
                answer(link.keep_alive(pb::KeepAliveRequest { ids, kept, span_millis: vec![] })).await
            }
            6 => {
                let member = self.near(self.from);
                answer(link.register(pb::RegisterRequest { member, incarnation: 7 })).await
            }
            _ => {
                let requests = (0..=self.byte() % 4).map(|_| self.append()).collect::<Vec<_>>();
                let replies = link.append(futures::stream::iter(requests).boxed()).await;
                answer(async { Ok(replies?.take(5).collect::<Vec<_>>().await) }).await
            }
        }
    }
}

async fn answer<T: Debug>(call: impl Future<Output = Result<T, PeerError>>) -> String {
    format!("{:?}", tokio::time::timeout(PATIENCE, call).await.expect("an answer in time"))
}

/// It has not given up, and consensus answers.
async fn is_well(node: &RunningNode, link: &Arc<dyn Link>, from: u64) {
    let failed = node.failed().now_or_never();
    assert!(failed.is_none(), "{failed:?}");
    let vote = Some(pb::BallotVote { term: 1, node: from, committed: false });
    let question = pb::VoteRequest { vote, last: None, leadership_transfer: false, pre_vote: true };
    let answer = tokio::time::timeout(PATIENCE, link.vote(question)).await.expect("consensus answers");
    assert!(answer.is_ok(), "{answer:?}");
}

async fn converse(world: &World, input: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let node = world.victim(dir.path()).await;
    let me = node.node.identity.member_id;
    let link = |from| world.network.transport(from).link(me, &MemberNode::default());
    let members = vec![me, world.other(0), world.other(1)];
    let mut script = Script { bytes: input, from: members[1], term: 1, last: 0, members };
    let mut told = String::new();
    while !script.bytes.is_empty() {
        script.from = world.other(script.byte());
        script.term = node.node.leadership.current().term.max(1);
        script.last = node.node.leadership.last_log_index();
        let link = link(script.from);
        told += &script.say(&*link).await;
        is_well(&node, &link, script.from).await;
    }
    world.network.unlisten(me);
    node.stop().await.unwrap();
    // What it has on its disk is enough to go on with.
    let again = world.victim(dir.path()).await;
    is_well(&again, &link(world.other(0)), world.other(0)).await;
    world.network.unlisten(me);
    again.stop().await.unwrap();
    told
}

#[test]
fn fuzz_conversation() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(async { World::new() });
    // A leader's first entries; a candidate, a snapshot, and whatever else.
    let leads = [0, 7, 0, 0, 0, 0, 255, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    let seeds =
        [leads.repeat(2), vec![0; 40], (0..=255).collect(), [leads.to_vec(), vec![0, 3, 0, 0, 0, 0, 0]].concat()];
    conclave_fuzz::target!("conversation")
        .seeds(seeds)
        .brief(12)
        .run(|input| runtime.block_on(converse(&world, input)));
}
