//! Who, on this node, asks for which place, so that a place leaves the queue with the last one who wants it and not before.
//!
//! The same lease asked twice is one place. Several calls can therefore stand behind one key; a call counts from before its command
//! is proposed until its answer is handed over or it gives up. What a call obtained for its client is *owed* to the queue until an answer
//! was handed over: whoever is the last to go takes it along.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(crate) struct Places {
    asked: Arc<Mutex<HashMap<Bytes, Asked>>>,
}

#[derive(Default)]
struct Asked {
    calls: usize,
    /// The create revision to withdraw when the last call goes without an answer.
    owed: Option<i64>,
    /// The incarnation whose answer was handed over.
    kept: Option<i64>,
    /// A call went that does not know what its command came to.
    doubt: bool,
    /// Names what these calls ask for together, among those of other members.
    attempt: u64,
}

/// One call that asks for the place `key`.
pub(crate) struct Asking {
    places: Places,
    key: Bytes,
    attempt: u64,
}

impl Places {
    pub(crate) fn ask(&self, key: Bytes) -> Asking {
        let mut places = self.asked.lock();
        let asked = places.entry(key.clone()).or_default();
        if asked.calls == 0 {
            asked.attempt = rand::random_range(1..=u64::MAX);
        }
        asked.calls += 1;
        let attempt = asked.attempt;
        drop(places);
        Asking { places: self.clone(), key, attempt }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.lock().is_empty()
    }

    fn change(&self, key: &Bytes, change: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.asked.lock().get_mut(key) {
            change(asked);
        }
    }
}

impl Asking {
    /// The same for all calls that ask for the place at one time; never 0.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The key's incarnation that goes with the last call.
    pub(crate) fn owe(&self, create_revision: i64) {
        self.places.change(&self.key, |asked| {
            if asked.kept != Some(create_revision) {
                // An older incarnation is gone if there is a newer one.
                asked.owed = asked.owed.max(Some(create_revision));
            }
        });
    }

    /// That incarnation is the client's now: nobody who asked for it here may take it along.
    pub(crate) fn keep(&self, create_revision: i64) {
        self.settle(create_revision);
        self.places.change(&self.key, |asked| asked.kept = Some(create_revision));
    }

    /// What the call's command came to is not known.
    pub(crate) fn doubt(&self) {
        self.places.change(&self.key, |asked| asked.doubt = true);
    }

    /// That incarnation is gone, or is not to be taken along for other reasons.
    pub(crate) fn settle(&self, create_revision: i64) {
        self.places.change(&self.key, |asked| {
            asked.owed.take_if(|owed| *owed == create_revision);
        });
    }

    /// Ends the call. Whether the caller must give back what the attempt took, or may have taken.
    pub(crate) fn leave(&self) -> bool {
        self.end().is_some_and(|asked| asked.owed.is_some() || (asked.doubt && asked.kept.is_none()))
    }

    /// Ends the call. `None`: other calls ask for the place still. Else the caller must withdraw what is owed, if anything is.
    pub(crate) fn depart(&self) -> Option<Option<i64>> {
        self.end().map(|asked| asked.owed)
    }

    fn end(&self) -> Option<Asked> {
        let mut places = self.places.asked.lock();
        let asked = places.get_mut(&self.key)?;
        asked.calls -= 1;
        if asked.calls == 0 { places.remove(&self.key) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Places, Asking, Asking) {
        let places = Places::default();
        let (one, other) = (places.ask(Bytes::from_static(b"k")), places.ask(Bytes::from_static(b"k")));
        (places, one, other)
    }

    #[test]
    fn the_last_to_go_takes_the_place_along() {
        let (places, one, other) = two();
        one.owe(5);
        assert!(!one.leave());
        assert!(other.leave());
        assert!(places.is_empty());
    }

    #[test]
    fn an_answer_that_was_handed_over_keeps_the_place() {
        let (places, one, other) = two();
        one.owe(5);
        other.owe(5);
        one.keep(5);
        assert!(!one.leave());
        other.owe(5);
        other.doubt();
        assert!(!other.leave());
        assert!(places.is_empty());
    }

    #[test]
    fn only_the_newest_incarnation_is_owed() {
        let (_, one, other) = two();
        one.owe(5);
        other.owe(9);
        one.keep(5);
        assert!(!one.leave());
        assert_eq!(other.depart(), Some(Some(9)));
    }

    #[test]
    fn what_one_does_not_know_the_last_to_go_sees_to() {
        let (_, one, other) = two();
        one.doubt();
        assert!(!one.leave());
        assert!(other.leave());
    }
}
