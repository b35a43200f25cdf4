//! The cluster's version as this member has applied it: what it writes goes by it.
//! [`crate::announcing`] has how it changes.

use crate::sink::ApplyObserver;
use crate::supported::{Unsupported, judge};
use conclave_state::{ClusterVersion, Fault, Supports, Version, read};
use conclave_storage::{AppliedBatch, StateHandle, versions};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone)]
pub struct Versions(Arc<Inner>);

struct Inner {
    state: StateHandle,
    own: Supports,
    now: watch::Sender<ClusterVersion>,
}

impl Versions {
    pub(crate) fn new(state: StateHandle) -> Result<Versions, Fault> {
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

    /// The version now, and whenever it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<ClusterVersion> {
        self.0.now.subscribe()
    }

    /// What each member announced, by id.
    pub(crate) fn announced(&self) -> Result<Vec<(u64, Supports)>, Fault> {
        read::supported(&self.0.state.view())
    }

    /// Writes the state to disk, so that no later start applies again what is in the log now.
    /// Blocks.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.0.state.flush()
    }

    /// For messages to peers; 0 if none was decided on.
    pub(crate) fn packed(&self) -> u32 {
        self.now().decided.map_or(0, Version::packed)
    }

    /// The highest form of commands that every member reads.
    pub(crate) fn command_form(&self) -> u8 {
        versions::command_form(self.now().version())
    }

    /// Whether every member reads commands about the placement of leadership. Before a version is
    /// decided on, some member has not said what it reads.
    pub fn has_placement(&self) -> bool {
        self.now().decided.is_some_and(|version| version >= versions::PLACEMENT)
    }

    /// An error if this member's own state is of a version that its program does not support.
    pub(crate) fn check(&self) -> Result<(), Unsupported> {
        judge(self.packed())
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
