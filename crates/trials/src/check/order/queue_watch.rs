//! A watch of a queue election tells every change, in order, and the same as every other watch.
//!
//! 1. Revisions never fall, also over reconnections.
//! 2. Between the revision that a part begins with and the last that it told, no change is left out
//!    that any watch told.
//! 3. Two watches tell the same of one revision: term, leader, line, cause.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Judged, violation},
    },
    queue::elections,
};
use crate::history::{Call, Event, QueueEventKind, QueueOp};
use std::collections::HashMap;

pub(crate) const PROPERTY: Property = Property {
    name: "queue-watch",
    workloads: &["queue"],
    says: "A watch of a queue election tells every change, in order.",
    judge,
};

/// Counts events.
fn judge(case: &Case<'_>) -> Judged {
    let elections = elections(case);
    let mut openings: HashMap<&str, Vec<(usize, i64)>> = HashMap::new();
    for op in &case.run.ops {
        if let Call::Queue(call) = &op.call
            && let QueueOp::Watch { start, stream } = &call.what
            && op.answer().is_some()
        {
            openings.entry(stream).or_default().push((op.index, *start));
        }
    }
    let mut last: HashMap<&str, (i64, usize)> = HashMap::new();
    let mut judged = 0;
    for streamed in case.run.events() {
        let Event::Queue(event) = streamed.event else { continue };
        if event.kind == QueueEventKind::Snapshot {
            continue;
        }
        judged += 1;
        let Some(events) = elections.get(event.election.as_str()) else { continue };
        if let Some((known, index)) = events.get(&event.revision).filter(|(known, _)| known.term != event.term) {
            let sentence = format!(
                "watch {} tells of {} at revision {} that {:?} leads under term {}, and watch {} that {:?} does under term {}",
                event.stream,
                event.election,
                event.revision,
                event.term.leader,
                event.term.id,
                known.stream,
                known.term.leader,
                known.term.id
            );
            return Err(violation(&[*index, streamed.index], sentence));
        }
        let before = last.insert(&event.stream, (event.revision, streamed.index));
        if let Some((revision, index)) = before.filter(|(revision, _)| *revision > event.revision) {
            let sentence = format!("watch {} told revision {} after {revision}", event.stream, event.revision);
            return Err(violation(&[index, streamed.index], sentence));
        }
        let opening =
            openings.get(event.stream.as_str()).and_then(|all| all.iter().rfind(|(at, _)| *at < streamed.index));
        // Without an opening it began with what it told first.
        let start = opening.map(|(_, start)| *start);
        let from = before.map(|(revision, _)| revision + 1).max(start);
        let Some(from) = from.filter(|from| *from < event.revision) else { continue };
        if let Some((missed, (_, index))) = events.range(from..event.revision).next() {
            let sentence = format!(
                "watch {} left out the change of {} at revision {missed}, before the one at {}",
                event.stream, event.election, event.revision
            );
            return Err(violation(&[*index, streamed.index], sentence));
        }
    }
    Ok(judged)
}
