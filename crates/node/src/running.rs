//! A node with its tasks: how it is put together, and how it is taken apart.
//!
//! Start: storage → the parts → the peer service → a first start makes itself known to the peers →
//! consensus. Stop is the same backwards, with leadership handed over first; everything in it has a
//! deadline.

use crate::bootstrap::{self, Plan};
use crate::config::Config;
use crate::consensus;
use crate::fatal::{self, Fatal};
use crate::leadership::{Leadership, RaftCell};
use crate::node::Node;
use crate::peer::client::Network;
use crate::peer::handler::Handler;
use crate::peer::sending::Sending;
use crate::peer::transport::Transport;
use crate::peer::validate::Rules;
use crate::peer::{Peers, listen};
use crate::rollback::Rollback;
use crate::sink::{ApplyObserver, Sink};
use crate::stall::StallWatch;
use crate::wiring::Wiring;
use crate::{compactor, trim};
use conclave_net::admission::Pool;
use conclave_storage::types::MemberNode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is left of tasks when the node stops may take this long.
const DRAIN: Duration = Duration::from_secs(1);
/// The successor gets this long to take over before this node leaves anyway.
const HAND_OVER: Duration = Duration::from_secs(1);
/// The last flush may take this long. What it does not bring to the disk, the next start has from the log.
const FLUSH: Duration = Duration::from_secs(15);

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
    sink: Arc<Sink>,
    /// Parts outside of the node that follow what is applied.
    followers: Vec<Box<dyn ApplyObserver>>,
    fatal: Fatal,
    /// The last thing to end: peer connections, consensus.
    closing: CancellationToken,
    peer_tasks: TaskTracker,
    work: TaskTracker,
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
        let rules = Arc::new(Rules::new(me, &plan.members));
        Ok(RunningNode {
            handler: node.handler(rules.clone(), origin, opened.registry, rollback.clone()),
            rules,
            node,
            plan,
            rollback,
            store: Some(opened.store),
            sink,
            followers: Vec::new(),
            fatal,
            closing,
            peer_tasks: TaskTracker::new(),
            work: TaskTracker::new(),
        })
    }

    /// Adds parts that follow what is applied. They are told before the node's own: a client that has
    /// its answer can rely on watchers and queues having seen what it says. Has no effect once
    /// consensus runs.
    pub fn follow(&mut self, followers: Vec<Box<dyn ApplyObserver>>) {
        self.followers.extend(followers);
    }

    /// Answers peers on one listener until the node stops.
    pub fn serve_peers(&self, listener: TcpListener, pool: Pool) {
        self.peer_tasks.spawn(listen::peers(listener, pool, self.handler.clone(), self.closing.clone()));
    }

    /// Cancelled at the very end, when requests under way had their time.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Takes part in the cluster from here on. Peers must be able to call the handler already.
    pub async fn start_consensus(&mut self) -> anyhow::Result<()> {
        let Some(mut store) = self.store.take() else { anyhow::bail!("consensus runs already") };
        let mut observers = std::mem::take(&mut self.followers);
        observers.extend(self.node.observers());
        self.sink.join(observers);
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

    pub fn members(&self) -> impl Iterator<Item = (&u64, &MemberNode)> {
        self.plan.members.iter()
    }

    /// Returns once clients are served: there is a leader, and this node is as far as it was when asked.
    pub async fn ready(&self) {
        while self.node.reader.barrier().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns when the node cannot go on.
    pub async fn failed(&self) -> anyhow::Error {
        anyhow::Error::msg(self.fatal.wait().await)
    }

    /// Hands leadership over, flushes, and ends. Requests under way end with an error.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.leave().await;
        self.finish().await
    }

    /// The first half of a stop: hands leadership over, and lets nothing new begin. Requests under way
    /// can still finish.
    pub async fn leave(&self) {
        self.hand_over().await;
        self.node.stopping.cancel();
    }

    /// The second half of a stop: ends consensus and flushes.
    pub async fn finish(self) -> anyhow::Result<()> {
        let node = &self.node;
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
