//! A watch stream that requires a leader, or a write that does, ends when its node is cut off, on
//! the leader's side and on a follower's, and on no other.

#![allow(clippy::unwrap_used, reason = "a test")]

use conclave_api::etcdserverpb::kv_server::Kv;
use conclave_api::etcdserverpb::maintenance_server::Maintenance;
use conclave_api::etcdserverpb::{PutRequest, StatusRequest};
use conclave_gateway::gateway::Gateway;
use conclave_gateway::service::etcd::kv::KvService;
use conclave_gateway::service::etcd::maintenance::MaintenanceService;
use conclave_gateway::service::etcd::watch::WatchContext;
use conclave_node::bootstrap::Plan;
use conclave_node::config::{Config, HttpUrl, InitialMember};
use conclave_node::peer::memory::MemoryNetwork;
use conclave_node::running::RunningNode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Request, Status};

const PATIENCE: Duration = Duration::from_secs(20);

struct Member {
    running: RunningNode,
    gateway: Arc<Gateway>,
}

fn assemble(network: &MemoryNetwork, dir: &std::path::Path, n: usize) -> Member {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let url = |i: usize| HttpUrl::parse(&format!("http://member{i}:2380")).unwrap();
    let name = |i: usize| format!("m{i}");
    let mut config = Config::single(&name(n), dir.join(name(n)), any, any);
    config.initial_advertise_peer_urls = vec![url(n)];
    config.initial_cluster = (0..3).map(|i| InitialMember { name: name(i), peer_urls: vec![url(i)] }).collect();
    let plan = Plan::new(&config).unwrap();
    let id = plan.identity.member_id;
    let mut running = RunningNode::assemble(config, plan, network.transport(id)).unwrap();
    network.listen(id, running.handler.clone());
    let gateway = Arc::new(Gateway::new(running.node.clone()));
    running.follow(gateway.followers());
    Member { running, gateway }
}

async fn leader(member: &Member) -> u64 {
    let status = MaintenanceService(member.gateway.clone()).status(Request::new(StatusRequest {})).await;
    status.unwrap().into_inner().leader
}

/// A write that requires a leader.
async fn put(gateway: Arc<Gateway>) -> Result<(), Status> {
    let mut request = Request::new(PutRequest { key: "k".into(), value: "v".into(), ..Default::default() });
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    KvService::new(gateway).put(request).await.map(drop)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn streams_that_require_a_leader_end_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::default();
    let mut nodes: Vec<Member> = (0..3).map(|n| assemble(&network, dir.path(), n)).collect();
    futures::future::try_join_all(nodes.iter_mut().map(|member| member.running.start_consensus())).await.unwrap();
    for cut_leader in [false, true] {
        eventually("contact everywhere", || nodes.iter().all(|n| *n.gateway.node.leadership.contact().borrow())).await;
        let leads = |n: &Member| n.gateway.node.leadership.current().is_me;
        eventually("one leader", || nodes.iter().filter(|n| leads(n)).count() == 1).await;
        let cut = nodes.iter().position(|n| leads(n) == cut_leader).unwrap();
        let streams = |n: &Member| [true, false].map(|require| tokio::spawn(n.gateway.stream_end(require).unwrap()));
        let ends: Vec<_> = nodes.iter().map(streams).collect();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(ends.iter().flatten().all(|end| !end.is_finished()));
        network.isolate(nodes[cut].gateway.node.identity.member_id);
        // Admitted while the contact seems to be there.
        let pending = tokio::spawn(put(nodes[cut].gateway.clone()));
        eventually("the end", || ends[cut][0].is_finished()).await;
        let pending = tokio::time::timeout(Duration::from_secs(2), pending).await.expect("long before its own end");
        let lost = pending.unwrap().unwrap_err();
        assert_eq!(lost.message(), "etcdserver: request timed out, possibly due to connection lost");
        // From then on none begins there, and it names no leader: not the old one, not itself.
        let refused = nodes[cut].gateway.stream_end(true).err().unwrap();
        assert_eq!(refused.message(), "etcdserver: no leader");
        assert!(nodes[cut].gateway.stream_end(false).is_ok());
        assert_eq!(leader(&nodes[cut]).await, 0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (n, end) in ends.iter().enumerate() {
            assert_eq!(end[0].is_finished(), n == cut, "member {n}, leader cut: {cut_leader}");
            assert!(!end[1].is_finished());
        }
        network.heal();
        for node in &nodes {
            eventually("contact", || *node.gateway.node.leadership.contact().borrow()).await;
            assert_ne!(leader(node).await, 0);
        }
        for end in ends.into_iter().flatten() {
            end.abort();
        }
    }
    for node in nodes {
        network.unlisten(node.gateway.node.identity.member_id);
        node.running.stop().await.unwrap();
    }
}
