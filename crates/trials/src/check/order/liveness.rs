//! With nothing broken, writes go on: when no fault holds, and clients try, some write is decided
//! within the bound of the run, counted anew from the end of each fault. A change of leader excuses
//! nothing. What a guard refuses was decided, too.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, millis, violation},
};
use crate::history::{Call, FenceGuard, FencedCall, KvCall, LeaseCall, Op, SetCall};

pub(crate) const PROPERTY: Property = Property {
    name: "liveness",
    workloads: &["kv", "set", "lease"],
    says: "When no fault holds some write is decided before long.",
    judge,
};

/// Below so many attempts nobody is said to have tried.
const ATTEMPTS: usize = 5;

/// Counts writes that were decided.
fn judge(case: &Case<'_>) -> Judged {
    let run = case.run;
    let end = run.phase("drained").unwrap_or(case.ended);
    let mut attempts: Vec<&Op> = run.ops.iter().filter(|op| writes(&op.call)).collect();
    attempts.sort_by_key(|op| op.invoked);
    let mut decided: Vec<(u64, usize)> =
        attempts.iter().filter(|op| op.answer().is_some()).map(|op| (op.returned, op.completed)).collect();
    decided.sort_unstable();
    let judged = decided.len();
    let (mut last, mut window) = (run.phase("load").unwrap_or(case.began), Vec::new());
    for (time, index) in decided.into_iter().map(|(time, index)| (time, Some(index))).chain([(end, None)]) {
        // Nearly always the next one is not far: only then faults are looked at.
        if time > last.saturating_add(run.bounds.live) {
            let due = case.due_after_faults(last, run.bounds.live);
            let from = attempts.partition_point(|op| op.invoked < due.saturating_sub(run.bounds.live));
            let tried = attempts[from..].iter().take_while(|op| op.invoked < due.min(time));
            if due < time && tried.clone().count() >= ATTEMPTS {
                window.extend(tried.take(5).flat_map(|op| [op.index, op.completed]).chain(index));
                let sentence = format!("no write was decided for {}, and nothing was broken", millis(time - last));
                return Err(violation(&window, sentence));
            }
        }
        last = time;
        window = index.into_iter().collect();
    }
    Ok(judged)
}

fn writes(call: &Call) -> bool {
    matches!(
        call,
        Call::Kv(KvCall::Put { .. } | KvCall::Cas { .. } | KvCall::Delete { .. })
            | Call::Set(SetCall::Add { .. })
            | Call::Lease(LeaseCall::Grant { .. })
            | Call::Fenced(FencedCall { guard: FenceGuard::Store | FenceGuard::None, .. })
    )
}
