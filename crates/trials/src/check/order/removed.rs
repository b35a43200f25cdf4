//! A member whose removal was acknowledged answers no linearizable call that begins later: it has
//! no part in the cluster any more.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{ChangeKind, Fact};
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "removed-members",
    workloads: &["members"],
    says: "A removed member answers nothing that is asked after its removal.",
    judge,
};

/// Counts removals, and answers of members that might have been removed.
fn judge(case: &Case<'_>) -> Judged {
    let mut removed: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let index = record.index as usize;
        match fact {
            Fact::Change(change) if change.what == ChangeKind::Remove && change.done => {
                removed.entry(change.member).or_insert((record.time, index));
                judged += 1;
            }
            Fact::Answered(answer) => {
                if let Some((_, told)) = removed.get(&answer.member).filter(|(time, _)| *time < answer.asked) {
                    let sentence = format!("{:x} was removed, and answers a linearizable read", answer.member);
                    return Err(violation(&[*told, index], sentence));
                }
                judged += 1;
            }
            _ => {}
        }
    }
    Ok(judged)
}
