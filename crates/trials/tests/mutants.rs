//! Planted bugs are patches that apply to the source of today, and the source has none of them.

use anyhow::{Context as _, Result, ensure};
use conclave_trials::{
    binary,
    mutants::{FOLDER, MUTANTS, Patch, build::own_source},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The crates that the server consists of, with all others but the harness.
fn product() -> Result<Vec<PathBuf>> {
    let crates = fs::read_dir(own_source().join("crates"))?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(crates.iter().map(fs::DirEntry::path).filter(|path| !path.ends_with("trials")).collect())
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

/// A patch that applies is one that is not in the source already.
#[test]
fn every_planted_bug_applies_and_every_patch_is_run() -> Result<()> {
    let mut wanting = Vec::new();
    for mutant in &MUTANTS {
        match mutant.patched(&own_source()) {
            Ok(files) => ensure!(!files.is_empty(), "{} changes nothing", mutant.name),
            Err(error) => wanting.push(format!("{error:#}")),
        }
    }
    ensure!(wanting.is_empty(), "{}", wanting.join("\n"));
    let mut patches = Vec::new();
    files(&own_source().join(FOLDER), &mut patches)?;
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut patches: Vec<_> = patches.iter().filter_map(stem).collect();
    patches.sort_unstable();
    let mut run: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    run.sort_unstable();
    assert_eq!(patches, run);
    Ok(())
}

/// What a patch changes is compiled into the server: code of the product, and not of its tests.
#[test]
fn planted_bugs_are_in_the_product() -> Result<()> {
    for mutant in &MUTANTS {
        for path in mutant.patched(&own_source())?.keys() {
            let path = path.to_string_lossy();
            let there = path.starts_with("crates/") && path.contains("/src/") && !path.contains("tests");
            ensure!(there && !path.starts_with(FOLDER), "{} changes {path}", mutant.name);
        }
    }
    Ok(())
}

/// The control of the tests above: a patch does not apply a second time, or where its place has
/// changed.
#[test]
fn a_patch_that_does_not_fit_is_refused() -> Result<()> {
    for mutant in &MUTANTS {
        let source = tempfile::tempdir()?;
        let patch = Path::new(FOLDER).join(mutant.name).with_extension("patch");
        let text = fs::read_to_string(own_source().join(&patch))?;
        for (path, planted) in mutant.patched(&own_source())? {
            let target = source.path().join(&path);
            fs::create_dir_all(target.parent().context("a file is in a folder")?)?;
            fs::write(&target, planted)?;
        }
        ensure!(Patch::parse(&text)?.applied_to(source.path()).is_err(), "{} applies twice", mutant.name);
    }
    Ok(())
}

#[test]
fn the_product_knows_nothing_of_planted_bugs() -> Result<()> {
    let mut all = Vec::new();
    for folder in product()? {
        files(&folder, &mut all)?;
    }
    ensure!(all.len() > 300, "only {} files: is the product elsewhere?", all.len());
    for path in
        all.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs" || extension == "toml"))
    {
        let text = fs::read_to_string(path)?;
        ensure!(!text.contains("mutant"), "{} speaks of planted bugs", path.display());
    }
    Ok(())
}

#[test]
fn the_server_under_test_contains_no_planted_bug() -> Result<()> {
    let path = binary::server();
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    ensure!(contains("ready to serve client"), "{} is not the server", path.display());
    // Builds of before the patches had all of them, chosen by this variable.
    ensure!(!contains("CONCLAVE_MUTANT"), "{} has planted bugs", path.display());
    let name = path.file_name().context("a program has a name")?.to_string_lossy();
    ensure!(conclave_trials::mutants::planted_in(&path).is_none(), "{name} has a planted bug");
    Ok(())
}

#[test]
fn a_release_cannot_be_built_with_planted_bugs() -> Result<()> {
    for folder in product()? {
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        ensure!(!manifest.contains("conclave-trials"), "{} depends on the harness", folder.display());
    }
    // What exists for tests alone (crash points) is not compiled without debug assertions.
    let manifest = fs::read_to_string(own_source().join("Cargo.toml"))?;
    let release = manifest.split("[profile.release]").nth(1).and_then(|rest| rest.split("\n[").next());
    let release = release.context("the workspace has no profile for releases")?;
    ensure!(!release.contains("debug-assertions"), "a release has debug assertions");
    Ok(())
}
