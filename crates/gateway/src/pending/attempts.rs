//! The calls of this node that ask for the same place, and what they owe together.
//!
//! Two calls may ask for one place: a client asks again after a time-out, or two of its tasks do.
//! They make one *attempt*, named by a random number that their commands carry. A call counts from
//! before its command is proposed until it ends. What a call obtained is *owed* until an answer was
//! handed over; the last call to end releases it.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(super) struct Attempts {
    by_key: Arc<Mutex<HashMap<Bytes, Attempt>>>,
}

#[derive(Default)]
struct Attempt {
    calls: usize,
    /// The incarnation of the place that the last call releases.
    owed: Option<i64>,
    /// The incarnation that a client was told of.
    kept: Option<i64>,
    /// A call ended that does not know whether its command had an effect.
    doubt: bool,
    /// Never 0.
    id: u64,
}

/// One call's part in an attempt.
pub(super) struct Membership {
    attempts: Attempts,
    key: Bytes,
    attempt: u64,
}

/// What is to be released after a call has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing, or another call sees to it.
    Nothing,
    Owing(i64),
    InDoubt,
}

impl Attempts {
    pub(super) fn join(&self, key: Bytes) -> Membership {
        let mut by_key = self.by_key.lock();
        let attempt = by_key.entry(key.clone()).or_default();
        if attempt.calls == 0 {
            attempt.id = rand::random_range(1..=u64::MAX);
        }
        attempt.calls += 1;
        let id = attempt.id;
        drop(by_key);
        Membership { attempts: self.clone(), key, attempt: id }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.lock().is_empty()
    }
}

impl Membership {
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The command gave this incarnation of the place.
    pub(super) fn owe(&self, incarnation: i64) {
        self.change(|attempt| {
            if attempt.kept != Some(incarnation) {
                // An older incarnation is gone if there is a newer one.
                attempt.owed = attempt.owed.max(Some(incarnation));
            }
        });
    }

    /// That incarnation is the client's now.
    pub(super) fn keep(&self, incarnation: i64) {
        self.settle(incarnation);
        self.change(|attempt| attempt.kept = Some(incarnation));
    }

    /// It is not known whether the call's command had an effect.
    pub(super) fn doubt(&self) {
        self.change(|attempt| attempt.doubt = true);
    }

    /// That incarnation needs no release.
    pub(super) fn settle(&self, incarnation: i64) {
        self.change(|attempt| {
            attempt.owed.take_if(|owed| *owed == incarnation);
        });
    }

    /// Ends the call's part. To be called once.
    pub(super) fn leave(&self) -> Left {
        let mut by_key = self.attempts.by_key.lock();
        let Some(attempt) = by_key.get_mut(&self.key) else { return Left::Nothing };
        attempt.calls -= 1;
        if attempt.calls > 0 {
            return Left::Nothing;
        }
        let Attempt { owed, kept, doubt, .. } = by_key.remove(&self.key).unwrap_or_default();
        match owed {
            Some(incarnation) => Left::Owing(incarnation),
            None if doubt && kept.is_none() => Left::InDoubt,
            None => Left::Nothing,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.attempts.by_key.lock().get_mut(&self.key) {
            change(attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Attempts, Membership, Membership) {
        let attempts = Attempts::default();
        let (one, other) = (attempts.join(Bytes::from_static(b"k")), attempts.join(Bytes::from_static(b"k")));
        (attempts, one, other)
    }

    #[test]
    fn the_last_to_leave_releases() {
        let (attempts, one, other) = two();
        one.owe(5);
        assert_eq!(one.leave(), Left::Nothing);
        assert_eq!(other.leave(), Left::Owing(5));
        assert!(attempts.is_empty());
    }

    #[test]
    fn an_answer_that_was_handed_over_keeps_the_place() {
        let (attempts, one, other) = two();
        one.owe(5);
        other.owe(5);
        one.keep(5);
        assert_eq!(one.leave(), Left::Nothing);
        other.owe(5);
        other.doubt();
        assert_eq!(other.leave(), Left::Nothing);
        assert!(attempts.is_empty());
    }

    #[test]
    fn only_the_newest_incarnation_is_owed() {
        let (_, one, other) = two();
        one.owe(5);
        other.owe(9);
        one.keep(5);
        assert_eq!(one.leave(), Left::Nothing);
        assert_eq!(other.leave(), Left::Owing(9));
    }

    #[test]
    fn the_last_to_leave_clears_up_the_doubt_of_another() {
        let (_, one, other) = two();
        one.doubt();
        assert_eq!(one.leave(), Left::Nothing);
        assert_eq!(other.leave(), Left::InDoubt);
    }
}
