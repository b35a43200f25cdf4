//! Linearizability by revisions: the store claims that its revisions are the order of everything,
//! so the claim is tested rather than an order searched for. No search; n log n.
//!
//! 1. **Replay.** Every acknowledged write stands in the timeline at its revision, with its
//!    comparison right just before; no refused write does; no value was written twice; every value
//!    under a key of this workload was asked for; every read shows the state at its revision.
//! 2. **Real time.** Of two operations one of which returned before the other was sent, the later
//!    has no smaller revision; a write has a larger one. Writes of unknown outcome that stand in
//!    the timeline take part without a return.

use super::{
    super::{
        Property,
        case::Case,
        timeline::Timeline,
        verdict::{Flaw, Judged, seconds, violation},
    },
    replay::{Placed, place},
};
use crate::history::{Answer, Call, KvCall, NEVER, Op, Run, SetAnswer, TxnOp};
use std::collections::{HashMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "linearizable",
    workloads: &["kv", "append", "set"],
    says: "Every operation takes effect at its revision, between its call and its answer.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let timeline = case.truth()?;
    let mut placed = Vec::new();
    for op in &case.run.ops {
        placed.extend(place(timeline, op)?);
        placed.extend(of_lists_and_sets(op));
    }
    written_once(case.run, timeline)?;
    asked_for(case.run, timeline)?;
    let judged = placed.len();
    in_real_time(placed, case.began)?;
    Ok(judged)
}

/// Lists and sets have checkers of their own; their revisions take part in the order.
fn of_lists_and_sets(op: &Op) -> Option<Placed<'_>> {
    let (revision, writes) = match op.answer()? {
        Answer::Append(answer) => {
            let Call::Append(call) = &op.call else { return None };
            (answer.revision, call.ops.iter().any(|op| matches!(op, crate::history::ListOp::Append { .. })))
        }
        Answer::Set(SetAnswer::Added { revision }) => (*revision, true),
        Answer::Set(SetAnswer::Read { revision, .. }) => (*revision, false),
        _ => return None,
    };
    Some(Placed { op, revision, writes, returned: op.returned })
}

/// What this workload's calls may write, and under which keys.
fn attempts(run: &Run) -> (HashMap<(&str, &str), usize>, HashSet<&str>) {
    let (mut values, mut keys) = (HashMap::new(), HashSet::new());
    for op in &run.ops {
        match &op.call {
            Call::Kv(KvCall::Put { key, value, .. } | KvCall::Cas { key, value, .. }) => {
                values.insert((key.as_str(), value.as_str()), op.index);
                keys.insert(key.as_str());
            }
            Call::Kv(KvCall::Txn { then, otherwise, .. }) => {
                for step in then.iter().chain(otherwise) {
                    if let TxnOp::Put { key, value } = step {
                        values.insert((key.as_str(), value.as_str()), op.index);
                        keys.insert(key.as_str());
                    }
                }
            }
            _ => {}
        }
    }
    (values, keys)
}

fn written_once(run: &Run, timeline: &Timeline<'_>) -> Result<(), Flaw> {
    let (values, _) = attempts(run);
    for ((key, value), index) in values {
        let Some([first, second, ..]) = timeline.written.get(&(key, value)).map(Vec::as_slice) else { continue };
        let mut window = vec![index];
        window.extend([first, second].into_iter().filter_map(|at| timeline.seen(*at)).map(|(_, index)| index));
        let sentence =
            format!("{key} = {value} was asked for once and written twice, at revisions {first} and {second}");
        return Err(violation(&window, sentence));
    }
    Ok(())
}

fn asked_for(run: &Run, timeline: &Timeline<'_>) -> Result<(), Flaw> {
    let (values, keys) = attempts(run);
    for key in keys {
        for version in timeline.keys.get(key).into_iter().flatten() {
            let Some(value) = version.value else { continue };
            if !values.contains_key(&(key, value)) {
                let window: Vec<_> = timeline.seen(version.revision).into_iter().map(|(_, index)| index).collect();
                let sentence =
                    format!("{key} = {value} stands at revision {}, and nobody asked for it", version.revision);
                return Err(violation(&window, sentence));
            }
        }
    }
    Ok(())
}

/// Sweeps over time and holds each operation against the newest that had returned before it was
/// sent.
fn in_real_time(mut placed: Vec<Placed<'_>>, began: u64) -> Result<(), Flaw> {
    let mut returns: Vec<Placed<'_>> = placed.iter().copied().filter(|at| at.returned != NEVER).collect();
    returns.sort_by_key(|at| at.returned);
    placed.sort_by_key(|at| at.op.invoked);
    let mut returns = returns.into_iter().peekable();
    let mut newest: Option<Placed<'_>> = None;
    for at in placed {
        while let Some(returned) = returns.next_if(|returned| returned.returned < at.op.invoked) {
            if newest.is_none_or(|known| known.revision < returned.revision) {
                newest = Some(returned);
            }
        }
        let Some(earlier) = newest else { continue };
        if at.revision > earlier.revision || (at.revision == earlier.revision && !at.writes) {
            continue;
        }
        let window = [earlier.op.index, earlier.op.completed, at.op.index, at.op.completed];
        let what = if at.writes { "write" } else { "read" };
        let sentence = format!(
            "the {what} at revision {} began at {}, after revision {} had been acknowledged at {}",
            at.revision,
            seconds(at.op.invoked, began),
            earlier.revision,
            seconds(earlier.returned, began)
        );
        return Err(violation(&window, sentence));
    }
    Ok(())
}
