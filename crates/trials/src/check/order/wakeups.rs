//! No lost wake-up: a waiter whose turn has come is told so within the bound of the run, counted
//! from when the turn was seen to come, and anew after each fault of servers or clients and each
//! change of leader. At the end of a drained run nobody waits whose turn came.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, millis, violation},
    },
    waiting::{lines, waits},
};

pub(crate) const PROPERTY: Property = Property {
    name: "wakeups",
    workloads: &["lock", "election", "queue"],
    says: "A client whose turn has come learns of it soon.",
    judge,
};

/// Counts turns.
fn judge(case: &Case<'_>) -> Judged {
    let lines = lines(case);
    let mut judged = 0;
    for wait in waits(case, &lines) {
        let Some((time, index)) = wait.turn.and_then(|turn| case.timeline.seen(turn)) else { continue };
        let from = time.max(wait.op.invoked);
        let due = case.due_for_clients(from, case.run.bounds.wake);
        let over = wait.over.unwrap_or(case.ended);
        judged += 1;
        // If its key went meanwhile there is no turn to tell of.
        let lost = case.timeline.seen(wait.place.until).is_some_and(|(time, _)| time <= due);
        if over > due && !lost {
            let what = if wait.granted.is_some() { "was told only" } else { "was not told within" };
            let sentence = format!(
                "{} was {}'s from revision {} on, and the waiting call {what} {}",
                wait.name,
                wait.place.key,
                wait.turn.unwrap_or_default(),
                millis(over - from)
            );
            return Err(violation(&[index, wait.op.index, wait.op.completed], sentence));
        }
    }
    Ok(judged)
}
