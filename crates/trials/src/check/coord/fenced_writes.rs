//! A deposed holder's guarded write never succeeds.
//!
//! * Guarded in the store: a write that was accepted at a revision found the tenure's key there
//!   just before; one that was refused did not.
//! * A resource outside: accepted fences never fall in the order of the resource, and a refused
//!   writer had a smaller fence than one accepted before.
//!
//! [`unfenced_damage`] counts what the same load loses without a guard: the control that shows that
//! the faults are strong enough.

use super::super::{
    Property,
    case::Case,
    place::{Kind, holders, places},
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, FenceGuard, FencedAnswer, FencedCall, Op, Run};
use std::collections::{BTreeMap, HashMap};

pub(crate) const PROPERTY: Property = Property {
    name: "fenced-writes",
    workloads: &["fenced"],
    says: "A write under a tenure that is over never succeeds.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    let mut outside: BTreeMap<&str, Vec<(i64, &FencedCall, &Op)>> = BTreeMap::new();
    for op in &case.run.ops {
        let (Call::Fenced(call), Some(Answer::Fenced(answer))) = (&op.call, op.answer()) else { continue };
        match (call.guard, answer) {
            (FenceGuard::None, _) => continue,
            (FenceGuard::Store, FencedAnswer::Accepted { revision }) => {
                // The write saw the state of the revision before its own.
                if !stands(case, call, revision - 1) {
                    let sentence = format!(
                        "{} was written at revision {revision} under fence {} of {}, a tenure that was over",
                        call.resource, call.fence, call.name
                    );
                    return Err(violation(&window(case, op, call), sentence));
                }
            }
            (FenceGuard::Store, FencedAnswer::Refused { revision, .. }) => {
                if stands(case, call, *revision) {
                    let sentence = format!(
                        "a write of {} was refused at revision {revision} although fence {} of {} stood",
                        call.resource, call.fence, call.name
                    );
                    return Err(violation(&[op.index, op.completed], sentence));
                }
            }
            (FenceGuard::Outside, FencedAnswer::Accepted { revision }) => {
                outside.entry(&call.resource).or_default().push((*revision, call, op));
            }
            (FenceGuard::Outside, FencedAnswer::Refused { seen, .. }) => {
                if *seen > 0 && *seen <= call.fence {
                    let sentence =
                        format!("{} refused fence {} after it had seen only {seen}", call.resource, call.fence);
                    return Err(violation(&[op.index, op.completed], sentence));
                }
            }
        }
        judged += 1;
    }
    for (resource, mut writes) in outside {
        writes.sort_by_key(|(order, ..)| *order);
        for pair in writes.windows(2) {
            let ((_, before, earlier), (_, after, later)) = (pair[0], pair[1]);
            if after.fence < before.fence {
                let sentence = format!("{resource} accepted fence {} after fence {}", after.fence, before.fence);
                return Err(violation(&[earlier.index, earlier.completed, later.index, later.completed], sentence));
            }
        }
    }
    Ok(judged)
}

/// Whether any key of that name proves the fence at a revision.
fn stands(case: &Case<'_>, call: &FencedCall, revision: i64) -> bool {
    let projected = [Kind::Lock, Kind::Queue, Kind::Claim].iter().any(|kind| {
        case.timeline.at(&format!("{}{:016x}", holders(*kind, &call.name), call.fence), revision).is_some()
    });
    projected
        || case
            .timeline
            .under(&holders(Kind::EtcdLock, &call.name), revision)
            .any(|(_, version)| version.create == call.fence)
}

fn window(case: &Case<'_>, op: &Op, call: &FencedCall) -> Vec<usize> {
    let mut window = vec![op.index, op.completed];
    let lines = [Kind::EtcdLock, Kind::Lock, Kind::Queue, Kind::Claim];
    let ended = lines.iter().flat_map(|kind| places(&case.timeline, &holders(*kind, &call.name)));
    window.extend(
        ended
            .filter(|place| place.fence == call.fence)
            .filter_map(|place| case.timeline.seen(place.until))
            .map(|(_, index)| index),
    );
    window
}

/// How many unguarded updates were lost: two accepted writes that build on the same value.
#[must_use]
pub fn unfenced_damage(run: &Run) -> usize {
    let mut built_on: HashMap<(&str, &str), usize> = HashMap::new();
    for op in &run.ops {
        if let (Call::Fenced(call), Some(Answer::Fenced(FencedAnswer::Accepted { .. }))) = (&op.call, op.answer())
            && call.guard == FenceGuard::None
        {
            *built_on.entry((&call.resource, &call.read)).or_default() += 1;
        }
    }
    built_on.values().map(|count| count - 1).sum()
}
