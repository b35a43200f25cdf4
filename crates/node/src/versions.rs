//! The cluster's version as this member has applied it: what it writes goes by it. [`crate::announcing`] has how it changes.

use crate::sink::ApplyObserver;
use crate::supported::{Unsupported, judge};
use conclave_state::{ClusterVersion, Supports, Version, read};
use conclave_storage::{AppliedBatch, StateHandle, versions};
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone)]
pub struct Versions(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) state: StateHandle,
    own: Supports,
    pub(crate) now: watch::Sender<ClusterVersion>,
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
