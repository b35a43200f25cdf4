//! Good histories, of a simulated system, are accepted by every checker.

use crate::simulator;
use conclave_trials::{
    check::{Case, judge_all},
    history::{Run, load, merge, to_edn},
};
use proptest::prelude::*;

fn complaints(seed: u64) -> Vec<String> {
    let run = Run::new(simulator::history(seed));
    let findings = judge_all(&Case::new(&run));
    let bad = findings.iter().filter(|finding| !finding.verdict.is_valid());
    bad.map(|finding| format!("{}: {:?}", finding.property, finding.verdict)).collect()
}

/// `PROPTEST_CASES`, or enough for every day.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_histories_are_accepted(seed in 1_u64..1_000_000) {
        let complaints = complaints(seed);
        prop_assert!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
    }
}

#[test]
fn a_history_survives_the_disk() {
    let run = Run::new(simulator::history(7));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    merge(&run, &path).expect("it is written");
    let again = load(folder.path()).expect("it is read");
    assert_eq!(run.records, again.records);
    assert_eq!(run.ops.len(), again.ops.len());
    assert!(run.ops.len() > 400, "only {} operations", run.ops.len());
}

#[test]
fn edn_is_jepsens() {
    let run = Run::new(simulator::history(7));
    let invoke = run.records.iter().map(to_edn).find(|line| line.contains(":type :invoke") && line.contains(":f :kv"));
    let invoke = invoke.expect("there are calls");
    assert!(invoke.starts_with('{') && invoke.contains(":op :") && invoke.contains(":process "), "{invoke}");
}
