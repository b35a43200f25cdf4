//! Proposes compactions by policy, on the leader alone.
//!
//! `Schedule` decides. It knows neither clock nor cluster: it gets the time and the revision, and
//! returns the revision to compact to. Every member runs its own schedule, so that a new leader
//! continues with the history it has seen; only the leader proposes. If two members believe that
//! they lead, the later command finds the revision compacted and has no effect.
//!
//! * `Periodic(p)`: the current revision is noted every tenth of `p` (of an hour, if `p` is
//!   longer). The newest revision noted at least `p` ago is compacted to, at most once per `p` or
//!   per hour. So versions of the last `p` are always there.
//! * `Revision(n)`: every five minutes, compacts to the current revision minus `n`.

use crate::config::AutoCompaction;
use crate::leadership::Leadership;
use crate::proposer::Proposer;
use conclave_state::{Caller, Command};
use conclave_storage::StateHandle;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
const SAMPLES_PER_INTERVAL: u32 = 10;

/// Runs until the node stops; returns at once if the policy is off.
pub async fn run(
    policy: AutoCompaction,
    state: StateHandle,
    leadership: Leadership,
    proposer: Proposer,
    stopping: CancellationToken,
) {
    let Some(mut schedule) = Schedule::new(policy) else { return };
    let start = Instant::now();
    let mut ticks = interval(schedule.tick());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let due = schedule.due(start.elapsed(), state.revision());
        let Some(revision) = due.filter(|revision| leadership.current().is_me && *revision > state.compacted()) else {
            continue;
        };
        match proposer.propose(Command::Compact { revision }.by(Caller::Server)).await {
            Ok(applied) => match applied.outcome.result {
                Ok(_) => tracing::info!(revision, ?policy, "compacted"),
                Err(rejection) => tracing::debug!(revision, %rejection, "nothing to compact"),
            },
            Err(error) => {
                tracing::warn!(revision, ?error, "the compaction by policy failed; the next one makes up for it")
            }
        }
    }
}

/// When to compact to which revision.
#[derive(Debug)]
struct Schedule {
    policy: AutoCompaction,
    /// Times and the revision that was current then, in ascending order.
    noted: VecDeque<(Duration, i64)>,
    last: Option<Duration>,
}

impl Schedule {
    fn new(policy: AutoCompaction) -> Option<Schedule> {
        (policy != AutoCompaction::Off).then(|| Schedule { policy, noted: VecDeque::new(), last: None })
    }

    /// The interval at which [`Schedule::due`] should be called.
    fn tick(&self) -> Duration {
        let tick = match self.policy {
            AutoCompaction::Periodic(period) => period.min(HOUR) / SAMPLES_PER_INTERVAL,
            AutoCompaction::Revision(_) | AutoCompaction::Off => REVISION_INTERVAL,
        };
        tick.max(Duration::from_millis(1))
    }

    fn due(&mut self, now: Duration, revision: i64) -> Option<i64> {
        let due = match self.policy {
            AutoCompaction::Off => None,
            AutoCompaction::Revision(kept) => Some(revision - kept),
            AutoCompaction::Periodic(period) => self.periodic(period, now, revision),
        };
        due.filter(|revision| *revision > 0)
    }

    fn periodic(&mut self, period: Duration, now: Duration, revision: i64) -> Option<i64> {
        self.noted.push_back((now, revision));
        if self.last.is_some_and(|last| now < last + period.min(HOUR)) {
            return None;
        }
        let mut due = None;
        while let Some((_, revision)) = self.noted.front().filter(|(at, _)| *at + period <= now) {
            due = Some(*revision);
            self.noted.pop_front();
        }
        if due.is_some() {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// The compactions that are due if the store makes one revision a minute.
    fn history(policy: AutoCompaction, until: u64) -> Vec<(u64, i64)> {
        let mut schedule = Schedule::new(policy).expect("a policy");
        let mut asked = Vec::new();
        let mut now = Duration::ZERO;
        while now <= minutes(until) {
            let minute = now.as_secs() / 60;
            let revision = i64::try_from(minute).expect("small") + 1;
            asked.extend(schedule.due(now, revision).map(|due| (minute, due)));
            now += schedule.tick();
        }
        asked
    }

    #[test]
    fn a_short_period_compacts_once_a_period() {
        assert_eq!(history(AutoCompaction::Periodic(minutes(10)), 40), [(10, 1), (20, 11), (30, 21), (40, 31)]);
    }

    #[test]
    fn a_long_period_compacts_once_an_hour_and_keeps_the_period() {
        assert_eq!(history(AutoCompaction::Periodic(minutes(150)), 300), [(150, 1), (210, 61), (270, 121)]);
    }

    #[test]
    fn by_revision() {
        assert_eq!(history(AutoCompaction::Revision(10), 20), [(10, 1), (15, 6), (20, 11)]);
        assert!(Schedule::new(AutoCompaction::Off).is_none());
    }
}
