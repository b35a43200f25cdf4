//! Runs the blocks of a page as its reader would: in order, in one shell, with one cluster.
//!
//! 1. Nothing is built. `conclave` and `conclavectl` are the binaries under test.
//! 2. A page that has files of its own runs in an empty folder, any other at the top of the
//!    repository.
//! 3. A page that does not end in time, or a command of it that fails, fails the test and names its
//!    block.
//! 4. What a page started ends with it: its cluster is wiped and its processes are killed.
//! 5. `$CONCLAVE` is the folder of the repository, as the pages that need it say.

use crate::page::{Action, Page};
use anyhow::{Context as _, Result, bail, ensure};
use cluster_tests::{ports, process, wait::within};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;

/// A page of commands takes seconds; one with a program fetches packages first.
const BOUND: Duration = Duration::from_secs(180);
const BOUND_OF_A_PROGRAM: Duration = Duration::from_secs(900);
/// Lines of output that a failure shows.
const TAIL: usize = 60;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cluster-tests is a folder of the repository").to_owned()
}

/// Runs one page, named by its path in the repository.
pub(crate) async fn run(name: &str) -> Result<()> {
    let page = Page::parse(&fs::read_to_string(repository().join(name))?).context(name.to_owned())?;
    if let Some(missing) = page.needs.iter().find(|command| !installed(command)) {
        // Past the test runner's capture: it must be seen that this was not tested.
        writeln!(std::io::stderr(), "NOT RUN: {name}: `{missing}` is not installed")?;
        return Ok(());
    }
    if page.blocks.iter().any(|block| block.action == Action::Run) {
        let session = Session::new(name, &page)?;
        let ran = session.run(&page).await;
        let wiped = session.wipe().await;
        ran?;
        wiped?;
    }
    Ok(())
}

fn installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// The place where a page runs.
struct Session {
    name: String,
    dir: TempDir,
    folder: PathBuf,
    port: u16,
    bound: Duration,
}

impl Session {
    fn new(name: &str, page: &Page) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("conclave-blocks-").tempdir()?;
        let has_files = page.blocks.iter().any(|block| matches!(block.action, Action::Write(_)));
        let folder = if has_files { dir.path().join("work") } else { repository() };
        fs::create_dir_all(&folder)?;
        let bound = if has_files { BOUND_OF_A_PROGRAM } else { BOUND };
        Ok(Self { name: name.to_owned(), dir, folder, port: ports::of_a_script()?, bound })
    }

    async fn run(&self, page: &Page) -> Result<()> {
        for block in &page.blocks {
            if let Action::Write(file) = &block.action {
                let file = self.folder.join(file);
                fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
                fs::write(file, &block.text)?;
            }
        }
        let (output, reached) = (self.dir.path().join("output"), self.dir.path().join("reached"));
        let ended = self.bash(&self.script(page), &output, self.bound).await;
        let printed = fs::read_to_string(&output)?;
        if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
            let line = fs::read_to_string(&reached).unwrap_or_else(|_| "the cluster's start".to_owned());
            let lines: Vec<&str> = printed.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            bail!("{}, block at {}: {ended:?}; the output ends with\n{tail}", self.name, line.trim());
        }
        for block in page.blocks.iter().filter(|block| block.action == Action::Expect) {
            for line in block.text.lines() {
                ensure!(printed.contains(line), "{}:{}: `{line}` was not printed:\n{printed}", self.name, block.line);
            }
        }
        Ok(())
    }

    /// The page as one script. What a shell keeps between commands, it keeps between blocks.
    fn script(&self, page: &Page) -> String {
        let mut script = String::from("set -eo pipefail\n");
        if !page.own_cluster {
            let _ = writeln!(script, "cd '{}'", repository().display());
            let _ = writeln!(script, "scripts/cluster start 3\neval \"$(scripts/cluster env)\"");
        }
        let _ = writeln!(script, "cd '{}'", self.folder.display());
        for block in page.blocks.iter().filter(|block| block.action == Action::Run) {
            let _ = writeln!(script, "echo 'line {}' >'{}/reached'", block.line, self.dir.path().display());
            script += &block.text;
        }
        script
    }

    async fn wipe(&self) -> Result<()> {
        let output = self.dir.path().join("wipe");
        let script = format!("cd '{}'\nscripts/cluster wipe\n", repository().display());
        let status = self.bash(&script, &output, BOUND).await?;
        ensure!(status.success(), "the cluster was not wiped: {}", fs::read_to_string(&output)?);
        Ok(())
    }

    /// Runs a script to its end, and then kills what it left in the background.
    async fn bash(&self, script: &str, output: &Path, bound: Duration) -> Result<std::process::ExitStatus> {
        let file = self.dir.path().join("script");
        fs::write(&file, script)?;
        let output = fs::File::create(output)?;
        let mut command = Command::new("bash");
        command.arg(&file).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // The tests' own settings are not the page's.
        for (name, _) in std::env::vars() {
            if ["CONCLAVE", "ETCD"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env("CONCLAVE", repository())
            .env("CONCLAVE_BIN", fs::canonicalize(process::binary())?)
            .env("CONCLAVE_CLUSTER_DIR", self.dir.path().join("cluster"))
            .env("CONCLAVE_CLUSTER_PORT", self.port.to_string());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let ended = within("the script", bound, child.wait()).await;
        if let Some(group) = group {
            // There may be nobody left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(ended??)
    }
}
