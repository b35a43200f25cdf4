//! A node and its gateway on real sockets.
//!
//! Start: sockets (a taken port is the cheapest thing to find out) → identity → the node's parts →
//! the peer service → consensus → the client services. Stop is the same backwards, with leadership
//! handed over first; everything in it has a deadline.
//!
//! The node runs on the consensus thread, the gateway on the runtime that starts the server.

use crate::backups;
use crate::consensus_thread::ConsensusThread;
use conclave_gateway::gateway::{File, Gateway};
use conclave_gateway::service::quota;
use conclave_gateway::{http, serve};
use conclave_net::listen::bind_all;
use conclave_net::local::{LocalListener, bind_local};
use conclave_node::bootstrap::Plan;
use conclave_node::config::{Config, Listen};
use conclave_node::discovery::discover_by_system;
use conclave_node::node::Node;
use conclave_node::peer::grpc::GrpcTransport;
use conclave_node::peer::listen;
use conclave_node::peer::proof::PeerSecret;
use conclave_node::peer::target::{ALPN_CALLS, ALPN_LOG};
use conclave_node::running::RunningNode;
use conclave_storage::{Identity, read_identity};
use conclave_tls::Tls;
use futures::future::BoxFuture;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests under way may take this long when the server stops.
const DRAIN: Duration = Duration::from_secs(1);

pub struct Server {
    pub node: Arc<Node>,
    pub gateway: Arc<Gateway>,
    running: RunningNode,
    addresses: Addresses,
    clients: TaskTracker,
    /// Dropped last: the other parts have tasks there.
    consensus: ConsensusThread,
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
    local: Vec<LocalListener>,
    peers: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
}

impl Listeners {
    fn bind(config: &Config, consensus: &ConsensusThread) -> anyhow::Result<Listeners> {
        let clients = bind_all("--listen-client-urls", &addresses(&config.listen_client))?;
        let metrics = bind_all("--listen-metrics-urls", &addresses(&config.listen_metrics))?;
        let paths: Vec<PathBuf> = config.listen_local.iter().map(|url| url.path.clone()).collect();
        let local = bind_local("--listen-client-urls", &paths)?;
        let _runtime = consensus.handle().enter();
        let peers = bind_all("--listen-peer-urls", &addresses(&config.listen_peer))?;
        Ok(Listeners { clients, local, peers, metrics })
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>();
        Ok(Addresses { clients: of(&self.clients)?, peers: of(&self.peers)?, metrics: of(&self.metrics)? })
    }
}

fn addresses(listen: &[Listen]) -> Vec<SocketAddr> {
    listen.iter().map(|listen| listen.address).collect()
}

/// The TLS of the ports that have it, and the secret of the members.
struct Security {
    clients: Option<Tls>,
    peers: Option<Tls>,
    secret: Option<PeerSecret>,
}

impl Security {
    /// Reads all files.
    fn open(config: &Config) -> anyhow::Result<Security> {
        let clients = config.client_tls.as_ref().map(|tls| tls.open("client", &serve::ALPN)).transpose();
        let peers = config.peer_tls.as_ref().map(|tls| tls.open("peer", &[ALPN_LOG, ALPN_CALLS])).transpose();
        let secret = config.peer_secret.as_ref().map(|it| PeerSecret::open(it.file.clone(), it.optional)).transpose();
        Ok(Security {
            secret: secret.map_err(|error| anyhow::anyhow!("--peer-secret-file: {error}"))?,
            clients: clients.map_err(|error| anyhow::anyhow!("TLS for clients: {error}"))?,
            peers: peers.map_err(|error| anyhow::anyhow!("TLS for peers: {error}"))?,
        })
    }

    fn all(&self) -> Vec<Tls> {
        self.clients.iter().chain(&self.peers).cloned().collect()
    }

    /// What is followed beside.
    fn files(&self) -> Vec<File> {
        let secret = self.secret.clone();
        let file = |it: PeerSecret| File { name: "peer-secret", reloads: Box::new(move || it.figures()) };
        secret.map(file).into_iter().collect()
    }

    fn for_clients(&self, secure: bool) -> Option<Tls> {
        self.clients.clone().filter(|_| secure)
    }

    fn for_peers(&self, listen: Listen, optional: bool) -> listen::Security {
        let tls = self.peers.clone().filter(|_| listen.secure);
        listen::Security { tls, optional, secret: self.secret.clone() }
    }

    fn transport(&self, cluster: u64, me: u64) -> GrpcTransport {
        GrpcTransport { cluster, me, tls: self.peers.clone(), secret: self.secret.clone() }
    }
}

/// Runs until the server closes.
fn follow(files: impl Future<Output = ()> + Send + 'static, closing: CancellationToken) {
    tokio::spawn(async move {
        tokio::select! {
            () = files => {}
            () = closing.cancelled() => {}
        }
    });
}

impl Server {
    /// Returns once consensus and the services run. A first start waits for the other members.
    // Boxed, here and below, so that the code of the whole server is generated once, in this crate,
    // and not in each program that awaits it.
    pub fn start(config: Config) -> BoxFuture<'static, anyhow::Result<Server>> {
        Box::pin(Server::start_all(config))
    }

    async fn start_all(mut config: Config) -> anyhow::Result<Server> {
        let consensus = ConsensusThread::start()?;
        let listeners = Listeners::bind(&config, &consensus)?;
        let addresses = listeners.addresses()?;
        let security = Security::open(&config)?;
        if config.discovery.is_some() && read_identity(&config.data_dir)?.is_none() {
            discover_by_system(&mut config).await?;
        }
        let plan = match Plan::must_ask(&config)? {
            // No ids are known yet.
            true => Plan::ask(&config, &security.transport(0, 0)).await?,
            false => Plan::new(&config)?,
        };
        let (cluster, me) = (plan.identity.cluster_id, plan.identity.member_id);
        let transport = security.transport(cluster, me);
        let mut running = {
            let _runtime = consensus.handle().enter();
            RunningNode::assemble(config, plan, transport)?
        };
        let gateway = Gateway::with_tls(running.node.clone(), security.all(), security.files());
        let gateway = Arc::new(gateway.map_err(|why| anyhow::anyhow!("{why}"))?);
        running.follow(gateway.followers());
        running.serve_clients_on(&Handle::current());
        let pools = &gateway.connections;
        for tls in security.all() {
            follow(tls.follow(), running.closing().clone());
        }
        follow(gateway.follow_keys(), running.closing().clone());
        follow(gateway.clone().follow_times(), running.closing().clone());
        if let Some(secret) = security.secret.clone() {
            follow(secret.follow(), running.closing().clone());
        }
        let config = running.node.config.clone();
        {
            let _runtime = consensus.handle().enter();
            for (listener, listen) in listeners.peers.into_iter().zip(&config.listen_peer) {
                let security = security.for_peers(*listen, config.peer_allow_plaintext);
                running.serve_peers(listener, security, pools.peers.clone());
            }
        }
        let start = async move { running.start_consensus().await.map(|()| running) };
        let running = consensus.handle().spawn(start).await??;
        let clients = TaskTracker::new();
        for (listener, listen) in listeners.clients.into_iter().zip(&config.listen_client) {
            let (tls, closing) = (security.for_clients(listen.secure), running.closing().clone());
            clients.spawn(serve::clients(listener, tls, pools.clients.clone(), gateway.clone(), closing));
        }
        for (listener, url) in listeners.local.into_iter().zip(&config.listen_local) {
            let (tls, closing) = (security.for_clients(url.secure), running.closing().clone());
            clients.spawn(serve::clients(listener, tls, pools.clients.clone(), gateway.clone(), closing));
        }
        clients.spawn(quota::watch(gateway.clone()));
        if let Some(backups) = config.backups.clone() {
            clients.spawn(backups::run(gateway.clone(), backups));
        }
        for (listener, listen) in listeners.metrics.into_iter().zip(&config.listen_metrics) {
            tokio::spawn(http::serve(
                listener,
                security.for_clients(listen.secure),
                pools.clients.clone(),
                gateway.clone(),
                running.closing().clone(),
            ));
        }
        Ok(Server { node: running.node.clone(), gateway, running, addresses, clients, consensus })
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
        let listen = self.addresses.clients.iter().zip(&self.node.config.listen_client);
        let scheme = |listen: &Listen| if listen.secure { "https" } else { "http" };
        let clients = listen.map(|(address, listen)| format!("{}://{address}", scheme(listen)));
        let clients: Vec<_> = clients.chain(self.node.config.listen_local.iter().map(ToString::to_string)).collect();
        let Identity { member_id, cluster_id, ref name, .. } = self.node.identity;
        format!(
            "ready to serve clients: member {name} ({member_id:x}) of cluster {cluster_id:x} on {}",
            clients.join(", ")
        )
    }

    /// Returns once the consensus thread, which is not the caller's, has run a task.
    pub async fn goes_on(&self) {
        // It fails only when that thread ends, which `failed` and `stop` are about.
        let _ = self.consensus.handle().spawn(async {}).await;
    }

    /// Returns when the node cannot go on.
    pub async fn failed(&self) -> anyhow::Error {
        self.running.failed().await
    }

    /// Hands leadership over, lets requests under way finish, flushes, and ends.
    pub fn stop(self) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.stop_all())
    }

    async fn stop_all(self) -> anyhow::Result<()> {
        self.running.leave().await;
        self.clients.close();
        if tokio::time::timeout(DRAIN, self.clients.wait()).await.is_err() {
            tracing::info!("some requests did not end in time; they are dropped");
        }
        let stopped = self.running.finish().await;
        if tokio::time::timeout(DRAIN, self.gateway.audit.flush()).await.is_err() {
            tracing::error!("the last records of the audit log could not be written in time");
        }
        drop(self.consensus);
        stopped
    }
}
