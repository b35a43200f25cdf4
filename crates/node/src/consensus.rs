//! Sets up openraft: configuration, storage and first membership.

use crate::bootstrap::Plan;
use crate::config::Config;
use crate::fatal::Fatal;
use crate::peer::client::Network;
use conclave_storage::types::{MemberNode, Raft};
use conclave_storage::{
    ApplySink, DurationHistogram, Identity, LogSize, LogStore, OpenError, Options, Registry, StateHandle, StateStore,
    Witness, WriterStep,
};
use openraft::SnapshotPolicy;
use openraft::errors::{InitializeError, RaftError};
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The two parts of the storage that openraft takes.
pub struct Store {
    log: LogStore,
    machine: StateStore,
}

impl Store {
    /// Whether log and vote are empty, so that this member cannot have acknowledged or voted for
    /// anything. A restored member has the entry with which a log begins, and no more.
    pub async fn is_fresh(&mut self) -> std::io::Result<bool> {
        let log = self.log.get_log_state().await?;
        let vote = self.log.get_log_reader().await.read_vote().await?;
        Ok(log.last_log_id.is_none_or(|last| last.index == 0) && vote.is_none())
    }

    /// Whether there is a membership, applied or in the log. A log begins with one.
    pub async fn has_membership(&mut self) -> std::io::Result<bool> {
        let (applied, _) = self.machine.applied_state().await?;
        Ok(applied.is_some() || self.log.get_log_state().await?.last_log_id.is_some())
    }

    /// The members of the applied membership.
    pub async fn members(&mut self) -> std::io::Result<BTreeMap<u64, MemberNode>> {
        let (_, membership) = self.machine.applied_state().await?;
        Ok(membership.nodes().map(|(id, node)| (*id, node.clone())).collect())
    }

    /// Shows how long the log's writer has been waiting for its disk.
    pub fn writer_step(&self) -> Arc<WriterStep> {
        self.log.writer_step()
    }

    /// The size of the log.
    pub fn log_size(&self) -> LogSize {
        self.log.size()
    }

    /// The durations of log syncs.
    pub fn sync_times(&self) -> Arc<DurationHistogram> {
        self.log.sync_times()
    }
}

pub struct Opened {
    pub store: Store,
    pub state: StateHandle,
    pub registry: Registry,
    pub witness: Witness,
}

pub fn open(
    config: &Config,
    identity: &Identity,
    origin: u64,
    sink: Arc<dyn ApplySink>,
    fatal: &Fatal,
) -> Result<Opened, OpenError> {
    let fatal = fatal.clone();
    let options = Options {
        wal_dir: config.wal_dir.clone(),
        sync: !config.unsafe_no_fsync,
        snapshot_every_entries: config.snapshot_count,
        on_fatal: Arc::new(move |reason| fatal.report(reason)),
        ..Options::new(&config.data_dir)
    };
    let opened = conclave_storage::open(options, identity.clone(), origin, sink)?;
    let store = Store { log: opened.log, machine: opened.machine };
    Ok(Opened { store, state: opened.state, registry: opened.registry, witness: opened.witness })
}

fn raft_config(config: &Config, cluster_id: u64) -> Result<openraft::Config, openraft::ConfigError> {
    let election_max = config.election_timeout_max_ms();
    openraft::Config {
        cluster_name: format!("{cluster_id:x}"),
        heartbeat_interval: config.heartbeat_interval_ms,
        election_timeout_min: config.election_timeout_ms,
        election_timeout_max: election_max,
        // A member that was disconnected does not disturb the others when it returns.
        enable_pre_vote: Some(true),
        // A restarted leader has to be elected again, because its state is behind its log until the
        // log is replayed.
        enable_leader_restore: Some(false),
        // A leader without a quorum steps down.
        quorum_loss_probe_interval: Some(2 * election_max),
        max_payload_entries: 2_048,
        max_append_entries: Some(4_096),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_count),
        // Purges are requested by `log_retention`; openraft never purges by itself.
        max_in_snapshot_log_to_keep: u64::MAX,
        // The transfer has its own deadline for progress (peer/snapshot.rs).
        install_snapshot_timeout: 600_000,
        state_machine_channel_size: Some(256),
        ..openraft::Config::default()
    }
    .validate()
}

pub async fn start(config: &Config, me: u64, network: Network, store: Store) -> anyhow::Result<Raft> {
    let raft_config = Arc::new(raft_config(config, me)?);
    Ok(Raft::new(me, raft_config, network, store.log, store.machine).await?)
}

/// Writes the first membership, which is the same on every member, unless there is one. The member
/// with the lowest id goes first, so that the first election has one candidate; the others follow
/// if it does not.
pub async fn initialize(raft: Raft, plan: Plan, config: Arc<Config>, fatal: Fatal) {
    let me = plan.identity.member_id;
    let position = plan.members.keys().position(|id| *id == me).unwrap_or(0);
    let election = Duration::from_millis(config.election_timeout_max_ms());
    let wait = election * 4 * u32::try_from(position).unwrap_or(u32::MAX);
    let begun = tokio::time::Instant::now();
    loop {
        match raft.is_initialized().await {
            Ok(true) | Err(_) => return,
            Ok(false) if begun.elapsed() >= wait => break,
            Ok(false) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    match raft.initialize(plan.members).await {
        Ok(()) => tracing::info!("wrote the first membership"),
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => fatal.report(format_args!("the first membership cannot be written: {error}")),
    }
}
