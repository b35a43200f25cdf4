//! Calls that wait for a lock or an election, with the life of the key that stands for them.
//!
//! Who campaigns in a queue election has two: it is a candidate as long as one key stands, which
//! ends with its session or when it is put out; and it leads as long as the other does, which may
//! be over before it was told of it: then it waits on.

use super::super::{
    case::Case,
    place::{Kind, Place, holders, places},
};
use crate::history::{Api, Call, ElectionCall, LockCall, Op, Outcome, QueueOp};
use std::collections::HashMap;

pub(super) struct Wait<'c, 'a> {
    pub(super) op: &'a Op,
    pub(super) name: &'a str,
    /// Where it stands, or holds.
    pub(super) place: &'c Place<'a>,
    /// The revision from which on it was its turn, if it came.
    pub(super) turn: Option<i64>,
    /// When the call was over for the client: answered or given up; `None`: never, as far as is
    /// known.
    pub(super) over: Option<u64>,
    pub(super) granted: Option<i64>,
    /// Without the key the call has nothing to wait for.
    pub(super) stands_for_it: bool,
    /// The revision at which its turn came, also if the key is not the one that says so.
    pub(super) came: Option<i64>,
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Line<'a> {
    Etcd,
    Lock,
    Queue { candidate: &'a str },
}

/// The lives of keys of each name.
pub(super) type Lines<'a> = HashMap<String, Vec<Place<'a>>>;

pub(super) fn lines<'a>(case: &Case<'a>) -> Lines<'a> {
    let mut lines = Lines::new();
    for op in &case.run.ops {
        let Some((name, line, _)) = asks(op) else { continue };
        for prefix in prefixes(name, line) {
            lines.entry(prefix).or_insert_with_key(|prefix| places(&case.timeline, prefix));
        }
    }
    lines
}

fn prefixes(name: &str, line: Line<'_>) -> Vec<String> {
    match line {
        Line::Etcd => vec![holders(Kind::EtcdLock, name)],
        Line::Lock => vec![holders(Kind::Lock, name), format!("/_conclave/l/default/{name}/q/")],
        Line::Queue { .. } => vec![holders(Kind::Queue, name), format!("/_conclave/e/default/{name}/q/")],
    }
}

fn asks(op: &Op) -> Option<(&str, Line<'_>, i64)> {
    match &op.call {
        Call::Lock(LockCall::Acquire { lock, lease, api, try_only: false, .. }) => {
            Some((lock, if *api == Api::Etcd { Line::Etcd } else { Line::Lock }, *lease))
        }
        Call::Election(ElectionCall::Campaign { election, lease, .. }) => Some((election, Line::Etcd, *lease)),
        Call::Queue(call) => match &call.what {
            QueueOp::Campaign { candidate, session } => Some((&call.election, Line::Queue { candidate }, *session)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn waits<'c, 'a>(case: &'c Case<'a>, lines: &'c Lines<'a>) -> Vec<Wait<'c, 'a>> {
    let granted: HashMap<usize, i64> = case.grants.iter().map(|grant| (grant.op.index, grant.revision)).collect();
    let drained = case.run.phase("drained").is_some();
    let mut found = Vec::new();
    for op in &case.run.ops {
        let Some((name, what, lease)) = asks(op) else { continue };
        let over = match op.outcome {
            Outcome::Ok(_) | Outcome::Fail(_) => Some(op.returned),
            Outcome::Unknown(_) if op.completed != op.index => Some(case.run.records[op.completed].time),
            Outcome::Unknown(_) if drained => None,
            // Its client may have been stopped with the run.
            Outcome::Unknown(_) => continue,
        };
        let end = over.unwrap_or(case.ended);
        let began = |place: &Place<'_>| case.timeline.seen(place.from).map_or(u64::MAX, |(time, _)| time);
        let ended = |place: &Place<'_>| case.timeline.seen(place.until).map_or(u64::MAX, |(time, _)| time);
        let mine = |place: &&Place<'_>| {
            let named = match what {
                // Who asks again while it stands or holds keeps its key. One that was known to be
                // gone before is an earlier call's.
                Line::Etcd => place.key == format!("{name}/{lease:x}") && ended(place) >= op.invoked,
                // The fence is the revision of the request.
                Line::Lock => case.timeline.seen(place.fence).is_some_and(|(time, _)| time >= op.invoked),
                Line::Queue { candidate } => {
                    let leads = place.key.contains("/leader/");
                    (leads || place.key.ends_with(&format!("/q/{candidate}"))) && ended(place) >= op.invoked
                }
            };
            named && place.lease == lease && began(place) <= end
        };
        let prefixes = prefixes(name, what);
        let lives = prefixes.iter().filter_map(|prefix| lines.get(prefix)).enumerate();
        let lasts = lives.filter_map(|(number, line)| Some((number, line, line.iter().rfind(mine)?)));
        let granted = granted.get(&op.index).copied();
        let wait = |place: &'c Place<'a>, turn, stands_for_it, came| Wait {
            op,
            name,
            place,
            turn,
            over,
            granted,
            stands_for_it,
            came,
        };
        match what {
            Line::Queue { .. } => {
                let lasts: Vec<_> = lasts.map(|(number, _, place)| (number == 0, place)).collect();
                let came = lasts.iter().find(|(leads, _)| *leads).map(|(_, place)| place.from);
                found.extend(lasts.into_iter().map(|(leads, place)| {
                    let turn = came.filter(|_| leads);
                    wait(place, turn, !leads, came)
                }));
            }
            Line::Etcd | Line::Lock => {
                let Some((number, line, place)) = lasts.max_by_key(|(.., place)| place.from) else { continue };
                let turn = match (what, number) {
                    (Line::Etcd, _) => first_from(line, place),
                    (_, 0) => Some(place.from),
                    _ => None,
                };
                found.push(wait(place, turn, true, turn));
            }
        }
    }
    found
}

/// From which revision on a key was the oldest of its line.
fn first_from(line: &[Place<'_>], place: &Place<'_>) -> Option<i64> {
    let older = line.iter().filter(|other| other.from < place.from && other.until > place.from);
    let from = older.map(|other| other.until).max().unwrap_or(place.from);
    (from < place.until).then_some(from)
}
