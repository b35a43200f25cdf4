//! A rate: so many a second, as many as that at once.
//!
//! One number tells all (the *generic cell rate algorithm*): when the bucket will be full again.
//! What is taken moves it by the time that it takes to fill up; beyond a second from now, nothing
//! is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

pub(super) struct Bucket {
    per_second: u64,
    /// In nanoseconds of the caller's clock.
    full_at: AtomicU64,
}

impl Bucket {
    pub(super) fn new(per_second: u64) -> Bucket {
        Bucket { per_second: per_second.max(1), full_at: AtomicU64::new(0) }
    }

    /// Takes that many, if there is any left: what is larger than a second's worth passes too, and
    /// what follows waits the longer. `Err`: after how long there is something left.
    pub(super) fn take(&self, now: Duration, many: u64) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        let cost = (u128::from(many) * u128::from(SECOND)).div_ceil(u128::from(self.per_second));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX / 2);
        // One more would have to fit.
        let room = SECOND - (SECOND / self.per_second).min(SECOND);
        let taken = self.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
            let full_at = full_at.max(now);
            (full_at - now <= room).then(|| full_at.saturating_add(cost))
        });
        taken.map(drop).map_err(|full_at| Duration::from_nanos((full_at - now).saturating_sub(room)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_second_is_worth_its_number_and_no_more() {
        let bucket = Bucket::new(10);
        for _ in 0..10 {
            assert_eq!(bucket.take(at(0), 1), Ok(()));
        }
        assert_eq!(bucket.take(at(0), 1), Err(at(100)));
        assert_eq!(bucket.take(at(99), 1), Err(at(1)));
        assert_eq!(bucket.take(at(100), 1), Ok(()));
        assert!(bucket.take(at(100), 1).is_err());
        // Rest is not saved up.
        let passed = (0..100).filter(|_| bucket.take(at(60_000), 1).is_ok()).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn what_is_large_passes_alone() {
        let bucket = Bucket::new(1_000);
        assert_eq!(bucket.take(at(0), 3_000), Ok(()));
        assert!(bucket.take(at(2_000), 1).is_err());
        assert_eq!(bucket.take(at(2_001), 1), Ok(()));
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let bucket = Bucket::new(1);
        assert_eq!((bucket.take(at(0), 1), bucket.take(at(999), 1)), (Ok(()), Err(at(1))));
        assert_eq!(bucket.take(at(1_000), 1), Ok(()));
    }

    #[test]
    fn no_number_overflows() {
        let bucket = Bucket::new(1);
        assert_eq!(bucket.take(Duration::MAX, u64::MAX), Ok(()));
        assert!(bucket.take(Duration::MAX, u64::MAX).is_err());
        assert!(bucket.take(at(0), 1).is_err());
    }
}
