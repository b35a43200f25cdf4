//! What documents say about the tree is so.

use anyhow::{Context as _, Result};
use conclave_trials::{check::PROPERTIES, mutants::MUTANTS};
use std::collections::{BTreeMap, BTreeSet};
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
        "backup" | "state" | "storage" | "node" | "gateway" | "server" | "client" => root.join("crates").join(name),
        _ => root.join("cluster-tests/tests").join(name),
    }
}

fn is_checker(name: &str) -> Result<bool> {
    let folder = repository().join("crates/trials/src/check");
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

/// The numbers in parentheses, as (S1) or (E1, E2): the promises that a text names.
fn named_promises(text: &str) -> BTreeSet<String> {
    let is_number = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.len() > 1
            && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    let inside = text.split('(').skip(1).filter_map(|rest| rest.split(')').next());
    inside.flat_map(|list| list.split([',', ';', ' ', '\n'])).filter(is_number).map(str::to_owned).collect()
}

#[test]
fn the_prose_names_each_guarantee() -> Result<()> {
    let text = fs::read_to_string(repository().join("docs/guarantees.md"))?;
    let (prose, evidence) = text.split_once("\n## Evidence\n").context("docs/guarantees.md has a part `Evidence`")?;
    let rows = evidence.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let numbers: BTreeSet<String> =
        rows.filter(|cell| named_promises(&format!("({cell})")).contains(*cell)).map(str::to_owned).collect();
    anyhow::ensure!(numbers.len() > 30, "only {} guarantees were found: has the table another form?", numbers.len());
    let named = named_promises(prose);
    anyhow::ensure!(named == numbers, "the prose names {named:?}, and the table has {numbers:?}");
    Ok(())
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
        let file = repository().join("crates/trials/src/check").join(checker);
        let code = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        anyhow::ensure!(code.contains(&format!("name: \"{name}\"")), "{checker} does not judge {name}");
        // What the table says it holds is what the guarantees say that holds them.
        let stem = file.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let by = |line: &&str| line.contains(&format!("`checker:{stem}`"));
        let numbers = guarantees.lines().filter(by).filter_map(|line| line.split('|').nth(1).map(str::trim));
        let numbers: Vec<_> = numbers.collect();
        let said = if numbers.is_empty() { "–".to_owned() } else { numbers.join(", ") };
        anyhow::ensure!(holds == said, "docs/testing.md says that {name} holds {holds}, and docs/guarantees.md {said}");
        let folder = repository().join("crates/trials/testdata/bad").join(name);
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

#[test]
fn each_planted_bug_is_in_the_table_with_what_finds_it() -> Result<()> {
    let text = fs::read_to_string(repository().join("docs/testing.md"))?;
    let rows = rows(&text, "Planted bugs");
    let named: Vec<_> = rows.iter().map(|cells| cells[0].trim_matches('`')).collect();
    let planted: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    anyhow::ensure!(named == planted, "docs/testing.md has {named:?}, and there are {planted:?}");
    for (cells, mutant) in rows.iter().zip(&MUTANTS) {
        let [_, _, places, finders, _] = cells[..] else { anyhow::bail!("{cells:?} is no row of five") };
        for finder in finders.split('`').skip(1).step_by(2) {
            anyhow::ensure!(mutant.caught_by.contains(&finder), "{}: not by {finder}", mutant.name);
        }
        let changed = mutant.patched(&repository())?;
        let changed: BTreeSet<_> = changed.keys().map(|path| path.to_string_lossy().replace("/src/", "/")).collect();
        let said = places.split('`').skip(1).step_by(2);
        for place in said {
            let place = format!("crates/{place}");
            let there = [".rs", "/mod.rs"].iter().any(|end| changed.contains(&format!("{place}{end}")))
                || changed.iter().any(|path| path.starts_with(&format!("{place}/")));
            anyhow::ensure!(there, "{}: its patch does not change {place}", mutant.name);
        }
    }
    Ok(())
}

/// All Markdown files that readers are led to, by their paths in the repository.
fn documents() -> Result<Vec<PathBuf>> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                below(&path, found)?;
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| repository().join(name)).to_vec();
    below(&repository().join("docs"), &mut found)?;
    found.sort();
    Ok(found)
}

/// A document without its code, where brackets are no links and `#` begins no heading.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    // Code within a line: what stands between two back quotes is a link's text at most.
    let without_code = lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("x"));
    without_code.collect::<Vec<_>>().join("\n")
}

/// The anchors of a document's headings, as the forges that show Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut in_block = false;
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !in_block) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
        let anchor = kept.map(|char| if char == ' ' { '-' } else { char }).collect::<String>();
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn each_link_leads_somewhere() -> Result<()> {
    let (mut faults, mut links) = (Vec::new(), 0);
    for document in documents()? {
        let text = fs::read_to_string(&document)?;
        let prose = prose(&text);
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            links += 1;
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() {
                document.clone()
            } else {
                document.parent().context("a document is in a folder")?.join(file)
            };
            let lacks = |anchor: &str| -> Result<bool> { Ok(!anchors(&fs::read_to_string(&file)?).contains(anchor)) };
            if !file.exists() || anchor.map(lacks).transpose()?.unwrap_or(false) {
                faults.push(format!("{}: {target}", document.strip_prefix(repository())?.display()));
            }
        }
    }
    anyhow::ensure!(links > 50, "only {links} links were found: are they written in another form?");
    anyhow::ensure!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn the_index_leads_to_each_document() -> Result<()> {
    let index = fs::read_to_string(repository().join("docs/README.md"))?;
    for entry in fs::read_dir(repository().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let listed = name == "README.md" || !name.ends_with(".md") || index.contains(&format!("]({name}"));
        anyhow::ensure!(listed, "docs/README.md does not lead to {name}");
    }
    Ok(())
}
