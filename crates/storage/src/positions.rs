//! The order of the positions in the log, in one place.
//!
//! A member keeps many indexes of the same log. They are always in this order:
//!
//! ```text
//! purged ≤ snapshot ≤ flushed ≤ applied ≤ committed ≤ last
//!                               applied ≤ durable   ≤ last
//! ```
//!
//! | Position | The newest entry that … | Kept by |
//! |---|---|---|
//! | purged | was removed from the front of the log | slot `Purged` |
//! | snapshot | is in the newest snapshot | openraft, in memory |
//! | flushed | is in the state on disk and recorded so | slot `Flushed` |
//! | applied | is in the state | row `applied` of the state |
//! | committed | is known to be in the logs of a majority | openraft; slot `Committed` lags |
//! | durable | is synced in this member's log | `log::cache`, in memory |
//! | last | this member accepted | `log::cache`, in memory |
//!
//! The reason for each step:
//!
//! * purged ≤ snapshot: the node purges only entries that a snapshot contains, because a follower
//!   that is further behind gets the snapshot instead (`log_retention` in the crate node).
//! * snapshot ≤ flushed: a snapshot is handed out only after its flush was recorded
//!   ([`crate::snapshot`]). So a crash never leaves a state that ends before the log begins.
//! * flushed ≤ applied: the record is written after the flush.
//! * applied ≤ committed: openraft applies committed entries only.
//! * applied ≤ durable: `apply` waits for the local log ([`crate::state`]). So a log on disk that
//!   ends before the state has lost entries.
//!
//! `committed` and `durable` are in no order: a leader commits an entry when a majority has synced
//! it, possibly before its own disk has.
//!
//! The installation of a snapshot jumps ahead of the log: applied and snapshot move to the end of
//! the snapshot at once, and slot `Installing` records that on disk. The log is purged up to there
//! right afterwards, which moves `last` too. The record `Flushed` follows with the next flush.
//!
//! [`crate::open()`] refuses a data directory whose stored positions contradict this order.
//! [`Positions::check`] checks the positions of a running member.

use std::fmt;

/// Positions that are known at one time, as indexes. `None` is not known, or nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    pub purged: Option<u64>,
    pub snapshot: Option<u64>,
    pub flushed: Option<u64>,
    pub applied: Option<u64>,
    pub committed: Option<u64>,
    pub durable: Option<u64>,
    pub last: Option<u64>,
}

/// Two positions in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    earlier: (&'static str, u64),
    later: (&'static str, u64),
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((earlier, a), (later, b)) = (self.earlier, self.later);
        write!(f, "{earlier} ({a}) is beyond {later} ({b})")
    }
}

impl Positions {
    /// Finds two known positions that are out of order.
    pub fn check(&self) -> Result<(), OutOfOrder> {
        let chain = |last_but_one| {
            [
                ("purged", self.purged),
                ("snapshot", self.snapshot),
                ("flushed", self.flushed),
                ("applied", self.applied),
                last_but_one,
                ("last", self.last),
            ]
        };
        in_order(&chain(("committed", self.committed)))?;
        in_order(&chain(("durable", self.durable)))
    }

    /// Stops a debug build if two positions are out of order.
    pub fn debug_check(&self) {
        if cfg!(debug_assertions)
            && let Err(error) = self.check()
        {
            panic!("positions in the log: {error}; {self:?}");
        }
    }
}

fn in_order(chain: &[(&'static str, Option<u64>)]) -> Result<(), OutOfOrder> {
    let mut earlier: Option<(&'static str, u64)> = None;
    for (name, index) in chain {
        let Some(index) = *index else { continue };
        if let Some(earlier) = earlier.filter(|(_, other)| *other > index) {
            return Err(OutOfOrder { earlier, later: (name, index) });
        }
        earlier = Some((name, index));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Positions {
        Positions {
            purged: Some(10),
            snapshot: Some(20),
            flushed: Some(20),
            applied: Some(30),
            committed: Some(35),
            durable: Some(33),
            last: Some(40),
        }
    }

    #[test]
    fn known_positions_must_be_in_order() {
        assert_eq!(sound().check(), Ok(()));
        assert_eq!(Positions::default().check(), Ok(()));
        assert_eq!(Positions { committed: Some(31), durable: Some(40), ..sound() }.check(), Ok(()));
        let text = |p: Positions| p.check().map_err(|e| e.to_string());
        let refused = |words: &str| Err(words.to_owned());
        assert_eq!(text(Positions { purged: Some(21), ..sound() }), refused("purged (21) is beyond snapshot (20)"));
        assert_eq!(text(Positions { applied: Some(34), ..sound() }), refused("applied (34) is beyond durable (33)"));
        assert_eq!(text(Positions { committed: Some(41), ..sound() }), refused("committed (41) is beyond last (40)"));
        // Positions that are not known are skipped.
        let unknown = Positions { snapshot: None, flushed: None, purged: Some(31), ..sound() };
        assert_eq!(text(unknown), refused("purged (31) is beyond applied (30)"));
    }
}
