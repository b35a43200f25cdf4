//! The timers of elections, locks and claims, as the [`Keeper`] keeps them: armed and disarmed by commands, ended by the leader's word.
//!
//! 1. A timer's id is given once. So what was meant for a timer that was disarmed, or armed anew, has no effect, and whoever renews a
//!    timer renews exactly the tenure that he read it from.
//! 2. A claim's timer may be renewed within its span: that is how a claim is extended without a command. All others just run.

use crate::clock::Clock;
use crate::keeper::{Keeper, KeeperHost, Wish};
use crate::reader::ReadError;
use crate::sink::ApplyObserver;
use conclave_state::{Deadline, TimerChange};
use conclave_storage::AppliedBatch;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
pub struct TimerKeeper(Keeper);

/// A claim that is to last on, as its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    pub timer: u64,
    /// From now; at most the timer's own.
    pub millis: u64,
}

impl TimerKeeper {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, host: Box<dyn KeeperHost>) -> TimerKeeper {
        TimerKeeper(Keeper::new(clock, host))
    }

    /// What renews and ends them.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.0
    }

    pub async fn run(self) {
        self.0.run().await;
    }

    /// Takes in what the entries did to timers that were applied, up to `index`. Called from apply, in order.
    pub fn observe(&self, index: u64, changes: &[TimerChange]) {
        let changes = changes.iter().map(|change| match *change {
            Deadline::Armed { id, ms } => Deadline::Armed { id: id.cast_signed(), ms },
            Deadline::Gone { id } => Deadline::Gone { id: id.cast_signed() },
        });
        self.0.observe(index, changes);
    }

    pub fn reset(&self) {
        self.0.reset();
    }

    /// How many timers are armed, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets timers run for so long from the moment of the call. True, in order, for those that do; false for those that are over or
    /// disarmed. Works on every member; one call to the leader for all.
    pub async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, ReadError> {
        let wish = |&Extension { timer, millis }: &Extension| Wish {
            id: timer.cast_signed(),
            span: Some(Duration::from_millis(millis)),
        };
        if let [one] = extensions {
            // Shares a batch with others that come at the same time.
            let kept = self.0.renew(wish(one)).await?;
            return Ok(vec![kept.span >= Duration::from_millis(one.millis)]);
        }
        let spans = self.0.renew_all(&extensions.iter().map(wish).collect::<Vec<_>>()).await?;
        let lasts = spans.iter().zip(extensions);
        Ok(lasts.map(|(span, asked)| *span >= Duration::from_millis(asked.millis)).collect())
    }

    /// Milliseconds that a timer has left, by the leader's clock; `None` if it is over or disarmed.
    pub async fn remaining(&self, timer: u64) -> Result<Option<u64>, ReadError> {
        let left = self.0.remaining(timer.cast_signed()).await?;
        Ok(left.map(crate::lease_keeper::whole_millis))
    }
}

impl ApplyObserver for TimerKeeper {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(batch.last.index, &batch.changes.timers);
    }

    fn reset(&self) {
        TimerKeeper::reset(self);
    }
}
