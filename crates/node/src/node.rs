//! The parts of a node, for the services on top of it.

use crate::announcing::AnnounceError;
use crate::clock;
use crate::config::Config;
use crate::consensus;
use crate::context::NodeContext;
use crate::defragment::Defragment;
use crate::disk_space::DiskSpace;
use crate::fatal::Fatal;
use crate::handover::Handover;
use crate::keeper::{Deadlines, Kind, Leases, NodeHost, Timers};
use crate::leadership::{Leadership, RaftCell};
use crate::membership::{MembershipChanges, Policy};
use crate::peer::Peers;
use crate::peer::handler::{Handler, Parts};
use crate::peer::suspicion::Suspicion;
use crate::peer::validate::Rules;
use crate::placement::{self, Moves, Standing};
use crate::promoter::Promoter;
use crate::proposer::{Limits, ProposeError, Proposer};
use crate::reader::Reader;
use crate::rollback::Rollback;
use crate::sink::{ApplyObserver, ForClients, Observers};
use crate::versions::Versions;
use conclave_state::{Command, Member, read};
use conclave_storage::{DurationHistogram, Identity, LogSize, Registry, StateHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How changes of the membership are judged.
fn policy(config: &Config) -> Policy {
    Policy {
        strict: config.strict_reconfig_check,
        max_learners: config.max_learners,
        timeout: config.request_timeout(),
        patience: Duration::from_millis(2 * config.election_timeout_max_ms()).max(Duration::from_secs(1)),
    }
}

pub struct Node {
    pub identity: Identity,
    pub config: Arc<Config>,
    pub state: StateHandle,
    pub proposer: Proposer,
    pub reader: Reader,
    pub leases: Deadlines<Leases>,
    pub timers: Deadlines<Timers>,
    pub leadership: Leadership,
    pub peers: Peers,
    pub membership: MembershipChanges,
    pub versions: Versions,
    pub log_syncs: Arc<DurationHistogram>,
    pub log_size: LogSize,
    pub defragment: Defragment,
    pub stopping: CancellationToken,
    pub disk_space: DiskSpace,
    /// Leadership that this member handed over for the policy of placement.
    pub moves: Moves,
    pub(crate) raft: RaftCell,
    pub(crate) handover: Handover,
}

impl Node {
    pub(crate) fn wire(
        config: Config,
        identity: Identity,
        origin: u64,
        context: NodeContext,
        store: &consensus::Store,
    ) -> Node {
        let timeout = config.request_timeout();
        let proposer = Proposer::new(origin, Limits::new(config.max_request_bytes, timeout), context.clone());
        let reader = Reader::new(context.clone(), timeout);
        let membership = MembershipChanges::new(context.clone(), policy(&config));
        let NodeContext { raft, leadership, peers, state, handover, versions, .. } = context;
        let clock = Arc::new(clock::MonotonicClock::default());
        let host = |kind| {
            Box::new(NodeHost {
                kind,
                leadership: leadership.clone(),
                proposer: proposer.clone(),
                reader: reader.clone(),
                peers: peers.clone(),
                state: state.clone(),
                handover: handover.clone(),
            })
        };
        let leases = Deadlines::new(clock.clone(), host(Kind::Leases));
        let timers = Deadlines::new(clock, host(Kind::Timers));
        let stopping = CancellationToken::new();
        Node {
            identity,
            proposer,
            reader,
            membership,
            versions,
            leases,
            timers,
            config: Arc::new(config),
            state,
            leadership,
            log_syncs: store.sync_times(),
            log_size: store.log_size(),
            defragment: Defragment::default(),
            stopping,
            disk_space: DiskSpace::default(),
            moves: Moves::default(),
            peers,
            raft,
            handover,
        }
    }

    /// All apply observers; `followers` serve clients.
    pub(crate) fn observers(&self, followers: Vec<Box<dyn ApplyObserver>>) -> Observers {
        Observers {
            own: vec![
                Box::new(self.leases.clone()),
                Box::new(self.timers.clone()),
                Box::new(self.leadership.clone()),
                Box::new(self.versions.clone()),
                Box::new(self.proposer.own_answers()),
            ],
            clients: ForClients::new(self.handover.clone(), followers, Box::new(self.proposer.clone())),
        }
    }

    pub(crate) fn promoter(&self) -> Promoter {
        Promoter {
            state: self.state.clone(),
            leadership: self.leadership.clone(),
            membership: self.membership.clone(),
            proposer: self.proposer.clone(),
        }
    }

    /// The handler of peer calls.
    pub(crate) fn handler(&self, rules: Arc<Rules>, origin: u64, registry: Registry, rollback: Rollback) -> Handler {
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
            membership: self.membership.clone(),
            versions: self.versions.clone(),
            traffic: self.peers.traffic().clone(),
        })
    }

    /// Members that could lead instead of this node, the best first; empty unless this node leads.
    pub(crate) fn successors(&self) -> Vec<u64> {
        placement::successors(&self.leadership, &self.state.view())
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            state: self.state.clone(),
            leadership: self.leadership.clone(),
            election_timeout: Duration::from_millis(self.config.election_timeout_max_ms()),
        }
    }

    /// Asks a voter to take over leadership. The result shows in the leadership metrics.
    pub(crate) async fn ask_to_lead(&self, to: u64) -> Result<(), ProposeError> {
        let raft = self.raft.get().ok_or(ProposeError::NoLeader)?;
        raft.trigger().transfer_leader(to).await.map_err(|_| ProposeError::Stopped)
    }

    /// Hands leadership to a voter; returns once another member leads.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), ProposeError> {
        let mut leadership = self.leadership.subscribe();
        self.ask_to_lead(to).await?;
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.identity.member_id));
        match tokio::time::timeout(self.config.request_timeout(), moved).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ProposeError::TimedOut),
        }
    }

    /// Whether the cluster knows what this member's program supports.
    async fn announce_versions(&self, fatal: &Fatal) -> bool {
        match self.versions.announce(self.identity.member_id, &self.proposer).await {
            Ok(()) => true,
            Err(AnnounceError::Unsupported(why)) => {
                fatal.report(why);
                false
            }
            // To announce twice is harmless.
            Err(error) => {
                tracing::debug!(%error, "announcing this member's versions: again");
                false
            }
        }
    }

    /// Publishes what this member's program supports, and its client URLs, if the cluster does not
    /// know them.
    pub(crate) async fn announce(self: Arc<Node>, fatal: Fatal) {
        let local = self.config.advertise_local.iter().map(ToString::to_string);
        let client_urls = self.config.advertise_client_urls.iter().map(ToString::to_string).chain(local).collect();
        let own = Member { id: self.identity.member_id, name: self.config.name.clone(), client_urls };
        let mut pause = Duration::from_millis(50);
        loop {
            if self.reader.barrier().await.is_ok() && self.announce_versions(&fatal).await {
                match read::members(&self.state.view()) {
                    Ok(members) if members.contains(&own) => return,
                    Ok(_) => match self.proposer.propose(Command::Announce(own.clone())).await {
                        Ok(_) => return,
                        // Publishing twice is harmless.
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
