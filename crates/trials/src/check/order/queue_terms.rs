//! Terms of a queue election.
//!
//! 1. A change tells its own revision. A new leader (or a new instance of it) has a new term: its
//!    id is that revision, its sequence one more. A term without a new leader keeps both, also when
//!    nobody leads.
//! 2. Ids never fall, also over a deletion; in one election a term id has one leader for ever.
//! 3. Every answer tells the term as it was at the revision that it names.
//! 4. Of two answers the later asked for tells no earlier change.

use super::{
    super::{
        Property,
        case::Case,
        verdict::{Flaw, Judged, violation},
    },
    queue::{Events, elections},
};
use crate::history::{Answer, Call, Op, QueueEventKind, Term};
use std::collections::{BTreeMap, HashMap};

pub(crate) const PROPERTY: Property = Property {
    name: "queue-terms",
    workloads: &["queue"],
    says: "Terms of a queue election rise with each new leader, and every answer tells the true one.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let elections = elections(case);
    let mut judged = 0;
    let mut leaders: HashMap<(&str, i64), (&str, usize)> = HashMap::new();
    for (election, events) in &elections {
        judged += changes(election, events)?;
        for (event, index) in events.values() {
            one_leader(&mut leaders, election, &event.term, *index)?;
        }
    }
    let mut answers: BTreeMap<&str, Vec<(&Op, &Term)>> = BTreeMap::new();
    for op in &case.run.ops {
        let (Call::Queue(call), Some(Answer::Queue(answer))) = (&op.call, op.answer()) else { continue };
        let Some(term) = &answer.term else { continue };
        judged += 1;
        one_leader(&mut leaders, &call.election, term, op.completed)?;
        if let Some(events) = elections.get(call.election.as_str()) {
            truthful(&call.election, events, op, term)?;
        }
        answers.entry(&call.election).or_default().push((op, term));
    }
    for (election, answers) in answers {
        in_real_time(election, answers)?;
    }
    Ok(judged)
}

fn changes(election: &str, events: &Events<'_>) -> Judged {
    let mut before: Option<(&Term, usize)> = None;
    for (revision, (event, index)) in events {
        let term = &event.term;
        let deleted = event.kind == QueueEventKind::Deleted;
        if let Some((old, earlier)) = before {
            let new_term = term.id != old.id;
            let problem = if term.id < old.id {
                Some(format!("the term's id fell from {} to {}", old.id, term.id))
            } else if new_term && term.id != *revision {
                Some(format!("the new term's id is {}", term.id))
            } else if !deleted && term.revision != *revision {
                Some(format!("it is told as the change of revision {}", term.revision))
            } else if new_term && term.seq != old.seq + 1 && term.seq != 1 {
                Some(format!("the sequence went from {} to {}", old.seq, term.seq))
            } else if !new_term && !deleted && term.seq != old.seq {
                Some(format!("the sequence went from {} to {} within a term", old.seq, term.seq))
            } else if !new_term && !term.leader.is_empty() && term.leader != old.leader {
                Some(format!("{} leads under the term of {:?}", term.leader, old.leader))
            } else {
                None
            };
            if let Some(problem) = problem {
                let sentence = format!("in {election} at revision {revision}: {problem}");
                return Err(violation(&[earlier, *index], sentence));
            }
        }
        if !deleted {
            before = Some((term, *index));
        }
    }
    Ok(events.len())
}

fn one_leader<'a>(
    leaders: &mut HashMap<(&'a str, i64), (&'a str, usize)>,
    election: &'a str,
    term: &'a Term,
    index: usize,
) -> Result<(), Flaw> {
    if term.leader.is_empty() {
        return Ok(());
    }
    let (leader, first) = *leaders.entry((election, term.id)).or_insert((&term.leader, index));
    if leader == term.leader {
        return Ok(());
    }
    Err(violation(
        &[first, index],
        format!("term {} of {election} is told of {leader} and of {}", term.id, term.leader),
    ))
}

fn truthful(election: &str, events: &Events<'_>, op: &Op, term: &Term) -> Result<(), Flaw> {
    let Some((event, index)) = events.get(&term.revision) else { return Ok(()) };
    let truth = &event.term;
    if (term.id, term.seq, &term.leader) == (truth.id, truth.seq, &truth.leader) {
        return Ok(());
    }
    let sentence = format!(
        "an answer about {election} tells of term {} ({}, led by {:?}) at revision {}, where term {} ({}, led by {:?}) was",
        term.id, term.seq, term.leader, term.revision, truth.id, truth.seq, truth.leader
    );
    Err(violation(&[*index, op.index, op.completed], sentence))
}

fn in_real_time(election: &str, mut answers: Vec<(&Op, &Term)>) -> Result<(), Flaw> {
    let mut returns = answers.clone();
    returns.sort_by_key(|(op, _)| op.returned);
    answers.sort_by_key(|(op, _)| op.invoked);
    let (mut returns, mut newest) = (returns.into_iter().peekable(), None::<(&Op, &Term)>);
    for (op, term) in answers {
        while let Some(known) = returns.next_if(|(known, _)| known.returned < op.invoked) {
            newest = newest.filter(|(_, newest)| newest.revision >= known.1.revision).or(Some(known));
        }
        if let Some((by, known)) = newest.filter(|(_, known)| known.revision > term.revision) {
            let sentence = format!(
                "an answer about {election} tells of revision {}, asked for after revision {} had been told",
                term.revision, known.revision
            );
            return Err(violation(&[by.index, by.completed, op.index, op.completed], sentence));
        }
    }
    Ok(())
}
