//! `testdata/bad/<property>/<what>.jsonl`: the first line says what went wrong. Exactly that
//! property finds it, with a sentence and a window. `testdata/good/<property>/<what>.jsonl`: near
//! misses, which that property accepts and no other rejects.

use conclave_trials::{check, history};
use std::path::{Path, PathBuf};

fn files(sort: &str) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            std::fs::read_dir(path).expect("testdata is there").map(|entry| entry.expect("readable").path()).collect();
        paths.sort();
        paths
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(sort);
    entries(&folder).iter().flat_map(|property| entries(property)).collect()
}

fn property(file: &Path) -> String {
    let folder = file.parent().and_then(Path::file_name).expect("it lies in a folder");
    folder.to_string_lossy().into_owned()
}

#[test]
fn each_bad_history_is_found_by_its_checker_alone() {
    let mut wrong = Vec::new();
    for file in files("bad") {
        let run = history::load(&file).expect("a history");
        let found: Vec<_> = check::judge_all(&check::Case::new(&run))
            .into_iter()
            .filter(|finding| finding.verdict.is_violation())
            .collect();
        let names: Vec<_> = found.iter().map(|finding| finding.property.as_str()).collect();
        if names != [property(&file).as_str()] {
            wrong.push(format!("{}: found {found:#?}", file.display()));
            continue;
        }
        let check::Verdict::Violation(violation) = &found[0].verdict else { unreachable!("filtered above") };
        assert!(!violation.window.is_empty() && violation.window.len() <= 50, "{}: {violation:?}", file.display());
        conclave_trials::figure(&format!("{}: {}", property(&file), violation.sentence));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_property_has_a_bad_history() {
    let have: Vec<_> = files("bad").iter().map(|file| property(file)).collect();
    // These two have theirs elsewhere: `wgl` in the mutations (what it alone finds has no
    // revisions), `coverage` finds no violations.
    let elsewhere = ["wgl", "coverage"];
    for property in check::PROPERTIES {
        assert!(
            elsewhere.contains(&property.name) || have.iter().any(|name| name == property.name),
            "{}",
            property.name
        );
    }
}

#[test]
fn near_misses_are_accepted() {
    for file in files("good") {
        let run = history::load(&file).expect("a history");
        for finding in check::judge_all(&check::Case::new(&run)) {
            assert!(!finding.verdict.is_violation(), "{}: {finding:#?}", file.display());
            assert!(
                finding.property != property(&file) || finding.verdict.is_valid(),
                "{}: {finding:#?}",
                file.display()
            );
        }
    }
}
