//! When revisions were made, as this member saw it.
//!
//! The store has no clock: it says at which revision somebody began to lead, and not at what time.
//! So the console looks at the revision every second and remembers when it had which. That is kept
//! by this member alone, from its start on, and is for people to read: nothing is decided by it.

use conclave_console::{Age, Since};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(1);

/// Looks that are remembered. Beyond, every second one of the older half is forgotten, so that what
/// is long ago is known less exactly.
const MOST: usize = 4_096;

pub(crate) struct Times(Mutex<VecDeque<(i64, Instant)>>);

impl Times {
    pub(super) fn new() -> Times {
        Times(Mutex::default())
    }

    /// Looks at the revision for ever.
    pub(crate) async fn follow(&self, revision: impl Fn() -> i64) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.saw(revision());
        }
    }

    fn saw(&self, revision: i64) {
        let mut looks = self.0.lock();
        if looks.back().is_some_and(|(last, _)| *last >= revision) {
            return;
        }
        if looks.len() >= MOST {
            let (half, mut at) = (MOST / 2, 0);
            looks.retain(|_| {
                at += 1;
                // The first stays: it says since when there are looks.
                at == 1 || at > half || at % 2 == 0
            });
        }
        looks.push_back((revision, Instant::now()));
    }

    /// A revision of which nobody has said yet when it was made.
    pub(super) fn at(revision: i64) -> Since {
        Since { revision, age: Age::About(Duration::ZERO) }
    }

    /// When a revision was made.
    pub(super) fn since(&self, revision: i64) -> Since {
        let looks = self.0.lock();
        let after = looks.partition_point(|(seen, _)| *seen < revision);
        let age = match (after, looks.get(after)) {
            (0, Some((_, begin))) => Age::Over(begin.elapsed()),
            (_, Some((_, at))) => Age::About(at.elapsed()),
            // Since the last look.
            (_, None) => Age::About(Duration::ZERO),
        };
        Since { revision, age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(times: &Times, revision: i64) -> Age {
        times.since(revision).age
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_is_as_old_as_the_look_that_saw_it_first() {
        let times = Times::new();
        let seconds = Duration::from_secs;
        assert_eq!(age(&times, 1), Age::About(Duration::ZERO));
        for revision in [5, 5, 9] {
            times.saw(revision);
            tokio::time::advance(seconds(10)).await;
        }
        assert_eq!(age(&times, 4), Age::Over(seconds(30)));
        assert_eq!(age(&times, 5), Age::Over(seconds(30)));
        assert_eq!(age(&times, 6), Age::About(seconds(10)));
        assert_eq!(age(&times, 9), Age::About(seconds(10)));
        assert_eq!(age(&times, 10), Age::About(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn looks_are_bounded_and_the_latest_stay_exact() {
        let times = Times::new();
        let all = 3 * MOST as i64;
        for revision in 1..=all {
            times.saw(revision);
            tokio::time::advance(EVERY).await;
        }
        assert!(times.0.lock().len() <= MOST);
        assert_eq!(age(&times, all - 100), Age::About(EVERY * 101));
        assert_eq!(age(&times, 1), Age::Over(EVERY * 3 * MOST as u32));
        let Age::About(old) = age(&times, 1_000) else { panic!("it was seen") };
        assert!(old <= EVERY * (all as u32 - 999) && old > EVERY * (all as u32 - 1_600), "{old:?}");
    }
}
