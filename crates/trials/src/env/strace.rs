//! Sync faults for programs that make system calls by themselves, such as etcd: strace attached to
//! the running process.

use super::tools::{lock, wait_until};
use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

/// What strace does to each sync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tamper {
    Delay { micros: u64 },
    Fail,
    Lie,
}

/// An attached strace; detaches when dropped, which lets the process go on.
#[derive(Debug)]
pub(crate) struct Strace {
    child: Mutex<Option<Child>>,
    trace: PathBuf,
}

impl Strace {
    pub(crate) fn attach(run: &str, pid: u32, tamper: Tamper, trace: PathBuf) -> Result<Self> {
        let what = match tamper {
            Tamper::Delay { micros } => format!("delay_enter={micros}"),
            Tamper::Fail => "error=EIO".into(),
            Tamper::Lie => "retval=0".into(),
        };
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fsync,fdatasync", "-e", &format!("inject=fsync,fdatasync:{what}")]);
        command.arg("-o").arg(&trace).args(["-p", &pid.to_string()]).env("TRIALS_RUN", run);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let strace = Self { child: Mutex::new(Some(child)), trace };
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
        };
        ensure!(wait_until(Duration::from_secs(5), traced), "strace did not attach to {pid}");
        Ok(strace)
    }

    /// Detaches; returns how many syncs were tampered with.
    pub(crate) fn detach(&self) -> Result<u64> {
        if let Some(mut child) = lock(&self.child).take() {
            // It has ended by itself if the process has.
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            child.wait()?;
        }
        let trace = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let count = trace.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count();
        Ok(count as u64)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // The figure is of no use any more.
        let _ = self.detach();
    }
}
