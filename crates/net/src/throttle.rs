//! Throttles log lines that clients or peers could cause at will: logs a few, and counts the rest.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lines per [`WINDOW`].
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// Decides which events of one kind are logged.
#[derive(Default)]
pub struct Throttle(Mutex<Window>);

#[derive(Default)]
struct Window {
    begun: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Throttle {
    /// `Some` if this event should be logged, with the number of events skipped since the last
    /// logged one.
    pub fn admit(&self) -> Option<u64> {
        let mut window = self.0.lock();
        let now = Instant::now();
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= WINDOW) {
            window.begun = Some(now);
            window.lines = 0;
        }
        if window.lines >= LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_events_is_a_few_lines_and_a_count() {
        let throttle = Throttle::default();
        let logged: Vec<_> = (0..100).filter_map(|_| throttle.admit()).collect();
        assert_eq!(logged, [0; LINES as usize]);
        tokio::time::sleep(WINDOW).await;
        assert_eq!((throttle.admit(), throttle.admit()), (Some(100 - u64::from(LINES)), Some(0)));
    }
}
