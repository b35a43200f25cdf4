//! A monotonic clock as a small trait: the machine's clock in production, a manual one in tests and
//! simulation.
//!
//! Nothing here is wall-clock time. Readings of different nodes (or of different runs) must never
//! be compared.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment before the first reading. Never decreases.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock. It may stand still while the machine is suspended, which makes
/// leases live longer, never shorter.
#[derive(Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    pub fn new() -> MonotonicClock {
        MonotonicClock { start: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> MonotonicClock {
        MonotonicClock::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that the test moves.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
}

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        *self.now.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = ManualClock::default();
        assert_eq!(clock.now(), Duration::ZERO);
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
    }

    #[test]
    fn the_monotonic_clock_moves() {
        let clock = MonotonicClock::new();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > before);
    }
}
