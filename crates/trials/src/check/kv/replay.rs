//! One operation against the timeline: whether its answer is what stood there, and its place in the
//! order.

use super::super::{
    timeline::{Timeline, Version},
    verdict::{Flaw, violation},
};
use crate::history::{Answer, Call, Guard, GuardTarget, Kv, KvAnswer, KvCall, NEVER, Op, Outcome, TxnOp, TxnResult};
use std::collections::BTreeMap;

/// An operation's place in the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) op: &'a Op,
    pub(crate) revision: i64,
    pub(crate) writes: bool,
    /// [`NEVER`] if nobody was told.
    pub(crate) returned: u64,
}

/// Checks an operation; `None` if it has no place (refused, without effect, or not meant to be
/// linearizable).
pub(crate) fn place<'a>(timeline: &Timeline<'_>, op: &'a Op) -> Result<Option<Placed<'a>>, Flaw> {
    let Call::Kv(call) = &op.call else { return Ok(None) };
    let wrong = |sentence: String| violation(&[op.index, op.completed], sentence);
    let at = |revision, writes| Some(Placed { op, revision, writes, returned: op.returned });
    match (call, &op.outcome) {
        (_, Outcome::Ok(Answer::Kv(answer))) => answered(timeline, op, call, answer),
        (_, Outcome::Ok(_)) => Err(wrong("the answer belongs to another workload".into())),
        (KvCall::Put { key, value, .. } | KvCall::Cas { key, value, .. }, outcome) => {
            let revisions = timeline.written.get(&(key.as_str(), value.as_str()));
            let Some(revision) = revisions.and_then(|revisions| revisions.first()).copied() else { return Ok(None) };
            if matches!(outcome, Outcome::Fail(_)) {
                return Err(wrong(format!("{key} = {value} was refused, yet stands at revision {revision}")));
            }
            if let KvCall::Cas { expected, .. } = call {
                compared(timeline, op, key, *expected, revision)?;
            }
            Ok(at(revision, true).map(|placed| Placed { returned: NEVER, ..placed }))
        }
        (KvCall::Txn { then, otherwise, .. }, outcome) => {
            let puts = then.iter().chain(otherwise);
            for put in puts {
                let TxnOp::Put { key, value } = put else { continue };
                let Some(revisions) = timeline.written.get(&(key.as_str(), value.as_str())) else { continue };
                if matches!(outcome, Outcome::Fail(_)) {
                    let sentence = format!("{key} = {value} was refused, yet stands at revision {}", revisions[0]);
                    return Err(wrong(sentence));
                }
                return Ok(at(revisions[0], true).map(|placed| Placed { returned: NEVER, ..placed }));
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

fn answered<'a>(
    timeline: &Timeline<'_>,
    op: &'a Op,
    call: &KvCall,
    answer: &KvAnswer,
) -> Result<Option<Placed<'a>>, Flaw> {
    let wrong = |sentence: String| violation(&[op.index, op.completed], sentence);
    let at = |revision, writes| Ok(Some(Placed { op, revision, writes, returned: op.returned }));
    match (call, answer) {
        (KvCall::Get { key, serializable, revision: old }, KvAnswer::Read { revision, kvs }) => {
            let read_at = if *old > 0 { *old } else { *revision };
            if *old > *revision {
                return Err(wrong(format!(
                    "{key} was read at revision {old}, which the answer at {revision} precedes"
                )));
            }
            shows(timeline, op, key, read_at, kvs)?;
            if *serializable || *old > 0 { Ok(None) } else { at(*revision, false) }
        }
        (KvCall::Range { prefix, serializable, revision: old }, KvAnswer::Read { revision, kvs }) => {
            let read_at = if *old > 0 { *old } else { *revision };
            shows_all(timeline, op, prefix, read_at, kvs)?;
            if *serializable || *old > 0 { Ok(None) } else { at(*revision, false) }
        }
        (KvCall::Put { key, value, prev: asked, .. }, KvAnswer::Written { revision, prev }) => {
            stands(timeline, op, key, value, *revision)?;
            if *asked {
                shows_before(timeline, op, key, *revision, prev.as_slice())?;
            }
            at(*revision, true)
        }
        (KvCall::Cas { key, expected, value, .. }, KvAnswer::Written { revision, .. }) => {
            stands(timeline, op, key, value, *revision)?;
            compared(timeline, op, key, *expected, *revision)?;
            at(*revision, true)
        }
        (KvCall::Cas { key, expected, value, .. }, KvAnswer::Read { revision, kvs }) => {
            shows(timeline, op, key, *revision, kvs)?;
            if kvs.first().map_or(0, |kv| kv.modified) == *expected {
                return Err(wrong(format!(
                    "{key} was at revision {expected} as expected, but {value} was not written"
                )));
            }
            at(*revision, false)
        }
        (KvCall::Delete { key, prev: asked }, KvAnswer::Deleted { revision, count, prev }) => {
            let before = timeline.at(key, revision - 1).is_some();
            let deleted = before && timeline.at(key, *revision).is_none() && changed(timeline, key, *revision);
            if *count > 0 && !deleted {
                return Err(wrong(format!("{key} was deleted at revision {revision}, they say; nothing did")));
            }
            if *count == 0 && timeline.at(key, *revision).is_some() {
                return Err(wrong(format!("{key} was not there to delete at revision {revision}, they say; it was")));
            }
            if *asked && *count > 0 {
                shows_before(timeline, op, key, *revision, prev)?;
            }
            at(*revision, *count > 0)
        }
        (KvCall::Txn { compares, then, otherwise }, KvAnswer::Txn { revision, succeeded, results }) => {
            let ops = if *succeeded { then } else { otherwise };
            let writes = transaction(timeline, op, ops, results, *revision)?;
            let before = if writes { revision - 1 } else { *revision };
            if compares.iter().all(|guard| holds(timeline, guard, before)) != *succeeded {
                return Err(wrong(format!("a transaction at revision {revision} took the wrong branch")));
            }
            at(*revision, writes)
        }
        _ => Err(wrong("the answer does not fit the call".into())),
    }
}

fn changed(timeline: &Timeline<'_>, key: &str, revision: i64) -> bool {
    let versions = timeline.keys.get(key).map_or(&[][..], Vec::as_slice);
    versions.iter().any(|version| version.revision == revision)
}

fn describe(version: Option<&Version<'_>>) -> String {
    match version.and_then(|version| version.value.map(|value| (value, version.revision))) {
        Some((value, revision)) => format!("{value} (of revision {revision})"),
        None => "nothing".into(),
    }
}

/// A range shows exactly what stands there.
fn shows_all(timeline: &Timeline<'_>, op: &Op, prefix: &str, revision: i64, kvs: &[Kv]) -> Result<(), Flaw> {
    let truth: Vec<_> = timeline.under(prefix, revision).collect();
    let same = truth.len() == kvs.len()
        && truth.iter().zip(kvs).all(|((key, version), kv)| *key == kv.key && Timeline::agrees(version, kv));
    if same {
        return Ok(());
    }
    let sentence = format!(
        "the range {prefix} showed {} keys at revision {revision} that are not the {} which stood there",
        kvs.len(),
        truth.len()
    );
    Err(violation(&[op.index, op.completed], sentence))
}

/// What was read of a key is what stood there.
fn shows(timeline: &Timeline<'_>, op: &Op, key: &str, revision: i64, kvs: &[Kv]) -> Result<(), Flaw> {
    let truth = timeline.at(key, revision);
    let right = match (truth, kvs) {
        (None, []) => true,
        (Some(version), [kv]) => kv.key == key && Timeline::agrees(version, kv),
        _ => false,
    };
    if right {
        return Ok(());
    }
    let read = kvs.first().map_or_else(|| "nothing".into(), |kv| format!("{} (of revision {})", kv.value, kv.modified));
    let mut window = vec![op.index, op.completed];
    window.extend(truth.and_then(|version| timeline.seen(version.revision)).map(|(_, index)| index));
    let sentence = format!("the read of {key} at revision {revision} showed {read}, where {} stood", describe(truth));
    Err(violation(&window, sentence))
}

/// What a write is told to have replaced is what stood there just before.
fn shows_before(timeline: &Timeline<'_>, op: &Op, key: &str, revision: i64, prev: &[Kv]) -> Result<(), Flaw> {
    shows(timeline, op, key, revision - 1, prev)
}

/// A value that was acknowledged at a revision stands there.
fn stands(timeline: &Timeline<'_>, op: &Op, key: &str, value: &str, revision: i64) -> Result<(), Flaw> {
    let versions = timeline.keys.get(key).map_or(&[][..], Vec::as_slice);
    let found = versions.iter().any(|version| version.revision == revision && version.value == Some(value));
    if found {
        return Ok(());
    }
    if revision > timeline.last() && timeline.complete < op.returned {
        return Err(Flaw::Unknown(format!("the timeline ends at {}, before revision {revision}", timeline.last())));
    }
    let elsewhere = timeline.written.get(&(key, value)).and_then(|revisions| revisions.first());
    let truth = elsewhere.map_or_else(
        || format!("is not in the store's history; {} stood there", describe(timeline.at(key, revision))),
        |at| format!("was written at revision {at}"),
    );
    let sentence = format!("{key} = {value} was acknowledged at revision {revision}, but {truth}");
    Err(violation(&[op.index, op.completed], sentence))
}

/// A cas that wrote at a revision had found what it expected.
fn compared(timeline: &Timeline<'_>, op: &Op, key: &str, expected: i64, revision: i64) -> Result<(), Flaw> {
    let before = timeline.at(key, revision - 1).map_or(0, |version| version.revision);
    if before == expected {
        return Ok(());
    }
    let mut window = vec![op.index, op.completed];
    window.extend(timeline.seen(before).map(|(_, index)| index));
    let sentence = format!("{key} was to be written over revision {expected}; revision {revision} wrote over {before}");
    Err(violation(&window, sentence))
}

fn holds(timeline: &Timeline<'_>, guard: &Guard, revision: i64) -> bool {
    let truth = timeline.at(&guard.key, revision).map_or(0, |version| match guard.target {
        GuardTarget::Create => version.create,
        GuardTarget::Modified => version.revision,
        GuardTarget::Version => version.version,
    });
    truth == guard.equals
}

/// Replays a branch. Reads see the transaction's own writes. Returns whether it wrote.
fn transaction(
    timeline: &Timeline<'_>,
    op: &Op,
    ops: &[TxnOp],
    results: &[TxnResult],
    revision: i64,
) -> Result<bool, Flaw> {
    let wrong = |sentence: String| violation(&[op.index, op.completed], sentence);
    // A revision of its own has who put something, or says that it deleted something.
    let wrote = |(step, result): (&TxnOp, &TxnResult)| match (step, result) {
        (TxnOp::Put { .. }, _) => true,
        (TxnOp::Delete { .. }, TxnResult::Deleted { count }) => *count > 0,
        _ => false,
    };
    let writes = ops.iter().zip(results).any(wrote);
    let before = if writes { revision - 1 } else { revision };
    let mut own: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    if ops.len() != results.len() {
        return Err(wrong("a transaction answered another number of results than it had operations".into()));
    }
    for (step, result) in ops.iter().zip(results) {
        match (step, result) {
            (TxnOp::Put { key, value }, TxnResult::Written) => {
                own.insert(key, Some(value));
            }
            (TxnOp::Delete { key }, TxnResult::Deleted { count }) => {
                let there = match own.get(key.as_str()) {
                    Some(own) => own.is_some(),
                    None => timeline.at(key, before).is_some(),
                };
                if there != (*count > 0) {
                    return Err(wrong(format!(
                        "a transaction at revision {revision} miscounts what it deleted of {key}"
                    )));
                }
                own.insert(key, None);
            }
            (TxnOp::Get { key }, TxnResult::Read { kvs }) => match own.get(key.as_str()) {
                Some(own) if kvs.first().map(|kv| kv.value.as_str()) != *own => {
                    return Err(wrong(format!(
                        "a transaction at revision {revision} did not see its own write of {key}"
                    )));
                }
                Some(_) => {}
                None => shows(timeline, op, key, before, kvs)?,
            },
            _ => return Err(wrong("a transaction's result does not fit its operation".into())),
        }
    }
    for (key, value) in &own {
        let stood = timeline.at(key, revision).and_then(|version| version.value);
        if writes && stood != *value {
            let sentence =
                format!("a transaction was acknowledged at revision {revision}, but its write of {key} is not there");
            return Err(wrong(sentence));
        }
    }
    Ok(writes)
}
