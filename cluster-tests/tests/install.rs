//! `scripts/install` puts what it promises where it promises, and says when the shell will not find it.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::process;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn install(prefix: &Path, from: &Path, path: &str) -> Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join("install");
    let mut command = Command::new(script);
    command.arg("--prefix").arg(prefix).arg("--from").arg(from).env("PATH", path);
    Ok(command.output()?)
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn programs_manual_pages_and_completions_are_installed() -> Result<()> {
    let binary = fs::canonicalize(process::binary())?;
    let from = binary.parent().context("a binary is in a folder")?;
    let dir = tempfile::tempdir()?;
    let prefix = dir.path().join("a prefix");
    let path = std::env::var("PATH")?;

    // Twice: what was installed before is replaced.
    for _ in 0..2 {
        let output = install(&prefix, from, &path)?;
        let said = shown(&output);
        ensure!(output.status.success(), "{said}");
        ensure!(said.contains("is not on your PATH") && said.contains("export PATH="), "{said}");
    }
    for file in [
        "share/man/man1/conclavectl.1",
        "share/man/man1/conclavectl-lock.1",
        "share/bash-completion/completions/conclavectl",
        "share/zsh/site-functions/_conclavectl",
        "share/fish/vendor_completions.d/conclavectl.fish",
    ] {
        ensure!(fs::metadata(prefix.join(file)).is_ok_and(|file| file.len() > 100), "{file} was not installed");
    }
    for program in ["conclave", "conclavectl"] {
        let output = Command::new(prefix.join("bin").join(program)).arg("--help").output()?;
        ensure!(output.status.success(), "{program}: {}", shown(&output));
    }

    let with_prefix = format!("{path}:{}", prefix.join("bin").display());
    let said = shown(&install(&prefix, from, &with_prefix)?);
    ensure!(!said.contains("is not on your PATH"), "{said}");
    Ok(())
}

#[test]
fn what_is_not_there_is_not_installed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = install(&dir.path().join("prefix"), dir.path(), &std::env::var("PATH")?)?;
    ensure!(!output.status.success() && shown(&output).contains("there is no program conclave"), "{}", shown(&output));
    ensure!(!dir.path().join("prefix").exists(), "something was installed");
    Ok(())
}
