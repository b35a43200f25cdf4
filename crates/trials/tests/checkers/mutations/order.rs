//! Of what comes before what: leaders, lines, and that everything goes on.

use super::changed;
use crate::simulator::MS;
use conclave_trials::check::{Case, Grant};
use conclave_trials::history::*;

pub(super) fn second_leader(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().position(|record| matches!(record.entry, Entry::Fact(Fact::Leader(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Leader(leader)) = entry {
            leader.leader += 1;
        }
    }))
}

/// The last list, changed.
fn last_list(run: &Run, change: impl FnOnce(&mut Members)) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Members(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Members(list)) = entry {
            change(list);
        }
    }))
}

pub(super) fn lost_addition(run: &Run) -> Option<Vec<Record>> {
    last_list(run, |list| list.members.retain(|member| member.id != 4))
}

pub(super) fn listed_again(run: &Run) -> Option<Vec<Record>> {
    last_list(run, |list| list.members.push(Listed { id: 1, peer: "http://n1".into(), learner: false }))
}

pub(super) fn answers_after_removal(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Answered(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Answered(answer)) = entry {
            answer.member = 1;
        }
    }))
}

pub(super) fn passed_waiter(run: &Run) -> Option<Vec<Record>> {
    // Nobody leaves the line any more when it is granted: later candidates pass.
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry
            && told.changes.iter().any(|change| change.key.contains("/l/default/cl/holder/") && change.value.is_some())
        {
            told.changes.retain(|change| !change.key.contains("/l/default/cl/q/") || change.value.is_some());
        }
    }
    Some(records)
}

pub(super) fn late_answer(run: &Run, granted: bool) -> Option<Vec<Record>> {
    let waits = |op: &&Op| {
        matches!(&op.call, Call::Lock(LockCall::Acquire { api: Api::Etcd, .. }))
            && match &op.outcome {
                // It held for a while: its turn did not pass before anybody would miss the answer.
                Outcome::Ok(_) => granted && releases(run, op).is_some_and(|time| time > op.returned + 60 * MS),
                // Its key was there, and went.
                Outcome::Fail(failure) => !granted && failure.error == "session expired",
                Outcome::Unknown(_) => false,
            }
    };
    // Its last: what it asked for later would leave keys behind.
    let last = |op: &&Op| {
        !run.ops.iter().any(|other| {
            other.process == op.process
                && other.index > op.index
                && matches!(other.call, Call::Lock(LockCall::Acquire { .. }))
        })
    };
    let op = run.ops.iter().filter(waits).find(last)?;
    let mut records = run.records.clone();
    records[op.completed].time += 15_000 * MS;
    // The client asks for nothing else meanwhile.
    let process = &op.process;
    let mut at = 0;
    records.retain(|record| {
        at += 1;
        at - 1 <= op.completed || record.process != *process
    });
    Some(records)
}

/// When the client that was granted something releases it.
pub(super) fn releases(run: &Run, granted: &Op) -> Option<u64> {
    let release = |op: &&Op| op.process == granted.process && matches!(op.call, Call::Lock(LockCall::Release { .. }));
    run.ops.iter().filter(|op| op.index > granted.completed).find(release).map(|op| op.invoked)
}

pub(super) fn former_leader(run: &Run) -> Option<Vec<Record>> {
    let reads: Vec<_> = run
        .ops
        .iter()
        .filter_map(|op| match op.answer() {
            Some(Answer::Election(ElectionAnswer::Leader { leader, .. })) => Some((op, leader)),
            _ => None,
        })
        .collect();
    let pair = reads.windows(2).find(|pair| pair[0].1 != pair[1].1 && pair[0].1.is_some())?;
    let old = pair[0].1.clone();
    Some(changed(run, pair[1].0.completed, |entry| {
        if let Entry::Ok(Answer::Election(ElectionAnswer::Leader { leader, .. })) = entry {
            *leader = old;
        }
    }))
}

pub(super) fn swapped_observations(run: &Run) -> Option<Vec<Record>> {
    let observed: Vec<_> = run
        .events()
        .filter_map(|streamed| match streamed.event {
            Event::Observed(Observed { leader: Some(leader), .. }) => Some((streamed.index, leader)),
            _ => None,
        })
        .collect();
    let pair = observed.windows(2).find(|pair| pair[0].1.modified != pair[1].1.modified)?;
    let mut records = run.records.clone();
    let (a, b) = (pair[0].0, pair[1].0);
    let first = records[a].entry.clone();
    records[a].entry = records[b].entry.clone();
    records[b].entry = first;
    Some(records)
}

pub(super) fn queue_event(run: &Run, wanted: impl Fn(&QueueEvent) -> bool) -> Option<usize> {
    let found = run.events().filter_map(|streamed| match streamed.event {
        // What the first watch tells counts; that the others tell the same is a property of its
        // own.
        Event::Queue(event) if event.stream == "q1" && wanted(event) => Some(streamed.index),
        _ => None,
    });
    found.last()
}

pub(super) fn other_line(run: &Run) -> Option<Vec<Record>> {
    // Of two who were there before, since the place of one who enters is free once the line was
    // changed by hand.
    let index = queue_event(run, |event| event.cause == "entered" && event.term.candidates.len() >= 4)?;
    Some(changed(run, index, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            let stood = |at: &usize| event.term.candidates[*at].id != event.subject;
            let mut stood = (1..event.term.candidates.len()).rev().filter(stood);
            if let (Some(last), Some(before)) = (stood.next(), stood.next()) {
                event.term.candidates.swap(last, before);
            }
        }
    }))
}

pub(super) fn falling_term(run: &Run) -> Option<Vec<Record>> {
    let index = queue_event(run, |event| event.term.id == event.revision && event.term.seq > 2)?;
    Some(changed(run, index, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            event.term.id = 1;
        }
    }))
}

/// A campaign in a queue election, answered long after its win, or after its candidate was put out.
pub(super) fn late_campaign(run: &Run, won: bool) -> Option<Vec<Record>> {
    let case = Case::new(run);
    // Its last: later ones would leave keys behind.
    let last = |op: &Op| !run.ops.iter().any(|other| other.call == op.call && other.index > op.index);
    let op = run.ops.iter().find(|op| {
        let Call::Queue(QueueCall { what: QueueOp::Campaign { candidate, .. }, .. }) = &op.call else { return false };
        last(op)
            && match &op.outcome {
                Outcome::Ok(_) => {
                    let grant = case.grants.iter().find(|grant| grant.op.index == op.index);
                    let lasts = |grant: &Grant<'_>| {
                        let ended = case.timeline.keys[grant.key.as_str()].last().filter(|last| last.value.is_none());
                        let gone = ended.and_then(|last| case.timeline.seen(last.revision));
                        gone.is_none_or(|(time, _)| time > op.returned + 60 * MS)
                    };
                    won && grant.is_some_and(lasts)
                }
                // It stood in the line.
                Outcome::Fail(_) => {
                    let place = format!("/_conclave/e/default/q/q/{candidate}");
                    let lives = case.timeline.keys.get(place.as_str());
                    !won && lives.is_some_and(|all| {
                        let during = |revision| {
                            let seen = case.timeline.seen(revision).map(|(time, _)| time);
                            seen.is_some_and(|time| time > op.invoked && time < op.returned)
                        };
                        all.iter().any(|version| version.value.is_none() && during(version.revision))
                    })
                }
                Outcome::Unknown(_) => false,
            }
    })?;
    let mut records = run.records.clone();
    records[op.completed].time += 15_000 * MS;
    let mut at = 0;
    records.retain(|record| {
        at += 1;
        at - 1 <= op.completed || record.process != op.process
    });
    Some(records)
}

/// The key of who gave up stays.
pub(super) fn kept_place(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry {
            told.changes.retain(|change| change.key != "lock/q/701" || change.value.is_some());
        }
    }
    Some(records)
}

/// An event of the second watch that is neither its first nor its last.
pub(super) fn second_watch(run: &Run) -> Option<usize> {
    let told = run.events().filter(|streamed| matches!(streamed.event, Event::Queue(event) if event.stream == "q2"));
    let all: Vec<_> = told.map(|streamed| streamed.index).collect();
    (all.len() > 2).then(|| all[all.len() / 2])
}

pub(super) fn dropped_queue_event(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(second_watch(run)?);
    Some(records)
}

pub(super) fn other_queue_event(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, second_watch(run)?, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            event.term.candidates.push(Candidate { id: "nobody".into(), ..Candidate::default() });
        }
    }))
}

/// From some moment on no write has an answer.
pub(super) fn no_more_writes(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    for op in &run.ops {
        let written = matches!(
            op.call,
            Call::Kv(KvCall::Put { .. } | KvCall::Cas { .. } | KvCall::Delete { .. })
                | Call::Set(SetCall::Add { .. })
                | Call::Lease(LeaseCall::Grant { .. })
                | Call::Fenced(_)
        ) && op.answer().is_some();
        if written && op.returned > run.span().0 + 150 * MS {
            let failure = Failure { code: "timeout".into(), error: "no answer".into() };
            records[op.completed].entry = Entry::Info(failure);
        }
    }
    Some(records)
}
