//! What a run counts: latencies, errors, the longest time without a success.
//!
//! 1. Nothing counts before the window opens. In a closed loop an operation counts if it ends
//!    within the window; in an open loop if its appointed time lies there, however late it ends;
//!    with a number of operations if it begins there.
//! 2. Failures are counted by code and have no latency.
//! 3. The longest gap is the longest time between two successes next to each other, the window's
//!    ends included.

use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};
use tonic::{Code, Status};

/// Which moment of an operation decides whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountBy {
    Start,
    End,
}

/// The shared counts of one run.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    by: CountBy,
    opened: Option<Instant>,
    until: Option<Instant>,
    latencies: Histogram<u64>,
    /// Since the last progress line.
    recent: Histogram<u64>,
    errors: BTreeMap<&'static str, Failures>,
    last: Option<Instant>,
    gap: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// What the first said.
    pub(super) first: String,
}

/// The counts of a window that has ended.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// In microseconds.
    pub(super) latencies: Histogram<u64>,
    pub(super) errors: BTreeMap<&'static str, Failures>,
    pub(super) longest_gap: Duration,
    pub(super) elapsed: Duration,
}

/// For a progress line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) operations: u64,
    pub(super) p99: Duration,
    pub(super) errors: u64,
}

/// Microseconds with three digits.
pub(super) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constant bounds that make sense");
    histogram.auto(false);
    histogram
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

impl Tally {
    pub(super) fn new(by: CountBy) -> Self {
        Self(Mutex::new(Counts {
            by,
            opened: None,
            until: None,
            latencies: histogram(),
            recent: histogram(),
            errors: BTreeMap::new(),
            last: None,
            gap: Duration::ZERO,
        }))
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().expect("nothing panics while counting")
    }

    /// Opens the window, now or at a time to come.
    pub(super) fn open(&self, at: Instant, until: Option<Instant>) {
        let mut counts = self.counts();
        counts.recent.reset();
        (counts.opened, counts.until, counts.last) = (Some(at), until, Some(at));
    }

    /// Counts what was done, or not; `latency` if it is another than from start to end.
    pub(super) fn record(&self, start: Instant, end: Instant, outcome: Result<Option<Duration>, &Status>) {
        let mut counts = self.counts();
        if !counts.counts(start, end) {
            return;
        }
        match outcome {
            Ok(latency) => {
                let latency = micros(latency.unwrap_or_else(|| end.saturating_duration_since(start)));
                counts.latencies.saturating_record(latency);
                counts.recent.saturating_record(latency);
                counts.succeeded(end);
            }
            Err(status) => counts.failed(code_name(status.code()), status.message()),
        }
    }

    /// Counts a failure that is no status.
    pub(super) fn fail(&self, name: &'static str, message: &str) {
        let now = Instant::now();
        let mut counts = self.counts();
        if counts.counts(now, now) {
            counts.failed(name, message);
        }
    }

    /// Counts an operation that began at `start` and was not waited for any longer.
    pub(super) fn unfinished(&self, start: Instant, message: &str) {
        let mut counts = self.counts();
        if counts.counts(start, start) {
            counts.failed("UNFINISHED", message);
        }
    }

    /// What came since the last call.
    pub(super) fn recent(&self) -> Recent {
        let mut counts = self.counts();
        let recent = Recent {
            operations: counts.recent.len(),
            p99: Duration::from_micros(counts.recent.value_at_quantile(0.99)),
            errors: counts.errors.values().map(|failures| failures.count).sum(),
        };
        counts.recent.reset();
        recent
    }

    /// Closes the window.
    pub(super) fn close(&self, now: Instant) -> Counted {
        let mut counts = self.counts();
        let opened = counts.opened.unwrap_or(now);
        // What ended after the appointed end still belongs to it.
        let end = match (counts.until, counts.last) {
            (Some(until), Some(last)) => until.max(last).min(now),
            (None, Some(last)) => last,
            _ => now,
        };
        if counts.until.is_some() {
            counts.succeeded(end);
        }
        counts.opened = None;
        Counted {
            latencies: std::mem::replace(&mut counts.latencies, histogram()),
            errors: std::mem::take(&mut counts.errors),
            longest_gap: counts.gap,
            elapsed: end.saturating_duration_since(opened),
        }
    }
}

impl Counts {
    fn counts(&self, start: Instant, end: Instant) -> bool {
        let at = if self.by == CountBy::Start { start } else { end };
        self.opened.is_some_and(|opened| opened <= at) && self.until.is_none_or(|until| at < until)
    }

    fn succeeded(&mut self, at: Instant) {
        let last = self.last.unwrap_or(at);
        self.gap = self.gap.max(at.saturating_duration_since(last));
        self.last = Some(at.max(last));
    }

    fn failed(&mut self, name: &'static str, message: &str) {
        let failures = self.errors.entry(name).or_default();
        failures.count += 1;
        if failures.first.is_empty() {
            message.clone_into(&mut failures.first);
        }
    }
}

/// The code's name as gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.open(start, None);
        for i in 1..=1000 {
            tally.record(start, start + i * MS, Ok(None));
        }
        let counted = tally.close(start + 2000 * MS);
        for (quantile, ms) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = counted.latencies.value_at_quantile(quantile) as f64 / 1000.0;
            assert!((found - ms).abs() <= ms / 500.0, "{quantile}: {found} for {ms}");
        }
        assert_eq!((counted.latencies.len(), counted.elapsed), (1000, 1000 * MS));
    }

    #[test]
    fn a_closed_loop_counts_what_ends_within_the_window() {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.record(start, start + MS, Ok(None));
        tally.open(start + 2 * MS, Some(start + 10 * MS));
        tally.record(start, start + 3 * MS, Ok(None)); // begun before
        tally.record(start + 4 * MS, start + 11 * MS, Ok(None)); // ends after
        let counted = tally.close(start + 12 * MS);
        assert_eq!((counted.latencies.len(), counted.elapsed), (1, 8 * MS));
    }

    #[test]
    fn an_open_loop_counts_by_appointed_time() {
        let (tally, start) = (Tally::new(CountBy::Start), Instant::now());
        tally.open(start + 2 * MS, Some(start + 10 * MS));
        tally.record(start, start + 3 * MS, Ok(None)); // appointed before
        tally.record(start + 4 * MS, start + 500 * MS, Ok(None)); // very late, and counts as such
        let counted = tally.close(start + 600 * MS);
        assert_eq!(counted.latencies.len(), 1);
        assert!((495_000..498_000).contains(&counted.latencies.max()));
        assert_eq!(counted.elapsed, 498 * MS);
    }

    #[test]
    fn the_longest_gap_knows_the_ends() {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.open(start, Some(start + 100 * MS));
        for at in [10, 15, 45, 50] {
            tally.record(start, start + at * MS, Ok(None));
        }
        assert_eq!(tally.close(start + 101 * MS).longest_gap, 50 * MS);
    }

    #[test]
    fn failures_are_counted_by_code() {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.open(start, None);
        for _ in 0..3 {
            tally.record(start, start + MS, Err(&Status::unavailable("gone")));
        }
        assert_eq!(tally.recent().errors, 3);
        let errors = tally.close(start + 2 * MS).errors;
        assert_eq!((errors["UNAVAILABLE"].count, errors["UNAVAILABLE"].first.as_str()), (3, "gone"));
    }

    #[test]
    fn a_measured_latency_takes_the_place_of_the_operations_own() {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.open(start, None);
        tally.record(start, start + 100 * MS, Ok(Some(MS)));
        assert!(tally.close(start + 200 * MS).latencies.max() <= 1001);
    }
}
