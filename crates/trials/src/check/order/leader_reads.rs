//! Questions about etcd's elections are linearizable: `Leader` names the owner at the answer's
//! revision (or says rightly that there is none), no answer has a smaller revision than one that
//! had been told before it was asked for; `Proclaim` and `Resign` succeed only for a key that stood
//! with that fence.

use super::super::{
    Property,
    case::Case,
    place::{Kind, holders},
    timeline::{Timeline, Version},
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, ElectionAnswer, ElectionCall};

pub(crate) const PROPERTY: Property = Property {
    name: "leader-reads",
    workloads: &["election"],
    says: "A client that asks for the leader is told who leads at that revision, never who led before.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let (mut reads, mut told) = (Vec::new(), Vec::new());
    let mut judged = 0;
    for op in &case.run.ops {
        let (Call::Election(call), Some(Answer::Election(answer))) = (&op.call, op.answer()) else { continue };
        let wrong = |sentence: String| Err(violation(&[op.index, op.completed], sentence));
        match (call, answer) {
            (ElectionCall::Leader { election }, ElectionAnswer::Leader { revision, leader }) => {
                let timeline = case.truth()?;
                let truth = owner(timeline, election, *revision);
                let right = match (&truth, leader) {
                    (None, None) => true,
                    (Some((key, version)), Some(kv)) => kv.key == *key && Timeline::agrees(version, kv),
                    _ => false,
                };
                if !right {
                    let told = leader.as_ref().map_or("nobody", |kv| kv.key.as_str());
                    let leads = truth.map_or("nobody", |(key, _)| key);
                    return wrong(format!(
                        "{told} was named leader of {election} at revision {revision}, where {leads} led"
                    ));
                }
                reads.push((op.invoked, *revision, op));
                told.push((op.returned, *revision, op));
            }
            (ElectionCall::Proclaim { key, fence, value, .. }, ElectionAnswer::Proclaimed { revision }) => {
                told.push((op.returned, *revision, op));
                let stands = case.timeline.at(key, *revision);
                if stands.is_none_or(|version| version.create != *fence || version.value != Some(value)) {
                    return wrong(format!(
                        "{key} of revision {fence} proclaimed {value} at revision {revision}, and does not hold it"
                    ));
                }
            }
            (ElectionCall::Resign { key, fence, .. }, ElectionAnswer::Resigned { revision }) => {
                told.push((op.returned, *revision, op));
                if case.timeline.at(key, *revision).is_some_and(|version| version.create == *fence) {
                    return wrong(format!(
                        "{key} of revision {fence} resigned by revision {revision}, and still stands there"
                    ));
                }
            }
            _ => continue,
        }
        judged += 1;
    }
    told.sort_by_key(|(returned, ..)| *returned);
    reads.sort_by_key(|(invoked, ..)| *invoked);
    let (mut told, mut newest) = (told.into_iter().peekable(), None::<(i64, _)>);
    for (invoked, revision, op) in reads {
        while let Some((_, known, by)) = told.next_if(|(returned, ..)| *returned < invoked) {
            newest = newest.filter(|(newest, _)| *newest >= known).or(Some((known, by)));
        }
        if let Some((known, by)) = newest.filter(|(known, _)| *known > revision) {
            let sentence = format!(
                "the leader was read at revision {revision} after revision {known} of the election had been told"
            );
            return Err(violation(&[by.index, by.completed, op.index, op.completed], sentence));
        }
    }
    Ok(judged)
}

fn owner<'t, 'a>(timeline: &'t Timeline<'a>, election: &str, revision: i64) -> Option<(&'a str, &'t Version<'a>)> {
    let prefix = holders(Kind::EtcdElection, election);
    let mut line = timeline.under(&prefix, revision);
    let first = line.next()?;
    Some(line.fold(first, |first, key| if key.1.create < first.1.create { key } else { first }))
}
