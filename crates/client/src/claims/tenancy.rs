//! Until when a claim is held, as far as this process can know: pure, told the time.
//!
//! 1. What is promised counts from before the request was sent, and leaves out a thousandth for
//!    clocks that run at other rates.
//! 2. An answer never shortens a tenure, and never brings back one that is over.

use crate::{LostReason, clock::Moment};
use std::time::Duration;

/// Clocks may drift apart by one part in so many; as for sessions.
const DRIFT: u32 = 1000;

/// What a promise of the cluster is worth here.
pub(super) fn worth(guaranteed: Duration) -> Duration {
    guaranteed - guaranteed / DRIFT
}

/// What the cluster has promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) fence: i64,
    pub(super) until: Moment,
    pub(super) term: Duration,
}

#[derive(Debug)]
pub(super) struct Tenancy {
    fence: i64,
    until: Moment,
    /// For how long the answer promised it that counts.
    term: Duration,
    lost: Option<LostReason>,
}

impl Tenancy {
    pub(super) fn new(promise: Promise) -> Self {
        let Promise { fence, until, term } = promise;
        Self { fence, until, term, lost: None }
    }

    pub(super) fn until(&self) -> Moment {
        self.until
    }

    pub(super) fn term(&self) -> Duration {
        self.term
    }

    pub(super) fn state(&mut self, now: Moment) -> Option<LostReason> {
        if self.lost.is_none() && now >= self.until {
            self.lost = Some(LostReason::Expired);
        }
        self.lost
    }

    /// The cluster has answered an extension.
    pub(super) fn extended(&mut self, promise: Promise, now: Moment) {
        if self.state(now).is_some() {
            return;
        }
        if promise.fence == self.fence {
            if promise.until > self.until {
                (self.until, self.term) = (promise.until, promise.term);
            }
        } else {
            // Another tenure of the same holder: somebody may have held it in between.
            self.lost = Some(LostReason::KeyGone);
        }
    }

    /// It is over, for a reason other than time.
    pub(super) fn end(&mut self, reason: LostReason, now: Moment) {
        if self.state(now).is_none() {
            self.lost = Some(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn promise(fence: i64, until: Moment) -> Promise {
        Promise { fence, until, term: Duration::from_secs(30) }
    }

    #[test]
    fn a_promise_is_worth_a_thousandth_less() {
        assert_eq!(worth(Duration::from_secs(30)), Duration::from_millis(29_970));
    }

    #[test]
    fn answers_move_the_end_on_and_never_back() {
        let mut tenancy = Tenancy::new(promise(7, at(30)));
        tenancy.extended(promise(7, at(40)), at(10));
        tenancy.extended(promise(7, at(35)), at(11));
        assert_eq!((tenancy.until(), tenancy.state(at(39))), (at(40), None));
        assert_eq!(tenancy.state(at(40)), Some(LostReason::Expired));
        // An answer that comes after the end.
        tenancy.extended(promise(7, at(70)), at(41));
        assert_eq!(tenancy.state(at(41)), Some(LostReason::Expired));
    }

    #[test]
    fn another_fence_is_another_tenure() {
        let mut tenancy = Tenancy::new(promise(7, at(30)));
        tenancy.extended(promise(8, at(60)), at(10));
        assert_eq!(tenancy.state(at(10)), Some(LostReason::KeyGone));
    }

    #[test]
    fn a_suspend_over_the_end_is_a_loss_whatever_comes_later() {
        let mut tenancy = Tenancy::new(promise(7, at(30)));
        tenancy.end(LostReason::Released, at(3600));
        assert_eq!(tenancy.state(at(3600)), Some(LostReason::Expired));
    }
}
