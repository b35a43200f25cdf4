//! Whose leases there are, of those that were granted through this member since its start.
//!
//! A lease is noted before its command is proposed, so that its end cannot come before. It counts
//! until it ends, also if the connection that asked for it is gone.

use super::budget::{Exceeded, Held};
use conclave_node::sink::ApplyObserver;
use conclave_state::{LeaseChange, LeaseId, read};
use conclave_storage::{AppliedBatch, StateHandle};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Leases {
    held: Arc<Mutex<HashMap<LeaseId, Held>>>,
    state: StateHandle,
}

/// A lease that is asked for. Its place is given back unless it was granted.
pub(crate) struct Granting {
    leases: Leases,
    /// `None`: it is not noted, or it was granted.
    lease: Option<LeaseId>,
}

impl Leases {
    pub(crate) fn new(state: StateHandle) -> Leases {
        Leases { held: Arc::default(), state }
    }

    /// Notes a lease, one of what `held` may have.
    pub(crate) fn ask(&self, lease: LeaseId, mut held: Held) -> Result<Granting, Exceeded> {
        let mut all = self.held.lock();
        if all.contains_key(&lease) {
            // It is there, so the command will be refused.
            return Ok(Granting { leases: self.clone(), lease: None });
        }
        held.add()?;
        all.insert(lease, held);
        Ok(Granting { leases: self.clone(), lease: Some(lease) })
    }
}

impl Granting {
    pub(crate) fn granted(mut self) {
        self.lease = None;
    }
}

impl Drop for Granting {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.leases.held.lock().remove(&lease);
        }
    }
}

impl ApplyObserver for Leases {
    fn applied(&self, batch: &mut AppliedBatch) {
        if batch.changes.leases.is_empty() {
            return;
        }
        let mut held = self.held.lock();
        if held.is_empty() {
            return;
        }
        for change in &batch.changes.leases {
            if let LeaseChange::Gone { id } = change {
                held.remove(id);
            }
        }
    }

    /// Of those that are gone in the state that was put in place.
    fn reset(&self) {
        let view = self.state.view();
        self.held.lock().retain(|id, _| read::lease_ttl(&view, *id).is_ok_and(|ttl| ttl.is_some()));
    }
}
