//! A member announces what it supports, and the leader decides on the cluster's version.
//!
//! 1. A member announces itself before it serves, and an added one before it is admitted. The
//!    announcement is decided in the log, so the version cannot rise above a member that comes at
//!    the same time.
//! 2. A program that does not support the cluster's version takes no part: its own state says so at
//!    the start, or its peers say so when it asks them. What it is sent all the same is refused
//!    ([`crate::peer::validate`]), and nothing of it is read.
//! 3. When the version falls, the state is flushed: a program of the lower version that starts in
//!    this directory then finds nothing in the log that it must apply and cannot read.

use crate::leadership::Leadership;
use crate::proposer::{ProposeError, Proposer};
use crate::supported::Unsupported;
use crate::versions::Versions;
use conclave_state::{Command, Fault, Response, Supports, VersionAnswer, VersionChange};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// The leader looks this often whether the version can rise.
const LOOK: Duration = Duration::from_millis(500);

impl Versions {
    /// Announces this member in the log, unless that is known.
    pub(crate) async fn announce(&self, member: u64, proposer: &Proposer) -> Result<(), AnnounceError> {
        let known = self.announced().map_err(AnnounceError::Fault)?;
        if known.contains(&(member, self.own())) {
            return Ok(());
        }
        announce(member, self.own(), proposer).await
    }

    /// Has the leader raise the version when all members support it, and flushes when it falls.
    pub(crate) async fn keep(self, leadership: Leadership, proposer: Proposer) {
        let (mut now, mut seen) = (self.follow(), self.now().version());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = now.changed() => if changed.is_err() { return },
            }
            let version = now.borrow_and_update().version();
            // What could not be flushed is flushed at the next look.
            if version > seen || (version < seen && self.flushed().await) {
                tracing::info!(%version, "the cluster's version changed");
                seen = version;
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

    async fn flushed(&self) -> bool {
        let versions = self.clone();
        match tokio::task::spawn_blocking(move || versions.flush()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the state cannot be flushed");
                false
            }
            // This member stops.
            Err(_) => false,
        }
    }

    fn due(&self, leadership: &Leadership) -> Option<VersionChange> {
        let known: BTreeMap<u64, Supports> = match self.announced() {
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

#[derive(Debug, Error)]
pub(crate) enum AnnounceError {
    #[error(transparent)]
    Unsupported(Unsupported),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error("the members' versions cannot be read: {0}")]
    Fault(Fault),
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
