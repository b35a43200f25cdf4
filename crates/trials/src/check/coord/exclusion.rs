//! What a client may believe without fences, as long as clocks keep to their bound (beliefs: see
//! `belief`).
//!
//! 1. At no moment do two clients hold themselves for the holder: beliefs in one name that exclude
//!    each other do not overlap by more than clocks may differ.
//! 2. No belief outlives what it believes in: what was granted is not seen to be over while its
//!    holder may still believe in it. (A grant of what was over at its own revision is the property
//!    `grants`.)

use super::super::{
    Flaw, Property,
    belief::{Belief, beliefs},
    case::Case,
    verdict::{Judged, millis, seconds, violation},
};
use crate::history::Mode;
use std::collections::BTreeMap;

pub(crate) const PROPERTY: Property = Property {
    name: "exclusion",
    workloads: &["lock", "election", "queue", "semaphore"],
    says: "The times in which clients believe to hold one lock or lead one election do not overlap, and end before the tenure does.",
    judge,
};

/// Counts beliefs that lasted.
fn judge(case: &Case<'_>) -> Judged {
    let beliefs = beliefs(case);
    let mut names: BTreeMap<_, Vec<&Belief<'_>>> = BTreeMap::new();
    for belief in &beliefs {
        if !matches!(belief.grant.mode, Mode::Permits { .. }) {
            names.entry((belief.grant.kind, belief.grant.name)).or_default().push(belief);
        }
    }
    for ((_, name), mut beliefs) in names {
        beliefs.sort_by_key(|belief| belief.from);
        // Those who share exclude only those who do not: the longest belief of each mode so far.
        let (mut alone, mut shared): (Option<&Belief<'_>>, Option<&Belief<'_>>) = (None, None);
        for belief in beliefs {
            let is_shared = belief.grant.mode == Mode::Shared;
            for other in [alone, shared.filter(|_| !is_shared)].into_iter().flatten() {
                let overlap = other.until.min(belief.until).saturating_sub(belief.from);
                if overlap > case.run.bounds.uncertainty && other.grant.fence != belief.grant.fence {
                    return Err(overlapping(name, other, belief, overlap, case.began));
                }
            }
            let slot = if is_shared { &mut shared } else { &mut alone };
            if slot.is_none_or(|known| known.until < belief.until) {
                *slot = Some(belief);
            }
        }
    }
    for belief in &beliefs {
        outlived(case, belief)?;
    }
    Ok(beliefs.iter().filter(|belief| belief.until > belief.from).count())
}

fn overlapping(name: &str, first: &Belief<'_>, second: &Belief<'_>, overlap: u64, began: u64) -> Flaw {
    let sentence = format!(
        "{name} was granted under fence {} at {}, while the client with fence {} believed to hold it until {} ({}): {} with two holders",
        second.grant.fence,
        seconds(second.from, began),
        first.grant.fence,
        seconds(first.until, began),
        first.why,
        millis(overlap)
    );
    let window = [first.grant.op.index, first.grant.op.completed, second.grant.op.index, second.grant.op.completed];
    violation(&window, sentence)
}

/// Fails if the tenure was seen to end while its holder believed in it.
fn outlived(case: &Case<'_>, belief: &Belief<'_>) -> Result<(), Flaw> {
    let Some(tenure) = &belief.tenure else { return Ok(()) };
    let Some((gone, index)) = case.timeline.seen(tenure.until) else { return Ok(()) };
    let grant = belief.grant;
    let stood = if case.run.bounds.dated_grants { tenure.stands_at(grant.revision) } else { gone > belief.from };
    let after = belief.until.saturating_sub(gone.max(belief.from));
    if !stood || after <= case.run.bounds.uncertainty {
        return Ok(());
    }
    let sentence = format!(
        "{} was over for fence {} at revision {}, seen at {}, {} before its holder stopped believing in it ({})",
        grant.name,
        grant.fence,
        tenure.until,
        seconds(gone, case.began),
        millis(after),
        belief.why
    );
    Err(violation(&[grant.op.index, grant.op.completed, index], sentence))
}
