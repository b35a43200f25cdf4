//! Every runnable block of every document does what it says: run in order, as written.
//!
//! `sh` blocks run; a block that must not has a mark with the reason (`page.rs`). One test a
//! document, so that one can be run alone.

mod page;
mod run;

use anyhow::{Result, ensure};
use std::{collections::BTreeSet, fs};

macro_rules! documents {
    ($($test:ident: $path:literal),+ $(,)?) => {
        const DOCUMENTS: &[&str] = &[$($path),+];
        $(
            #[tokio::test]
            async fn $test() -> Result<()> {
                run::run($path).await
            }
        )+
    };
}

documents! {
    readme: "README.md",
    contributing: "CONTRIBUTING.md",
    comparison: "docs/comparison.md",
    conclavectl: "docs/conclavectl.md",
    json: "docs/json.md",
    operations: "docs/operations.md",
    security: "docs/security.md",
    start_go: "docs/start/go.md",
    start_java: "docs/start/java.md",
    start_javascript: "docs/start/javascript.md",
    start_python: "docs/start/python.md",
    troubleshooting: "docs/troubleshooting.md",
    upgrade: "docs/upgrade.md",
}

/// All documents below a folder, by their paths in the repository.
fn below(folder: &str, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(run::repository().join(folder))? {
        let path = entry?.path();
        let name = path.strip_prefix(run::repository())?.display().to_string();
        if path.is_dir() {
            below(&name, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(name);
        }
    }
    Ok(())
}

#[test]
fn no_document_with_commands_is_forgotten() -> Result<()> {
    let mut found = BTreeSet::from(["README.md".to_owned(), "CONTRIBUTING.md".to_owned(), "CHANGELOG.md".to_owned()]);
    below("docs", &mut found)?;
    for name in &found {
        let page = page::Page::parse(&fs::read_to_string(run::repository().join(name))?);
        let page = page.map_err(|error| error.context(name.clone()))?;
        let runs = page.blocks.iter().any(|block| block.action == page::Action::Run);
        ensure!(!runs || DOCUMENTS.contains(&name.as_str()), "{name} has commands: add it to `documents!`");
    }
    for name in DOCUMENTS {
        ensure!(run::repository().join(name).is_file(), "{name} is not there");
    }
    Ok(())
}
