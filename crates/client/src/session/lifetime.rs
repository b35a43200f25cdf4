//! How long a session lives, as far as this process can know: pure, told the time.
//!
//! Counted from before a keep-alive was *sent*, so it ends before the cluster, which counts from
//! when it *received* it, ends the lease:
//!
//! ```text
//! sent       ⅓ TTL              ⅔ TTL                     deadline
//!  ├── safe ──┼── safe, renewing ─┼── jeopardy, renewing ───┤ lost
//! ```
//!
//! 1. Lost is for ever: no answer that arrives later brings a session back.
//! 2. An answer moves the deadline to what its own request is worth, never back.
//! 3. The deadline leaves out a thousandth of the TTL, for clocks that do not run at the same rate.

use super::{LostReason, SessionState};
use crate::clock::Moment;
use std::time::Duration;

/// Clocks may drift apart by one part in so many: 1000 ppm, where a bad crystal has 100.
const DRIFT: u32 = 1000;

#[derive(Debug)]
pub(super) struct Lifetime {
    /// When the last keep-alive was sent that has been answered.
    sent: Moment,
    /// What it was answered.
    ttl: Duration,
    /// Why and when it ended.
    lost: Option<(LostReason, Moment)>,
}

impl Lifetime {
    pub(super) fn new(sent: Moment, ttl: Duration) -> Self {
        Self { sent, ttl, lost: None }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// From here on it is lost, unless a keep-alive is answered before.
    pub(super) fn deadline(&self) -> Moment {
        self.sent + (self.ttl - self.ttl / DRIFT)
    }

    /// Until when it surely lives, or lived.
    pub(super) fn until(&self) -> Moment {
        self.lost.map_or(self.deadline(), |(_, ended)| ended.min(self.deadline()))
    }

    /// When to ask for more.
    pub(super) fn renewal(&self) -> Moment {
        self.sent + self.ttl / 3
    }

    /// When the state changes next by the passing of time.
    pub(super) fn next_change(&self, now: Moment) -> Moment {
        if now < self.jeopardy() { self.jeopardy() } else { self.deadline() }
    }

    pub(super) fn state(&mut self, now: Moment) -> SessionState {
        if self.lost.is_none() && now >= self.deadline() {
            self.lost = Some((LostReason::Expired, self.deadline()));
        }
        match self.lost {
            Some((reason, _)) => SessionState::Lost(reason),
            None if now >= self.jeopardy() => SessionState::Jeopardy,
            None => SessionState::Safe,
        }
    }

    /// A keep-alive sent at `sent` has been answered.
    pub(super) fn renewed(&mut self, sent: Moment, ttl: Duration, now: Moment) {
        let alive = !matches!(self.state(now), SessionState::Lost(_));
        if alive && sent + ttl > self.sent + self.ttl {
            (self.sent, self.ttl) = (sent, ttl);
        }
    }

    /// It is over, for a reason other than time.
    pub(super) fn end(&mut self, reason: LostReason, now: Moment) {
        if !matches!(self.state(now), SessionState::Lost(_)) {
            self.lost = Some((reason, now));
        }
    }

    fn jeopardy(&self) -> Moment {
        self.sent + self.ttl / 3 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(9);

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn expired() -> SessionState {
        SessionState::Lost(LostReason::Expired)
    }

    #[test]
    fn time_alone_leads_from_safe_over_jeopardy_to_lost() {
        let mut life = Lifetime::new(at(100), TTL);
        assert_eq!(
            [life.renewal(), life.next_change(at(100)), life.next_change(at(107))],
            [at(103), at(106), life.deadline()]
        );
        assert_eq!(life.state(at(105)), SessionState::Safe);
        assert_eq!(life.state(at(106)), SessionState::Jeopardy);
        assert_eq!(life.state(at(108)), SessionState::Jeopardy);
        assert!(life.deadline() < at(109) && life.deadline() > at(108) + Duration::from_millis(980));
        assert_eq!(life.state(life.deadline()), expired());
    }

    #[test]
    fn an_answer_counts_from_when_it_was_asked_for() {
        let mut life = Lifetime::new(at(100), TTL);
        life.renewed(at(103), TTL, at(108));
        assert_eq!(life.state(at(108)), SessionState::Safe);
        assert_eq!(life.state(at(109)), SessionState::Jeopardy);
        assert_eq!(life.state(at(112)), expired());
    }

    #[test]
    fn an_answer_that_comes_too_late_changes_nothing() {
        let mut life = Lifetime::new(at(100), TTL);
        // Nobody looked in between: the machine was suspended.
        life.renewed(at(103), TTL, at(110));
        assert_eq!(life.state(at(110)), expired());
        life.renewed(at(110), TTL, at(111));
        assert_eq!(life.state(at(111)), expired());
    }

    #[test]
    fn an_older_answer_does_not_shorten() {
        let mut life = Lifetime::new(at(100), TTL);
        life.renewed(at(104), TTL, at(104));
        life.renewed(at(103), TTL, at(105));
        assert_eq!(life.renewal(), at(107));
    }

    #[test]
    fn the_first_reason_stays() {
        let mut life = Lifetime::new(at(100), TTL);
        life.end(LostReason::LeaseGone, at(101));
        life.end(LostReason::Closed, at(102));
        assert_eq!(life.state(at(200)), SessionState::Lost(LostReason::LeaseGone));
        let mut late = Lifetime::new(at(100), TTL);
        late.end(LostReason::Closed, at(200));
        assert_eq!(late.state(at(200)), expired());
    }

    #[test]
    fn what_has_ended_is_not_said_to_live_on() {
        let mut life = Lifetime::new(at(100), TTL);
        assert_eq!(life.until(), life.deadline());
        life.end(LostReason::LeaseGone, at(101));
        assert_eq!(life.until(), at(101));
        let mut late = Lifetime::new(at(100), TTL);
        late.end(LostReason::Closed, at(200));
        assert_eq!(late.until(), late.deadline());
    }
}
