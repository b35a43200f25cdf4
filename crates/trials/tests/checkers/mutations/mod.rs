//! Each of these changes one thing in a good history, as a fault of the system would, and the
//! checker meant for it must say so. The change is made where it is certainly wrong (a value that
//! was overwritten and acknowledged before the read began, not just any value).

mod coord;
mod kv;
mod order;
mod watch;

use crate::simulator;
use conclave_trials::{
    check::{Case, PROPERTIES, Verdict, judge_all},
    history::*,
};

type Mutate = fn(&Run) -> Option<Vec<Record>>;

const MUTATIONS: &[(&str, &str, Mutate)] = &[
    ("a read of an overwritten value", "linearizable", |run| kv::overwritten_read(run)),
    ("a read of an overwritten value", "wgl", |run| kv::overwritten_read(run)),
    ("a whole read of the past", "linearizable", |run| kv::past_read(run)),
    ("two writes with each other's revision", "linearizable", |run| kv::swapped_revisions(run)),
    ("an acknowledged write that is not there", "linearizable", |run| kv::lost_write(run)),
    ("an acknowledged write that no member has", "durability", |run| kv::lost_state(run)),
    ("a write that replaced something else", "linearizable", |run| kv::wrong_previous(run)),
    ("a member whose reads go back", "serializable", |run| kv::member_goes_back(run)),
    ("a cas over something else", "linearizable", |run| kv::wrong_cas(run)),
    ("an append that is lost", "append", |run| kv::lost_append(run)),
    ("an element that is lost", "set", |run| kv::lost_element(run)),
    ("a revision that a member leaves out", "agreement", |run| kv::dropped_revision(run)),
    ("a value that a member has otherwise", "agreement", |run| kv::other_value(run)),
    ("a digest", "digests", |run| kv::other_digest(run)),
    ("a digest after an entry", "digests", |run| kv::other_mark(run)),
    ("an entry that a member has otherwise", "log-matching", |run| kv::other_entry(run)),
    ("an entry that is missing", "log-matching", |run| kv::missing_entry(run)),
    ("a write that no log has", "log-matching", |run| kv::unlogged_write(run)),
    ("an addition that no later list has", "membership", |run| order::lost_addition(run)),
    ("a removed member that is listed", "membership", |run| order::listed_again(run)),
    ("a removed member that answers", "removed-members", |run| order::answers_after_removal(run)),
    ("a second leader", "one-leader", |run| order::second_leader(run)),
    ("a dropped watch event", "watch-reliable", |run| watch::dropped_event(run)),
    ("a watch event without what was before it", "watch-reliable", |run| watch::left_out_previous(run)),
    ("a duplicated watch event", "watch-unique", |run| watch::duplicated_event(run)),
    ("swapped watch events", "watch-ordered", |run| watch::swapped_events(run)),
    ("a split revision", "watch-atomic", |run| watch::split_event(run)),
    ("a late resumption", "watch-resumable", |run| watch::late_resumption(run)),
    ("early progress", "watch-bookmarkable", |run| watch::early_progress(run)),
    ("an early expiry", "lease-early", |run| coord::moved_expiry(run, true)),
    ("a late expiry", "lease-late", |run| coord::moved_expiry(run, false)),
    ("a renewal after the end", "lease-renewal", |run| coord::late_renewal(run)),
    ("a phantom grant", "grants", |run| coord::phantom(run)),
    ("a smaller fence", "fences", |run| coord::smaller_fence(run)),
    ("a fence that two sessions are told of", "one-holder", |run| coord::fence_of_another(run)),
    ("a leadership that passes to another session", "one-holder", |run| coord::passed_leadership(run)),
    ("two overlapping beliefs", "exclusion", |run| coord::overlapping_beliefs(run)),
    ("a leadership of a queue that ends before its leader's belief", "exclusion", |run| {
        coord::early_end_of_a_queue(run)
    }),
    ("a deposed holder's write", "fenced-writes", |run| coord::deposed_write(run)),
    ("too many permits", "capacity", |run| coord::heavier_permits(run)),
    ("a second leader of a queue", "capacity", |run| coord::second_leader_of_a_queue(run)),
    ("a waiter that is passed", "fifo", |run| order::passed_waiter(run)),
    ("a lost wake-up", "wakeups", |run| order::late_answer(run, true)),
    ("a zombie", "zombies", |run| order::late_answer(run, false)),
    ("a winner of a queue that is told late", "wakeups", |run| order::late_campaign(run, true)),
    ("a candidate that waits for nothing", "zombies", |run| order::late_campaign(run, false)),
    ("a place that nobody waits at", "abandoned", |run| order::kept_place(run)),
    ("a leader who led before", "leader-reads", |run| order::former_leader(run)),
    ("swapped observations", "observe", |run| order::swapped_observations(run)),
    ("a line in another order", "queue-order", |run| order::other_line(run)),
    ("a term that falls", "queue-terms", |run| order::falling_term(run)),
    ("a change that a queue's watch leaves out", "queue-watch", |run| order::dropped_queue_event(run)),
    ("a change that a queue's watch tells otherwise", "queue-watch", |run| order::other_queue_event(run)),
    ("a claim that ends early", "claim-early", |run| coord::longer_promise(run)),
    ("a missed vacancy", "claim-vacancy", |run| coord::missed_vacancy(run)),
    ("a store that takes no writes any more", "liveness", |run| order::no_more_writes(run)),
];

#[test]
fn every_mutation_is_rejected() {
    let many = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8);
    let seeds = 1..=many;
    let runs: Vec<Run> = seeds.map(|seed: u64| Run::new(simulator::history(seed * 7919))).collect();
    let mut wrong = Vec::new();
    for (what, property, mutate) in MUTATIONS {
        let mutants: Vec<Run> = runs.iter().filter_map(|run| mutate(run).map(Run::new)).collect();
        if mutants.is_empty() {
            wrong.push(format!("{property}: {what} fits none of the histories"));
        }
        for mutant in &mutants {
            let findings = judge_all(&Case::new(mutant));
            let finding = findings.iter().find(|finding| finding.property == *property).expect("it is judged");
            match &finding.verdict {
                Verdict::Violation(violation) => assert!(!violation.window.is_empty() && violation.window.len() <= 50),
                other => wrong.push(format!("{property}: {what} was accepted: {other:?}")),
            }
        }
        conclave_trials::figure(&format!("{property}: {what}, rejected in {} histories", mutants.len()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for property in PROPERTIES.iter().filter(|property| property.name != "coverage") {
        assert!(MUTATIONS.iter().any(|(_, name, _)| *name == property.name), "{} has no mutation", property.name);
    }
}

#[test]
fn a_history_without_faults_of_effect_or_answers_is_unknown() {
    let mut records = simulator::history(1);
    let fault = FaultEvent {
        id: 1,
        fault: "partition".into(),
        stage: Stage::Installed,
        targets: vec!["n1>n2".into()],
        detail: String::new(),
        effect: std::iter::once(("dropped packets".to_owned(), 0.0)).collect(),
    };
    let mut nemesis = records[9].clone();
    (nemesis.process, nemesis.entry) = (Process::Harness("nemesis".into()), Entry::Fault(fault));
    records.push(nemesis);
    assert!(matches!(verdict(&Run::new(records), "coverage"), Verdict::Unknown { .. }));
    assert!(matches!(verdict(&Run::new(Vec::new()), "linearizable"), Verdict::Unknown { .. }));
    let mut records = simulator::history(1);
    for record in &mut records {
        if let Entry::Fact(Fact::Bounds(bounds)) = &mut record.entry {
            bounds.floors.insert("fifo".into(), 1_000_000);
        }
    }
    assert!(matches!(verdict(&Run::new(records), "fifo"), Verdict::Unknown { .. }));
}

#[test]
fn a_history_in_which_a_broken_minority_stops_everything_is_unknown() {
    let mut records = simulator::history(1);
    let span = Run::new(records.clone()).span();
    for record in &mut records {
        match &mut record.entry {
            Entry::Fact(Fact::Bounds(bounds)) => bounds.max_unknown = 1.0,
            Entry::Ok(Answer::Kv(_) | Answer::Append(_) | Answer::Set(_)) => {
                record.entry = Entry::Info(Failure { code: "timeout".into(), error: "no answer".into() });
            }
            _ => {}
        }
    }
    let paused = |targets: &[&str]| {
        let event = |stage| FaultEvent {
            id: 1,
            fault: "pause".into(),
            stage,
            targets: targets.iter().map(|one| (*one).to_owned()).collect(),
            detail: String::new(),
            effect: std::iter::once(("milliseconds stopped".to_owned(), 9.0)).collect(),
        };
        let line = |time, stage| Record {
            index: 0,
            process: Process::Harness("nemesis".into()),
            time,
            clock: None,
            node: None,
            entry: Entry::Fault(event(stage)),
        };
        let mut records = records.clone();
        records.extend([line(span.0, Stage::Installed), line(span.1, Stage::Healed)]);
        verdict(&Run::new(records), "coverage")
    };
    let Verdict::Unknown { why } = paused(&["n1"]) else { panic!("a minority may not stop everything") };
    assert!(why.contains("only a minority was broken"), "{why}");
    assert!(paused(&["n1", "n2"]).is_valid(), "a majority may");
}

fn verdict(run: &Run, property: &str) -> Verdict {
    let findings = judge_all(&Case::new(run));
    findings.into_iter().find(|finding| finding.property == property).expect("it is judged").verdict
}

/// A copy with one record changed.
fn changed(run: &Run, index: usize, change: impl FnOnce(&mut Entry)) -> Vec<Record> {
    let mut records = run.records.clone();
    change(&mut records[index].entry);
    records
}
