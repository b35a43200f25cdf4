//! A claim lasts for its duration at least, counted from when the call was made: while the promise
//! of an acknowledged claim or extension runs, less what clocks may differ, nobody else is told
//! that it holds the claim, and its tenure is not seen to end; unless somebody asked to revoke it,
//! or another instance of the holder took it over.

use super::super::{
    Property,
    case::Case,
    place::{Grant, Kind, holders, places},
    verdict::{Judged, millis, violation},
};
use crate::history::{Answer, Call, ClaimAnswer, ClaimCall, Op, Outcome};
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "claim-early",
    workloads: &["claim"],
    says: "No claim ends before its duration, counted from when the call was made.",
    judge,
};

/// A promise that was acknowledged.
struct Promise<'a> {
    fence: i64,
    holder: &'a str,
    made: u64,
    until: u64,
    millis: u64,
    index: usize,
}

/// Counts promises.
fn judge(case: &Case<'_>) -> Judged {
    let mut promises: BTreeMap<&str, Vec<Promise<'_>>> = BTreeMap::new();
    let mut revoked: BTreeMap<&str, Vec<(&Op, Option<&str>)>> = BTreeMap::new();
    for op in &case.run.ops {
        match (&op.call, &op.outcome) {
            (
                Call::Claim(ClaimCall::Claim { claim, holder, .. }),
                Outcome::Ok(Answer::Claim(
                    ClaimAnswer::Taken { fence, guaranteed_ms, .. }
                    | ClaimAnswer::Extended { fence, guaranteed_ms, .. },
                )),
            ) => promises.entry(claim).or_default().push(Promise {
                fence: *fence,
                holder,
                made: op.invoked,
                until: op.invoked.saturating_add(case.at_least(*guaranteed_ms)),
                millis: *guaranteed_ms,
                index: op.completed,
            }),
            (Call::Claim(ClaimCall::Revoke { claim, holder }), outcome) if !matches!(outcome, Outcome::Fail(_)) => {
                revoked.entry(claim).or_default().push((op, holder.as_deref()));
            }
            _ => {}
        }
    }
    let mut judged = 0;
    for (claim, promises) in promises {
        let ends = ends(case, claim);
        for promise in &promises {
            judged += 1;
            // A revocation can have ended it that was under way after the claim was made, and
            // before the end was seen.
            let asked_for = |by: u64| {
                revoked.get(claim).into_iter().flatten().any(|(op, holder)| {
                    op.invoked <= by
                        && op.returned >= promise.made
                        && holder.is_none_or(|holder| holder == promise.holder)
                })
            };
            let early = ends.iter().find(|(fence, time, ..)| {
                *fence == promise.fence && *time < promise.until && *time >= promise.made && !asked_for(*time)
            });
            if let Some((_, time, how, index)) = early {
                let sentence = format!(
                    "{claim} was promised for {} ms from a call that was acknowledged under fence {}, but {how} {} after that call",
                    promise.millis,
                    promise.fence,
                    millis(time - promise.made)
                );
                return Err(violation(&[promise.index, *index], sentence));
            }
        }
    }
    Ok(judged)
}

/// By when tenures of a claim were known to be over: fence, time, how, record.
fn ends(case: &Case<'_>, claim: &str) -> Vec<(i64, u64, &'static str, usize)> {
    let mut found = Vec::new();
    for place in places(&case.timeline, &holders(Kind::Claim, claim)) {
        if let Some((time, index)) = case.timeline.seen(place.until) {
            found.push((place.fence, time, "the tenure was seen to end", index));
        }
    }
    // A tenure is over when one with a larger fence is granted: the first that was told counts.
    let mut granted: Vec<_> =
        case.grants.iter().filter(|grant| grant.kind == Kind::Claim && grant.name == claim).collect();
    granted.sort_by_key(|grant| std::cmp::Reverse(grant.fence));
    let mut first: Option<&Grant<'_>> = None;
    for of_one_fence in granted.chunk_by(|a, b| a.fence == b.fence) {
        if let Some(next) = first {
            let how = "another tenure was granted";
            found.push((of_one_fence[0].fence, next.op.returned, how, next.op.completed));
        }
        let earliest = of_one_fence.iter().copied().chain(first).min_by_key(|grant| grant.op.returned);
        first = earliest.or(first);
    }
    found.sort_by_key(|(_, time, ..)| *time);
    found
}
