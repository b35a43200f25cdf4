//! What documents say about the tree is so.

use anyhow::{Context as _, Result};
use cluster_tests::trials::check::PROPERTIES;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cluster-tests is a folder of the repository").to_owned()
}

/// All Rust code below a folder, or beside it under the same name.
fn code(place: &Path) -> Result<String> {
    let file = place.with_extension("rs");
    let mut text = if file.is_file() { fs::read_to_string(&file)? } else { String::new() };
    if place.is_dir() {
        for entry in fs::read_dir(place)? {
            let path = entry?.path();
            if path.is_dir() {
                text += &code(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(&path)?;
            }
        }
    }
    Ok(text)
}

/// Where the tests of a suite stand.
fn suite(name: &str) -> PathBuf {
    let root = repository();
    match name {
        "state" | "storage" | "server" | "client" => root.join("crates").join(name),
        _ => root.join("cluster-tests/tests").join(name),
    }
}

fn is_checker(name: &str) -> Result<bool> {
    let folder = repository().join("cluster-tests/src/trials/check");
    let file = format!("{name}.rs");
    Ok(fs::read_dir(folder)?.filter_map(Result::ok).any(|entry| entry.path().join(&file).is_file()))
}

/// What is wrong with one piece of evidence; `None` if it is there.
fn fault(evidence: &str, suites: &mut BTreeMap<String, String>) -> Result<Option<String>> {
    let there = if let Some(script) = evidence.strip_prefix("script:") {
        repository().join("crates/state/testscripts").join(script).exists()
    } else if let Some(checker) = evidence.strip_prefix("checker:") {
        is_checker(checker)?
    } else if let Some((name, test)) = evidence.split_once("::") {
        if !suites.contains_key(name) {
            suites.insert(name.to_owned(), code(&suite(name))?);
        }
        suites[name].contains(&format!("fn {test}("))
    } else {
        return Ok(Some(format!("`{evidence}` names neither a test nor a transcript nor a checker")));
    };
    Ok((!there).then(|| format!("`{evidence}` is not there")))
}

#[test]
fn each_guarantee_has_its_evidence() -> Result<()> {
    let text = fs::read_to_string(repository().join("docs/guarantees.md"))?;
    let (mut suites, mut faults, mut sentences) = (BTreeMap::new(), Vec::new(), 0);
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, evidence] = cells[..] else { continue };
        if !number.starts_with(|first: char| first.is_ascii_uppercase()) {
            continue;
        }
        sentences += 1;
        let named: Vec<&str> = evidence.split('`').map(str::trim).filter(|word| !word.is_empty()).collect();
        anyhow::ensure!(!named.is_empty(), "{number} has no evidence");
        for one in named {
            faults
                .extend(fault(one, &mut suites).context(number.to_owned())?.map(|fault| format!("{number}: {fault}")));
        }
    }
    anyhow::ensure!(sentences > 30, "only {sentences} guarantees were found: has the table another form?");
    anyhow::ensure!(faults.is_empty(), "docs/guarantees.md: {}", faults.join("; "));
    Ok(())
}

/// The cells of each row of a table whose rows begin with a name in back quotes, below a heading.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let part = text.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_default();
    let part = part.split("\n## ").next().unwrap_or_default();
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn each_property_is_in_the_table_with_what_shows_that_it_can_fail() -> Result<()> {
    let text = fs::read_to_string(repository().join("docs/testing.md"))?;
    let guarantees = fs::read_to_string(repository().join("docs/guarantees.md"))?;
    let rows = rows(&text, "Properties");
    let named: Vec<_> = rows.iter().map(|cells| cells[0].trim_matches('`')).collect();
    let properties: Vec<_> = PROPERTIES.iter().map(|property| property.name).collect();
    anyhow::ensure!(named == properties, "docs/testing.md has {named:?}, and there are {properties:?}");
    for cells in &rows {
        let [name, holds, checker, bad, _] = cells[..] else { anyhow::bail!("{cells:?} is no row of five") };
        let (name, checker) = (name.trim_matches('`'), checker.trim_matches('`'));
        let file = repository().join("cluster-tests/src/trials/check").join(checker);
        let code = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        anyhow::ensure!(code.contains(&format!("name: \"{name}\"")), "{checker} does not judge {name}");
        // What the table says it holds is what the guarantees say that holds them.
        let stem = file.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let by = |line: &&str| line.contains(&format!("`checker:{stem}`"));
        let numbers = guarantees.lines().filter(by).filter_map(|line| line.split('|').nth(1).map(str::trim));
        let numbers: Vec<_> = numbers.collect();
        let said = if numbers.is_empty() { "–".to_owned() } else { numbers.join(", ") };
        anyhow::ensure!(holds == said, "docs/testing.md says that {name} holds {holds}, and docs/guarantees.md {said}");
        let folder = repository().join("cluster-tests/testdata/bad").join(name);
        let mut there = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            there.push(entry?.path().file_stem().context("a file has a name")?.to_string_lossy().into_owned());
        }
        there.sort();
        let said: Vec<_> = bad.split('`').skip(1).step_by(2).filter(|word| *word != "mutations").collect();
        anyhow::ensure!(
            there == said,
            "bad histories of {name}: docs/testing.md has {said:?}, and there are {there:?}"
        );
    }
    Ok(())
}
