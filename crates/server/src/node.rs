//! The running node: what every service holds, how it is put together, and how it is taken apart.
//!
//! Start: listeners (a taken port is the cheapest thing to find out) → identity → storage → the parts → the peer service → a first
//! start makes itself known to the peers → consensus → the client services. Stop is the same backwards, with leadership handed over
//! first; everything in it has a deadline.

use crate::bootstrap::{self, Plan};
use crate::config::Config;
use crate::consensus;
use crate::coordination::{Feed, History};
use crate::defragment::Defragment;
use crate::descriptors::{self, Budget};
use crate::disk_space::DiskSpace;
use crate::fatal::{self, Fatal};
use crate::keeper::{Deadlines, Kind, Leases, NodeHost, Timers};
use crate::leadership::{Leadership, RaftCell};
use crate::metrics::Metrics;
use crate::outflow::Outflow;
use crate::peer::Peers;
use crate::peer::client::Network;
use crate::peer::grpc::GrpcTransport;
use crate::peer::handler::{Handler, Parts};
use crate::peer::sending::Sending;
use crate::peer::suspicion::Suspicion;
use crate::peer::transport::Transport;
use crate::peer::validate::Rules;
use crate::pending::Calls;
use crate::proposer::{Limits, ProposeError, Proposer};
use crate::reader::Reader;
use crate::rollback::Rollback;
use crate::serve::admission::Pool;
use crate::serve::{self, Listeners};
use crate::sink::{ApplyObserver, Sink};
use crate::stall::StallWatch;
use crate::waiters::{Queues, Waiters};
use crate::watch::{WatchConfig, WatchHub};
use crate::wiring::Wiring;
use crate::{clock, compactor, trim};
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::{Command, Member, read};
use conclave_storage::types::MemberNode;
use conclave_storage::{Identity, LogSize, Registry, StateHandle, SyncTimes};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is left of requests when the node stops may take this long.
const DRAIN: Duration = Duration::from_secs(1);
/// The successor gets this long to take over before this node leaves anyway.
const HAND_OVER: Duration = Duration::from_secs(1);
/// The last flush may take this long. What it does not bring to the disk, the next start has from the log.
const FLUSH: Duration = Duration::from_secs(15);

pub struct Node {
    pub identity: Identity,
    pub config: Arc<Config>,
    pub state: StateHandle,
    pub proposer: Proposer,
    pub reader: Reader,
    pub(crate) outflow: Outflow,
    pub leases: Deadlines<Leases>,
    pub timers: Deadlines<Timers>,
    pub waiters: Waiters,
    /// The queues of etcd's Lock and Election.
    pub queues: Queues,
    /// Calls that take a place and wait for it.
    pub calls: Calls,
    pub watches: WatchHub,
    /// Changes of elections, locks and claims, for those who wait and watch.
    pub coordination: Feed,
    pub leadership: Leadership,
    pub peers: Peers,
    pub metrics: Arc<Metrics>,
    pub log_syncs: Arc<SyncTimes>,
    pub log_size: LogSize,
    pub(crate) defragment: Defragment,
    pub stopping: CancellationToken,
    /// The connections of clients and of peers.
    pub connections: Connections,
    pub disk_space: DiskSpace,
    raft: RaftCell,
}

/// How many there are and may be, by the file descriptors that are left for them.
pub struct Connections {
    pub clients: Pool,
    pub peers: Pool,
}

impl Connections {
    fn new(peers: usize) -> Connections {
        let budget = Budget::new(descriptors::limit(), peers);
        Connections { clients: Pool::new("clients", budget.clients), peers: Pool::new("peers", budget.peers) }
    }
}

impl Node {
    fn wire(config: Config, identity: Identity, origin: u64, wiring: Wiring, store: &consensus::Store) -> Node {
        let timeout = config.request_timeout();
        let proposer = Proposer::new(origin, Limits::new(config.max_request_bytes, timeout), wiring.clone());
        let reader = Reader::new(wiring.clone(), timeout);
        let Wiring { raft, leadership, peers, state, .. } = wiring;
        let clock = Arc::new(clock::MonotonicClock::default());
        let host = |kind| {
            Box::new(NodeHost {
                kind,
                leadership: leadership.clone(),
                proposer: proposer.clone(),
                reader: reader.clone(),
                peers: peers.clone(),
                state: state.clone(),
            })
        };
        let leases = Deadlines::new(clock.clone(), host(Kind::Leases));
        let timers = Deadlines::new(clock, host(Kind::Timers));
        let stopping = CancellationToken::new();
        let history = History::new(Arc::new(state.clone()));
        let coordination = Feed::new(history.clone());
        let waiters = Waiters::new(coordination.clone());
        let calls = Calls::new(Arc::new(proposer.clone()), stopping.clone());
        let queues = Queues::new(calls.clone(), Arc::new(leases.clone()), waiters.clone(), stopping.clone());
        Node {
            identity,
            proposer,
            reader,
            outflow: Outflow::new(),
            leases,
            timers,
            waiters,
            queues,
            calls,
            coordination,
            watches: WatchHub::new(history, watch_config(&config)),
            config: Arc::new(config),
            state,
            leadership,
            metrics: Arc::new(Metrics::new()),
            log_syncs: store.sync_times(),
            log_size: store.log_size(),
            defragment: Defragment::default(),
            stopping,
            connections: Connections::new(peers.ids().count()),
            disk_space: DiskSpace::default(),
            peers,
            raft,
        }
    }

    /// The parts that follow what is applied, in their order.
    fn observers(&self) -> Vec<Box<dyn ApplyObserver>> {
        vec![
            Box::new(self.watches.clone()),
            Box::new(self.coordination.clone()),
            Box::new(self.leases.clone()),
            Box::new(self.timers.clone()),
            Box::new(self.leadership.clone()),
            Box::new(self.proposer.clone()),
        ]
    }

    /// What this node does for its peers.
    fn handler(&self, rules: Arc<Rules>, origin: u64, registry: Registry, rollback: Rollback) -> Handler {
        Handler::new(Parts {
            identity: self.identity.clone(),
            origin,
            rules,
            raft: self.raft.clone(),
            registry,
            proposer: self.proposer.clone(),
            reader: self.reader.clone(),
            leases: self.leases.clone(),
            timers: self.timers.clone(),
            state: self.state.clone(),
            suspicion: Suspicion::new(self.raft.clone(), self.leadership.clone(), &self.config),
            rollback,
        })
    }

    /// The header of every reply: who answers, in which term, at which revision of the store.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.leadership.current().term,
        }
    }

    /// Who could lead instead of this node, whose log is furthest first; nobody unless this node leads.
    pub(crate) fn successors(&self) -> Vec<u64> {
        let me = self.identity.member_id;
        let voters: Vec<u64> =
            self.leadership.members().into_iter().filter(|m| m.2 && m.0 != me).map(|m| m.0).collect();
        let mut followers = self.leadership.replicated();
        followers.retain(|(id, _)| voters.contains(id));
        followers.sort_by_key(|(_, matched)| std::cmp::Reverse(*matched));
        followers.into_iter().map(|(id, _)| id).collect()
    }

    /// Has a voter asked to take leadership over. What comes of that, others will say.
    pub(crate) async fn ask_to_lead(&self, to: u64) -> Result<(), ProposeError> {
        let raft = self.raft.get().ok_or(ProposeError::NoLeader)?;
        raft.trigger().transfer_leader(to).await.map_err(|_| ProposeError::Stopped)
    }

    /// Hands leadership to a voter; returns once somebody else leads than this node.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), ProposeError> {
        let mut leadership = self.leadership.subscribe();
        self.ask_to_lead(to).await?;
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.identity.member_id));
        match tokio::time::timeout(self.config.request_timeout(), moved).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ProposeError::TimedOut),
        }
    }

    /// Starts a node on real sockets.
    pub async fn start(config: Config) -> anyhow::Result<RunningNode> {
        let listeners = Listeners::bind(&config)?;
        let plan = Plan::new(&config)?;
        let transport = GrpcTransport { cluster: plan.identity.cluster_id, me: plan.identity.member_id };
        let mut running = RunningNode::assemble(config, plan, &transport)?;
        let addresses = listeners.addresses()?;
        let Listeners { clients, peers, metrics } = listeners;
        let node = running.node.clone();
        let pools = &node.connections;
        for listener in peers {
            running.peer_tasks.spawn(serve::peers(
                listener,
                pools.peers.clone(),
                running.handler.clone(),
                running.closing.clone(),
            ));
        }
        running.start_consensus().await?;
        for listener in clients {
            let (pool, node) = (pools.clients.clone(), running.node.clone());
            running.client_tasks.spawn(serve::clients(listener, pool, node, running.closing.clone()));
        }
        for listener in metrics {
            let pages = crate::http::Pages::new(running.node.clone());
            running.peer_tasks.spawn(crate::http::serve(
                listener,
                pools.clients.clone(),
                pages,
                running.closing.clone(),
            ));
        }
        running.addresses = addresses;
        Ok(running)
    }

    /// Tells the cluster this member's client URLs, if it does not know them (any more).
    async fn announce(self: Arc<Node>) {
        let client_urls = self.config.advertise_client_urls.iter().map(ToString::to_string).collect();
        let own = Member { id: self.identity.member_id, name: self.config.name.clone(), client_urls };
        let mut pause = Duration::from_millis(50);
        loop {
            if self.reader.barrier().await.is_ok() {
                match read::members(&self.state.view()) {
                    Ok(members) if members.contains(&own) => return,
                    Ok(_) => match self.proposer.propose(Command::Announce(own.clone())).await {
                        Ok(_) => return,
                        // Announcing twice is harmless.
                        Err(error) => tracing::debug!(%error, "announcing this member: again"),
                    },
                    Err(fault) => tracing::error!(%fault, "the members cannot be read"),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

fn watch_config(config: &Config) -> WatchConfig {
    WatchConfig {
        progress_interval: config.watch_progress_notify_interval,
        response_bytes: config.max_request_bytes,
        ..WatchConfig::default()
    }
}

/// A node with its tasks.
pub struct RunningNode {
    pub node: Arc<Node>,
    /// For transports that are no network.
    pub handler: Handler,
    /// For what peers send: requests and replies.
    rules: Arc<Rules>,
    plan: Plan,
    rollback: Rollback,
    store: Option<consensus::Store>,
    fatal: Fatal,
    addresses: Addresses,
    /// The last thing to end: peer connections, consensus.
    closing: CancellationToken,
    client_tasks: TaskTracker,
    peer_tasks: TaskTracker,
    work: TaskTracker,
}

/// Where the node really listens (port 0 takes a free one).
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub clients: Vec<SocketAddr>,
    pub peers: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
}

impl RunningNode {
    /// Opens the data directory and makes the parts; nothing runs yet.
    pub fn assemble(config: Config, plan: Plan, transport: &dyn Transport) -> anyhow::Result<RunningNode> {
        let fatal = Fatal::default();
        let sink = Arc::new(Sink::default());
        let origin = rand::random();
        let opened = consensus::open(&config, &plan.identity, origin, sink.clone(), &fatal)?;
        let me = plan.identity.member_id;
        let (raft, closing) = (RaftCell::default(), CancellationToken::new());
        let wiring = Wiring {
            raft: raft.clone(),
            leadership: Leadership::new(me, raft),
            peers: Peers::new(me, &plan.members, transport),
            state: opened.state,
            fatal: fatal.clone(),
            closing: closing.clone(),
        };
        let rollback = Rollback::new(plan.clone(), wiring.peers.clone(), opened.witness, fatal.clone());
        let node = Arc::new(Node::wire(config, plan.identity.clone(), origin, wiring, &opened.store));
        sink.join(node.observers());
        let rules = Arc::new(Rules::new(me, &plan.members));
        Ok(RunningNode {
            handler: node.handler(rules.clone(), origin, opened.registry, rollback.clone()),
            rules,
            node,
            plan,
            rollback,
            store: Some(opened.store),
            fatal,
            addresses: Addresses::default(),
            closing,
            client_tasks: TaskTracker::new(),
            peer_tasks: TaskTracker::new(),
            work: TaskTracker::new(),
        })
    }

    /// Takes part in the cluster from here on. Peers must be able to call the handler already.
    pub async fn start_consensus(&mut self) -> anyhow::Result<()> {
        let Some(mut store) = self.store.take() else { anyhow::bail!("consensus runs already") };
        let node = &self.node;
        if store.is_fresh().await? {
            bootstrap::register(&self.plan, &node.peers).await?;
        }
        let unconfirmed = self.rollback.confirm(&node.config).await?;
        let stall = StallWatch::new(store.writer_step(), &node.config);
        let (me, sending) = (self.plan.identity.member_id, Sending::default());
        let witness = self.rollback.witness().clone();
        let network = Network::new(node.peers.clone(), sending.clone(), self.rules.clone(), witness);
        let raft = consensus::start(&node.config, me, network, store).await?;
        node.raft.set(raft.clone());
        self.work.spawn(node.leadership.clone().run(raft.clone(), self.fatal.clone()));
        self.work.spawn(node.proposer.clone().run());
        self.work.spawn(node.reader.clone().run());
        self.spawn(node.leases.clone().run());
        self.spawn(node.timers.clone().run());
        self.spawn(stall.run(node.clone()));
        self.spawn(node.disk_space.clone().watch(node.config.data_dir.clone()));
        self.spawn(node.clone().announce());
        let bounds = trim::Bounds { snapshot_count: node.config.snapshot_count, bytes: node.config.max_log_bytes };
        self.spawn(bounds.keep(raft.clone(), node.log_size.clone(), sending));
        let policy = node.config.auto_compaction;
        let (state, proposer) = (node.state.clone(), node.proposer.clone());
        self.spawn(compactor::run(policy, state, node.leadership.clone(), proposer, node.stopping.clone()));
        self.spawn(self.rollback.clone().confirm_late(unconfirmed));
        self.spawn(self.rollback.clone().keep(node.leadership.clone()));
        self.spawn(consensus::initialize(raft, self.plan.clone(), node.config.clone(), self.fatal.clone()));
        Ok(())
    }

    /// For work that may be dropped at any point when the node stops.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.node.stopping.clone();
        self.work.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub fn members(&self) -> impl Iterator<Item = (&u64, &MemberNode)> {
        self.plan.members.iter()
    }

    /// Returns once clients are served: there is a leader, and this node is as far as it was when asked.
    pub async fn ready(&self) {
        while self.node.reader.barrier().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
        anyhow::Error::msg(self.fatal.wait().await)
    }

    /// Hands leadership over, lets requests under way finish, flushes, and ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        let node = &self.node;
        self.hand_over().await;
        node.stopping.cancel();
        self.client_tasks.close();
        if tokio::time::timeout(DRAIN, self.client_tasks.wait()).await.is_err() {
            tracing::info!("some requests did not end in time; they are dropped");
        }
        node.proposer.close();
        self.closing.cancel();
        if let Some(raft) = node.raft.get()
            && tokio::time::timeout(DRAIN, raft.shutdown()).await.is_err()
        {
            tracing::warn!("consensus did not stop in time");
        }
        for tasks in [&self.work, &self.peer_tasks] {
            tasks.close();
            let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
        }
        let state = node.state.clone();
        fatal::within(FLUSH, "the disk hangs: the state cannot be flushed", move || state.flush()).await??;
        tracing::info!("stopped");
        Ok(())
    }

    /// To the voter whose log is furthest, so that nobody waits for an election.
    async fn hand_over(&self) {
        let leadership = &self.node.leadership;
        if leadership.current().leader != Some(leadership.me()) {
            return;
        }
        let Some(to) = self.node.successors().into_iter().next() else { return };
        tracing::info!(to = %format_args!("{to:x}"), "handing leadership over");
        if !matches!(tokio::time::timeout(HAND_OVER, self.node.transfer_leader(to)).await, Ok(Ok(()))) {
            tracing::info!("nobody took over in time; the others will elect");
        }
    }
}
