//! Fences strictly rise: of two grants of one name, one told before the other was asked for, the
//! later has a larger fence (or the same, if it is the same tenure: same key); two keys never share
//! one; and the fence that is told is the one that the key has.

use super::super::{
    Property,
    case::Case,
    place::Grant,
    verdict::{Judged, violation},
};
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "fences",
    workloads: &["lock", "election", "queue", "claim", "semaphore"],
    says: "Every later grant of a name has a larger fence.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut names: BTreeMap<_, Vec<&Grant<'_>>> = BTreeMap::new();
    for grant in &case.grants {
        names.entry((grant.kind, grant.name)).or_default().push(grant);
        let key_has = case.timeline.at(&grant.key, grant.revision).map(|version| version.create);
        if grant.fence <= 0
            || (!grant.key.starts_with("/_conclave/") && key_has.is_some_and(|fence| fence != grant.fence))
        {
            let sentence = format!(
                "{} was granted under fence {}, but the key {} has {}",
                grant.name,
                grant.fence,
                grant.key,
                key_has.map_or_else(|| "none".into(), |fence| fence.to_string())
            );
            return Err(violation(&[grant.op.index, grant.op.completed], sentence));
        }
    }
    for ((_, name), grants) in names {
        let mut by_call = grants.clone();
        by_call.sort_by_key(|grant| grant.op.invoked);
        let mut told = grants.into_iter().peekable();
        let mut highest: Option<&Grant<'_>> = None;
        let mut keys: BTreeMap<i64, &Grant<'_>> = BTreeMap::new();
        for grant in by_call {
            while let Some(before) = told.next_if(|before| before.op.returned < grant.op.invoked) {
                if highest.is_none_or(|highest| highest.fence < before.fence) {
                    highest = Some(before);
                }
            }
            let other = keys.insert(grant.fence, grant).filter(|other| other.key != grant.key);
            let smaller = highest.filter(|highest| {
                grant.fence < highest.fence || (grant.fence == highest.fence && grant.key != highest.key)
            });
            if let Some(before) = other.or(smaller) {
                let sentence = format!(
                    "{name} was granted under fence {} after it had been granted under fence {}",
                    grant.fence, before.fence
                );
                let window = [before.op.index, before.op.completed, grant.op.index, grant.op.completed];
                return Err(violation(&window, sentence));
            }
        }
    }
    Ok(case.grants.len())
}
