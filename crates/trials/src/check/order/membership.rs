//! Changes of the members take effect in one order, which respects real time: what was acknowledged
//! is in every linearizable list that is asked for later, until something else is asked for.
//!
//! 1. An added member is listed, until its removal is asked for. A removed one is never listed
//!    again.
//! 2. A learner is listed as one until its promotion is asked for, and never once that is
//!    acknowledged.
//! 3. A member's id was no other member's before, and no two members have the same peer URL.
//! 4. What one list shows, a later one shows too, unless a removal was asked for: a list has no
//!    members that are taken back.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{ChangeKind, Fact, MemberChange, Members};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PROPERTY: Property = Property {
    name: "membership",
    workloads: &["members"],
    says: "Acknowledged changes of the members last, and ids are given once.",
    judge,
};

/// When something was known first, and the record that tells it.
type Since = (u64, usize);

/// What is known of one id.
#[derive(Default)]
struct Life {
    listed: Option<Since>,
    added: Option<(Since, ChangeKind)>,
    promotion_asked: Option<u64>,
    promoted: Option<Since>,
    removal_asked: Option<u64>,
    removed: Option<Since>,
}

fn first<T>(into: &mut Option<T>, value: T) {
    into.get_or_insert(value);
}

/// Counts acknowledged changes, and lists.
fn judge(case: &Case<'_>) -> Judged {
    let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let at = (record.time, record.index as usize);
        match fact {
            Fact::Change(change) => {
                given_once(&lives, change, at)?;
                note(lives.entry(change.member).or_default(), change, at);
                judged += usize::from(change.done);
            }
            Fact::Members(list) => {
                agrees(&lives, list, at)?;
                for member in &list.members {
                    first(&mut lives.entry(member.id).or_default().listed, at);
                }
                judged += 1;
            }
            _ => {}
        }
    }
    Ok(judged)
}

/// An acknowledged addition has an id that nobody had. (A list may tell of it before, once it is
/// asked for.)
fn given_once(lives: &BTreeMap<u64, Life>, change: &MemberChange, at: Since) -> Result<(), super::super::Flaw> {
    let adds = matches!(change.what, ChangeKind::Add | ChangeKind::AddLearner) && change.done;
    let Some(before) = lives.get(&change.member).filter(|_| adds) else { return Ok(()) };
    let had = before.added.map(|(since, _)| since).or(before.removed);
    match had {
        Some((_, index)) => {
            let sentence = format!("the id {:x} is given to a second member", change.member);
            Err(violation(&[index, at.1], sentence))
        }
        None => Ok(()),
    }
}

fn note(life: &mut Life, change: &MemberChange, at: Since) {
    match (change.what, change.done) {
        (what @ (ChangeKind::Add | ChangeKind::AddLearner), true) => first(&mut life.added, (at, what)),
        (ChangeKind::Add | ChangeKind::AddLearner, false) => {}
        (ChangeKind::Promote, false) => first(&mut life.promotion_asked, at.0),
        (ChangeKind::Promote, true) => first(&mut life.promoted, at),
        (ChangeKind::Remove, false) => first(&mut life.removal_asked, at.0),
        (ChangeKind::Remove, true) => first(&mut life.removed, at),
    }
}

/// Whether a list that was asked for and is told `at` agrees with what was known before it was
/// asked for.
fn agrees(lives: &BTreeMap<u64, Life>, list: &Members, at: Since) -> Result<(), super::super::Flaw> {
    let before = |since: &Since| since.0 < list.asked;
    let mut peers = BTreeSet::new();
    for member in &list.members {
        let id = member.id;
        if !peers.insert(&member.peer) {
            return Err(violation(&[at.1], format!("two members have the peer URL {}", member.peer)));
        }
        let Some(life) = lives.get(&id) else { continue };
        if let Some(removed) = life.removed.filter(before) {
            return Err(violation(&[removed.1, at.1], format!("{id:x} was removed, and is listed")));
        }
        if let Some(promoted) = life.promoted.filter(before).filter(|_| member.learner) {
            return Err(violation(&[promoted.1, at.1], format!("{id:x} was promoted, and is listed as a learner")));
        }
        let learner = life.added.filter(|(_, what)| *what == ChangeKind::AddLearner && life.promotion_asked.is_none());
        if let Some((added, _)) = learner.filter(|_| !member.learner) {
            let sentence = format!("{id:x} was added as a learner, and is listed with a vote");
            return Err(violation(&[added.1, at.1], sentence));
        }
    }
    let missing = |id: &u64| list.members.iter().all(|member| member.id != *id);
    let stays = lives.iter().filter(|(id, life)| life.removal_asked.is_none() && missing(id));
    for (id, life) in stays {
        let known = life.added.map(|(since, _)| since).into_iter().chain(life.listed).find(before);
        if let Some(known) = known {
            let sentence = format!("{id:x} was a member, nobody removed it, and it is not listed");
            return Err(violation(&[known.1, at.1], sentence));
        }
    }
    Ok(())
}
