//! What of the log goes, and when: openraft makes snapshots by count and purges what it is told to.
//!
//! 1. Only what a snapshot holds goes, and of that half of `--snapshot-count` stays: who was away for less than that catches up from the log.
//! 2. The log also has a bound in bytes, because an entry carries one command or a thousand. Once it is longer, it is cut to half of that, with
//!    a new snapshot before if that lets go of enough.
//! 3. What a snapshot on its way needs to be followed by stays, up to twice the bound: else a large state under load might never arrive.
//! 4. The next purge is asked for when the last one is through. A leader's waits for followers that are just being sent those entries; they
//!    reach a goal that stands still.

use crate::peer::sending::Sending;
use conclave_storage::LogSize;
use conclave_storage::types::{C, Raft};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Soon after each snapshot, without looking at every step of consensus.
const LOOK: Duration = Duration::from_millis(100);
/// A purge is a range deletion: few and large ones.
const BATCH_ENTRIES: u64 = 8_192;
/// A snapshot is made out of turn if as much as this part of the bound goes with it.
const WORTH: u64 = 4;

pub(crate) struct Bounds {
    pub(crate) snapshot_count: u64,
    pub(crate) bytes: u64,
}

/// How the log stands. Indexes are those of the newest entry of which something is true.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    leads: bool,
    purged: u64,
    snapshot: u64,
    applied: u64,
    /// The purge that was asked for last.
    asked: u64,
    /// The last entry of the oldest snapshot on its way.
    sending: Option<u64>,
    bytes: u64,
    /// What must go for the bound in bytes.
    beyond: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Purge(u64),
    Snapshot,
}

impl Bounds {
    /// `between` tells the bytes of the entries behind one index and up to another.
    fn act(&self, log: Standing, between: impl FnOnce(u64, u64) -> u64) -> Option<Act> {
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
            // What was asked for in vain while it led is not begun by asking again, but by the next snapshot.
            let news = upto > log.asked;
            return if news { Some(Act::Purge(upto)) } else { (log.applied > log.snapshot).then_some(Act::Snapshot) };
        }
        // A newer one would let nothing go that is held for an older one.
        if held.is_some() {
            return None;
        }
        let reach = by_bytes.min(log.applied);
        let worth = reach > log.snapshot && between(log.snapshot, reach) >= self.bytes / WORTH;
        worth.then_some(Act::Snapshot)
    }

    /// Keeps the log within the bounds until consensus ends.
    pub(crate) async fn keep(self, raft: Raft, log: LogSize, sending: Sending) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = 0;
        loop {
            ticks.tick().await;
            let standing = Standing { asked, sending: sending.oldest(), ..self.look(&raft, &log) };
            let Some(act) = self.act(standing, |behind, upto| log.between(behind + 1..upto + 1)) else { continue };
            tracing::debug!(?act, ?standing, "trimming the log");
            if let Act::Purge(upto) = act {
                asked = upto;
            }
            if begin(&raft, act).await.is_err() {
                return;
            }
        }
    }

    fn look(&self, raft: &Raft, log: &LogSize) -> Standing {
        let bytes = log.bytes();
        let beyond = if bytes > self.bytes { log.beyond(self.bytes / 2) } else { None };
        let metrics = raft.data_metrics();
        let now = metrics.borrow_watched();
        let [purged, snapshot, applied] =
            [&now.purged, &now.snapshot, &now.last_applied].map(|id| id.as_ref().map_or(0, |id| id.index));
        Standing { leads: now.replication.is_some(), purged, snapshot, applied, bytes, beyond, ..Standing::default() }
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

    fn act(log: Standing, between: u64) -> Option<Act> {
        BOUNDS.act(log, |_, _| between)
    }

    #[test]
    fn half_the_count_stays_behind_a_snapshot() {
        let log = Standing { snapshot: 100, applied: 130, ..Standing::default() };
        assert_eq!(act(log, 0), Some(Act::Purge(50)));
        assert_eq!(act(Standing { purged: 41, ..log }, 0), None, "less than a batch");
        assert_eq!(act(Standing { snapshot: 50, ..log }, 0), None);
    }

    #[test]
    fn too_many_bytes_go_as_far_as_the_snapshot_allows() {
        let log = Standing { snapshot: 40, applied: 90, bytes: 1_001, beyond: Some(30), ..Standing::default() };
        assert_eq!(act(log, 0), Some(Act::Purge(30)));
        let further = Standing { beyond: Some(60), ..log };
        assert_eq!(act(further, 500), Some(Act::Purge(40)));
        // Then a new snapshot, if it is worth while.
        assert_eq!(act(Standing { purged: 40, ..further }, 500), Some(Act::Snapshot));
        assert_eq!(act(Standing { purged: 40, ..further }, 249), None);
        // What is not applied cannot be in one.
        assert_eq!(act(Standing { purged: 40, applied: 40, ..further }, 500), None);
    }

    #[test]
    fn a_snapshot_on_its_way_holds_what_follows_it_up_to_twice_the_bound() {
        let log = Standing {
            snapshot: 90,
            applied: 90,
            bytes: 1_500,
            beyond: Some(80),
            sending: Some(60),
            ..Standing::default()
        };
        assert_eq!(act(log, 0), Some(Act::Purge(60)));
        assert_eq!(act(Standing { purged: 60, ..log }, 0), None);
        assert_eq!(act(Standing { purged: 60, snapshot: 60, ..log }, 500), None, "a snapshot that frees nothing");
        assert_eq!(act(Standing { purged: 60, snapshot: 60, sending: None, ..log }, 500), Some(Act::Snapshot));
        assert_eq!(act(Standing { purged: 60, bytes: 2_001, ..log }, 0), Some(Act::Purge(80)));
    }

    #[test]
    fn a_leader_waits_until_its_last_purge_is_through() {
        let log = Standing {
            leads: true,
            snapshot: 90,
            purged: 10,
            asked: 40,
            bytes: 1_500,
            beyond: Some(80),
            ..Standing::default()
        };
        assert_eq!(act(log, 0), None);
        assert_eq!(act(Standing { leads: false, ..log }, 0), Some(Act::Purge(80)));
        assert_eq!(act(Standing { purged: 40, ..log }, 0), Some(Act::Purge(80)));
    }

    /// openraft takes a purge that it has put off for done, and goes on with it after the next snapshot.
    #[test]
    fn one_that_leads_no_more_goes_on_with_what_it_had_asked_for() {
        let log = Standing {
            snapshot: 40,
            applied: 50,
            purged: 10,
            asked: 40,
            bytes: 1_500,
            beyond: Some(80),
            ..Standing::default()
        };
        assert_eq!(act(log, 0), Some(Act::Snapshot));
        assert_eq!(act(Standing { applied: 40, ..log }, 0), None);
        assert_eq!(act(Standing { snapshot: 50, ..log }, 0), Some(Act::Purge(50)));
    }
}
