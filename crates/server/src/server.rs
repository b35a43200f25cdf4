//! A node and its gateway on real sockets.
//!
//! Start: sockets (a taken port is the cheapest thing to find out) → identity → the node's parts → the
//! peer service → consensus → the client services. Stop is the same backwards, with leadership handed
//! over first; everything in it has a deadline.

use conclave_gateway::gateway::Gateway;
use conclave_gateway::{http, serve};
use conclave_net::listen::bind_all;
use conclave_node::bootstrap::Plan;
use conclave_node::config::Config;
use conclave_node::node::Node;
use conclave_node::peer::grpc::GrpcTransport;
use conclave_node::running::RunningNode;
use conclave_storage::Identity;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Requests under way may take this long when the server stops.
const DRAIN: Duration = Duration::from_secs(1);

pub struct Server {
    pub node: Arc<Node>,
    pub gateway: Arc<Gateway>,
    running: RunningNode,
    addresses: Addresses,
    clients: TaskTracker,
}

/// Where the server listens (port 0 takes a free one).
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub clients: Vec<SocketAddr>,
    pub peers: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
}

/// All sockets of a server.
struct Listeners {
    clients: Vec<TcpListener>,
    peers: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
}

impl Listeners {
    fn bind(config: &Config) -> anyhow::Result<Listeners> {
        Ok(Listeners {
            clients: bind_all("--listen-client-urls", &config.listen_client)?,
            peers: bind_all("--listen-peer-urls", &config.listen_peer)?,
            metrics: bind_all("--listen-metrics-urls", &config.listen_metrics)?,
        })
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>();
        Ok(Addresses { clients: of(&self.clients)?, peers: of(&self.peers)?, metrics: of(&self.metrics)? })
    }
}

impl Server {
    /// Returns once consensus and the services run. A first start waits for the other members.
    pub async fn start(config: Config) -> anyhow::Result<Server> {
        let listeners = Listeners::bind(&config)?;
        let addresses = listeners.addresses()?;
        let plan = Plan::new(&config)?;
        let transport = GrpcTransport { cluster: plan.identity.cluster_id, me: plan.identity.member_id };
        let mut running = RunningNode::assemble(config, plan, &transport)?;
        let gateway = Arc::new(Gateway::new(running.node.clone()));
        running.follow(gateway.followers());
        let pools = &gateway.connections;
        for listener in listeners.peers {
            running.serve_peers(listener, pools.peers.clone());
        }
        running.start_consensus().await?;
        let clients = TaskTracker::new();
        for listener in listeners.clients {
            let closing = running.closing().clone();
            clients.spawn(serve::clients(listener, pools.clients.clone(), gateway.clone(), closing));
        }
        for listener in listeners.metrics {
            let (pages, closing) = (http::Pages::new(gateway.clone()), running.closing().clone());
            tokio::spawn(http::serve(listener, pools.clients.clone(), pages, closing));
        }
        Ok(Server { node: running.node.clone(), gateway, running, addresses, clients })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns once clients are served: there is a leader, and this member has applied all that was
    /// committed when it was asked.
    pub async fn ready(&self) {
        self.running.ready().await;
    }

    pub fn ready_line(&self) -> String {
        let clients: Vec<_> = self.addresses.clients.iter().map(|a| format!("http://{a}")).collect();
        let Identity { member_id, cluster_id, ref name, .. } = self.node.identity;
        format!(
            "ready to serve clients: member {name} ({member_id:x}) of cluster {cluster_id:x} on {}",
            clients.join(", ")
        )
    }

    /// Returns when the node cannot go on.
    pub async fn failed(&self) -> anyhow::Error {
        self.running.failed().await
    }

    /// Hands leadership over, lets requests under way finish, flushes, and ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.running.leave().await;
        self.clients.close();
        if tokio::time::timeout(DRAIN, self.clients.wait()).await.is_err() {
            tracing::info!("some requests did not end in time; they are dropped");
        }
        self.running.finish().await
    }
}
