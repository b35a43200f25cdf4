//! Whether the run was worth judging. Never a violation: a run that does not show enough is
//! unknown.
//!
//! 1. Not too many outcomes are unknown.
//! 2. Every sort of fault that was installed had an effect at least once.
//! 3. While faults stopped or slowed no more than a minority of the members, and the network was
//!    whole, a fifth of all calls to the store had an answer at least: what is judged must have
//!    been seen under faults too.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, unknown},
};
use crate::history::{Call, Outcome, Stage};
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
    let (answered, asked) = with_a_minority_broken(case);
    if asked >= ENOUGH && answered < asked / 5 {
        return unknown(format!("{answered} of {asked} calls had an answer while only a minority was broken"));
    }
    Ok(ops.iter().filter(|op| op.answer().is_some()).count())
}

/// Below so many calls a share of them says nothing.
const ENOUGH: usize = 200;

/// Faults that leave the others and the network as they are.
const OF_MEMBERS: [&str; 9] =
    ["kill", "pause", "power-loss", "disk-error", "slow-disk", "disk-full", "cpu", "snapshot", "clock-jump"];

/// Calls to the store made while a minority was broken: those with an answer, and all.
fn with_a_minority_broken(case: &Case<'_>) -> (usize, usize) {
    let members: BTreeSet<u32> = case.run.facts().filter_map(|(record, _)| record.node).collect();
    let broken = case.run.broken();
    let mut moments: Vec<u64> = broken.iter().flat_map(|(from, until, _)| [*from, *until]).collect();
    moments.sort_unstable();
    moments.dedup();
    let minority = |from: u64| {
        let open: Vec<_> = broken.iter().filter(|(began, until, _)| *began <= from && from < *until).collect();
        let targets: BTreeSet<&String> = open.iter().flat_map(|(.., fault)| &fault.targets).collect();
        !open.is_empty()
            && open.iter().all(|(.., fault)| OF_MEMBERS.contains(&fault.fault.as_str()) && !fault.targets.is_empty())
            && targets.len() * 2 < members.len()
    };
    let spans: Vec<(u64, u64)> =
        moments.windows(2).map(|pair| (pair[0], pair[1])).filter(|(from, _)| minority(*from)).collect();
    let (mut answered, mut asked) = (0, 0);
    for op in &case.run.ops {
        let at = spans.partition_point(|(from, _)| *from <= op.invoked);
        let inside = at.checked_sub(1).is_some_and(|at| op.invoked < spans[at].1);
        if !inside || !matches!(op.call, Call::Kv(_) | Call::Append(_) | Call::Set(_)) {
            continue;
        }
        asked += 1;
        // An answer that says no is one.
        let answer = match &op.outcome {
            Outcome::Ok(_) => true,
            Outcome::Fail(failure) => failure.code.is_empty(),
            Outcome::Unknown(_) => false,
        };
        answered += usize::from(answer);
    }
    (answered, asked)
}
