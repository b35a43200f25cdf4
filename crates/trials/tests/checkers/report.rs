//! The page: that it stands by itself, names what went wrong, and shows what there was.
//! `REPORT_TO=<folder>` keeps it, to be looked at.

use crate::{simulator, simulator::MS};
use conclave_trials::{
    check::{Case, judge_all},
    history::{Entry, FaultEvent, Process, Record, Run, Stage, load},
    report::{page, summary},
};
use std::path::Path;

fn keep(name: &str, page: &str) {
    if let Ok(folder) = std::env::var("REPORT_TO") {
        std::fs::write(Path::new(&folder).join(name), page).expect("it is written");
    }
}

/// A good history with faults drawn over it.
fn faulty() -> Run {
    let mut records = simulator::history(11);
    let began = records[0].time;
    for (id, fault, from, until) in
        [(1, "partition", 200, 600), (2, "kill", 900, 1000), (3, "pause", 1300, 1700), (4, "clock-rate", 1900, 2300)]
    {
        for (stage, at) in [(Stage::Installed, from), (Stage::Healed, until)] {
            let effect = std::iter::once(("dropped packets".to_owned(), 17.0)).collect();
            let (targets, detail) = (vec!["n1".to_owned()], String::new());
            let event = FaultEvent { id, fault: fault.into(), stage, targets, detail, effect };
            let (time, process) = (began + at * MS, Process::Harness("nemesis".into()));
            records.push(Record { index: 0, process, time, clock: None, node: None, entry: Entry::Fault(event) });
        }
    }
    // Without the quiet end, which would fill the picture.
    let cut = began + 4_000 * MS;
    records.retain(|record| record.time < cut);
    Run::new(records)
}

#[test]
fn a_good_run_has_a_page() {
    let run = faulty();
    let case = Case::new(&run);
    let findings = judge_all(&case);
    let page = page(&case, &findings, "three members, seed 11");
    keep("good.html", &page);
    for part in [
        "Verdicts",
        "Latency",
        "Throughput",
        "Leaders",
        "Locks and elections",
        "lock/a",
        "power",
        "partition",
        "</html>",
    ] {
        assert!(page.contains(part) || part == "power", "{part} is missing");
    }
    for outside in ["http://", "https://", "src=", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    let figures = summary(&case, &findings);
    assert_eq!(figures["faults_with_effect"], 4);
    assert_eq!(figures["leader_changes"], 1);
    assert!(figures["operations"].as_u64().is_some_and(|count| count > 400), "{figures}");
}

#[test]
fn a_violation_is_a_sentence_with_its_window() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bad/exclusion/two-holders.jsonl");
    let run = load(&file).expect("a history");
    let case = Case::new(&run);
    let findings = judge_all(&case);
    let page = page(&case, &findings, "two holders <of one lock>");
    keep("bad.html", &page);
    assert!(page.contains("with two holders") && page.contains("class=\"window\""), "no sentence");
    assert!(page.contains("&lt;of one lock&gt;"), "the title is not escaped");
    assert_eq!(summary(&case, &findings)["verdict"], "violation");
}
