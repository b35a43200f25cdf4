//! Leases, as the [`Keeper`] keeps them: granted, revoked and expired by commands, renewed in the leader's memory.

use crate::clock::Clock;
use crate::keeper::{Keeper, KeeperHost, Wish};
use crate::reader::ReadError;
use crate::sink::ApplyObserver;
use conclave_state::{LeaseChange, LeaseId};
use conclave_storage::AppliedBatch;
use std::sync::Arc;
use std::time::Duration;

/// A renewed lease; TTL 0 means that there is no such lease (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// In whole seconds, rounded up, as etcd's wire has it.
    pub ttl: i64,
    pub ttl_millis: u64,
    /// The store's revision before the renewal.
    pub revision: i64,
}

#[derive(Clone)]
pub struct LeaseKeeper(Keeper);

impl LeaseKeeper {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, host: Box<dyn KeeperHost>) -> LeaseKeeper {
        LeaseKeeper(Keeper::new(clock, host))
    }

    /// What renews and expires them.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.0
    }

    pub async fn run(self) {
        self.0.run().await;
    }

    /// Takes in what the entries did to leases that were applied, up to `index`. Called from apply, in order.
    pub fn observe(&self, index: u64, changes: &[LeaseChange]) {
        self.0.observe(index, changes.iter().copied());
    }

    pub fn reset(&self) {
        self.0.reset();
    }

    /// How many leases there are, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Extends a lease to its full TTL from the moment of the call. Works on every member.
    pub async fn keep_alive(&self, id: LeaseId) -> Result<KeepAlive, ReadError> {
        let kept = self.0.renew(Wish { id, span: None }).await?;
        let ttl_millis = whole_millis(kept.span);
        // Not more than there is, as whoever holds by it counts on it; but 0 would mean that the lease is gone.
        let ttl = i64::try_from(ttl_millis / 1000).unwrap_or(i64::MAX).max(i64::from(ttl_millis > 0));
        Ok(KeepAlive { ttl, ttl_millis, revision: kept.revision })
    }

    /// Sorts leases by when they expire, as far as this member knows: if it leads.
    pub fn soonest_first(&self, ids: &mut [LeaseId]) {
        self.0.soonest_first(ids);
    }

    /// Whole seconds that the lease has left, by the leader's clock; `None` if there is no such lease.
    pub async fn remaining(&self, id: LeaseId) -> Result<Option<i64>, ReadError> {
        let left = self.0.remaining(id).await?;
        Ok(left.map(|left| i64::try_from(left.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl ApplyObserver for LeaseKeeper {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(batch.last.index, &batch.changes.leases);
    }

    fn reset(&self) {
        LeaseKeeper::reset(self);
    }
}

/// Spans are given in milliseconds or more, so nothing is lost.
pub fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
