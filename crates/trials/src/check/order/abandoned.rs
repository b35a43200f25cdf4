//! A client that gives up waiting leaves the line, and no client holds without knowing it.
//!
//! 1. A call that its client cancelled, or whose client died, has no place any more within the
//!    bound of the run, if nothing disturbed the servers, its turn had not come by then, and nobody
//!    asked for the place again.
//! 2. In any case the place ends with its lease: by the last possible renewal, the time to live and
//!    the bound for late leases, counted anew after each disturbance of the servers.

use super::{
    super::{
        Property,
        case::Case,
        place::{Place, renewals},
        verdict::{Judged, millis, violation},
    },
    waiting::{lines, waits},
};
use crate::history::{Call, ElectionCall, LeaseCall, LockCall, Outcome, QueueOp};
use std::collections::HashMap;

pub(crate) const PROPERTY: Property = Property {
    name: "abandoned",
    workloads: &["lock", "election", "queue"],
    says: "A client that gives up waiting, or dies, leaves the line.",
    judge,
};

/// Counts calls that were given up while their place stood.
fn judge(case: &Case<'_>) -> Judged {
    let (lines, renewals) = (lines(case), renewals(case.run));
    // The last moment at which a renewal of unknown outcome can have counted.
    let mut doubtful: HashMap<i64, u64> = HashMap::new();
    for op in &case.run.ops {
        if let (Call::Lease(LeaseCall::Keepalive { lease }), Outcome::Unknown(_)) = (&op.call, &op.outcome) {
            let time = case.run.records[op.completed].time;
            let known = doubtful.entry(*lease).or_default();
            *known = time.max(*known);
        }
    }
    let mut asked: HashMap<(&str, i64), Vec<u64>> = HashMap::new();
    for op in &case.run.ops {
        if let Some(whose) = asks_for(&op.call) {
            asked.entry(whose).or_default().push(op.invoked);
        }
    }
    let bounds = &case.run.bounds;
    let mut judged = 0;
    for wait in waits(case, &lines).into_iter().filter(|wait| wait.stands_for_it) {
        let (Outcome::Unknown(failure), Some(over)) = (&wait.op.outcome, wait.over) else { continue };
        if !["timeout", "killed"].contains(&failure.code.as_str()) {
            continue;
        }
        let (until, came) = match handed_over(case, wait.place) {
            Some(until) => (until, Some(wait.place.until)),
            None => (wait.place.until, wait.came),
        };
        let gone = case.timeline.seen(until);
        let (gone, window) = match gone {
            Some((gone, _)) if gone <= over => continue,
            Some((gone, index)) => (gone, [wait.op.index, wait.op.completed, index]),
            None => (case.ended, [wait.op.index, wait.op.completed, wait.op.completed]),
        };
        let again = asked.get(&(wait.name, wait.place.lease)).into_iter().flatten();
        if again.clone().any(|time| *time > wait.op.invoked && *time <= gone) {
            continue;
        }
        judged += 1;
        let soon = case.due_for_clients(over, bounds.wake);
        let turn = came.and_then(|came| case.timeline.seen(came)).is_some_and(|(time, _)| time <= soon);
        let lease = renewals.get(&wait.place.lease).and_then(|all| {
            let ttl = all.iter().map(|renewal| renewal.ttl_ms).max()?;
            let kept = all.iter().map(|renewal| renewal.received).max()?;
            let kept = kept.max(doubtful.get(&wait.place.lease).copied().unwrap_or(0));
            Some(case.due(kept.max(over), ttl * 1_000_000 + bounds.late))
        });
        let promptly = (!turn && case.is_calm(wait.op.invoked, soon)).then_some(soon);
        let Some(due) = promptly.into_iter().chain(lease).min().filter(|due| gone > *due) else { continue };
        let sentence = format!(
            "{} stood for a call that waited for {} and was given up ({}), and was still there {} later, {} too long",
            wait.place.key,
            wait.name,
            failure.error,
            millis(gone - over),
            millis(gone - due)
        );
        return Err(violation(&window, sentence));
    }
    Ok(judged)
}

/// Where a place in the line of a lock became a tenure: the revision that ended it.
fn handed_over(case: &Case<'_>, place: &Place<'_>) -> Option<i64> {
    let holder = place.key.replace("/q/", "/holder/");
    let versions = case.timeline.keys.get(holder.as_str()).filter(|_| holder != place.key)?;
    let began = versions.iter().any(|version| version.revision == place.until && version.value.is_some());
    began.then(|| versions.iter().find(|version| version.value.is_none()).map_or(i64::MAX, |version| version.revision))
}

/// The name and the lease of a call that takes a place, or finds it taken by itself.
fn asks_for(call: &Call) -> Option<(&str, i64)> {
    match call {
        Call::Lock(LockCall::Acquire { lock, lease, .. }) => Some((lock, *lease)),
        Call::Election(ElectionCall::Campaign { election, lease, .. }) => Some((election, *lease)),
        Call::Queue(call) => match &call.what {
            QueueOp::Enter { session, .. } | QueueOp::Campaign { session, .. } => Some((&call.election, *session)),
            _ => None,
        },
        _ => None,
    }
}
