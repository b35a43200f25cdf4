//! Batching policy: decides whether to send now, after the batch in flight, or a moment later.
//!
//! Most callers send their next command as soon as they are answered. If the next batch leaves
//! before those callers are back, they miss it, and two groups of callers alternate for ever, each
//! paying for an entry, a sync and frames of its own:
//!
//! ```text
//! sent at once    batch 1 (a)  batch 2 (b)  batch 1 (a) …       two half batches
//! waited 1–2 ms   batch (a, b)              batch (a, b) …      one full batch
//! ```
//!
//! So one batch is in flight at a time. After a batch of many commands the next one waits until
//! about as many have come, or [`MOMENT`] is over. With much data to send, a second batch goes
//! beside the first, so that the network carries one while the disks write the other.
//!
//! 1. No command waits here for longer than [`MOMENT`] after the last batch was done. After a small
//!    batch, or none, no command waits at all.
//! 2. A target that is not reached makes the next target smaller, so a steady rate of commands does
//!    not wait either.

use std::time::Duration;
use tokio::time::Instant;

/// About the time in which a nearby caller sends its next command. (The runtime's timers have a
/// resolution of one millisecond.)
pub(super) const MOMENT: Duration = Duration::from_millis(2);

/// After a batch of fewer commands than this, the next one does not wait.
const MANY: usize = 12;

/// With this many bytes, the next batch does not wait for the one in flight.
const LARGE: usize = 256 << 10;

/// Commands that wait to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) commands: usize,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    /// At this time, or earlier if enough commands come.
    At(Instant),
    /// After the batch in flight, or earlier if many bytes come.
    AfterThis,
}

#[derive(Default)]
pub(super) struct BatchPolicy {
    /// Commands in the last batch.
    last: usize,
    in_flight: usize,
    done: Option<Instant>,
}

impl BatchPolicy {
    pub(super) fn sent(&mut self, commands: usize) {
        self.last = commands;
        self.in_flight += 1;
    }

    /// A batch in flight is decided.
    pub(super) fn done(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.done = Some(now);
    }

    /// Whether there is enough to send now, whatever the time.
    pub(super) fn is_enough(&self, waiting: Queued) -> bool {
        let commands = if self.last < MANY { 1 } else { self.last - self.last / 5 };
        waiting.bytes >= LARGE || (self.in_flight == 0 && waiting.commands >= commands)
    }

    pub(super) fn when(&self, waiting: Queued, now: Instant) -> When {
        match self.done.map(|done| done + MOMENT) {
            _ if self.is_enough(waiting) => When::Now,
            _ if self.in_flight > 0 => When::AfterThis,
            Some(until) if now < until => When::At(until),
            _ => When::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(commands: usize) -> Queued {
        Queued { commands, bytes: 100 * commands }
    }

    #[test]
    fn a_crowd_that_was_answered_is_waited_for_a_moment() {
        let (mut batching, now) = (BatchPolicy::default(), Instant::now());
        assert_eq!(batching.when(commands(1), now), When::Now, "nobody was there before");
        batching.sent(100);
        batching.done(now);
        assert_eq!(batching.when(commands(79), now), When::At(now + MOMENT));
        assert_eq!(batching.when(commands(80), now), When::Now, "most of them are back");
        assert_eq!(batching.when(commands(1), now + MOMENT), When::Now, "the moment is over");
        // Fewer came, so the next batch waits for fewer.
        batching.sent(20);
        batching.done(now);
        assert_eq!(batching.when(commands(16), now), When::Now);
    }

    #[test]
    fn few_never_wait() {
        let (mut batching, now) = (BatchPolicy::default(), Instant::now());
        batching.sent(MANY - 1);
        batching.done(now);
        assert_eq!(batching.when(commands(1), now), When::Now);
    }

    #[test]
    fn one_batch_at_a_time_but_for_much() {
        let (mut batching, now) = (BatchPolicy::default(), Instant::now());
        batching.sent(1);
        assert_eq!(batching.when(commands(1), now), When::AfterThis);
        let much = Queued { commands: 1, bytes: LARGE };
        assert_eq!(batching.when(much, now), When::Now);
        batching.sent(1);
        batching.done(now);
        assert_eq!(batching.when(commands(1), now), When::AfterThis, "one of them is still under way");
        batching.done(now);
        assert_eq!(batching.when(commands(1), now), When::Now);
    }
}
