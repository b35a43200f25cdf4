//! Who led, and for how long: a member at which leadership does not hold is left alone for a while.
//!
//! Each member keeps this by what it sees itself, so it does not matter who moved leadership.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// More members do not come and go in the time that counts.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Tenures {
    /// Who leads, and since when.
    now: Option<(u64, Instant)>,
    failures: BTreeMap<u64, Failures>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    /// In a row.
    pub(super) count: u32,
    pub(super) last: Instant,
}

impl Tenures {
    /// This member leads from now on. `held`: how long the one before must have led for its
    /// leadership to have held; `None`: it was not meant to hold.
    pub(super) fn leads(&mut self, member: u64, at: Instant, held: Option<Duration>) {
        if let Some((before, since)) = self.now
            && before != member
            && let Some(held) = held
        {
            if at.duration_since(since) < held {
                self.failed(before, at);
            } else {
                self.failures.remove(&before);
            }
        }
        if self.now.is_none_or(|(before, _)| before != member) {
            self.now = Some((member, at));
        }
    }

    /// Who leads as far as is known.
    pub(super) fn leader(&self) -> Option<u64> {
        self.now.map(|(member, _)| member)
    }

    /// A transfer to this member failed.
    pub(super) fn failed(&mut self, member: u64, at: Instant) {
        if self.failures.len() >= MOST {
            let oldest = self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(member, _)| *member);
            oldest.map(|member| self.failures.remove(&member));
        }
        let failures = self.failures.entry(member).or_insert(Failures { count: 0, last: at });
        *failures = Failures { count: failures.count.saturating_add(1), last: at };
    }

    pub(super) fn failures(&self, member: u64) -> Option<Failures> {
        self.failures.get(&member).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn leadership_that_does_not_hold_is_counted_until_it_holds() {
        let (mut tenures, begin) = (Tenures::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let count = |tenures: &Tenures, member| tenures.failures(member).map_or(0, |failures| failures.count);
        tenures.leads(1, at(0), HELD);
        tenures.leads(2, at(100), HELD);
        assert_eq!(count(&tenures, 1), 0, "it led for long");
        tenures.leads(2, at(101), HELD);
        tenures.leads(1, at(109), HELD);
        assert_eq!(tenures.failures(2), Some(Failures { count: 1, last: at(109) }), "since it led first");
        tenures.leads(2, at(200), HELD);
        tenures.leads(1, at(201), HELD);
        assert_eq!((count(&tenures, 1), count(&tenures, 2)), (0, 2));
        tenures.failed(2, at(202));
        assert_eq!((count(&tenures, 2), tenures.leader()), (3, Some(1)));
        tenures.leads(2, at(300), HELD);
        tenures.leads(1, at(310), HELD);
        assert_eq!(count(&tenures, 2), 0, "it held");
    }

    #[test]
    fn what_was_not_meant_to_hold_counts_for_nothing() {
        let (mut tenures, begin) = (Tenures::default(), Instant::now());
        tenures.leads(1, begin, None);
        tenures.leads(2, begin, None);
        assert_eq!(tenures.failures(1), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut tenures, begin) = (Tenures::default(), Instant::now());
        for member in 0..2 * MOST as u64 {
            tenures.failed(member, begin + Duration::from_secs(member));
        }
        assert_eq!(tenures.failures.len(), MOST);
        assert!(tenures.failures(0).is_none() && tenures.failures(2 * MOST as u64 - 1).is_some());
    }
}
