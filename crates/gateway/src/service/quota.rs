//! `--quota-backend-bytes`: when the store is full, what would make it grow is refused.
//!
//! Measuring the store asks RocksDB, which is too dear for every put. So the bytes admitted since
//! the last measurement are counted, and the store is measured again after a fraction of the quota.
//! The estimate is this node's own; the other nodes count theirs, and the first that finds the
//! store full raises the alarm for all. From then on the state machine itself refuses. A node whose
//! clients write elsewhere looks too ([`watch`]): its quota may be smaller than that of others, and
//! its store larger.

use crate::gateway::Gateway;
use crate::status::{fault, text};
use conclave_state::{Alarm, AlarmChange, AlarmKind, Command, Fault, read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tonic::Status;

/// At least one measurement in so many admitted bytes.
const MEASURE_EVERY: u64 = 4 << 20;
/// How soon a node notices that others have filled its store.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub struct Quota {
    gateway: Arc<Gateway>,
    /// `None`: no limit.
    meter: Option<Meter>,
    /// An alarm is on its way: one is enough, however many requests are refused meanwhile.
    raising: AtomicBool,
}

impl Quota {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Quota {
        let meter = gateway.node.config.quota_backend_bytes.map(Meter::new);
        Quota { gateway, meter, raising: AtomicBool::new(false) }
    }

    /// Lets a request pass that would add about `bytes`.
    #[inline]
    pub async fn admit(&self, bytes: usize) -> Result<(), Status> {
        match &self.meter {
            Some(meter) if !meter.fits(bytes as u64, || self.gateway.node.state.size_bytes()) => {
                self.refuse(meter.limit).await
            }
            _ => Ok(()),
        }
    }

    #[cold]
    async fn refuse(&self, limit: u64) -> Result<(), Status> {
        if !self.raising.swap(true, Ordering::AcqRel) {
            let raised = raise(&self.gateway, limit).await;
            self.raising.store(false, Ordering::Release);
            raised.map_err(fault)?;
        }
        Err(text::NO_SPACE.into())
    }
}

/// Raises this node's alarm if it is not.
async fn raise(gateway: &Gateway, limit: u64) -> Result<(), Fault> {
    let alarm = Alarm { member: gateway.node.identity.member_id, kind: AlarmKind::NoSpace };
    if read::alarms(&gateway.node.state.view())?.contains(&alarm) {
        return Ok(());
    }
    let command = Command::Alarm(AlarmChange { raise: true, alarm });
    match gateway.proposals.propose_own(command).await {
        Err(error) => tracing::warn!(%error, "the store is full, and the alarm could not be raised"),
        Ok(_) => tracing::warn!(limit, "the store is full: writes are refused until the alarm is disarmed"),
    }
    Ok(())
}

/// Looks at this node's store while revisions are made, by any member's clients, until the node
/// stops.
pub async fn watch(gateway: Arc<Gateway>) {
    let Some(limit) = gateway.node.config.quota_backend_bytes else { return };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Looked::default();
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = gateway.node.stopping.cancelled() => return,
        }
        let state = &gateway.node.state;
        if looked.is_full(state.revision(), limit, || state.size_bytes())
            && let Err(error) = raise(&gateway, limit).await
        {
            tracing::warn!(?error, "the alarms cannot be read");
        }
    }
}

/// Up to which revision the store was found to fit.
#[derive(Default)]
struct Looked(i64);

impl Looked {
    /// A store to which nothing was written is not looked at again: an alarm that was disarmed
    /// stays so until then.
    fn is_full(&mut self, revision: i64, limit: u64, measure: impl FnOnce() -> u64) -> bool {
        std::mem::replace(&mut self.0, revision) != revision && measure() > limit
    }
}

/// Measured size plus what was admitted since.
struct Meter {
    limit: u64,
    step: u64,
    measured: AtomicU64,
    since: AtomicU64,
}

impl Meter {
    fn new(limit: u64) -> Meter {
        let step = MEASURE_EVERY.min(limit / 16);
        // Nothing is known yet: the first request measures.
        Meter { limit, step, measured: AtomicU64::new(0), since: AtomicU64::new(step) }
    }

    fn fits(&self, bytes: u64, measure: impl FnOnce() -> u64) -> bool {
        let since = self.since.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if since <= self.step && self.measured.load(Ordering::Relaxed) + since <= self.limit {
            return true;
        }
        let size = measure();
        self.measured.store(size, Ordering::Relaxed);
        self.since.store(bytes, Ordering::Relaxed);
        size + bytes <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_measures_and_later_ones_only_now_and_then() {
        let meter = Meter::new(1600);
        assert!(meter.fits(10, || 100));
        for _ in 0..9 {
            assert!(meter.fits(10, || panic!("100 bytes may pass before the next measurement")));
        }
        assert!(meter.fits(10, || 200));
    }

    #[test]
    fn a_full_store_is_measured_for_every_request() {
        let meter = Meter::new(1600);
        assert!(!meter.fits(1, || 1600));
        assert!(!meter.fits(1, || 1600));
        // Compacted meanwhile.
        assert!(meter.fits(1, || 100));
    }

    #[test]
    fn a_store_is_looked_at_once_for_each_revision() {
        let mut looked = Looked::default();
        assert!(!looked.is_full(1, 100, || 100));
        assert!(!looked.is_full(1, 100, || panic!("nothing was written")));
        assert!(looked.is_full(2, 100, || 101));
        assert!(!looked.is_full(2, 100, || panic!("nothing was written since")));
    }

    #[test]
    fn a_request_that_would_go_over_is_refused() {
        let meter = Meter::new(1600);
        assert!(!meter.fits(600, || 1100));
        assert!(meter.fits(500, || 1100));
    }
}
