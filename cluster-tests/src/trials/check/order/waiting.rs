//! Calls that wait for a lock or an election, with the life of the key that stands for them.

use super::super::{
    case::Case,
    place::{Kind, Place, holders, places},
};
use crate::trials::history::{Api, Call, ElectionCall, LockCall, Op, Outcome};
use std::collections::HashMap;

pub(super) struct Wait<'c, 'a> {
    pub(super) op: &'a Op,
    pub(super) name: &'a str,
    /// Where it stands, or holds.
    pub(super) place: &'c Place<'a>,
    /// The revision from which on it was its turn, if it came.
    pub(super) turn: Option<i64>,
    /// When the call was over for the client: answered or given up; `None`: never, as far as is known.
    pub(super) over: Option<u64>,
    pub(super) granted: Option<i64>,
}

/// The lives of keys of each name.
pub(super) type Lines<'a> = HashMap<String, Vec<Place<'a>>>;

pub(super) fn lines<'a>(case: &Case<'a>) -> Lines<'a> {
    let mut lines = Lines::new();
    for op in &case.run.ops {
        let Some((name, api, _)) = asks(op) else { continue };
        for prefix in prefixes(name, api) {
            lines.entry(prefix).or_insert_with_key(|prefix| places(&case.timeline, prefix));
        }
    }
    lines
}

fn prefixes(name: &str, api: Api) -> Vec<String> {
    match api {
        Api::Etcd => vec![holders(Kind::EtcdLock, name)],
        Api::Conclave => vec![holders(Kind::Lock, name), format!("/_conclave/l/default/{name}/q/")],
    }
}

fn asks(op: &Op) -> Option<(&str, Api, i64)> {
    match &op.call {
        Call::Lock(LockCall::Acquire { lock, lease, api, try_only: false, .. }) => Some((lock, *api, *lease)),
        Call::Election(ElectionCall::Campaign { election, lease, .. }) => Some((election, Api::Etcd, *lease)),
        _ => None,
    }
}

pub(super) fn waits<'c, 'a>(case: &'c Case<'a>, lines: &'c Lines<'a>) -> Vec<Wait<'c, 'a>> {
    let granted: HashMap<usize, i64> = case.grants.iter().map(|grant| (grant.op.index, grant.revision)).collect();
    let drained = case.run.phase("drained").is_some();
    let mut found = Vec::new();
    for op in &case.run.ops {
        let Some((name, api, lease)) = asks(op) else { continue };
        let over = match op.outcome {
            Outcome::Ok(_) | Outcome::Fail(_) => Some(op.returned),
            Outcome::Unknown(_) if op.completed != op.index => Some(case.run.records[op.completed].time),
            Outcome::Unknown(_) if drained => None,
            // Its client may have been stopped with the run.
            Outcome::Unknown(_) => continue,
        };
        let end = over.unwrap_or(case.ended);
        let began = |place: &Place<'_>| case.timeline.seen(place.from).map_or(u64::MAX, |(time, _)| time);
        let mine = |place: &&Place<'_>| {
            let named = match api {
                // Who asks again while it stands or holds keeps its key.
                Api::Etcd => place.key == format!("{name}/{lease:x}"),
                // The fence is the revision of the request.
                Api::Conclave => case.timeline.seen(place.fence).is_some_and(|(time, _)| time >= op.invoked),
            };
            named && place.lease == lease && began(place) <= end
        };
        let prefixes = prefixes(name, api);
        let lives = prefixes.iter().filter_map(|prefix| lines.get(prefix)).enumerate();
        let last = lives.filter_map(|(number, line)| Some((number, line, line.iter().rfind(mine)?)));
        let Some((number, line, place)) = last.max_by_key(|(.., place)| place.from) else { continue };
        let turn = match (api, number) {
            (Api::Etcd, _) => first_from(line, place),
            (Api::Conclave, 0) => Some(place.from),
            (Api::Conclave, _) => None,
        };
        found.push(Wait { op, name, place, turn, over, granted: granted.get(&op.index).copied() });
    }
    found
}

/// From which revision on a key was the oldest of its line.
fn first_from(line: &[Place<'_>], place: &Place<'_>) -> Option<i64> {
    let older = line.iter().filter(|other| other.from < place.from && other.until > place.from);
    let from = older.map(|other| other.until).max().unwrap_or(place.from);
    (from < place.until).then_some(from)
}
