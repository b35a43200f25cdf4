//! The one clock of a run: the host's CLOCK_MONOTONIC, in every process of the harness.
//!
//! 1. Read by a system call, not through libc, so it stays true in a process whose libc clock a
//!    fault has skewed.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's start, without those it was suspended.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}
