//! Limits how far a peer can raise this member's term.
//!
//! A term only rises, it is stored, and the next election needs a higher one. A member that
//! accepted any term could be raised to the highest number, and no leader could be elected any
//! more, even after a restart. So a term is accepted only if it is a plausible step from what this
//! member knows.
//!
//! * [`STEP`] covers the elections of a few seconds. It is always allowed.
//! * [`LEAP`] covers the elections while a member is away: a hundred a second for more than a year.
//!   A member that comes back after days needs one such step, because everything that it hears next
//!   is near its new term. A few are allowed, and one more each minute.
//! * [`HIGHEST`] leaves room for terms that no cluster has reached.
//!
//! In steps, [`HIGHEST`] is over four thousand million million messages away; in leaps, more than
//! two thousand years.

use super::refusal::Refusal;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

const STEP: u64 = 1 << 10;
const LEAP: u64 = 1 << 32;
const HIGHEST: u64 = 1 << 62;

const LEAPS: u32 = 16;
const ONE_MORE_LEAP: Duration = Duration::from_secs(60);

/// Shared by all requests and replies that this member receives.
#[derive(Default)]
pub(crate) struct Terms(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    /// The highest accepted term. This member's own term may still be lower.
    highest: u64,
    leaps: u32,
    /// When the last leap expired, or the first one was made.
    since: Option<Instant>,
}

impl Terms {
    /// Refuses an implausible term for a member whose own term is `own`.
    pub(crate) fn admit(&self, own: u64, offered: u64) -> Result<(), Refusal> {
        // The common case, without the lock.
        if offered <= own {
            return Ok(());
        }
        if offered > HIGHEST {
            return Err(Refusal("a term that no election reaches"));
        }
        let mut heard = self.0.lock();
        let known = own.max(heard.highest);
        if offered > known.saturating_add(LEAP) {
            return Err(Refusal("a term far beyond what elections can have reached"));
        }
        if offered > known.saturating_add(STEP) {
            heard.leap()?;
        }
        heard.highest = known.max(offered);
        Ok(())
    }
}

impl Heard {
    fn leap(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let forgotten = now.duration_since(since).as_secs() / ONE_MORE_LEAP.as_secs();
        self.leaps = self.leaps.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        self.since = match self.leaps {
            0 => Some(now),
            _ => Some(since + ONE_MORE_LEAP * u32::try_from(forgotten).unwrap_or(u32::MAX)),
        };
        if self.leaps >= LEAPS {
            return Err(Refusal("one more term far beyond this member's, within minutes"));
        }
        self.leaps += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_that_was_away_for_days_catches_up_at_once() {
        let terms = Terms::default();
        // One election each 50 ms for 30 days, while this member was disconnected.
        let now = 30 * 24 * 3600 * 20;
        assert_eq!(terms.admit(7, now), Ok(()));
        // The next terms, before and after its own term has followed.
        for own in [7, now] {
            for later in 0..1000 {
                assert_eq!(terms.admit(own, now + later), Ok(()));
            }
        }
        // The other members may have different terms; each is accepted.
        assert_eq!(terms.admit(now, 2 * now), Ok(()));
        assert_eq!(terms.admit(now, 3 * now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_term_is_believed_that_takes_the_room_of_later_ones() {
        let terms = Terms::default();
        for term in [u64::MAX, u64::MAX - 1, HIGHEST + 1, HIGHEST, LEAP + 8] {
            assert!(terms.admit(7, term).is_err(), "{term}");
        }
        assert_eq!(terms.admit(7, 8), Ok(()), "a refusal changes nothing");
        // A stored term does not change the limit.
        assert!(terms.admit(HIGHEST, HIGHEST + 1).is_err());
        assert_eq!(terms.admit(u64::MAX, 5), Ok(()), "a lower term is consensus' business");
    }

    #[tokio::test(start_paused = true)]
    async fn leaps_are_few_and_come_back_with_time() {
        let (terms, mut term) = (Terms::default(), 0);
        let mut leaps = || {
            let mut count = 0;
            while terms.admit(0, term + LEAP).is_ok() {
                term += LEAP;
                count += 1;
            }
            count
        };
        assert_eq!((leaps(), leaps()), (LEAPS, 0));
        tokio::time::sleep(ONE_MORE_LEAP * 3).await;
        assert_eq!((leaps(), leaps()), (3, 0));
        tokio::time::sleep(ONE_MORE_LEAP * 1000).await;
        assert_eq!((leaps(), leaps()), (LEAPS, 0));
        assert_eq!(terms.admit(0, term + STEP), Ok(()), "a step is no leap");
    }
}
