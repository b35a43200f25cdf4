//! AwaitVacant misses no release and makes none up: it answers with the first revision, from the
//! asked one on, at which a tenure ended; or with the present one if nobody holds the claim. *From
//! now* is somewhere between the call and the answer.

use super::super::{
    Property,
    case::Case,
    place::{Kind, Place, holders, places},
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, ClaimAnswer, ClaimCall};

pub(crate) const PROPERTY: Property = Property {
    name: "claim-vacancy",
    workloads: &["claim"],
    says: "A client that waits for a vacant claim is told of the first release only.",
    judge,
};

/// Counts answered waits.
fn judge(case: &Case<'_>) -> Judged {
    let mut judged = 0;
    for op in &case.run.ops {
        let (
            Call::Claim(ClaimCall::AwaitVacant { claim, min_revision }),
            Some(Answer::Claim(ClaimAnswer::Vacant { at, .. })),
        ) = (&op.call, op.answer())
        else {
            continue;
        };
        let timeline = case.truth()?;
        judged += 1;
        let tenures = places(timeline, &holders(Kind::Claim, claim));
        let ended_here = tenures.iter().find(|tenure| tenure.until == *at);
        let held = tenures.iter().find(|tenure| tenure.stands_at(*at));
        let wrong = |what: String, tenure: Option<&Place<'_>>| {
            let mut window = vec![op.index, op.completed];
            let revision = tenure.map(|tenure| if tenure.until == i64::MAX { tenure.from } else { tenure.until });
            window.extend(revision.and_then(|revision| timeline.seen(revision)).map(|(_, index)| index));
            Err(violation(&window, what))
        };
        if ended_here.is_none() && held.is_some() {
            return wrong(format!("{claim} was said to be vacant at revision {at}, where it was held"), held);
        }
        if *min_revision == 0 {
            continue;
        }
        let vacant_then = !tenures.iter().any(|tenure| tenure.stands_at(*min_revision));
        let first = tenures.iter().filter(|tenure| tenure.until >= *min_revision).min_by_key(|tenure| tenure.until);
        if let Some(first) = first.filter(|first| !vacant_then && first.until < *at) {
            let sentence = format!(
                "a client that waited for {claim} from revision {min_revision} on was told of revision {at} and missed the release at {}",
                first.until
            );
            return wrong(sentence, Some(first));
        }
    }
    Ok(judged)
}
