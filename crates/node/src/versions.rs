//! The cluster's version at this member: what it writes goes by it, and what it supports is announced.
//!
//! 1. A member announces itself before it serves, and an added one before it is admitted. The announcement is decided in the
//!    log, so the version cannot rise above a member that comes at the same time.
//! 2. A program that does not support the cluster's version takes no part: its own state says so at the start, or its peers say
//!    so when it asks them. What it is sent all the same is refused ([`crate::peer::validate`]), and nothing of it is read.
//! 3. When the version falls, the state is flushed: a program of the lower version that starts in this directory then finds
//!    nothing in the log that it must apply and cannot read.

use crate::bootstrap::BootstrapError;
use crate::leadership::Leadership;
use crate::proposer::{ProposeError, Proposer};
use crate::sink::ApplyObserver;
use conclave_state::{ClusterVersion, Command, Response, Supports, Version, VersionAnswer, VersionChange, read};
use conclave_storage::{AppliedBatch, StateHandle, versions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;

/// The leader looks this often whether the version can rise.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Versions(Arc<Inner>);

struct Inner {
    state: StateHandle,
    own: Supports,
    now: watch::Sender<ClusterVersion>,
}

/// A version that this member's program does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the cluster is of version {cluster}, and this program serves in clusters of version {} to {}: {}",
    own.oldest, own.newest,
    if *cluster > own.newest {
        "it is too old: start the member with a program of the cluster's version, or lower that first (etcdctl downgrade)"
    } else {
        "it is too new: upgrade all members to a version between first"
    }
)]
pub struct Unsupported {
    pub cluster: Version,
    pub own: Supports,
}

/// Whether this program can serve in a cluster of that version, as messages of peers have it.
pub(crate) fn judge(packed: u32) -> Result<(), Unsupported> {
    let own = versions::supports();
    match Version::unpacked(packed) {
        Some(cluster) if !own.includes(cluster) => Err(Unsupported { cluster, own }),
        _ => Ok(()),
    }
}

impl Versions {
    pub(crate) fn new(state: StateHandle) -> Result<Versions, conclave_state::Fault> {
        let now = read::cluster_version(&state.view())?;
        let (now, _) = watch::channel(now);
        Ok(Versions(Arc::new(Inner { state, own: versions::supports(), now })))
    }

    /// What this member's program supports.
    pub fn own(&self) -> Supports {
        self.0.own
    }

    /// As of the entries applied here.
    pub fn now(&self) -> ClusterVersion {
        *self.0.now.borrow()
    }

    /// For messages to peers; 0 if none was decided on.
    pub(crate) fn packed(&self) -> u32 {
        self.now().decided.map_or(0, Version::packed)
    }

    /// The highest form of commands that every member reads.
    pub(crate) fn command_form(&self) -> u8 {
        versions::command_form(self.now().version())
    }

    /// An error if this member's own state is of a version that its program does not support.
    pub(crate) fn check(&self) -> Result<(), BootstrapError> {
        judge(self.packed()).map_err(BootstrapError::Version)
    }

    /// Announces this member in the log, unless that is known.
    pub(crate) async fn announce(&self, member: u64, proposer: &Proposer) -> Result<(), AnnounceError> {
        let known = read::supported(&self.0.state.view()).map_err(AnnounceError::Fault)?;
        if known.contains(&(member, self.0.own)) {
            return Ok(());
        }
        announce(member, self.0.own, proposer).await
    }

    /// Has the leader raise the version when all members support it, and flushes when it falls.
    pub(crate) async fn keep(self, leadership: Leadership, proposer: Proposer) {
        let (mut now, mut flushed) = (self.0.now.subscribe(), self.now().version());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = now.changed() => if changed.is_err() { return },
            }
            let version = now.borrow_and_update().version();
            if version < flushed {
                let state = self.0.state.clone();
                if let Ok(Err(error)) = tokio::task::spawn_blocking(move || state.flush()).await {
                    tracing::error!(%error, "the state cannot be flushed");
                }
            }
            if version != flushed {
                tracing::info!(%version, "the cluster's version changed");
                flushed = version;
            }
            if leadership.current().is_me
                && let Some(change) = self.due(&leadership)
            {
                tracing::info!(?change, "changing the cluster's version");
                if let Err(error) = proposer.propose_own(Command::Version(change)).await {
                    tracing::debug!(%error, "the cluster's version: again");
                }
            }
        }
    }

    fn due(&self, leadership: &Leadership) -> Option<VersionChange> {
        let known: BTreeMap<u64, Supports> = match read::supported(&self.0.state.view()) {
            Ok(known) => known.into_iter().collect(),
            Err(fault) => {
                tracing::error!(%fault, "the members' versions cannot be read");
                return None;
            }
        };
        let members: Vec<_> = leadership.members().iter().map(|(id, ..)| known.get(id).copied()).collect();
        self.now().due(&members)
    }
}

impl ApplyObserver for Versions {
    fn applied(&self, batch: &mut AppliedBatch) {
        if let Some(version) = batch.changes.version {
            self.0.now.send_replace(version);
        }
    }

    fn reset(&self) {
        match read::cluster_version(&self.0.state.view()) {
            Ok(version) => drop(self.0.now.send_replace(version)),
            Err(fault) => tracing::error!(%fault, "the cluster's version cannot be read"),
        }
    }
}

#[derive(Debug, Error)]
pub(crate) enum AnnounceError {
    #[error(transparent)]
    Unsupported(Unsupported),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("the members' versions cannot be read: {0}")]
    Fault(conclave_state::Fault),
    #[error("the announcement was refused")]
    Refused,
}

/// Announces what a member supports.
pub(crate) async fn announce(member: u64, supports: Supports, proposer: &Proposer) -> Result<(), AnnounceError> {
    let change = VersionChange::Announce { member, supports };
    let outcome = proposer.propose(Command::Version(change)).await?.outcome;
    match outcome.result {
        Ok(Response::Version(VersionAnswer::Done)) => Ok(()),
        Ok(Response::Version(VersionAnswer::TooOld { version } | VersionAnswer::TooNew { version })) => {
            Err(AnnounceError::Unsupported(Unsupported { cluster: version, own: supports }))
        }
        // A corrupt store refuses all writes.
        _ => Err(AnnounceError::Refused),
    }
}
