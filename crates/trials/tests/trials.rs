//! A short run of the harness against the server under test: everything works together, and the
//! verdict is *valid*.
//!
//! In whatever way the machine allows: with root and the tools in namespaces, else on loopback,
//! with the faults that are possible there. `conclave-trials matrix --ci` is the large one.

use anyhow::{Context, Result};
use conclave_trials::{
    binary,
    env::Mode,
    plan::{Plan, Wishes},
    regressions::{folder, load},
    run::{Means, judge, run},
    workload::WORKLOADS,
};
use std::path::Path;

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn wishes(seed: u64, seconds: u64, faults: &[&str]) -> Wishes {
    let (workloads, faults) = (words(&WORKLOADS), words(faults));
    Wishes { seed, nodes: 3, clients: 3, duration_ms: seconds * 1000, workloads, faults, etcd: false }
}

fn means(out: &Path, mode: Mode) -> Means {
    Means { binary: binary::server(), out: out.to_owned(), program: env!("CARGO_BIN_EXE_conclave-trials").into(), mode }
}

/// Runs and judges; a run that is not valid leaves its files behind.
fn must_be_valid(wishes: Wishes, mode: Mode) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let means = means(dir.path(), mode);
    let plan = Plan::draw(wishes)?;
    let outcome = run(&plan, &means)?;
    let figures = judge(&plan, &outcome, dir.path())?;
    conclave_trials::figure(&format!("{} mode: {figures}", outcome.mode));
    if !figures.is_valid() {
        let kept = dir.keep();
        anyhow::bail!("seed {}: {figures}\nits history and report.html are in {}", plan.seed, kept.display());
    }
    Ok(())
}

#[test]
fn a_run_with_kills_partitions_pauses_and_power_losses_is_valid() -> Result<()> {
    must_be_valid(wishes(5, 25, &["kill", "partition", "pause", "power-loss", "client"]), Mode::Auto)
}

#[test]
fn a_run_without_root_is_valid() -> Result<()> {
    must_be_valid(wishes(6, 12, &["kill", "partition", "pause"]), Mode::Loopback)
}

#[test]
fn the_runs_that_found_bugs_are_valid_now() -> Result<()> {
    for regression in load(&folder())? {
        let dir = tempfile::tempdir()?;
        let outcome = run(&regression.plan, &means(dir.path(), Mode::Auto))?;
        let figures = judge(&regression.plan, &outcome, dir.path())?;
        conclave_trials::figure(&format!("{}: {figures}", regression.name));
        // On a busy machine a run of few answers may not show all there is; the property that found
        // the bug must be shown.
        let shown = figures.flaws.iter().all(|(property, _)| *property != regression.by);
        if figures.verdict == "violation" || !shown {
            let kept = dir.keep();
            anyhow::bail!("{}: {figures}\nits history and report.html are in {}", regression.name, kept.display());
        }
    }
    Ok(())
}

#[test]
fn a_run_can_be_judged_again_and_its_plan_is_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let means = means(dir.path(), Mode::Loopback);
    let plan = Plan::draw(Wishes { workloads: words(&["kv", "set"]), ..wishes(7, 4, &["kill"]) })?;
    let outcome = run(&plan, &means)?;
    let first = judge(&plan, &outcome, dir.path())?;
    let again = conclave_trials::run::judge_dir(dir.path())?;
    assert_eq!((first.operations, &first.verdict), (again.operations, &again.verdict));
    assert_eq!(Plan::load(dir.path())?, plan);
    let page = std::fs::read_to_string(dir.path().join("report.html")).context("no report")?;
    assert!(page.contains("seed 7"));
    Ok(())
}
