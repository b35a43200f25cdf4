//! Log retention: decides when to purge the log and when to make an extra snapshot.
//!
//! openraft makes snapshots by number of entries and purges only on request. What remains of the
//! log:
//!
//! ```text
//!  purged          kept for followers that were away      newest snapshot        applied
//!     │◄──────── half of --snapshot-count ───────────────►│                        │
//! ────┴────────────────────────────────────────────────────┴────────────────────────┴──►
//! ```
//!
//! 1. Only entries that a snapshot contains are purged, and half of `--snapshot-count` entries
//!    before it stay, so that a member that was away for less than that catches up from the log.
//! 2. The log also has a bound in bytes, because an entry carries one command or a thousand. A
//!    longer log is cut to half of the bound, after a new snapshot if that frees enough.
//! 3. Entries that follow a snapshot in transfer stay, up to twice the bound. Otherwise a large
//!    state under load might never arrive.
//! 4. The next purge is requested when the last one is done. On a leader a purge waits for
//!    followers that are receiving those entries; they reach a fixed target.

use crate::peer::sending::Sending;
use conclave_storage::LogSize;
use conclave_storage::positions::Positions;
use conclave_storage::types::{C, LogId, Raft};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Interval of checks: soon after each snapshot, but not at every step of consensus.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// A purge is a range deletion, so few large ones are better.
const BATCH_ENTRIES: u64 = 8_192;
/// An extra snapshot must free at least one part in this many of the bound.
const WORTH: u64 = 4;

pub(crate) struct Bounds {
    pub(crate) snapshot_count: u64,
    pub(crate) bytes: u64,
}

/// The positions of the log. Each index is that of the newest entry with the property.
#[derive(Clone, Copy, Debug, Default)]
struct LogStatus {
    leads: bool,
    purged: u64,
    snapshot: u64,
    applied: u64,
    /// The last requested purge.
    asked: u64,
    /// The last entry of the oldest snapshot in transfer.
    sending: Option<u64>,
    bytes: u64,
    /// The index up to which entries must be purged for the bound in bytes.
    beyond: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Purge(u64),
    Snapshot,
}

impl Bounds {
    /// `between` returns the bytes of the entries after one index up to another.
    fn act(&self, log: LogStatus, between: impl FnOnce(u64, u64) -> u64) -> Option<Act> {
        if log.leads && log.asked > log.purged {
            return None;
        }
        let batch = (self.snapshot_count / 10).clamp(1, BATCH_ENTRIES);
        let by_count = log.snapshot.saturating_sub(self.snapshot_count / 2);
        let by_count = if by_count >= log.purged + batch { by_count } else { 0 };
        let by_bytes = log.beyond.unwrap_or(0);
        let held = log.sending.filter(|_| log.bytes <= self.bytes.saturating_mul(2));
        let upto = by_count.max(by_bytes.min(log.snapshot)).min(held.unwrap_or(u64::MAX));
        if upto > log.purged {
            // openraft already recorded this purge as done while leading and resumes it only after
            // the next snapshot, so trigger a snapshot instead of purging again.
            let news = upto > log.asked;
            return if news { Some(Act::Purge(upto)) } else { (log.applied > log.snapshot).then_some(Act::Snapshot) };
        }
        // A newer snapshot would not free entries that are kept for an older one.
        if held.is_some() {
            return None;
        }
        let reach = by_bytes.min(log.applied);
        let worth = reach > log.snapshot && between(log.snapshot, reach) >= self.bytes / WORTH;
        worth.then_some(Act::Snapshot)
    }

    /// Keeps the log within the bounds until consensus ends.
    pub(crate) async fn keep(self, raft: Raft, log: LogSize, sending: Sending) {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = 0;
        loop {
            ticks.tick().await;
            let status = LogStatus { asked, sending: sending.oldest(), ..self.look(&raft, &log) };
            let Some(act) = self.act(status, |behind, upto| log.between(behind + 1..upto + 1)) else { continue };
            tracing::debug!(?act, ?status, "trimming the log");
            if let Act::Purge(upto) = act {
                asked = upto;
            }
            if begin(&raft, act).await.is_err() {
                return;
            }
        }
    }

    fn look(&self, raft: &Raft, log: &LogSize) -> LogStatus {
        let bytes = log.bytes();
        let beyond = if bytes > self.bytes { log.beyond(self.bytes / 2) } else { None };
        let metrics = raft.data_metrics();
        let now = metrics.borrow_watched();
        let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
        let (purged, snapshot, applied) = (index(&now.purged), index(&now.snapshot), index(&now.last_applied));
        let (committed, last) = (index(&now.local_committed), index(&now.last_log));
        // A snapshot may contain entries of an apply call that has not returned yet, so the applied
        // index of the metrics can be behind it for a moment.
        Positions { purged, snapshot, committed, last, ..Positions::default() }.debug_check();
        Positions { applied, committed, last, ..Positions::default() }.debug_check();
        let [purged, snapshot, applied] = [purged, snapshot, applied].map(Option::unwrap_or_default);
        LogStatus { leads: now.replication.is_some(), purged, snapshot, applied, bytes, beyond, ..LogStatus::default() }
    }
}

async fn begin(raft: &Raft, act: Act) -> Result<(), Fatal<C>> {
    match act {
        Act::Purge(upto) => raft.trigger().purge_log(upto).await,
        Act::Snapshot => raft.trigger().snapshot().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { snapshot_count: 100, bytes: 1_000 };

    fn act(log: LogStatus, between: u64) -> Option<Act> {
        BOUNDS.act(log, |_, _| between)
    }

    #[test]
    fn half_the_count_stays_behind_a_snapshot() {
        let log = LogStatus { snapshot: 100, applied: 130, ..LogStatus::default() };
        assert_eq!(act(log, 0), Some(Act::Purge(50)));
        assert_eq!(act(LogStatus { purged: 41, ..log }, 0), None, "less than a batch");
        assert_eq!(act(LogStatus { snapshot: 50, ..log }, 0), None);
    }

    #[test]
    fn too_many_bytes_go_as_far_as_the_snapshot_allows() {
        let log = LogStatus { snapshot: 40, applied: 90, bytes: 1_001, beyond: Some(30), ..LogStatus::default() };
        assert_eq!(act(log, 0), Some(Act::Purge(30)));
        let further = LogStatus { beyond: Some(60), ..log };
        assert_eq!(act(further, 500), Some(Act::Purge(40)));
        // Then a new snapshot, if it frees enough.
        assert_eq!(act(LogStatus { purged: 40, ..further }, 500), Some(Act::Snapshot));
        assert_eq!(act(LogStatus { purged: 40, ..further }, 249), None);
        // A snapshot cannot contain entries that are not applied.
        assert_eq!(act(LogStatus { purged: 40, applied: 40, ..further }, 500), None);
    }

    #[test]
    fn a_snapshot_on_its_way_holds_what_follows_it_up_to_twice_the_bound() {
        let log = LogStatus {
            snapshot: 90,
            applied: 90,
            bytes: 1_500,
            beyond: Some(80),
            sending: Some(60),
            ..LogStatus::default()
        };
        assert_eq!(act(log, 0), Some(Act::Purge(60)));
        assert_eq!(act(LogStatus { purged: 60, ..log }, 0), None);
        assert_eq!(act(LogStatus { purged: 60, snapshot: 60, ..log }, 500), None, "a snapshot that frees nothing");
        assert_eq!(act(LogStatus { purged: 60, snapshot: 60, sending: None, ..log }, 500), Some(Act::Snapshot));
        assert_eq!(act(LogStatus { purged: 60, bytes: 2_001, ..log }, 0), Some(Act::Purge(80)));
    }

    #[test]
    fn a_leader_waits_until_its_last_purge_is_through() {
        let log = LogStatus {
            leads: true,
            snapshot: 90,
            purged: 10,
            asked: 40,
            bytes: 1_500,
            beyond: Some(80),
            ..LogStatus::default()
        };
        assert_eq!(act(log, 0), None);
        assert_eq!(act(LogStatus { leads: false, ..log }, 0), Some(Act::Purge(80)));
        assert_eq!(act(LogStatus { purged: 40, ..log }, 0), Some(Act::Purge(80)));
    }

    /// openraft records a postponed purge as done and resumes it after the next snapshot.
    #[test]
    fn one_that_leads_no_more_goes_on_with_what_it_had_asked_for() {
        let log = LogStatus {
            snapshot: 40,
            applied: 50,
            purged: 10,
            asked: 40,
            bytes: 1_500,
            beyond: Some(80),
            ..LogStatus::default()
        };
        assert_eq!(act(log, 0), Some(Act::Snapshot));
        assert_eq!(act(LogStatus { applied: 40, ..log }, 0), None);
        assert_eq!(act(LogStatus { snapshot: 50, ..log }, 0), Some(Act::Purge(50)));
    }
}
