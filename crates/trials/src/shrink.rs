//! Makes a failing run smaller: leaves out faults as long as it still fails in the same way.
//!
//! Halves first, then single faults. A run is no function of its plan (threads and the kernel take
//! part), so each smaller plan is tried a few times before it is given up.

use super::{
    plan::{Plan, Step},
    run::{Figures, Means, judge, run},
};
use anyhow::{Result, ensure};
use std::path::Path;

/// Tries of one plan.
const TRIES: usize = 3;

/// Where tries are made.
const TRY: &str = "try";

/// Shrinks the plan of a run that failed. Returns the smallest plan that was seen to fail; the run
/// that showed it is in `means.out`.
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
                keep(&means.out)?;
                say(&format!("still fails with {} of {} faults", candidate.steps.len(), plan.steps.len()));
                plan = candidate;
                smaller = true;
            } else {
                at += size;
            }
        }
        if plan.steps.is_empty() || (size == 1 && !smaller) {
            break;
        }
        size = (size / 2).max(1);
    }
    let last = means.out.join(TRY);
    if last.exists() {
        std::fs::remove_dir_all(last)?;
    }
    if !means.out.join("plan.json").exists() {
        // Nothing could be left out.
        plan.save(&means.out)?;
    }
    Ok(plan)
}

/// Puts the last try in the place of what was kept before.
fn keep(out: &Path) -> Result<()> {
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    for entry in std::fs::read_dir(out.join(TRY))? {
        let entry = entry?;
        let to = out.join(entry.file_name());
        if to.is_dir() {
            std::fs::remove_dir_all(&to)?;
        }
        std::fs::rename(entry.path(), to)?;
    }
    Ok(())
}

fn without(steps: &[Step], from: usize, count: usize) -> Vec<Step> {
    let kept = steps.iter().enumerate().filter(|(at, _)| *at < from || *at >= from + count);
    kept.map(|(_, step)| step.clone()).collect()
}

fn fails(plan: &Plan, means: &Means, wanted: &[&str]) -> Result<bool> {
    let means = Means { out: means.out.join(TRY), ..means.clone() };
    for _ in 0..TRIES {
        let outcome = run(plan, &means)?;
        let figures: Figures = judge(plan, &outcome, &means.out)?;
        if wanted.iter().any(|property| figures.violates(property)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_failed_takes_the_place_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        write("plan.json", "large");
        write("n5.log", "of the larger run");
        std::fs::create_dir_all(dir.path().join(TRY).join("n1.sound")).unwrap();
        write("try/plan.json", "small");
        write("try/n1.sound/file", "x");
        keep(dir.path()).unwrap();
        assert_eq!((read("plan.json"), read("n1.sound/file")), ("small".to_owned(), "x".to_owned()));
        assert!(!dir.path().join("n5.log").exists());
    }

    #[test]
    fn steps_are_left_out_where_they_stand() {
        let step = |at_ms| Step { at_ms, hold_ms: 1, track: 0, fault: crate::env::Fault::RollingRestart };
        let all: Vec<Step> = (0..5).map(step).collect();
        let left = |from, count| without(&all, from, count).iter().map(|step| step.at_ms).collect::<Vec<_>>();
        assert_eq!((left(0, 2), left(3, 9)), (vec![2, 3, 4], vec![0, 1, 2]));
    }
}
