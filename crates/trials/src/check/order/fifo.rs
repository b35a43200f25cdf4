//! First come, first served.
//!
//! * conclave.v1 locks: when a request begins to hold, none with a smaller fence still waits in
//!   that line.
//! * Claims: when a claim goes to one who waited, none with a smaller ticket goes on waiting.
//! * etcd's locks and elections: no two grants in the reverse order of their keys while the older
//!   key stood.

use super::super::{
    Property,
    case::Case,
    place::{Grant, Kind, Place, holders, places},
    verdict::{Flaw, Judged, violation},
};
use crate::history::{Api, Call, ClaimCall, LockCall};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PROPERTY: Property = Property {
    name: "fifo",
    workloads: &["lock", "election", "claim", "semaphore"],
    says: "Nobody passes one who waits.",
    judge,
};

/// Counts grants.
fn judge(case: &Case<'_>) -> Judged {
    let (mut locks, mut claims) = (BTreeSet::new(), BTreeSet::new());
    for op in &case.run.ops {
        match &op.call {
            Call::Lock(LockCall::Acquire { lock, api: Api::Conclave, .. }) => {
                locks.insert(lock.as_str());
            }
            Call::Claim(ClaimCall::Claim { claim, .. }) => {
                claims.insert(claim.as_str());
            }
            _ => {}
        }
    }
    let mut judged = 0;
    for lock in locks {
        judged += line(case, lock, Kind::Lock, &format!("/_conclave/l/default/{lock}/q/"))?;
    }
    for claim in claims {
        judged += line(case, claim, Kind::Claim, &format!("/_conclave/c/default/{claim}/q/"))?;
    }
    Ok(judged + etcd(case)?)
}

/// Walks over one line's revisions.
fn line(case: &Case<'_>, name: &str, kind: Kind, waiting: &str) -> Judged {
    let tenures = places(&case.timeline, &holders(kind, name));
    let waiters = places(&case.timeline, waiting);
    let mut ends: Vec<&Place<'_>> = waiters.iter().collect();
    ends.sort_by_key(|waiter| waiter.until);
    let (mut starts, mut ends) = (waiters.iter().peekable(), ends.into_iter().peekable());
    let mut line: BTreeMap<i64, &Place<'_>> = BTreeMap::new();
    for tenure in &tenures {
        while let Some(waiter) = starts.next_if(|waiter| waiter.from <= tenure.from) {
            line.insert(waiter.fence, waiter);
        }
        let mut left_now = Vec::new();
        while let Some(waiter) = ends.next_if(|waiter| waiter.until <= tenure.from) {
            line.remove(&waiter.fence);
            if waiter.until == tenure.from {
                left_now.push(waiter.fence);
            }
        }
        // The request that holds now: by its fence, or for a claim the one of the line that left
        // it.
        let mine = match kind {
            Kind::Lock => Some(tenure.fence),
            _ => left_now.into_iter().min(),
        };
        let (Some(mine), Some((first, passed))) = (mine, line.first_key_value()) else { continue };
        if *first < mine {
            let revisions = [passed.from, tenure.from];
            let window: Vec<_> =
                revisions.iter().filter_map(|revision| case.timeline.seen(*revision)).map(|(_, index)| index).collect();
            let sentence = format!(
                "{name} went to number {mine} at revision {}, while number {first} had been waiting since revision {}",
                tenure.from, passed.from
            );
            return Err(violation(&window, sentence));
        }
    }
    Ok(tenures.len())
}

fn etcd(case: &Case<'_>) -> Judged {
    let mut names: BTreeMap<_, Vec<&Grant<'_>>> = BTreeMap::new();
    for grant in case.grants.iter().filter(|grant| matches!(grant.kind, Kind::EtcdLock | Kind::EtcdElection)) {
        names.entry((grant.kind, grant.name)).or_default().push(grant);
    }
    let mut judged = 0;
    for grants in names.values_mut() {
        grants.sort_by_key(|grant| grant.revision);
        judged += grants.len();
        for pair in grants.windows(2) {
            let (earlier, later) = (pair[0], pair[1]);
            let stood = case.timeline.at(&later.key, earlier.revision).is_some_and(|key| key.create == later.fence);
            if later.fence < earlier.fence && earlier.revision < later.revision && stood {
                return Err(overtaken(earlier, later));
            }
        }
    }
    Ok(judged)
}

fn overtaken(earlier: &Grant<'_>, later: &Grant<'_>) -> Flaw {
    let sentence = format!(
        "{} went to the key of revision {} before the one of revision {}, which stood before it",
        earlier.name, earlier.fence, later.fence
    );
    let window = [earlier.op.index, earlier.op.completed, later.op.index, later.op.completed];
    violation(&window, sentence)
}
