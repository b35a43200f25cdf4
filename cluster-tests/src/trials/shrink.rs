//! Makes a failing run smaller: leaves out faults as long as it still fails in the same way.
//!
//! Halves first, then single faults. A run is no function of its plan (threads and the kernel take part), so each smaller plan is tried a few
//! times before it is given up.

use super::{
    plan::{Plan, Step},
    run::{Figures, Means, judge, run},
};
use anyhow::{Result, ensure};
use std::path::Path;

/// Tries of one plan.
const TRIES: usize = 3;

/// Shrinks the plan of a run that failed. Returns the smallest plan that was seen to fail; its last failing run is in `means.out`.
///
/// # Errors
/// The harness failed, or the run did not fail.
pub fn shrink(dir: &Path, means: &Means, mut say: impl FnMut(&str)) -> Result<Plan> {
    let mut plan = Plan::load(dir)?;
    let before = super::run::judge_dir(dir)?;
    let wanted: Vec<&str> = before
        .flaws
        .iter()
        .filter(|(property, _)| before.violates(property))
        .map(|(property, _)| property.as_str())
        .collect();
    ensure!(!wanted.is_empty(), "the run violates nothing");
    let mut size = plan.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut smaller = false;
        while at < plan.steps.len() {
            let steps = without(&plan.steps, at, size);
            let candidate = Plan { steps, ..plan.clone() };
            if fails(&candidate, means, &wanted)? {
                say(&format!("still fails with {} of {} faults", candidate.steps.len(), plan.steps.len()));
                plan = candidate;
                smaller = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !smaller {
            return Ok(plan);
        }
        size = (size / 2).max(1);
        if plan.steps.is_empty() {
            return Ok(plan);
        }
    }
}

fn without(steps: &[Step], from: usize, count: usize) -> Vec<Step> {
    let kept = steps.iter().enumerate().filter(|(at, _)| *at < from || *at >= from + count);
    kept.map(|(_, step)| step.clone()).collect()
}

fn fails(plan: &Plan, means: &Means, wanted: &[&str]) -> Result<bool> {
    for _ in 0..TRIES {
        let outcome = run(plan, means)?;
        let figures: Figures = judge(plan, &outcome, &means.out)?;
        if wanted.iter().any(|property| figures.violates(property)) {
            return Ok(true);
        }
    }
    Ok(false)
}
