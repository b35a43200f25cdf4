//! Planted bugs are where they belong, and nowhere else.

use anyhow::{Context as _, Result, ensure};
use conclave_trials::{
    binary,
    mutants::{MUTANTS, VARIABLE, contains, traces},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn code(folder: &Path, text: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            code(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path)?;
        }
    }
    Ok(())
}

fn server_code() -> Result<String> {
    let mut text = String::new();
    for name in ["state", "storage", "server"] {
        code(&repository().join("crates").join(name).join("src"), &mut text)?;
    }
    Ok(text)
}

#[test]
fn the_server_under_test_contains_no_planted_bug() -> Result<()> {
    let path = binary::server();
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    ensure!(contains(&bytes, "ready to serve client"), "{} is not the server", path.display());
    let found: Vec<_> = traces().filter(|trace| contains(&bytes, trace)).collect();
    ensure!(found.is_empty(), "{} contains {found:?}", path.display());
    Ok(())
}

/// The control of the test above: names that a program has are found in it. This test's own program has them all, compiled in from the same
/// list as string constants, the form in which `mutant!` puts them into a server; and another program, the server's, has them not.
#[test]
fn names_that_are_compiled_in_are_found() -> Result<()> {
    let me = std::env::current_exe()?;
    let bytes = fs::read(&me).with_context(|| me.display().to_string())?;
    let missing: Vec<_> = traces().filter(|trace| !contains(&bytes, trace)).collect();
    ensure!(missing.is_empty(), "{} does not seem to contain {missing:?}", me.display());
    // Nothing is found that is not there. (The word is put together here, so that it is not compiled in.)
    let absent: String = VARIABLE.chars().rev().collect();
    ensure!(!contains(&bytes, &absent), "{absent} seems to be in {}", me.display());
    Ok(())
}

/// Every place in the code is one that only the feature compiles: `mutant!` is the constant `false` without it, and nothing else names a bug.
#[test]
fn without_the_feature_the_macro_is_a_constant() -> Result<()> {
    let text = fs::read_to_string(repository().join("crates/state/src/mutant.rs"))?;
    let without =
        text.split("#[cfg(not(feature = \"mutants\"))]").nth(1).context("the macro has no form without the feature")?;
    let body = without.split("#[cfg(feature").next().unwrap_or(without);
    ensure!(body.contains("=> {\n        false\n    };") || body.contains("=> { false }"), "it is no constant: {body}");
    Ok(())
}

#[test]
fn every_planted_bug_stands_in_the_code_and_every_one_in_the_code_is_looked_for() -> Result<()> {
    let text = server_code()?;
    let mut planted: Vec<&str> = text.split("mutant!(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    planted.sort_unstable();
    planted.dedup();
    let mut looked_for: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    looked_for.sort_unstable();
    assert_eq!(planted, looked_for);
    Ok(())
}

#[test]
fn a_release_cannot_be_built_with_planted_bugs() -> Result<()> {
    let guard = fs::read_to_string(repository().join("crates/state/src/mutant.rs"))?;
    let condition = "#[cfg(all(feature = \"mutants\", not(debug_assertions)))]\ncompile_error!(";
    ensure!(guard.contains(condition), "the feature compiles without debug assertions");
    let manifest = fs::read_to_string(repository().join("Cargo.toml"))?;
    let release = manifest.split("[profile.release]").nth(1).and_then(|rest| rest.split("\n[").next());
    let release = release.context("the workspace has no profile for releases")?;
    ensure!(!release.contains("debug-assertions"), "a release has debug assertions");
    Ok(())
}
