//! A queue election's line changes only as its causes say. Each event is held against the line
//! before it:
//!
//! | cause | the line afterwards |
//! |---|---|
//! | entered | the same, and the candidate behind all of its priority and above, before all below; never before the leader |
//! | left, expired, closed, evicted, withdrawn, hold ended | the same without the candidate (an end of sessions may take more) |
//! | anointed, preempted, transferred | the candidate first, the others as they were (a transfer may leave out who led) |
//! | promoted, demoted | the candidate so many places further, as the call asked for, the others as they were |
//! | any other | the same |
//!
//! And the first of the line leads, unless nobody does (a lock-delay). A candidate in a line that
//! was changed by hand counts for its place, not for its priority: nothing is required of those
//! that enter behind or before it.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    queue::elections,
};
use crate::history::{Answer, Call, Candidate, Promotion, QueueEvent, QueueEventKind, QueueOp};
use std::collections::{HashMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "queue-order",
    workloads: &["queue"],
    says: "The line of a queue election changes only as its operations say, and its first leads.",
    judge,
};

/// Counts changes of the line.
fn judge(case: &Case<'_>) -> Judged {
    let calls = calls(case);
    let mut judged = 0;
    for (election, events) in elections(case) {
        let mut before: Option<(&[Candidate], usize)> = None;
        let mut moved: HashSet<&str> = HashSet::new();
        for (revision, (event, index)) in events {
            let line = event.term.candidates.as_slice();
            if event.kind == QueueEventKind::Deleted {
                before = Some((&[], index));
                continue;
            }
            let problem =
                if !event.term.leader.is_empty() && line.first().is_none_or(|first| first.id != event.term.leader) {
                    Some(format!("{} leads and is not the first", event.term.leader))
                } else {
                    let known =
                        before.map(|(line, _)| line).or((event.term.seq <= 1 && line.len() == 1).then_some(&[][..]));
                    known.and_then(|known| wrong(known, event, calls.get(&(election, revision)).copied(), &moved))
                };
            if let Some(problem) = problem {
                let names = |line: &[Candidate]| line.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ");
                let sentence = format!(
                    "in {election} at revision {revision} ({} {}): {problem}; the line was [{}] and became [{}]",
                    event.cause,
                    event.subject,
                    before.map(|(line, _)| names(line)).unwrap_or_default(),
                    names(line)
                );
                let mut window = vec![index];
                window.extend(before.map(|(_, index)| index));
                return Err(violation(&window, sentence));
            }
            note_moved(&mut moved, before.map_or(&[], |(line, _)| line), event);
            before = Some((line, index));
            judged += 1;
        }
    }
    Ok(judged)
}

/// Calls that changed something, by election and the revision of the change.
fn calls<'a>(case: &Case<'a>) -> HashMap<(&'a str, i64), &'a QueueOp> {
    let mut found = HashMap::new();
    for op in &case.run.ops {
        if let (Call::Queue(call), Some(Answer::Queue(answer))) = (&op.call, op.answer())
            && let Some(term) = answer.term.as_ref().filter(|_| answer.changed)
        {
            found.insert((call.election.as_str(), term.revision), &call.what);
        }
    }
    found
}

/// Whose place no longer follows from its priority.
fn note_moved<'a>(moved: &mut HashSet<&'a str>, before: &[Candidate], event: &'a QueueEvent) {
    let by_hand =
        ["anointed", "promoted", "demoted", "preempted", "transferred", "taken_over"].contains(&event.cause.as_str());
    if by_hand {
        moved.extend(event.term.candidates.iter().map(|one| one.id.as_str()));
    }
    for one in &event.term.candidates {
        let other_priority = before.iter().any(|old| old.id == one.id && old.priority != one.priority);
        if other_priority || one.id == event.term.leader {
            moved.insert(&one.id);
        }
    }
    moved.retain(|id| event.term.candidates.iter().any(|one| one.id == *id));
}

fn wrong(before: &[Candidate], event: &QueueEvent, call: Option<&QueueOp>, moved: &HashSet<&str>) -> Option<String> {
    let subject = event.subject.as_str();
    let old: Vec<&str> = before.iter().map(|one| one.id.as_str()).collect();
    let new: Vec<&str> = event.term.candidates.iter().map(|one| one.id.as_str()).collect();
    let others =
        |line: &[&str]| line.iter().filter(|id| **id != subject).map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let (was, is) = (old.iter().position(|id| *id == subject), new.iter().position(|id| *id == subject));
    let lost =
        matches!(event.cause.as_str(), "left" | "expired" | "session_closed" | "evicted" | "withdrawn" | "hold_ended");
    if lost {
        let mut rest = old.iter();
        let subsequence = new.iter().all(|id| rest.any(|other| other == id));
        let many = matches!(event.cause.as_str(), "expired" | "session_closed");
        return if is.is_some() {
            Some(format!("{subject} is still there"))
        } else if !subsequence || (!many && others(&old) != others(&new)) {
            Some("others moved as well".into())
        } else {
            None
        };
    }
    let gave_up = event.cause == "transferred" && !event.previous.is_empty() && !new.contains(&event.previous.as_str());
    let kept: Vec<&str> = old.iter().filter(|id| !(gave_up && **id == event.previous)).copied().collect();
    if others(&kept) != others(&new) {
        return Some("others moved as well".into());
    }
    let Some(is) = is else {
        return (was.is_some()).then(|| format!("{subject} is gone"));
    };
    let expected = match event.cause.as_str() {
        "entered" if was.is_none() => return entered(before, event, is, moved),
        "anointed" | "preempted" | "transferred" => 0,
        "promoted" => {
            let was = was?;
            match call {
                Some(QueueOp::Promote { to: Promotion::Places(places), .. }) => was.saturating_sub(*places as usize),
                Some(QueueOp::Promote { to: Promotion::Front, .. }) => was.min(1),
                Some(QueueOp::Promote { to: Promotion::Lead, .. }) => 0,
                _ if is < was => is,
                _ => was.saturating_sub(1),
            }
        }
        "demoted" => {
            let was = was?;
            match call {
                Some(QueueOp::Demote { places, .. }) => {
                    was.saturating_add((*places).max(1) as usize).min(new.len().saturating_sub(1))
                }
                _ if is > was => is,
                _ => was + 1,
            }
        }
        _ => was.unwrap_or(is),
    };
    (is != expected).then(|| format!("{subject} should be number {} and is number {}", expected + 1, is + 1))
}

/// Behind everybody of its priority and above, before everybody below; never before who leads.
fn entered(before: &[Candidate], event: &QueueEvent, is: usize, moved: &HashSet<&str>) -> Option<String> {
    let new = &event.term.candidates[is];
    if is == 0 && before.first().is_some_and(|first| first.id == event.term.leader) {
        return Some(format!("{} stands before the leader", new.id));
    }
    let waits = before.iter().filter(|one| one.id != event.term.leader && !moved.contains(one.id.as_str()));
    for other in waits {
        let place = event.term.candidates.iter().position(|one| one.id == other.id)?;
        if (other.priority >= new.priority) != (place < is) {
            let side = if place < is { "behind" } else { "before" };
            return Some(format!(
                "{} of priority {} stands {side} {} of priority {}",
                new.id, new.priority, other.id, other.priority
            ));
        }
    }
    None
}
