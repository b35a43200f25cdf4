//! A site: what a host consists of, where processes of the run live. It has a network namespace and
//! a page of the shim, as far as the machine allows.

use super::{cgroup::Group, native::Native, shim::Page, tools::wait_until};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

/// How soon the kernel must show that a process stopped.
const STOPS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) netns: Option<PathBuf>,
    pub(crate) page: Option<Page>,
    pub(crate) group: Option<Group>,
}

impl Site {
    /// A command that becomes the program, in this host; it runs in a session of its own.
    pub(crate) fn command(&self, run: &str, native: Option<&Native>, program: &Path, args: &[String]) -> Command {
        let mut command = match native {
            Some(native) => {
                let none = || OsString::from("-");
                let path = |path: Option<&Path>| path.map_or_else(none, |path| path.as_os_str().to_owned());
                let mut command = Command::new(&native.helper);
                command.arg("run").arg(path(self.netns.as_deref()));
                command.arg(self.group.as_ref().map_or_else(none, |group| group.procs().into()));
                command.arg(path(self.page.as_ref().map(|_| native.shim.as_path())));
                command.arg(path(self.page.as_ref().map(Page::path))).arg(program);
                command
            }
            None => {
                let mut command = Command::new(program);
                command.process_group(0);
                command
            }
        };
        // The harness's own settings are not the program's.
        let own = |name: &str| name.starts_with("CONCLAVE_") || name.starts_with("ETCD");
        for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
            command.env_remove(name);
        }
        command.args(args).env("TRIALS_RUN", run).current_dir("/");
        command
    }
}

/// The state letter in /proc, or none for a process that is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether the process is stopped (by a signal, or by one while it is traced).
pub(crate) fn is_stopped(pid: u32) -> bool {
    matches!(state(pid), Some('T' | 't'))
}

/// SIGSTOP, and wait until the process is seen stopped.
pub(crate) fn stop(child: &Child) -> Result<bool> {
    signal(child, Signal::STOP)?;
    Ok(wait_until(STOPS, || is_stopped(child.id()) || state(child.id()).is_none_or(|state| state == 'Z'))
        && is_stopped(child.id()))
}

pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(child), signal).with_context(|| format!("signal {}", child.id()))
}
