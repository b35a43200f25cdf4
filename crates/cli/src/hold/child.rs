//! The child process: started so that it cannot outlive this one, and stopped with everything it
//! started.
//!
//! 1. Between this process and the command stands, for a moment, conclavectl itself ([`shim`]): it
//!    asks the kernel to be killed when its parent dies, then becomes the command.
//! 2. Without a terminal on standard input the command has a process group of its own, and signals
//!    go to all of it. With one it stays in the terminal's group, so that it can read and Ctrl-C
//!    reaches it; signals go to the command alone.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal,
};
use std::{
    ffi::{OsStr, OsString},
    io::IsTerminal,
    os::unix::process::CommandExt as _,
    process::ExitStatus,
};
use tokio::process;

/// The first argument of the shim; no command has this name.
const SHIM: &str = "__run";

/// A command that runs.
#[derive(Debug)]
pub(super) struct Child {
    child: process::Child,
    pid: Option<Pid>,
    own_group: bool,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// This program cannot be started again.
    pub(super) fn start(command: &[OsString], environment: &[(String, OsString)]) -> Result<Self> {
        let own_group = !std::io::stdin().is_terminal();
        // The file that this process runs, also if it was replaced meanwhile.
        let own = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut shim = process::Command::new(own);
        // Where nobody waits for its end any more, it must not go on under what is then given back.
        shim.kill_on_drop(true);
        shim.arg(SHIM).arg(getpid().as_raw_nonzero().to_string()).args(command);
        shim.envs(environment.iter().map(|(name, value)| (name, value)));
        if own_group {
            shim.process_group(0);
        }
        let child = shim
            .spawn()
            .map_err(|error| Failure::new(Exit::CommandFailed, format!("cannot start a process: {error}")))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, pid, own_group })
    }

    /// How it ended; can be dropped and asked for again.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// A signal that this process got. The real-time ones, which have no names, become SIGTERM.
    pub(super) fn pass_on(&self, signal: i32) {
        let signal = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
        // Ctrl-C and Ctrl-\ go to the whole group of the terminal already.
        if self.own_group || ![Signal::INT, Signal::QUIT].contains(&signal) {
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        // It may be gone already; then there is nobody to tell.
        let _ = if self.own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

/// If this process was started as the shim: becomes the command. Returns only if it was not.
pub(crate) fn shim(mut args: impl Iterator<Item = OsString>) -> Option<Exit> {
    args.next();
    if args.next().as_deref() != Some(OsStr::new(SHIM)) {
        return None;
    }
    let parent = args.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    let command = args.next()?;
    #[cfg(target_os = "linux")]
    {
        let asked = set_parent_process_death_signal(Some(Signal::KILL));
        // The parent may have died before it was asked for.
        if asked.is_err() || getppid().map(|pid| pid.as_raw_nonzero().get()) != parent {
            return Some(Exit::CommandFailed);
        }
    }
    let error = std::process::Command::new(&command).args(args).exec();
    output::complain(&format!("Error: cannot run {}: {error}\n", command.display()));
    Some(if error.kind() == std::io::ErrorKind::NotFound { Exit::CommandMissing } else { Exit::CommandUnusable })
}
