//! Whether the run was worth judging. Never a violation: a run that does not show enough is unknown.
//!
//! 1. Not too many outcomes are unknown.
//! 2. Every sort of fault that was installed had an effect at least once.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, unknown},
};
use crate::trials::history::{Outcome, Stage};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const PROPERTY: Property =
    Property { name: "coverage", workloads: &[], says: "The run did enough, and its faults had effect.", judge };

/// Counts operations with an answer.
fn judge(case: &Case<'_>) -> Judged {
    let ops = &case.run.ops;
    let doubtful = ops.iter().filter(|op| matches!(op.outcome, Outcome::Unknown(_))).count();
    if doubtful as f64 > case.run.bounds.max_unknown * ops.len() as f64 {
        return unknown(format!("{doubtful} of {} outcomes are unknown", ops.len()));
    }
    let mut installed: BTreeMap<&str, bool> = BTreeMap::new();
    let mut effective: BTreeSet<u64> = BTreeSet::new();
    for (_, fault) in case.run.faults() {
        if fault.effect.values().any(|effect| *effect > 0.0) {
            effective.insert(fault.id);
        }
    }
    for (_, fault) in case.run.faults().filter(|(_, fault)| fault.stage == Stage::Installed) {
        *installed.entry(&fault.fault).or_default() |= effective.contains(&fault.id);
    }
    if let Some((fault, _)) = installed.iter().find(|(_, effective)| !**effective) {
        return unknown(format!("no {fault} that was installed had an effect"));
    }
    Ok(ops.iter().filter(|op| op.answer().is_some()).count())
}
