//! The scripts that users run: `scripts/install` puts what it promises where it promises, and
//! `scripts/cluster` says the truth.

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{ports, process};
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts").join(name)
}

fn install(prefix: &Path, from: &Path, path: &str) -> Result<Output> {
    let mut command = Command::new(script("install"));
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
        "share/man/man1/conclave.1",
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

/// A cluster of `scripts/cluster`, wiped when it is dropped.
struct Tried {
    dir: tempfile::TempDir,
    port: u16,
}

impl Tried {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()?, port: ports::of_a_script()? })
    }

    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(script("cluster"));
        command
            .args(args)
            .env("CONCLAVE_BIN", fs::canonicalize(process::binary())?)
            .env("CONCLAVE_CLUSTER_DIR", self.dir.path().join("cluster"))
            .env("CONCLAVE_CLUSTER_PORT", self.port.to_string());
        Ok(command)
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args)?.output()?;
        ensure!(output.status.success(), "scripts/cluster {args:?}: {}", shown(&output));
        Ok(shown(&output))
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let _ = self.run(&["wipe"]);
    }
}

#[test]
fn a_member_that_runs_again_serves_when_the_script_says_so() -> Result<()> {
    let cluster = Tried::new()?;
    cluster.run(&["start", "1"])?;
    for _ in 0..3 {
        cluster.run(&["kill", "1"])?;
        cluster.run(&["run", "1"])?;
        // The ready line of the life before must not count.
        TcpStream::connect(("127.0.0.1", cluster.port + 1)).context("node1 is said to be ready")?;
    }
    Ok(())
}

#[test]
fn the_lines_for_a_shell_put_the_programs_on_the_path_once() -> Result<()> {
    let cluster = Tried::new()?;
    cluster.run(&["start", "1"])?;
    let lines = cluster.run(&["env"])?;
    let endpoint = format!("ETCDCTL_ENDPOINTS=http://127.0.0.1:{}", cluster.port + 1);
    ensure!(lines.contains(&endpoint), "{lines}");

    let bash = "eval \"$1\"; command -v conclave; command -v conclavectl; echo \"path $PATH\"";
    let found = shown(&Command::new("bash").args(["-c", bash, "bash", &lines]).output()?);
    let folder = fs::canonicalize(process::binary())?.parent().context("a binary is in a folder")?.to_owned();
    for program in ["conclave", "conclavectl"] {
        ensure!(found.lines().any(|line| Path::new(line) == folder.join(program)), "{program}: {found}");
    }
    let path = found.lines().find_map(|line| line.strip_prefix("path ")).context("the path is shown")?;
    let again = cluster.command(&["env"])?.env("PATH", path).output()?;
    ensure!(!shown(&again).contains("PATH="), "{}", shown(&again));
    Ok(())
}

#[test]
fn a_disaster_is_survived() -> Result<()> {
    let output = Command::new(script("drill"))
        .arg("500")
        .env("CONCLAVE_BIN", fs::canonicalize(process::binary())?)
        .env("CONCLAVE_CLUSTER_PORT", ports::of_a_script()?.to_string())
        .output()?;
    ensure!(output.status.success() && shown(&output).contains("all 500 keys are back"), "{}", shown(&output));
    Ok(())
}
