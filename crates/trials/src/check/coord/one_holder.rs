//! A fence belongs to one holder for ever: the next holder of the name gets a new fence.
//!
//! 1. No two sessions are told of one fence of one name; of a claim, no two holders, and no two
//!    instances of one holder. A client that is told again of its own is no other.
//! 2. The key that proves a tenure stays with the session that it was made for.
//!
//! Neither needs to know which sessions lived at that time: a fence does not pass to anybody when
//! its session ends.

use super::super::{
    Property,
    case::Case,
    place::{Grant, Kind},
    verdict::{Flaw, Judged, violation},
};
use crate::history::{Call, ClaimCall};
use std::collections::HashMap;

pub(crate) const PROPERTY: Property = Property {
    name: "one-holder",
    workloads: &["lock", "election", "queue", "claim", "semaphore"],
    says: "No fence is held by two.",
    judge,
};

/// Counts grants.
fn judge(case: &Case<'_>) -> Judged {
    let mut told: HashMap<(Kind, &str, i64), &Grant<'_>> = HashMap::new();
    for grant in case.grants.iter().filter(|grant| grant.fence > 0) {
        let first = *told.entry((grant.kind, grant.name, grant.fence)).or_insert(grant);
        if holder(first) != holder(grant) {
            let sentence = format!(
                "{} was granted under fence {} to {}, and under the same fence to {}",
                grant.name,
                grant.fence,
                holder(first),
                holder(grant)
            );
            let window = [first.op.index, first.op.completed, grant.op.index, grant.op.completed];
            return Err(violation(&window, sentence));
        }
    }
    kept(case)?;
    Ok(case.grants.len())
}

fn holder(grant: &Grant<'_>) -> String {
    match &grant.op.call {
        Call::Claim(ClaimCall::Claim { holder, instance, .. }) => format!("{holder} (instance {instance:?})"),
        _ => format!("session {:x}", grant.lease),
    }
}

/// Keys of tenures whose session changed while they stood.
fn kept(case: &Case<'_>) -> Result<(), Flaw> {
    for (key, versions) in case.timeline.versions_under("/_conclave/") {
        if !(key.contains("/leader/") || key.contains("/holder/")) {
            continue;
        }
        for pair in versions.windows(2) {
            let [before, after] = pair else { continue };
            let both = before.value.is_some() && after.value.is_some();
            if both && before.lease != after.lease {
                let seen = |revision| case.timeline.seen(revision).map(|(_, index)| index);
                let window: Vec<usize> = [before.revision, after.revision].into_iter().filter_map(seen).collect();
                let sentence = format!(
                    "{key} was of session {:x}, and at revision {} it passed to session {:x}",
                    before.lease, after.revision, after.lease
                );
                return Err(violation(&window, sentence));
            }
        }
    }
    Ok(())
}
