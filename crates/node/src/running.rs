//! A running node with its tasks: how it starts and stops.
//!
//! Start: storage → parts → peer service → registration with the peers (first start) → consensus.
//! Stop goes the other way and hands leadership over first. Every step of a stop has a deadline.

use crate::bootstrap::{self, BootstrapError, Plan};
use crate::config::Config;
use crate::consensus;
use crate::context::NodeContext;
use crate::disk_space::Remedy;
use crate::disk_stall::DiskStallDetector;
use crate::fatal::{self, Fatal};
use crate::handover::Handover;
use crate::leadership::{Leadership, RaftCell};
use crate::node::Node;
use crate::peer::Peers;
use crate::peer::client::Network;
use crate::peer::follow;
use crate::peer::handler::Handler;
use crate::peer::listen::{self, Security};
use crate::peer::schemes::Schemes;
use crate::peer::sending::Sending;
use crate::peer::transport::Transport;
use crate::peer::validate::Rules;
use crate::placement::{self, Mover};
use crate::rollback::Rollback;
use crate::sink::{ApplyObserver, Sink};
use crate::versions::Versions;
use crate::{compactor, log_retention};
use conclave_net::admission::Pool;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Timeout for the remaining tasks when the node stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Timeout for the successor to take over.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Timeout of the last flush. The next start replays from the log what was not flushed.
const FLUSH: Duration = Duration::from_secs(15);

/// A node with its tasks.
pub struct RunningNode {
    pub node: Arc<Node>,
    /// For transports within the process.
    pub handler: Handler,
    /// Validates messages of peers: requests and replies.
    rules: Arc<Rules>,
    plan: Plan,
    rollback: Rollback,
    store: Option<consensus::Store>,
    sink: Arc<Sink>,
    /// Apply observers from outside the node.
    followers: Vec<Box<dyn ApplyObserver>>,
    fatal: Fatal,
    /// Ends the last tasks: peer connections, consensus.
    closing: CancellationToken,
    peer_tasks: TaskTracker,
    work: TaskTracker,
}

impl RunningNode {
    /// Opens the data directory and builds the parts; nothing runs yet.
    pub fn assemble(config: Config, plan: Plan, transport: impl Transport + 'static) -> anyhow::Result<RunningNode> {
        let fatal = Fatal::default();
        let sink = Arc::new(Sink::default());
        let origin = rand::random();
        plan.store(&config)?;
        let opened = consensus::open(&config, &plan.identity, origin, sink.clone(), &fatal)?;
        plan.still_a_member(&opened.state)?;
        let versions = Versions::new(opened.state.clone())?;
        versions.check().map_err(BootstrapError::Version)?;
        let me = plan.identity.member_id;
        let (raft, closing) = (RaftCell::default(), CancellationToken::new());
        let context = NodeContext {
            raft: raft.clone(),
            leadership: Leadership::new(me, raft),
            peers: Peers::new(me, &plan.members, Box::new(Schemes::new(&config, transport))),
            state: opened.state,
            versions,
            fatal: fatal.clone(),
            handover: Handover::default(),
            closing: closing.clone(),
        };
        let rollback = Rollback::new(plan.clone(), context.peers.clone(), opened.witness, fatal.clone());
        let node = Arc::new(Node::wire(config, plan.identity.clone(), origin, context, &opened.store));
        let rules = Arc::new(Rules::new(me));
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

    /// Serves clients on another runtime than the one that runs consensus. Has no effect once
    /// consensus runs.
    pub fn serve_clients_on(&self, runtime: &tokio::runtime::Handle) {
        if self.store.is_some() {
            self.node.handover.start(runtime);
        }
    }

    /// Adds apply observers that serve clients. They are called before callers are answered, so
    /// when a client has its answer, watchers and queues have seen the change. Has no effect once
    /// consensus runs.
    pub fn follow(&mut self, followers: Vec<Box<dyn ApplyObserver>>) {
        self.followers.extend(followers);
    }

    /// Serves peers on one listener until the node stops.
    pub fn serve_peers(&self, listener: TcpListener, security: Security, pool: Pool) {
        self.peer_tasks.spawn(listen::peers(listener, security, pool, self.handler.clone(), self.closing.clone()));
    }

    /// Cancelled at the very end, after running requests had time to finish.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Joins the cluster. Peers must already be able to call the handler.
    // Boxed, here and below, so that the code of the node is generated once, in this crate, and not
    // in each program that awaits it.
    pub fn start_consensus(&mut self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(self.join())
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        let Some(mut store) = self.store.take() else { anyhow::bail!("consensus runs already") };
        self.sink.join(self.node.observers(std::mem::take(&mut self.followers)));
        let node = &self.node;
        let known = store.members().await?;
        if !known.is_empty() {
            node.peers.follow(&known);
        }
        let first = !store.has_membership().await?;
        if first && !self.plan.members.contains_key(&self.plan.identity.member_id) {
            return Err(BootstrapError::OtherIdentity { path: node.config.data_dir.display().to_string() }.into());
        }
        if store.is_fresh().await? {
            match self.plan.joins {
                true => bootstrap::join(&self.plan, &node.peers).await?,
                false => bootstrap::register(&self.plan, &node.peers).await?,
            }
        }
        let unconfirmed = self.rollback.confirm(&node.config).await?;
        let stall = DiskStallDetector::new(store.writer_step(), &node.config);
        let (me, sending) = (self.plan.identity.member_id, Sending::default());
        let witness = self.rollback.witness().clone();
        let versions = node.versions.clone();
        let network = Network::new(node.peers.clone(), sending.clone(), self.rules.clone(), witness, versions);
        let raft = consensus::start(&node.config, me, network, store).await?;
        node.raft.set(raft.clone());
        self.work.spawn(node.leadership.clone().run(raft.clone(), self.fatal.clone()));
        self.work.spawn(node.proposer.clone().run());
        self.work.spawn(node.reader.clone().run());
        self.spawn(node.leases.clone().run());
        self.spawn(node.timers.clone().run());
        self.spawn(stall.run(node.clone()));
        let remedy = Remedy { member: me, state: node.state.clone(), proposer: node.proposer.clone() };
        self.spawn(node.disk_space.clone().watch(node.config.data_dir.clone(), remedy));
        self.spawn(node.clone().announce(self.fatal.clone()));
        self.spawn(placement::announce(node.clone()));
        self.spawn(Mover::new(node.clone()).run());
        self.spawn(node.standing().run());
        self.spawn(node.promoter().run());
        self.spawn(node.versions.clone().keep(node.leadership.clone(), node.proposer.clone()));
        let bounds =
            log_retention::Bounds { snapshot_count: node.config.snapshot_count, bytes: node.config.max_log_bytes };
        self.spawn(bounds.keep(raft.clone(), node.log_size.clone(), sending));
        let policy = node.config.auto_compaction;
        let (state, proposer) = (node.state.clone(), node.proposer.clone());
        self.spawn(compactor::run(policy, state, node.leadership.clone(), proposer, node.stopping.clone()));
        self.spawn(self.rollback.clone().confirm_late(unconfirmed));
        self.spawn(self.rollback.clone().keep(node.leadership.clone()));
        self.spawn(self.rollback.clone().watch_removal(node.leadership.clone(), node.state.clone()));
        self.spawn(follow::members(raft.clone(), node.peers.clone(), self.rules.clone(), node.state.clone()));
        if first && !self.plan.joins {
            self.spawn(consensus::initialize(raft, self.plan.clone(), node.config.clone(), self.fatal.clone()));
        }
        Ok(())
    }

    /// Spawns work that may be dropped at any point when the node stops.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.node.stopping.clone();
        self.work.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Returns once clients can be served: there is a leader, and this node has applied everything
    /// that was committed.
    pub async fn ready(&self) {
        while self.node.reader.barrier().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the error when the node cannot continue.
    pub async fn failed(&self) -> anyhow::Error {
        anyhow::Error::msg(self.fatal.wait().await)
    }

    /// Hands leadership over, flushes, and ends. Running requests end with an error.
    pub fn stop(self) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            self.leave().await;
            self.finish().await
        })
    }

    /// The first half of a stop: hands leadership over and refuses new work. Running requests can
    /// still finish.
    pub fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.hand_over().await;
            self.node.stopping.cancel();
        })
    }

    /// The second half of a stop: ends consensus and flushes.
    pub fn finish(self) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.end())
    }

    async fn end(self) -> anyhow::Result<()> {
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

    /// Hands leadership to a voter that has kept up, so that no election timeout passes.
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
