//! The appointed times of an open loop.
//!
//! A thread of its own sleeps (the runtime's timer knows whole milliseconds only) and lets go what
//! is due; a client that is let go takes the next number, whose appointed time follows from the
//! rate alone.
//!
//! 1. The appointed times do not depend on the server: number n is due at start + n / rate.
//! 2. Nothing is left out: what finds no idle client is done later, and its latency still counts
//!    from its appointed time.
//! 3. The thread wakes at most every `STEP`; what is due by then goes together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How often the thread looks, at most.
const STEP: Duration = Duration::from_micros(200);

/// Appointed times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    per_second: f64,
}

impl Schedule {
    pub(super) fn new(start: Instant, per_second: f64) -> Self {
        Self { start, per_second }
    }

    /// When number `n` (from 0) is due.
    pub(super) fn due(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(n as f64 / self.per_second)
    }

    /// How many are due by `now`.
    pub(super) fn due_by(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.start) {
            Some(elapsed) => (elapsed.as_secs_f64() * self.per_second) as u64 + 1,
            None => 0,
        }
    }
}

/// Lets clients go at their times.
#[derive(Debug)]
pub(super) struct Pace {
    schedule: Schedule,
    end: Instant,
    due: Semaphore,
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Pace {
    /// Starts the thread. It ends by itself at `end`, and lets `clients` go once more so that they
    /// see it.
    pub(super) fn start(schedule: Schedule, end: Instant, clients: usize) -> std::io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            schedule,
            end,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let pace = this.clone();
        std::thread::Builder::new().name("bench-pace".into()).spawn(move || pace.release(clients))?;
        Ok(this)
    }

    fn release(&self, clients: usize) {
        let mut released = 0;
        while !self.stopped.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= self.end {
                break;
            }
            let due = self.schedule.due_by(now);
            if due > released {
                self.due.add_permits(usize::try_from(due - released).unwrap_or(1));
                released = due;
            }
            let next = self.schedule.due(released).min(self.end);
            std::thread::sleep(next.saturating_duration_since(now).max(STEP));
        }
        // The rest up to the end, and one for each client that waits.
        let rest = self.schedule.due_by(self.end).saturating_sub(released);
        self.due.add_permits(usize::try_from(rest).unwrap_or(0) + clients);
    }

    /// Waits for the next operation; returns its appointed time, or `None` at the end.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let due = self.schedule.due(self.taken.fetch_add(1, Ordering::Relaxed));
        (due < self.end && !self.stopped.load(Ordering::Relaxed)).then_some(due)
    }

    /// Ends it early.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_from_the_rate() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 4.0);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(6), start + Duration::from_millis(1500));
        assert_eq!(schedule.due_by(start), 1);
        assert_eq!(schedule.due_by(start + Duration::from_millis(249)), 1);
        assert_eq!(schedule.due_by(start + Duration::from_millis(251)), 2);
        assert_eq!(schedule.due_by(start - Duration::from_millis(1)), 0);
    }

    #[tokio::test]
    async fn a_stall_moves_no_appointed_time() {
        let start = Instant::now();
        let pace = Pace::start(Schedule::new(start, 100.0), start + Duration::from_millis(300), 1).expect("a thread");
        let first = pace.next().await.expect("the first");
        // The only client is away for a tenth of a second; its next operations were due meanwhile.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut times = vec![first];
        while let Some(due) = pace.next().await {
            times.push(due);
        }
        assert_eq!(times.len(), 30, "all that were due, none left out");
        let steps = times.windows(2).map(|pair| (pair[1] - pair[0]).as_micros());
        assert!(steps.into_iter().all(|step| (9_990..10_010).contains(&step)), "{times:?}");
    }

    #[tokio::test]
    async fn nothing_is_let_go_before_its_time() {
        let start = Instant::now() + Duration::from_millis(20);
        let pace = Pace::start(Schedule::new(start, 1000.0), start + Duration::from_millis(50), 1).expect("a thread");
        let mut count = 0;
        while let Some(due) = pace.next().await {
            assert!(Instant::now() >= due);
            count += 1;
        }
        assert_eq!(count, 50);
    }
}
