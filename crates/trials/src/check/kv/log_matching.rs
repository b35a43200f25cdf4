//! The logs that are left on the members' disks agree with each other, and with what watches told
//! of the store.
//!
//! 1. A log has no hole, can be read, and its terms never fall. What the state says it has applied
//!    last is in it under that term.
//! 2. Entries of one index and one term are the same on all members; and what two members have
//!    applied is the same whatever the term.
//! 3. What is put by an entry is told by the watches, at revisions that rise with the index; what
//!    the watches tell was put by an entry.
//!
//! So a write whose outcome no client learned is resolved by the log, in which it stands or not.
//! Rule 3 covers the entries that some member has applied, beginning with the first that
//! a member reports.

use super::super::{
    Flaw, Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{Fact, Log, Logged};
use std::collections::{BTreeMap, HashMap};

pub(crate) const PROPERTY: Property = Property {
    name: "log-matching",
    workloads: &[],
    says: "The members' logs hold the same entries, and these are what the store's revisions came from.",
    judge,
};

/// Keys that are written by puts alone, each value once.
const OWN: [&str; 5] = ["kv/", "append/", "set/", "fenced/", "loose/"];

/// An entry with the record that tells it.
type Told<'a> = (&'a Logged, usize);

/// What is left of one member.
struct Member<'a> {
    node: u32,
    log: &'a Log,
    told_in: usize,
    entries: Vec<Told<'a>>,
}

/// Counts entries, and writes that were found in both log and revisions.
fn judge(case: &Case<'_>) -> Judged {
    let members = members(case);
    for member in &members {
        whole(member)?;
    }
    let entries = matching(&members)?;
    Ok(entries.len() + resolved(case, &members, &entries)?)
}

fn members<'a>(case: &Case<'a>) -> Vec<Member<'a>> {
    let mut members: BTreeMap<u32, Member<'a>> = BTreeMap::new();
    for (record, fact) in case.run.facts() {
        let (Some(node), index) = (record.node, record.index as usize) else { continue };
        match fact {
            Fact::Log(log) => drop(members.insert(node, Member { node, log, told_in: index, entries: Vec::new() })),
            Fact::Logged(entry) => {
                if let Some(member) = members.get_mut(&node) {
                    member.entries.push((entry, index));
                }
            }
            _ => {}
        }
    }
    members.into_values().collect()
}

fn whole(member: &Member<'_>) -> Result<(), Flaw> {
    let Member { node, log, told_in, entries } = member;
    if let Some((entry, at)) = entries.iter().find(|(entry, _)| !entry.unreadable.is_empty()) {
        return Err(violation(&[*at], format!("n{node} cannot read its entry {}: {}", entry.index, entry.unreadable)));
    }
    for pair in entries.windows(2) {
        let ((one, first), (next, second)) = (pair[0], pair[1]);
        if next.index != one.index + 1 {
            let sentence = format!("in the log of n{node} entry {} follows entry {}", next.index, one.index);
            return Err(violation(&[first, second], sentence));
        }
        if next.term < one.term {
            let sentence = format!(
                "in the log of n{node} the term falls from {} to {} at entry {}",
                one.term, next.term, next.index
            );
            return Err(violation(&[first, second], sentence));
        }
    }
    let last = entries.iter().find(|(entry, _)| entry.index == log.applied);
    if let Some((entry, at)) = last.filter(|(entry, _)| entry.term != log.applied_term) {
        let sentence = format!(
            "n{node} has applied entry {} of term {}, and has one of term {} in its log",
            log.applied, log.applied_term, entry.term
        );
        return Err(violation(&[*told_in, *at], sentence));
    }
    Ok(())
}

/// What was applied, by index; every pair of members agrees.
fn matching<'a>(members: &[Member<'a>]) -> Result<BTreeMap<u64, Told<'a>>, Flaw> {
    let mut by_term: HashMap<(u64, u64), (Told<'a>, u32)> = HashMap::new();
    let mut applied: BTreeMap<u64, (Told<'a>, u32)> = BTreeMap::new();
    for member in members {
        for told in &member.entries {
            let entry = told.0;
            let same_term = by_term.entry((entry.index, entry.term)).or_insert((*told, member.node));
            differ(same_term, told, member.node)?;
            if entry.index <= member.log.applied {
                let both_applied = applied.entry(entry.index).or_insert((*told, member.node));
                differ(both_applied, told, member.node)?;
            }
        }
    }
    Ok(applied.into_iter().map(|(index, (told, _))| (index, told)).collect())
}

fn differ(known: &(Told<'_>, u32), other: &Told<'_>, node: u32) -> Result<(), Flaw> {
    let ((one, first), known_to) = known;
    let (entry, second) = other;
    if one.record == entry.record {
        return Ok(());
    }
    let sentence = format!(
        "entry {} is one of term {} with n{known_to} and another one, of term {}, with n{node}",
        entry.index, one.term, entry.term
    );
    Err(violation(&[*first, *second], sentence))
}

/// Counts writes of the log that the revisions have, in the same order.
fn resolved(case: &Case<'_>, members: &[Member<'_>], applied: &BTreeMap<u64, Told<'_>>) -> Judged {
    let timeline = case.truth()?;
    let mut written: HashMap<(&str, &str), Vec<Told<'_>>> = HashMap::new();
    for told in unbroken(applied) {
        for (key, value) in told.0.puts.iter().chain(&told.0.maybe) {
            written.entry((key, value)).or_default().push(told);
        }
    }
    // Values that stand once in either: what is written twice says nothing about order.
    let mut found: Vec<(u64, i64, usize)> = Vec::new();
    for (pair, told) in &written {
        if let ([entry], Some([revision])) = (told.as_slice(), timeline.written.get(pair).map(Vec::as_slice)) {
            found.push((entry.0.index, *revision, entry.1));
        }
    }
    found.sort_unstable();
    let mut before: Option<(u64, i64, usize)> = None;
    for one in &found {
        if let Some((index, revision, at)) = before.filter(|before| before.0 < one.0 && before.1 >= one.1) {
            let sentence =
                format!("entry {index} made revision {revision}, and entry {} behind it revision {}", one.0, one.1);
            return Err(violation(&[at, one.2], sentence));
        }
        if before.is_none_or(|before| before.1 < one.1) {
            before = Some(*one);
        }
    }
    let Some((first_index, first_revision, _)) = found.first().copied() else { return Ok(0) };
    let newest = members.iter().map(|member| member.log.revision).max().unwrap_or(0);
    for (revision, told) in timeline.revisions.range(first_revision + 1..=newest.max(first_revision + 1)) {
        let puts = told.what.changes.iter().filter_map(|change| Some((change.key.as_str(), change.value.as_deref()?)));
        let own = |(key, _): &(&str, &str)| OWN.iter().any(|prefix| key.starts_with(prefix));
        if let Some((key, value)) = puts.filter(own).find(|pair| !written.contains_key(pair)) {
            let sentence = format!("revision {revision} wrote {key} = {value}, which stands in no log");
            return Err(violation(&[told.index], sentence));
        }
    }
    let complete = timeline.revisions.last_key_value().is_some_and(|(last, _)| *last >= newest);
    for (entry, at) in unbroken(applied).filter(|(entry, _)| complete && entry.index > first_index) {
        let own = |(key, _): &&(String, String)| OWN.iter().any(|prefix| key.starts_with(prefix));
        let unknown =
            |(key, value): &&(String, String)| !timeline.written.contains_key(&(key.as_str(), value.as_str()));
        if let Some((key, value)) = entry.puts.iter().filter(own).find(unknown) {
            let sentence = format!("entry {} wrote {key} = {value}, which no watch told", entry.index);
            return Err(violation(&[at], sentence));
        }
    }
    Ok(found.len())
}

/// The newest entries without a hole: what a member that stayed behind has of old ones stands
/// apart.
fn unbroken<'a, 'b>(applied: &'b BTreeMap<u64, Told<'a>>) -> impl Iterator<Item = Told<'a>> + use<'a, 'b> {
    let mut next = applied.last_key_value().map(|(last, _)| *last);
    let mut from = next;
    for index in applied.keys().rev() {
        if next != Some(*index) {
            break;
        }
        (from, next) = (next, index.checked_sub(1));
    }
    applied.range(from.unwrap_or(0)..).map(|(_, told)| *told)
}
