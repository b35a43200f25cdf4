//! Linearizability by revisions: the store claims that its revisions are the order of everything, so the claim is tested
//! rather than an order searched for. Two passes, no search:
//!
//! 1. **Replay.** Every acknowledged write stands in the timeline at its revision, once; no refused write does; every value there
//!    comes from a call; every read shows the state at its revision, and every swap compared rightly.
//! 2. **Real time.** Of two operations one of which returned before the other was sent, the later has no smaller revision; a write
//!    has a larger one. Writes of unknown outcome that stand in the timeline take part with no return.

use crate::{
    history::{Call, History, Operation, Outcome, Seen},
    timeline::Change,
};
use anyhow::{Result, bail, ensure};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Judges a history against every change that really happened.
///
/// # Errors
/// The two contradict each other, or the history itself cannot be ordered.
pub fn linearizable(history: &History, changes: &[Change]) -> Result<()> {
    let store = Store::new(changes)?;
    let mut placed = Vec::new();
    for operation in &history.0 {
        if let Some(at) = store.place(operation)? {
            placed.push(at);
        }
    }
    store.all_explained(history)?;
    in_real_time(placed)
}

/// An operation's place in the order.
struct Placed<'a> {
    operation: &'a Operation,
    revision: i64,
    writes: bool,
    returned: Duration,
}

/// The timeline, indexed both ways.
struct Store<'a> {
    /// Versions of each key, rising; `None` is a deletion.
    versions: BTreeMap<&'a str, Vec<(i64, Option<&'a str>)>>,
    /// Where each value was written.
    written: HashMap<&'a str, (i64, &'a str)>,
}

impl<'a> Store<'a> {
    fn new(changes: &'a [Change]) -> Result<Self> {
        let mut store = Self { versions: BTreeMap::new(), written: HashMap::new() };
        let mut last = 0;
        for change in changes {
            ensure!(change.revision >= last, "the timeline goes back from revision {last} to {}", change.revision);
            last = change.revision;
            let value = change.value.as_deref();
            store.versions.entry(&change.key).or_default().push((change.revision, value));
            let Some(value) = value else { continue };
            if let Some((before, _)) = store.written.insert(value, (change.revision, &change.key)) {
                bail!("{value} was written twice, at revisions {before} and {}", change.revision);
            }
        }
        Ok(store)
    }

    /// The newest version of `key` at `revision`.
    fn at(&self, key: &str, revision: i64) -> Option<Seen> {
        let versions = self.versions.get(key)?;
        let newest = versions.partition_point(|(at, _)| *at <= revision).checked_sub(1)?;
        let (modified, value) = versions[newest];
        value.map(|value| Seen { value: value.to_owned(), modified })
    }

    /// Checks one operation against the replay; `None` if it has no place in the order.
    fn place<'o>(&self, operation: &'o Operation) -> Result<Option<Placed<'o>>> {
        let placed = |revision, writes, returned| Some(Placed { operation, revision, writes, returned });
        Ok(match (&operation.call, &operation.outcome) {
            (Call::Put { key, value } | Call::Swap { key, value, .. }, Outcome::Written { revision }) => {
                let at = self.written.get(value.as_str());
                ensure!(at == Some(&(*revision, key.as_str())), "{operation:?} was acknowledged but stands at {at:?}");
                self.compared(operation, *revision)?;
                placed(*revision, true, operation.returned)
            }
            (Call::Put { value, .. } | Call::Swap { value, .. }, Outcome::Unknown(_)) => {
                match self.written.get(value.as_str()) {
                    Some((revision, _)) => {
                        self.compared(operation, *revision)?;
                        placed(*revision, true, Duration::MAX)
                    }
                    None => None,
                }
            }
            (Call::Put { value, .. } | Call::Swap { value, .. }, Outcome::Refused(_)) => {
                ensure!(!self.written.contains_key(value.as_str()), "{operation:?} was refused but happened");
                None
            }
            (Call::Get { key } | Call::Swap { key, .. }, Outcome::Read { revision, seen }) => {
                let truth = self.at(key, *revision);
                ensure!(*seen == truth, "{operation:?}: at that revision stands {truth:?}");
                if let Call::Swap { expected, .. } = &operation.call {
                    let modified = seen.as_ref().map_or(0, |seen| seen.modified);
                    ensure!(modified != *expected, "{operation:?} should have written");
                }
                placed(*revision, false, operation.returned)
            }
            (Call::Get { .. }, Outcome::Refused(_) | Outcome::Unknown(_)) => None,
            _ => bail!("{operation:?}: the answer does not fit the call"),
        })
    }

    /// A swap that wrote found what it expected just before.
    fn compared(&self, operation: &Operation, revision: i64) -> Result<()> {
        if let Call::Swap { key, expected, .. } = &operation.call {
            let before = self.at(key, revision - 1).map_or(0, |seen| seen.modified);
            ensure!(before == *expected, "{operation:?} wrote over revision {before}");
        }
        Ok(())
    }

    /// Every value in the store was asked for by somebody.
    fn all_explained(&self, history: &History) -> Result<()> {
        let mut unexplained = self.written.clone();
        for operation in &history.0 {
            if let Call::Put { value, .. } | Call::Swap { value, .. } = &operation.call {
                unexplained.remove(value.as_str());
            }
        }
        ensure!(unexplained.is_empty(), "values that nobody wrote: {unexplained:?}");
        Ok(())
    }
}

/// Sweeps over time and holds each operation against the newest that had returned before it was sent.
fn in_real_time(mut placed: Vec<Placed<'_>>) -> Result<()> {
    let mut returns: Vec<(Duration, i64, &Operation)> =
        placed.iter().map(|at| (at.returned, at.revision, at.operation)).collect();
    returns.sort_by_key(|(returned, ..)| *returned);
    placed.sort_by_key(|at| at.operation.invoked);
    let mut returns = returns.into_iter().peekable();
    let mut newest: Option<(i64, &Operation)> = None;
    for at in placed {
        while let Some((_, revision, operation)) = returns.next_if(|(returned, ..)| *returned < at.operation.invoked) {
            if newest.is_none_or(|(known, _)| known < revision) {
                newest = Some((revision, operation));
            }
        }
        if let Some((known, earlier)) = newest {
            let right = if at.writes { at.revision > known } else { at.revision >= known };
            ensure!(
                right,
                "{:?} stands at revision {} although {earlier:?} had returned before",
                at.operation,
                at.revision
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(call: Call, outcome: Outcome, from: u64, to: u64) -> Operation {
        let (invoked, returned) = (Duration::from_millis(from), Duration::from_millis(to));
        Operation { client: 0, call, outcome, invoked, returned }
    }

    fn put(value: &str, outcome: Outcome, from: u64, to: u64) -> Operation {
        operation(Call::Put { key: "k".into(), value: value.into() }, outcome, from, to)
    }

    fn get(revision: i64, seen: Option<(&str, i64)>, from: u64, to: u64) -> Operation {
        let seen = seen.map(|(value, modified)| Seen { value: value.into(), modified });
        operation(Call::Get { key: "k".into() }, Outcome::Read { revision, seen }, from, to)
    }

    fn swap(expected: i64, value: &str, outcome: Outcome, from: u64, to: u64) -> Operation {
        operation(Call::Swap { key: "k".into(), expected, value: value.into() }, outcome, from, to)
    }

    const fn at(revision: i64) -> Outcome {
        Outcome::Written { revision }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("late".into())
    }

    /// Values "a", "b", … written at these revisions.
    fn timeline(writes: &[(i64, &str)]) -> Vec<Change> {
        let change = |(revision, value): &(i64, &str)| Change {
            revision: *revision,
            key: "k".into(),
            value: Some((*value).to_owned()),
        };
        writes.iter().map(change).collect()
    }

    fn judge(operations: &[Operation], writes: &[(i64, &str)]) -> Result<()> {
        linearizable(&History(operations.to_vec()), &timeline(writes))
    }

    #[test]
    fn good_histories_pass() {
        let operations = [
            put("a", at(2), 0, 10),
            get(2, Some(("a", 2)), 11, 12),
            put("b", unknown(), 5, 50),
            get(3, Some(("b", 3)), 20, 21),
            swap(3, "c", at(4), 22, 23),
            swap(2, "d", Outcome::Read { revision: 4, seen: Some(Seen { value: "c".into(), modified: 4 }) }, 24, 25),
            put("e", unknown(), 24, 60),
            put("f", Outcome::Refused("no leader".into()), 30, 31),
        ];
        judge(&operations, &[(2, "a"), (3, "b"), (4, "c")]).expect("linearizable");
        // Concurrent operations may take either order.
        judge(&[put("a", at(3), 0, 10), put("b", at(2), 5, 8)], &[(2, "b"), (3, "a")]).expect("concurrent");
        judge(&[put("a", at(2), 0, 10), get(1, None, 5, 20)], &[(2, "a")]).expect("a read that began before");
    }

    #[test]
    fn a_lost_write_is_found() {
        judge(&[put("a", at(2), 0, 1)], &[]).expect_err("acknowledged and missing");
        judge(&[put("a", at(2), 0, 1)], &[(3, "a")]).expect_err("acknowledged elsewhere");
    }

    #[test]
    fn a_write_that_happens_twice_is_found() {
        judge(&[put("a", unknown(), 0, 1)], &[(2, "a"), (3, "a")]).expect_err("applied twice");
    }

    #[test]
    fn a_stale_read_is_found() {
        let stale = [put("a", at(2), 0, 1), put("b", at(3), 2, 3), get(2, Some(("a", 2)), 4, 5)];
        judge(&stale, &[(2, "a"), (3, "b")]).expect_err("read at an old revision");
        let wrong = [put("a", at(2), 0, 1), put("b", at(3), 2, 3), get(3, Some(("a", 2)), 4, 5)];
        judge(&wrong, &[(2, "a"), (3, "b")]).expect_err("old value at the new revision");
        judge(&[get(2, None, 4, 5), put("a", at(2), 0, 1)], &[(2, "a")]).expect_err("missing value");
    }

    #[test]
    fn a_write_in_the_past_is_found() {
        let operations = [put("a", at(3), 0, 1), put("b", at(2), 2, 3)];
        judge(&operations, &[(2, "b"), (3, "a")]).expect_err("later write, earlier revision");
        let operations = [put("a", at(3), 0, 1), put("b", unknown(), 2, 3)];
        judge(&operations, &[(2, "b"), (3, "a")]).expect_err("also if its outcome is unknown");
    }

    #[test]
    fn refused_and_foreign_values_are_found() {
        judge(&[put("a", Outcome::Refused("no".into()), 0, 1)], &[(2, "a")]).expect_err("refused, yet there");
        judge(&[], &[(2, "a")]).expect_err("nobody wrote it");
    }

    #[test]
    fn a_wrong_comparison_is_found() {
        let operations = [put("a", at(2), 0, 1), put("b", at(3), 2, 3), swap(2, "c", at(4), 4, 5)];
        judge(&operations, &[(2, "a"), (3, "b"), (4, "c")]).expect_err("wrote over something else");
        let seen = Some(Seen { value: "a".into(), modified: 2 });
        let operations = [put("a", at(2), 0, 1), swap(2, "c", Outcome::Read { revision: 2, seen }, 4, 5)];
        judge(&operations, &[(2, "a")]).expect_err("should have written");
    }
}
