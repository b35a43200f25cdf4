//! When to send: at once, when the batch before is done, or a moment later with those who are about to come.
//!
//! Callers that were just answered mostly ask again at once. A batch that leaves before they are back leaves them for the next one, and
//! two groups take turns for ever, each paying for an entry, syncs and frames of its own. So one batch is under way at a time, and after one of
//! many commands the next waits until about as many have come, or the moment is over. Only where much is to be moved does a second batch go
//! beside the first: then the network carries one while the disks write the other.
//!
//! 1. Nobody waits here for longer than [`MOMENT`] after the batch before was done. After a small batch, or none, nobody waits at all.
//! 2. A target that is not reached makes the next target smaller: where commands come at a steady rate, nobody waits either.

use std::time::Duration;
use tokio::time::Instant;

/// About as long as a caller close by takes to be back. (The runtime's timers have no finer steps than a millisecond.)
pub(super) const MOMENT: Duration = Duration::from_millis(2);

/// A batch of fewer commands has nobody waiting for those who were in it.
const CROWD: usize = 12;

/// This much does not wait for another batch.
const MUCH: usize = 256 << 10;

/// What is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) commands: usize,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    /// Unless enough come before.
    At(Instant),
    /// The batch that is under way, unless much comes before.
    AfterThis,
}

#[derive(Default)]
pub(super) struct Gather {
    /// Commands in the batch that was sent last.
    last: usize,
    under_way: usize,
    done: Option<Instant>,
}

impl Gather {
    pub(super) fn sent(&mut self, commands: usize) {
        self.last = commands;
        self.under_way += 1;
    }

    /// A batch that was sent is decided.
    pub(super) fn done(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.done = Some(now);
    }

    /// Whether the sender would send what there is without looking at the clock.
    pub(super) fn is_enough(&self, waiting: Waiting) -> bool {
        let commands = if self.last < CROWD { 1 } else { self.last - self.last / 5 };
        waiting.bytes >= MUCH || (self.under_way == 0 && waiting.commands >= commands)
    }

    pub(super) fn when(&self, waiting: Waiting, now: Instant) -> When {
        match self.done.map(|done| done + MOMENT) {
            _ if self.is_enough(waiting) => When::Now,
            _ if self.under_way > 0 => When::AfterThis,
            Some(until) if now < until => When::At(until),
            _ => When::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(commands: usize) -> Waiting {
        Waiting { commands, bytes: 100 * commands }
    }

    #[test]
    fn a_crowd_that_was_answered_is_waited_for_a_moment() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert_eq!(gather.when(commands(1), now), When::Now, "nobody was there before");
        gather.sent(100);
        gather.done(now);
        assert_eq!(gather.when(commands(79), now), When::At(now + MOMENT));
        assert_eq!(gather.when(commands(80), now), When::Now, "most of them are back");
        assert_eq!(gather.when(commands(1), now + MOMENT), When::Now, "the moment is over");
        // Fewer came: the next time fewer are waited for.
        gather.sent(20);
        gather.done(now);
        assert_eq!(gather.when(commands(16), now), When::Now);
    }

    #[test]
    fn few_never_wait() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        gather.sent(CROWD - 1);
        gather.done(now);
        assert_eq!(gather.when(commands(1), now), When::Now);
    }

    #[test]
    fn one_batch_at_a_time_but_for_much() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        gather.sent(1);
        assert_eq!(gather.when(commands(1), now), When::AfterThis);
        let much = Waiting { commands: 1, bytes: MUCH };
        assert_eq!(gather.when(much, now), When::Now);
        gather.sent(1);
        gather.done(now);
        assert_eq!(gather.when(commands(1), now), When::AfterThis, "one of them is still under way");
        gather.done(now);
        assert_eq!(gather.when(commands(1), now), When::Now);
    }
}
