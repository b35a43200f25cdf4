//! A client that is told that it holds does hold, at the revision of the answer: no client whose
//! lease lapsed while it waited (the phantom grant), no client that is not first.
//!
//! * etcd's locks and elections: the key exists, and of all keys of that name none that exists is
//!   older. Where the answer's revision is not the grant's (`dated_grants`), the key was so at some
//!   revision of its life.
//! * conclave.v1: the key that proves the tenure exists (table in `place`). A check of a claim
//!   likewise.

use super::super::{
    Property,
    case::Case,
    place::{Grant, Kind, Place, holders, owner, places},
    timeline::Timeline,
    verdict::{Flaw, Judged, violation},
};
use crate::history::{Answer, Call, ClaimAnswer, ClaimCall};
use std::collections::HashMap;

pub(crate) const PROPERTY: Property = Property {
    name: "grants",
    workloads: &["lock", "election", "queue", "claim", "semaphore"],
    says: "A client that is told that it holds does hold at that revision.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    if case.grants.is_empty() {
        return Ok(0);
    }
    let timeline = case.truth()?;
    let mut lines = HashMap::new();
    for grant in &case.grants {
        if grant.revision > timeline.last() {
            let why =
                format!("the timeline ends at {}, before the grant at revision {}", timeline.last(), grant.revision);
            return Err(Flaw::Unknown(why));
        }
        if timeline.at(&grant.key, grant.revision).is_none() {
            return Err(phantom(timeline, grant));
        }
        if !matches!(grant.kind, Kind::EtcdLock | Kind::EtcdElection) {
            continue;
        }
        let line = lines.entry(grant.name).or_insert_with(|| places(timeline, &holders(grant.kind, grant.name)));
        if !case.run.bounds.dated_grants {
            never_first(timeline, grant, line)?;
            continue;
        }
        let Some(first) = owner(line, grant.revision).filter(|first| first.key != grant.key) else { continue };
        let mut window = vec![grant.op.index, grant.op.completed];
        window.extend(timeline.seen(first.from).map(|(_, index)| index));
        let sentence = format!(
            "{} was granted to {} at revision {}, while {} of revision {} stood before it",
            grant.name, grant.key, grant.revision, first.key, first.from
        );
        return Err(violation(&window, sentence));
    }
    Ok(case.grants.len() + checks(case, timeline)?)
}

/// Its key must have been the oldest at some time of its life.
fn never_first(timeline: &Timeline<'_>, grant: &Grant<'_>, line: &[Place<'_>]) -> Result<(), Flaw> {
    let Some(mine) = line.iter().find(|place| place.key == grant.key && place.from == grant.fence) else {
        return Ok(());
    };
    let older = line.iter().filter(|other| other.from < mine.from && other.until > mine.from);
    let Some(last) = older.max_by_key(|other| other.until).filter(|last| last.until >= mine.until) else {
        return Ok(());
    };
    let mut window = vec![grant.op.index, grant.op.completed];
    window.extend(timeline.seen(mine.until).map(|(_, index)| index));
    let sentence = format!(
        "{} was granted to {} of revision {}, which was deleted at revision {} while {} stood before it: a phantom",
        grant.name, mine.key, mine.from, mine.until, last.key
    );
    Err(violation(&window, sentence))
}

fn phantom(timeline: &Timeline<'_>, grant: &Grant<'_>) -> Flaw {
    let versions = timeline.keys.get(grant.key.as_str()).map_or(&[][..], Vec::as_slice);
    let ended = versions.iter().rev().find(|version| version.value.is_none() && version.revision <= grant.revision);
    let mut window = vec![grant.op.index, grant.op.completed];
    let how = match ended {
        Some(version) => {
            window.extend(timeline.seen(version.revision).map(|(_, index)| index));
            format!("which was deleted at revision {}", version.revision)
        }
        None => "which never existed".into(),
    };
    let sentence =
        format!("{} was granted at revision {} to {}, {how}: a phantom", grant.name, grant.revision, grant.key);
    violation(&window, sentence)
}

/// A positive check of a claim names a tenure that stood at its revision.
fn checks(case: &Case<'_>, timeline: &Timeline<'_>) -> Judged {
    let mut judged = 0;
    for op in &case.run.ops {
        let (
            Call::Claim(ClaimCall::Check { claim, holder }),
            Some(Answer::Claim(ClaimAnswer::Holds { revision, fence })),
        ) = (&op.call, op.answer())
        else {
            continue;
        };
        judged += 1;
        let key = format!("{}{fence:016x}", holders(Kind::Claim, claim));
        if timeline.at(&key, *revision).is_none() {
            let sentence = format!(
                "{holder} was told at revision {revision} that it holds {claim} under fence {fence}: no such tenure"
            );
            return Err(violation(&[op.index, op.completed], sentence));
        }
    }
    Ok(judged)
}
