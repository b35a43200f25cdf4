//! An observer sees a part of what was, in order: every leader that it reports led, with that
//! value; it never goes back; and *nobody leads* is said only where nobody did. It may leave some
//! out, as etcd's may.

use super::super::{
    Property,
    case::Case,
    place::{Kind, holders, owner, places},
    verdict::{Judged, violation},
};
use crate::history::{Call, ElectionCall, Event, Kv, Process};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) const PROPERTY: Property = Property {
    name: "observe",
    workloads: &["election"],
    says: "An observer is told of leaders in the order in which they led, and of none that did not lead.",
    judge,
};

/// Leaders with what they proclaimed: from which revision on, `None` for nobody.
type Leaders<'a> = Vec<(i64, Option<(&'a str, i64)>)>;

fn judge(case: &Case<'_>) -> Judged {
    let mut known: BTreeMap<&str, Leaders<'_>> = BTreeMap::new();
    let mut opened: HashMap<(&Process, &str), Vec<usize>> = HashMap::new();
    for op in &case.run.ops {
        if let Call::Election(ElectionCall::Observe { election }) = &op.call {
            opened.entry((&op.process, election)).or_default().push(op.index);
        }
    }
    let mut last: HashMap<(&Process, &str), (usize, usize)> = HashMap::new();
    let mut judged = 0;
    for streamed in case.run.events() {
        let Event::Observed(observed) = streamed.event else { continue };
        let timeline = case.truth()?;
        let election = observed.election.as_str();
        let leaders = known.entry(election).or_insert_with(|| leaders(case, election));
        judged += 1;
        let stream = (streamed.process, election);
        let before = last.get(&stream).copied();
        let reopened = before.is_some_and(|(_, index)| {
            opened.get(&stream).is_some_and(|opened| opened.iter().any(|at| *at > index && *at < streamed.index))
        });
        let is_it = |leader: &Option<(&str, i64)>| match (leader, &observed.leader) {
            (None, None) => true,
            (Some((key, modified)), Some(kv)) => *key == kv.key && *modified == kv.modified && valued(case, kv),
            _ => false,
        };
        let from = before.map_or(0, |(place, _)| if reopened { place } else { place + 1 });
        let found = leaders.iter().enumerate().skip(from).find(|(_, (_, leader))| is_it(leader));
        let name = observed.leader.as_ref().map_or("nobody", |kv| kv.key.as_str());
        let Some((place, _)) = found else {
            let ever = leaders.iter().any(|(_, leader)| is_it(leader));
            let problem = if ever { "which was so only before what it had been told" } else { "which was never so" };
            let sentence = format!(
                "the observer of {election} was told at revision {} that {name} leads, {problem}",
                observed.revision
            );
            let mut window = vec![streamed.index];
            window.extend(before.map(|(_, index)| index));
            window.extend(observed.leader.as_ref().and_then(|kv| timeline.seen(kv.modified)).map(|(_, index)| index));
            return Err(violation(&window, sentence));
        };
        last.insert(stream, (place, streamed.index));
    }
    Ok(judged)
}

fn valued(case: &Case<'_>, kv: &Kv) -> bool {
    case.timeline.at(&kv.key, kv.modified).is_some_and(|version| version.value == Some(kv.value.as_str()))
}

/// Every state of an election's leadership, in order.
fn leaders<'a>(case: &Case<'a>, election: &str) -> Leaders<'a> {
    let prefix = holders(Kind::EtcdElection, election);
    let line = places(&case.timeline, &prefix);
    let keys = case.timeline.versions_under(&prefix);
    let revisions: BTreeSet<i64> =
        keys.flat_map(|(_, versions)| versions.iter().map(|version| version.revision)).collect();
    let mut found: Leaders<'a> = vec![(0, None)];
    for revision in revisions {
        let leader =
            owner(&line, revision).and_then(|place| Some((place.key, case.timeline.at(place.key, revision)?.revision)));
        if found.last().is_none_or(|(_, last)| *last != leader) {
            found.push((revision, leader));
        }
    }
    found
}
