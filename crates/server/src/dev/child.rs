//! The child processes of `conclave dev`.

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Without the settings of the environment whose names begin so: they are meant for others.
pub(super) fn forget_settings(command: &mut Command, prefixes: &[&str]) {
    let set = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(set)) {
        command.env_remove(name);
    }
}

/// `None` once it has ended.
pub(super) fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
}

pub(super) fn send(pid: Option<Pid>, signal: Signal) {
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}
