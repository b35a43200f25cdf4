//! Whole nodes in one process, with real storage and a network of function calls.

#![allow(dead_code, reason = "each test program uses a part of it")]

use bytes::Bytes;
use conclave_node::bootstrap::Plan;
use conclave_node::config::{Config, HttpUrl, InitialMember};
use conclave_node::node::Node;
use conclave_node::peer::memory::MemoryNetwork;
use conclave_node::running::RunningNode;
use conclave_state::{Command, KeyRange, Put, RangeQuery};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: Vec<RunningNode>,
}

pub(crate) fn config(dir: &Path, n: usize, of: usize) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let url = |i: usize| HttpUrl::parse(&format!("http://member{i}:2380")).unwrap();
    let name = |i: usize| format!("m{i}");
    let mut config = Config::single(&name(n), dir.join(name(n)), any, any);
    config.initial_advertise_peer_urls = vec![url(n)];
    config.initial_cluster = (0..of).map(|i| InitialMember { name: name(i), peer_urls: vec![url(i)] }).collect();
    config
}

impl Cluster {
    pub(crate) async fn start(dir: &Path, of: usize) -> Cluster {
        let network = MemoryNetwork::default();
        let assemble = |n| {
            let config = config(dir, n, of);
            let plan = Plan::new(&config).unwrap();
            let id = plan.identity.member_id;
            let node = RunningNode::assemble(config, plan, network.transport(id)).unwrap();
            network.listen(id, node.handler.clone());
            node
        };
        let mut nodes: Vec<RunningNode> = (0..of).map(assemble).collect();
        futures::future::try_join_all(nodes.iter_mut().map(RunningNode::start_consensus)).await.unwrap();
        Cluster { network, nodes }
    }

    pub(crate) fn node(&self, n: usize) -> Arc<Node> {
        self.nodes[n].node.clone()
    }

    /// The position of the leader on which all (of `among`) agree.
    pub(crate) async fn leader(&self, among: &[usize]) -> usize {
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

    pub(crate) async fn digests_agree(&self) {
        eventually(|| {
            let seen = |n: &RunningNode| (n.node.state.applied_index(), n.node.state.revision(), n.node.state.digest());
            let mut all = self.nodes.iter().map(seen);
            let first = all.next()?;
            all.all(|other| other == first).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            self.network.unlisten(node.node.identity.member_id);
            node.stop().await.unwrap();
        }
    }
}

pub(crate) async fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing came of it in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    })
}

pub(crate) async fn get(node: &Node, key: &str) -> Option<String> {
    let range = KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() };
    let (found, _) = node.reader.range(RangeQuery { range, ..Default::default() }, false).await.unwrap();
    found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}
