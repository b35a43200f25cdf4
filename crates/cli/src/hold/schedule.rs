//! When a command that runs under a session must stop, if the session is not confirmed.
//!
//! With a time to live T, a command gets SIGTERM when `grace + margin` is left of it and SIGKILL
//! when `margin` is left. A confirmation moves both away, so with members that answer (the session
//! is confirmed every third of T) they never come.

use std::time::Duration;

/// How long before the deadline the command has ended, whatever it does: time for the kernel and
/// for a slow machine.
const LONGEST_MARGIN: Duration = Duration::from_secs(1);
/// Unless it is said otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// The times of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    grace: Duration,
    margin: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing, before so much time has passed.
    Safe(Duration),
    /// SIGTERM now, SIGKILL after so much time.
    Stop(Duration),
}

impl Schedule {
    /// For a session of this time to live; a grace that is asked for must fit.
    pub(crate) fn new(ttl: Duration, grace: Option<Duration>) -> Result<Self, String> {
        let margin = (ttl / 10).min(LONGEST_MARGIN);
        let most = ttl / 3;
        match grace {
            None => Ok(Self { grace: DEFAULT_GRACE.min(most), margin }),
            Some(grace) if grace <= most => Ok(Self { grace, margin }),
            Some(grace) => Err(format!(
                "--grace {grace:?} does not fit into a session of {ttl:?}: at most a third of it ({}); raise --ttl",
                crate::output::human::time(most)
            )),
        }
    }

    /// What is to be done when this much is left of the session.
    pub(crate) fn phase(self, remaining: Duration) -> Phase {
        match remaining.checked_sub(self.grace + self.margin) {
            Some(left) if !left.is_zero() => Phase::Safe(left),
            _ => Phase::Stop(self.grace_after_loss(remaining)),
        }
    }

    /// How long the command may still take.
    pub(crate) fn grace_after_loss(self, remaining: Duration) -> Duration {
        remaining.saturating_sub(self.margin).min(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn killed_before_the_deadline() {
        let schedule = Schedule::new(secs(60), None).expect("it fits");
        assert_eq!(schedule.phase(secs(60)), Phase::Safe(secs(54)));
        assert_eq!(schedule.phase(secs(6)), Phase::Stop(secs(5)));
        assert_eq!(schedule.phase(secs(3)), Phase::Stop(secs(2)));
        assert_eq!(schedule.phase(Duration::ZERO), Phase::Stop(Duration::ZERO));
        // Whatever is left, SIGKILL comes a margin before it is over.
        for left in 0..600 {
            let left = Duration::from_millis(left * 100);
            if let Phase::Stop(grace) = schedule.phase(left) {
                assert!(grace + schedule.margin <= left.max(schedule.margin));
            }
        }
    }

    #[test]
    fn short_sessions_leave_room_for_a_keep_alive() {
        for ttl in [secs(1), secs(2), secs(10), secs(30)] {
            let schedule = Schedule::new(ttl, None).expect("it fits");
            // Two thirds are left when the next confirmation is due.
            assert!(matches!(schedule.phase(ttl * 2 / 3), Phase::Safe(_)), "{ttl:?}");
        }
        assert!(Schedule::new(secs(10), Some(secs(4))).is_err());
        assert!(Schedule::new(secs(12), Some(secs(4))).is_ok());
    }
}
