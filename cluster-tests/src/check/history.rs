//! Judges a history of the load by two checkers of the trials: `linearizable` holds it against
//! every change of the store, `durability` against a state that was read at the end, and believes
//! nothing else.

use crate::{client::text, history::History, load::seen};
use anyhow::{Context, Result, bail};
use conclave_client::api::mvccpb::KeyValue;
use conclave_trials::{
    check::{Case, Verdict, judge_property},
    history::{Change, Entry, Fact, Process, Record, Revision, Run, State, now},
};
use std::collections::BTreeMap;

/// Judges a history against every change under its keys' prefix up to a revision.
///
/// # Errors
/// The two contradict each other, or the history itself cannot be ordered.
pub fn linearizable(history: &History, changes: &[Change], revision: i64) -> Result<()> {
    let mut by_revision: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    for change in changes {
        by_revision.entry(change.modified).or_default().push(change.clone());
    }
    // The other revisions changed other keys.
    let facts = (1..=revision).map(|revision| {
        let changes = by_revision.remove(&revision).unwrap_or_default();
        Fact::Revision(Revision { source: "watch".into(), revision, changes })
    });
    judge(history, facts, "linearizable")
}

/// Nothing acknowledged is missing: no key is older than the newest write of it that a client was
/// told of.
///
/// `keys` are all below the prefix, read now or later than the last operation of the history.
///
/// # Errors
/// A write is missing or differs.
pub fn acknowledged(history: &History, prefix: &str, keys: &[KeyValue]) -> Result<()> {
    let prefix = prefix.to_owned();
    debug_assert!(keys.iter().all(|kv| text(&kv.key).starts_with(&prefix)), "other keys");
    let state = State { asked: now(), prefix, revision: i64::MAX, kvs: keys.iter().map(seen).collect() };
    judge(history, [Fact::State(state)], "durability")
}

fn judge(history: &History, facts: impl IntoIterator<Item = Fact>, property: &str) -> Result<()> {
    let time = now();
    let record = |fact| Record {
        index: 0,
        process: Process::Harness("test".into()),
        time,
        clock: None,
        node: None,
        entry: Entry::Fact(fact),
    };
    let run = Run::new(history.0.iter().cloned().chain(facts.into_iter().map(record)).collect());
    let finding = judge_property(&Case::new(&run), property).context("no such property")?;
    match finding.verdict {
        Verdict::Valid => Ok(()),
        Verdict::Violation(violation) => {
            let shown: Vec<_> = violation.window.iter().filter_map(|index| run.records.get(*index)).collect();
            bail!("{property}: {}: {shown:?}", violation.sentence)
        }
        Verdict::Unknown { why } => bail!("{property} cannot be judged: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::bytes, history::operation};
    use conclave_trials::history::{Answer, Failure, Kv, KvAnswer, KvCall, Outcome};
    use std::time::Duration;

    type Operation = (KvCall, Outcome, u64, u64);

    fn put(value: &str, outcome: Outcome, from: u64, to: u64) -> Operation {
        (KvCall::Put { key: "k".into(), value: value.into(), lease: 0, prev: false }, outcome, from, to)
    }

    fn get(revision: i64, seen: Option<(&str, i64)>, from: u64, to: u64) -> Operation {
        (KvCall::Get { key: "k".into(), serializable: false, revision: 0 }, read(revision, seen), from, to)
    }

    fn swap(expected: i64, value: &str, outcome: Outcome, from: u64, to: u64) -> Operation {
        (KvCall::Cas { key: "k".into(), expected, value: value.into(), lease: 0 }, outcome, from, to)
    }

    fn read(revision: i64, seen: Option<(&str, i64)>) -> Outcome {
        let kv =
            |(value, modified): (&str, i64)| Kv { key: "k".into(), value: value.into(), modified, ..Kv::default() };
        Outcome::Ok(Answer::Kv(KvAnswer::Read { revision, kvs: seen.into_iter().map(kv).collect() }))
    }

    fn at(revision: i64) -> Outcome {
        Outcome::Ok(Answer::Kv(KvAnswer::Written { revision, prev: None }))
    }

    fn unknown() -> Outcome {
        Outcome::Unknown(Failure { code: String::new(), error: "late".into() })
    }

    fn refused() -> Outcome {
        Outcome::Fail(Failure { code: String::new(), error: "no leader".into() })
    }

    fn history(operations: &[Operation]) -> History {
        let records = operations.iter().enumerate().flat_map(|(client, (call, outcome, from, to))| {
            let moment = |millis: &u64| Duration::from_millis(*millis);
            operation(client, call.clone(), outcome.clone(), moment(from), moment(to))
        });
        History(records.collect())
    }

    /// Judges operations against the values that were written at these revisions.
    fn judge(operations: &[Operation], writes: &[(i64, &str)]) -> Result<()> {
        let change = |(revision, value): &(i64, &str)| Change {
            key: "k".into(),
            value: Some((*value).to_owned()),
            modified: *revision,
            ..Change::default()
        };
        let changes: Vec<_> = writes.iter().map(change).collect();
        linearizable(&history(operations), &changes, 9)
    }

    #[test]
    fn good_histories_pass() {
        let operations = [
            put("a", at(2), 0, 10),
            get(2, Some(("a", 2)), 11, 12),
            put("b", unknown(), 5, 50),
            get(3, Some(("b", 3)), 20, 21),
            swap(3, "c", at(4), 22, 23),
            swap(2, "d", read(4, Some(("c", 4))), 24, 25),
            put("e", unknown(), 24, 60),
            put("f", refused(), 30, 31),
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
        judge(&[put("a", refused(), 0, 1)], &[(2, "a")]).expect_err("refused, yet there");
        judge(&[put("b", at(3), 0, 1)], &[(2, "a"), (3, "b")]).expect_err("nobody wrote it");
        judge(&[], &[(2, "a")]).expect_err("nothing was asked for");
    }

    #[test]
    fn a_wrong_comparison_is_found() {
        let operations = [put("a", at(2), 0, 1), put("b", at(3), 2, 3), swap(2, "c", at(4), 4, 5)];
        judge(&operations, &[(2, "a"), (3, "b"), (4, "c")]).expect_err("wrote over something else");
        let operations = [put("a", at(2), 0, 1), swap(2, "c", read(2, Some(("a", 2))), 4, 5)];
        judge(&operations, &[(2, "a")]).expect_err("should have written");
    }

    fn stored(value: &str, revision: i64) -> KeyValue {
        KeyValue { key: bytes("k"), value: bytes(value), mod_revision: revision, ..Default::default() }
    }

    #[test]
    fn the_newest_write_counts() {
        let history = history(&[put("2", at(3), 0, 1), put("1", at(2), 0, 1)]);
        acknowledged(&history, "k", &[stored("2", 3)]).expect("the newest is there");
        acknowledged(&history, "k", &[stored("unknown", 4)]).expect("a newer write of unknown outcome");
    }

    #[test]
    fn a_lost_or_changed_write_is_found() {
        let history = history(&[put("1", at(2), 0, 1), put("2", at(3), 0, 1)]);
        acknowledged(&history, "k", &[stored("1", 2)]).expect_err("the second write is lost");
        acknowledged(&history, "k", &[stored("1", 3)]).expect_err("another value");
        acknowledged(&history, "k", &[]).expect_err("the key is gone");
    }
}
