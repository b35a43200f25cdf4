//! One run's name, its entry in the register, and the guard that ends what the run began.
//!
//! The name holds the owner's process id and start time, so anybody can tell whether the owner
//! still lives. All that a run makes in the system carries the name: namespaces, control groups,
//! the directory of its volumes, and TRIALS_RUN in its processes' environment.
//!
//! 1. The guard waits on a pipe from the owner. The pipe ends when the run is closed and when the
//!    owner dies, however it dies.
//! 2. Runs whose owner is gone, and their guard too, are swept by the next [`Run::open`] and by
//!    `doctor`.
//! 3. The register entry goes last: what is not in the register is not in the system.

use super::tools::run;
use anyhow::{Context, Result, ensure};
use rustix::process::getuid;
use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

const GUARD: &str = include_str!("native/guard.sh");
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A run's name and its guard.
#[derive(Debug)]
pub(crate) struct Run {
    id: String,
    entry: PathBuf,
    scratch: PathBuf,
    guard: Option<Child>,
}

impl Run {
    /// A new run, after the remains of dead ones are removed. `base` is where its scratch directory
    /// goes.
    pub(crate) fn open(base: &Path, cgroups: Option<&Path>) -> Result<Self> {
        sweep()?;
        let pid = std::process::id();
        let start = start_time(pid).context("this process has no start time")?;
        let id = format!("ct{pid}t{start}x{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (entry, scratch) = (register().join(&id), base.join(&id));
        std::fs::create_dir_all(&entry).with_context(|| entry.display().to_string())?;
        std::fs::write(entry.join("scratch"), scratch.display().to_string())?;
        if let Some(cgroups) = cgroups {
            std::fs::write(entry.join("cgroups"), cgroups.display().to_string())?;
        }
        let guard =
            guard("wait", &id, &entry).stdin(Stdio::piped()).process_group(0).spawn().context("start the guard")?;
        let run = Self { id, entry, scratch, guard: Some(guard) };
        std::fs::create_dir_all(&run.scratch).with_context(|| run.scratch.display().to_string())?;
        Ok(run)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A directory of the run's own, removed with it.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Lets the guard remove everything, and waits for it. The owner has reaped its children.
    pub(crate) fn close(&mut self) -> Result<()> {
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        drop(guard.stdin.take());
        let output = guard.wait_with_output()?;
        ensure!(output.status.success(), "{}: {}", self.id, String::from_utf8_lossy(&output.stderr).trim());
        ensure!(!self.entry.exists(), "{} is still in the register", self.id);
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A caller that wants the outcome calls `close`.
        let _ = self.close();
    }
}

/// Removes what dead runs left behind; returns their names.
///
/// # Errors
/// Something could not be removed.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    let Ok(entries) = std::fs::read_dir(register()) else { return Ok(swept) };
    for entry in entries {
        let entry = entry?.path();
        let Some(id) = entry.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if parse(&id).is_none_or(|(pid, start)| start_time(pid) == Some(start)) {
            continue;
        }
        let output = guard("now", &id, &entry).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "sweep {id}: {}", String::from_utf8_lossy(&output.stderr).trim());
        swept.push(id);
    }
    Ok(swept)
}

/// What in the system still carries the name of this run, for tests of the teardown.
///
/// # Errors
/// The system cannot be looked at.
pub fn remains(id: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let marked = format!("grep -lzsxF 'TRIALS_RUN={id}' /proc/[0-9]*/environ || true");
    found.extend(run("sh", ["-c", &marked])?.lines().map(str::to_owned));
    let named = |text: &str| text.lines().filter(|line| line.contains(id)).map(str::to_owned).collect::<Vec<_>>();
    found.extend(named(&std::fs::read_to_string("/proc/mounts")?));
    found.extend(named(&run("sh", ["-c", "losetup -a 2>/dev/null || true"])?));
    for dir in
        [Path::new("/run/netns"), &register(), Path::new("/sys/fs/cgroup/cpu"), Path::new("/dev/shm/conclave-trials")]
    {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        found
            .extend(entries.flatten().map(|entry| entry.path().display().to_string()).filter(|path| path.contains(id)));
    }
    Ok(found)
}

fn guard(mode: &str, id: &str, entry: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "guard", mode, id]).arg(entry).current_dir("/");
    command.env_remove("TRIALS_RUN").stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn register() -> PathBuf {
    if getuid().is_root() {
        return "/run/conclave-trials".into();
    }
    own_dir().join("register")
}

/// Where users other than root keep what root keeps in the system's places.
pub(crate) fn own_dir() -> PathBuf {
    std::env::temp_dir().join(format!("conclave-trials-{}", getuid().as_raw()))
}

/// The owner's process and its start time, out of a run's name.
fn parse(id: &str) -> Option<(u32, u64)> {
    let (pid, rest) = id.strip_prefix("ct")?.split_once('t')?;
    let (start, _) = rest.split_once('x')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// When a process started, in the kernel's ticks: with the id it names a process for all time.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything but ends at the last
    // parenthesis.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
