//! What every service holds: the node, and the parts that only clients need.

use crate::audit::{self, Audit};
use crate::auth::{Access, current};
use crate::charge;
use crate::console::parts::Parts;
use crate::follow::{Feed, History};
use crate::limits::{Granting, Kind, Leases, Limits};
use crate::metrics::Metrics;
use crate::outflow::Outflow;
use crate::pending::Calls;
use crate::proposals::Proposals;
use crate::status::{fault, limited, rejected};
use crate::waiters::{Queues, Waiters};
use crate::watch::{WatchConfig, WatchHub};
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_net::admission::Pool;
use conclave_node::config::Config;
use conclave_node::descriptors::{self, Budget};
use conclave_node::node::Node;
use conclave_node::proposer::{Applied, ProposeError};
use conclave_node::read_slots::ReadSlots;
use conclave_node::sink::ApplyObserver;
use conclave_state::{Command, LeaseId, Rejection};
use conclave_tls::{Reloads, Tls};
use std::sync::Arc;
use tonic::Status;

/// Snapshots that are downloaded at a time; others wait in order.
const SNAPSHOTS_AT_A_TIME: usize = 2;

pub struct Gateway {
    pub node: Arc<Node>,
    /// The queues of etcd's Lock and Election.
    pub queues: Queues,
    pub waiters: Waiters,
    /// Calls that take a place and wait for it.
    pub calls: Calls,
    pub watches: WatchHub,
    /// Changes of keys, for those who wait and watch.
    pub feed: Feed,
    pub metrics: Arc<Metrics>,
    /// Who did what.
    pub audit: Audit,
    /// Where commands are proposed.
    pub(crate) proposals: Proposals,
    /// What connections and users may use.
    pub(crate) limits: Limits,
    pub(crate) limited_leases: Leases,
    /// Who may do what.
    pub(crate) access: Access,
    pub(crate) outflow: Outflow,
    /// What the web console keeps; `None`: it is switched off.
    pub(crate) console: Option<Parts>,
    /// Snapshots that are being downloaded: each pins a moment of the state.
    pub(crate) snapshots: ReadSlots,
    /// The connections of clients and of peers.
    pub connections: Connections,
    /// The TLS of this member's ports, for metrics.
    pub tls: Vec<Tls>,
    /// Other files that are followed, for metrics.
    pub files: Vec<File>,
}

/// A file that is read again when it changes: its name in metrics, and what became of that.
pub struct File {
    pub name: &'static str,
    pub reloads: Box<dyn Fn() -> Reloads + Send + Sync>,
}

/// How many connections there are and may be, by the file descriptors that are left for them.
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

impl Gateway {
    /// Made before consensus runs: its [`followers`](Gateway::followers) see every change.
    pub fn new(node: Arc<Node>) -> Gateway {
        let access = Access::new(node.state.clone(), &node.config).expect("without signed tokens nothing is read");
        let metrics = Metrics::new(node.config.extensive_metrics);
        Gateway::with(node, Vec::new(), Vec::new(), access, Audit::default(), metrics)
    }

    /// The same on ports with TLS, beside files that others follow, with signed tokens and an audit
    /// log if they are configured.
    ///
    /// # Errors
    /// The keys for tokens, or the file of the audit log, cannot be used.
    pub fn with_tls(node: Arc<Node>, tls: Vec<Tls>, files: Vec<File>) -> Result<Gateway, String> {
        let access = Access::new(node.state.clone(), &node.config).map_err(|why| format!("--auth-token: {why}"))?;
        let metrics = Metrics::new(node.config.extensive_metrics);
        let audit = Audit::open(node.config.audit.as_ref(), &node.identity.name, &metrics.audit)?;
        Ok(Gateway::with(node, tls, files, access, audit, metrics))
    }

    fn with(
        node: Arc<Node>,
        tls: Vec<Tls>,
        mut files: Vec<File>,
        access: Access,
        audit: Audit,
        metrics: Metrics,
    ) -> Gateway {
        if access.key_files().is_some() {
            let access = access.clone();
            files.push(File { name: "auth-token", reloads: Box::new(move || access.key_files().unwrap_or_default()) });
        }
        let history = History::new(Arc::new(node.state.clone()));
        let feed = Feed::new(history.clone());
        let waiters = Waiters::new(feed.clone());
        let proposals = Proposals::new(node.proposer.clone(), audit.clone());
        let calls = Calls::new(Arc::new(proposals.clone()), node.stopping.clone());
        let leases = Arc::new(node.leases.clone());
        Gateway {
            queues: Queues::new(calls.clone(), leases, waiters.clone(), node.stopping.clone()),
            waiters,
            calls,
            watches: WatchHub::new(history, watch_config(&node.config)),
            feed,
            audit,
            proposals,
            limits: Limits::new(&node.config, &metrics.limits),
            limited_leases: Leases::new(node.state.clone()),
            access,
            metrics: Arc::new(metrics),
            outflow: Outflow::new(),
            console: node.config.console.then(Parts::new),
            snapshots: ReadSlots::new(SNAPSHOTS_AT_A_TIME),
            connections: Connections::new(node.peers.ids().len()),
            tls,
            files,
            node,
        }
    }

    /// Follows the keys for tokens, for ever.
    pub fn follow_keys(&self) -> impl Future<Output = ()> + Send + 'static {
        self.access.clone().follow_keys()
    }

    /// Follows when revisions are made, for the console, for ever.
    pub async fn follow_times(self: Arc<Self>) {
        if let Some(console) = &self.console {
            console.times.follow(|| self.node.state.revision()).await;
        }
    }

    /// The parts that follow what is applied, in their order.
    pub fn followers(&self) -> Vec<Box<dyn ApplyObserver>> {
        let mut followers: Vec<Box<dyn ApplyObserver>> =
            vec![Box::new(self.access.clone()), Box::new(self.watches.clone()), Box::new(self.feed.clone())];
        if self.limits.is_on() {
            followers.push(Box::new(self.limited_leases.clone()));
        }
        followers
    }

    /// To be called before a lease is proposed. `None`: leases are not limited.
    pub(crate) fn asks_for(&self, lease: LeaseId) -> Result<Option<Granting>, Status> {
        let origin = audit::origin();
        let Some(held) = charge::holding(origin.as_deref(), Kind::Leases) else { return Ok(None) };
        self.limited_leases.ask(lease, held).map(Some).map_err(limited)
    }

    /// Proposes a command in the name of who makes this call.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.proposals.propose(command).await
    }

    /// The same for a client that may not want to wait without a leader: then the wait ends, and
    /// what it waits for may still come.
    pub(crate) async fn propose_led(&self, only_led: bool, command: Command) -> Result<Applied, ProposeError> {
        if !only_led {
            return self.propose(command).await;
        }
        let mut contact = self.node.leadership.contact();
        tokio::select! {
            biased;
            applied = self.propose(command) => applied,
            _ = contact.wait_for(|contact| !contact) => Err(ProposeError::ConnectionLost),
        }
    }

    /// Refuses what who makes this call could not have done by a command. For what is decided
    /// without one.
    pub(crate) fn require(&self, command: impl FnOnce() -> Command) -> Result<(), Status> {
        if !self.access.is_on() {
            return Ok(());
        }
        let view = self.node.state.view();
        let Some(auth) = view.auth() else { return Ok(()) };
        let command = command();
        audit::about(|| audit::describe(&command, None, false).unwrap_or_default());
        let checked = auth.check_command(current().as_ref(), &view, &command).map_err(fault)?;
        checked.map_err(|refusal| rejected(Rejection::Auth(refusal)))
    }

    /// The header of every reply: which member answers, in which term, at which revision of the
    /// store.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.node.identity.cluster_id,
            member_id: self.node.identity.member_id,
            revision,
            raft_term: self.node.leadership.current().term,
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
