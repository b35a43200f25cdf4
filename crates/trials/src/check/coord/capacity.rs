//! A lock's holders agree in mode and fit its capacity, at every revision: of exclusive holders
//! there is one, of permits no more than the capacity, and those who share are never beside one who
//! does not. Holders are the keys `/_conclave/l/default/<name>/holder/<fence>`; what each of them
//! holds is what its request asked for. A queue election has one leader, and a claim one tenure.

use super::super::{
    Property,
    case::Case,
    place::{Kind, Place, holders, places},
    verdict::{Judged, violation},
};
use crate::history::{Api, Call, ClaimCall, LockCall, Mode};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) const PROPERTY: Property = Property {
    name: "capacity",
    workloads: &["lock", "semaphore", "queue", "claim"],
    says: "The holders of a name fit together: one alone, or sharers, or permits up to the capacity.",
    judge,
};

/// Counts tenures.
fn judge(case: &Case<'_>) -> Judged {
    let mut names: BTreeMap<&str, HashMap<i64, Mode>> = BTreeMap::new();
    for op in &case.run.ops {
        if let Call::Lock(LockCall::Acquire { lock, lease, api: Api::Conclave, mode, .. }) = &op.call {
            names.entry(lock).or_default().insert(*lease, *mode);
        }
    }
    let mut modes: HashMap<(&str, i64), Mode> = HashMap::new();
    for grant in &case.grants {
        modes.insert((grant.name, grant.fence), grant.mode);
    }
    let mut judged = alone(case)?;
    for (name, by_lease) in names {
        let tenures = places(&case.timeline, &holders(Kind::Lock, name));
        judged += tenures.len();
        let mode = |place: &Place<'_>| {
            let told = modes.get(&(name, place.fence));
            told.or_else(|| by_lease.get(&place.lease)).copied().unwrap_or_default()
        };
        let mut open: Vec<&Place<'_>> = Vec::new();
        for place in &tenures {
            open.retain(|other| other.until > place.from);
            open.push(place);
            if let Some(problem) = problem(&open.iter().map(|place| mode(place)).collect::<Vec<_>>()) {
                let window: Vec<_> =
                    open.iter().filter_map(|place| case.timeline.seen(place.from)).map(|(_, index)| index).collect();
                let sentence =
                    format!("at revision {} {name} has {} holders at once: {problem}", place.from, open.len());
                return Err(violation(&window, sentence));
            }
        }
    }
    Ok(judged)
}

/// Leaders of queue elections and holders of claims: never two at one revision.
fn alone(case: &Case<'_>) -> Judged {
    let mut names: BTreeSet<(Kind, &str)> = BTreeSet::new();
    for op in &case.run.ops {
        match &op.call {
            Call::Queue(call) => names.insert((Kind::Queue, &call.election)),
            Call::Claim(ClaimCall::Claim { claim, .. }) => names.insert((Kind::Claim, claim)),
            _ => continue,
        };
    }
    let mut judged = 0;
    for (kind, name) in names {
        let tenures = places(&case.timeline, &holders(kind, name));
        judged += tenures.len();
        for pair in tenures.windows(2) {
            if pair[1].from < pair[0].until {
                let seen = pair.iter().filter_map(|place| case.timeline.seen(place.from));
                let window: Vec<_> = seen.map(|(_, index)| index).collect();
                let (first, second) = (pair[0].fence, pair[1].fence);
                let sentence = format!(
                    "at revision {} {name} is held under fence {second}, and still under fence {first}",
                    pair[1].from
                );
                return Err(violation(&window, sentence));
            }
        }
    }
    Ok(judged)
}

fn problem(modes: &[Mode]) -> Option<String> {
    let alone = modes.iter().filter(|mode| **mode == Mode::Exclusive).count();
    if alone > 0 && modes.len() > 1 {
        return Some("one of them holds it alone".into());
    }
    let shared = modes.iter().filter(|mode| **mode == Mode::Shared).count();
    if shared > 0 && shared < modes.len() {
        return Some("sharers beside permits".into());
    }
    let permits = || {
        modes.iter().filter_map(|mode| match mode {
            Mode::Permits { weight, capacity } => Some((*weight, *capacity)),
            _ => None,
        })
    };
    let used: u32 = permits().map(|(weight, _)| weight).sum();
    let capacity = permits().map(|(_, capacity)| capacity).min()?;
    (used > capacity).then(|| format!("{used} permits of {capacity}"))
}
