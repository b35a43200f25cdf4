//! When to send: at once, or a moment later with those who are about to come.
//!
//! Callers that were just answered mostly ask again at once. A batch that leaves before they are back leaves them for the next one, and
//! two groups take turns for ever, each paying for an entry, syncs and frames of its own. So when a batch of many commands is done, the
//! next one waits until about as many have come, or the moment is over.
//!
//! 1. Nobody waits here for longer than [`MOMENT`] after the batch before was done. After a small batch, or none, nobody waits at all.
//! 2. A target that is not reached makes the next target smaller: where commands come at a steady rate, nobody waits either.

use std::time::Duration;
use tokio::time::Instant;

/// About as long as a caller close by takes to be back. (The runtime's timers have no finer steps than a millisecond.)
pub(super) const MOMENT: Duration = Duration::from_millis(2);

/// A batch of fewer commands has nobody waiting for those who were in it.
const CROWD: usize = 12;

#[derive(Default)]
pub(super) struct Gather {
    /// Commands in the batch that was sent last.
    last: usize,
    done: Option<Instant>,
}

impl Gather {
    pub(super) fn sent(&mut self, commands: usize) {
        *self = Gather { last: commands, done: None };
    }

    /// What was sent last is decided.
    pub(super) fn done(&mut self, now: Instant) {
        self.done = Some(now);
    }

    /// How many commands are enough to send at once.
    pub(super) fn enough(&self) -> usize {
        if self.last < CROWD { 1 } else { self.last - self.last / 5 }
    }

    /// Until when more are waited for, with `waiting` commands there.
    pub(super) fn until(&self, waiting: usize, now: Instant) -> Option<Instant> {
        let until = self.done? + MOMENT;
        (waiting < self.enough() && now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_was_answered_is_waited_for_a_moment() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert_eq!(gather.until(1, now), None, "nobody was there before");
        gather.sent(100);
        assert_eq!(gather.until(1, now), None, "it is not for this to say whether a batch may go beside another");
        gather.done(now);
        assert_eq!(gather.until(79, now), Some(now + MOMENT));
        assert_eq!(gather.until(80, now), None, "most of them are back");
        assert_eq!(gather.until(1, now + MOMENT), None, "the moment is over");
        // Fewer came: the next time fewer are waited for.
        gather.sent(20);
        gather.done(now);
        assert_eq!(gather.until(16, now), None);
    }

    #[test]
    fn few_never_wait() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        gather.sent(CROWD - 1);
        gather.done(now);
        assert_eq!(gather.until(1, now), None);
    }
}
