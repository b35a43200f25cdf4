//! Three whole nodes in one process, with real storage and a network of function calls.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use bytes::Bytes;
use conclave_server::bootstrap::Plan;
use conclave_server::config::{Config, HttpUrl, InitialMember};
use conclave_server::node::{Node, RunningNode};
use conclave_server::peer::memory::MemoryNetwork;
use conclave_server::peer::pb;
use conclave_server::peer::transport::{PeerError, Transport};
use conclave_state::{Command, KeyRange, Put, RangeQuery};
use conclave_storage::types::MemberNode;
use futures::StreamExt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Cluster {
    network: MemoryNetwork,
    nodes: Vec<RunningNode>,
}

fn config(dir: &Path, n: usize, of: usize) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let url = |i: usize| HttpUrl::parse(&format!("http://member{i}:2380")).unwrap();
    let name = |i: usize| format!("m{i}");
    let mut config = Config::single(&name(n), dir.join(name(n)), any, any);
    config.initial_advertise_peer_urls = vec![url(n)];
    config.initial_cluster = (0..of).map(|i| InitialMember { name: name(i), peer_urls: vec![url(i)] }).collect();
    config
}

impl Cluster {
    async fn start(dir: &Path, of: usize) -> Cluster {
        let network = MemoryNetwork::default();
        let assemble = |n| {
            let config = config(dir, n, of);
            let plan = Plan::new(&config).unwrap();
            let id = plan.identity.member_id;
            let node = RunningNode::assemble(config, plan, &network.transport(id)).unwrap();
            network.listen(id, node.handler.clone());
            node
        };
        let mut nodes: Vec<RunningNode> = (0..of).map(assemble).collect();
        futures::future::try_join_all(nodes.iter_mut().map(RunningNode::start_consensus)).await.unwrap();
        Cluster { network, nodes }
    }

    fn node(&self, n: usize) -> Arc<Node> {
        self.nodes[n].node.clone()
    }

    /// The position of the leader on which all (of `among`) agree.
    async fn leader(&self, among: &[usize]) -> usize {
        let agreed = || {
            let mut leaders = among.iter().map(|n| self.nodes[*n].node.leadership.current().leader);
            let first = leaders.next().flatten()?;
            if !leaders.all(|l| l == Some(first)) {
                return None;
            }
            among.iter().copied().find(|n| self.nodes[*n].node.identity.member_id == first)
        };
        eventually(agreed).await
    }

    async fn digests_agree(&self) {
        eventually(|| {
            let seen = |n: &RunningNode| (n.node.state.applied_index(), n.node.state.revision(), n.node.state.digest());
            let mut all = self.nodes.iter().map(seen);
            let first = all.next()?;
            all.all(|other| other == first).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        for node in self.nodes {
            self.network.unlisten(node.node.identity.member_id);
            node.stop().await.unwrap();
        }
    }
}

async fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing came of it in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn put(key: &str, value: &str) -> Command {
    Command::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    })
}

async fn get(node: &Node, key: &str) -> Option<String> {
    let range = KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() };
    let (found, _) = node.reader.range(RangeQuery { range, ..Default::default() }, false).await.unwrap();
    found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

/// One that could speak for others could keep them out for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_registers_itself_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let ids: Vec<u64> = (0..3).map(|n| cluster.node(n).identity.member_id).collect();
    let link = cluster.network.transport(ids[0]).link(ids[1], &MemberNode::default());
    for member in [ids[1], ids[2], 77] {
        let answer = link.register(pb::RegisterRequest { member, incarnation: 5 }).await;
        assert!(matches!(answer, Err(PeerError::Refused(_))), "{answer:?}");
    }
    let own = pb::RegisterRequest { member: ids[0], incarnation: cluster.node(0).identity.incarnation };
    assert!(link.register(own).await.unwrap().accepted);
    cluster.stop().await;
}

#[tokio::test]
async fn a_quiet_request_is_answered_only_if_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let (leader, follower) = (cluster.node(leader), cluster.node((leader + 1) % 3));
    let (me, to) = (leader.identity.member_id, follower.identity.member_id);
    let link = cluster.network.transport(me).link(to, &MemberNode::default());
    let term = leader.leadership.current().term;
    let request = |quiet, index: Option<u64>| pb::AppendRequest {
        vote: Some(pb::BallotVote { term, node: me, committed: true }),
        previous: index.map(|index| pb::LogId { term, index }),
        quiet,
        ..Default::default()
    };
    let accepted = pb::AppendReply::default();
    // The last names an entry that is not there.
    let requests = [request(false, None), request(true, None), request(false, None), request(true, Some(1 << 40))];
    let replies = link.append(futures::stream::iter(requests).boxed()).await.unwrap();
    let replies: Vec<_> = tokio::time::timeout(PATIENCE, replies.take(3).collect()).await.unwrap();
    assert_eq!(replies[..2], [Ok(accepted.clone()), Ok(accepted)]);
    assert!(replies[2].as_ref().is_ok_and(|reply| reply.conflict.is_some()), "{replies:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_is_gone_is_not_called_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let node = cluster.node(leader);
    cluster.network.unlisten(cluster.node((leader + 1) % 3).identity.member_id);
    let (before, start) = (cluster.network.sessions(), Instant::now());
    for n in 0..20 {
        node.proposer.propose(put("k", &n.to_string())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Twenty a second for one that is gone.
    let allowed = 5 + 25 * usize::try_from(start.elapsed().as_secs() + 1).unwrap();
    let tried = cluster.network.sessions() - before;
    assert!((5..allowed).contains(&tried), "{tried} sessions, {allowed} allowed");
    cluster.stop().await;
}

#[tokio::test]
async fn every_node_writes_and_reads_what_any_other_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    cluster.leader(&[0, 1, 2]).await;
    for writer in 0..3 {
        let value = format!("by {writer}");
        let applied = cluster.node(writer).proposer.propose(put("k", &value)).await.unwrap();
        assert!(applied.outcome.result.is_ok());
        for reader in 0..3 {
            assert_eq!(get(&cluster.node(reader), "k").await.as_deref(), Some(value.as_str()), "{writer} to {reader}");
        }
    }
    // Many at once, through all nodes: each is answered once and has a revision of its own.
    let before = cluster.node(0).state.revision();
    let writes = (0..300).map(|i| {
        let proposer = cluster.node(i % 3).proposer.clone();
        async move { proposer.propose(put(&format!("many/{i}"), "x")).await.unwrap().outcome.revision }
    });
    let mut revisions = futures::future::join_all(writes).await;
    revisions.sort_unstable();
    let expected: Vec<i64> = (1..=300).map(|i| before + i).collect();
    assert_eq!(revisions.len(), expected.len());
    assert_eq!(revisions, expected);
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_deposed_leader_answers_nothing_from_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let old = cluster.leader(&[0, 1, 2]).await;
    let others: Vec<usize> = (0..3).filter(|n| *n != old).collect();
    cluster.node(old).proposer.propose(put("x", "1")).await.unwrap();

    cluster.network.isolate(cluster.node(old).identity.member_id);
    let isolated = cluster.node(old);
    let read = tokio::spawn(async move { get(&isolated, "x").await });
    let isolated = cluster.node(old);
    let write = tokio::spawn(async move { isolated.proposer.propose(put("y", "of the old leader")).await });

    // Writes go on with the others, without the client doing anything.
    let begun = Instant::now();
    cluster.node(others[0]).proposer.propose(put("x", "2")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    let new = cluster.leader(&others).await;
    assert_ne!(new, old);
    assert_eq!(get(&cluster.node(others[1]), "x").await.as_deref(), Some("2"));
    assert!(!read.is_finished(), "a leader that cannot reach a quorum must not answer");

    cluster.network.heal();
    assert_eq!(read.await.unwrap().as_deref(), Some("2"), "the read waited for the new leader");
    // What the old leader had taken in was lost with its term, which it knows, and is decided in the new one.
    assert!(write.await.unwrap().unwrap().outcome.result.is_ok());
    for n in 0..3 {
        assert_eq!(get(&cluster.node(n), "y").await.as_deref(), Some("of the old leader"));
    }
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn without_a_quorum_it_is_said_whether_a_write_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    for n in 0..3 {
        cluster.network.isolate(cluster.node(n).identity.member_id);
    }
    let (followers, node) = ((0..3).filter(|n| *n != leader), cluster.node(leader));
    let sent = tokio::spawn(async move { node.proposer.propose(put("a", "1")).await });
    for n in followers {
        let error = cluster.node(n).proposer.propose(put("b", "1")).await.unwrap_err();
        assert!(!error.outcome_unknown(), "{error}");
    }
    assert!(sent.await.unwrap().is_err());
    cluster.network.heal();
    cluster.leader(&[0, 1, 2]).await;
    assert_eq!(get(&cluster.node(leader), "b").await, None, "surely not proposed means never applied");
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn leadership_is_handed_over_and_all_restart_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    cluster.node(leader).proposer.propose(put("k", "v")).await.unwrap();
    let to = (leader + 1) % 3;
    cluster.node(leader).transfer_leader(cluster.node(to).identity.member_id).await.unwrap();
    assert_eq!(cluster.leader(&[0, 1, 2]).await, to);
    cluster.stop().await;

    let cluster = Cluster::start(dir.path(), 3).await;
    for n in 0..3 {
        assert_eq!(get(&cluster.node(n), "k").await.as_deref(), Some("v"));
    }
    cluster.digests_agree().await;
    cluster.stop().await;
}
