//! Histogram of durations, for metrics: of log syncs, of writes of the state, of round trips.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds double from 125 µs on; the last bucket has no bound.
const FIRST: Duration = Duration::from_micros(125);
const BOUNDS: usize = 16;

#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl DurationHistogram {
    pub fn count(&self, took: Duration) {
        let bucket = (0..BOUNDS).find(|&i| took <= bound(i)).unwrap_or(BOUNDS);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Upper bound (`None`: no bound) and count of each bucket, shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        counts.enumerate().map(|(i, count)| ((i < BOUNDS).then(|| bound(i)), count))
    }

    pub(super) fn syncs(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }
}

fn bound(bucket: usize) -> Duration {
    FIRST * (1 << bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_bucket() {
        let times = DurationHistogram::default();
        for micros in [0, 125, 126, 1_000, 100_000_000] {
            times.count(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = times.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[3], counts[BOUNDS]), (2, 1, 1, 1));
        assert_eq!((times.syncs(), times.total()), (5, Duration::from_micros(100_001_251)));
        assert_eq!(times.buckets().last().expect("one more").0, None);
    }
}
