//! Client processes: programs that the harness runs in a client's host, with pipes to talk through.

use super::{
    host::{is_stopped, signal, stop},
    tools::{lock, wait_until},
};
use anyhow::Result;
use rustix::process::Signal;
use std::{
    process::{Child, ChildStdin, ChildStdout, ExitStatus},
    sync::{Arc, Mutex},
    time::Duration,
};

/// A process in a client's host. The environment keeps it too, so that faults find it; dropping
/// this one kills it.
#[derive(Debug)]
pub struct ClientProcess {
    pub(crate) process: Arc<Guest>,
}

/// What the environment knows of a client process.
#[derive(Debug)]
pub(crate) struct Guest {
    pid: u32,
    child: Mutex<Child>,
}

impl Guest {
    pub(crate) fn new(child: Child) -> Self {
        Self { pid: child.id(), child: Mutex::new(child) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// True if the process ran and was seen to stop.
    pub(crate) fn stop(&self) -> Result<bool> {
        let mut child = lock(&self.child);
        if !matches!(child.try_wait(), Ok(None)) {
            return Ok(false);
        }
        stop(&child)
    }

    /// True if the process was stopped until now.
    pub(crate) fn go_on(&self) -> Result<bool> {
        let mut child = lock(&self.child);
        if !matches!(child.try_wait(), Ok(None)) {
            return Ok(false);
        }
        let was = is_stopped(self.pid);
        signal(&child, Signal::CONT)?;
        Ok(was)
    }

    /// True if the process ran.
    pub(crate) fn kill(&self) -> Result<bool> {
        let mut child = lock(&self.child);
        let ran = matches!(child.try_wait(), Ok(None));
        child.kill()?;
        child.wait()?;
        Ok(ran)
    }
}

impl ClientProcess {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// The pipe to its stdin; none the second time.
    #[must_use]
    pub fn stdin(&self) -> Option<ChildStdin> {
        lock(&self.process.child).stdin.take()
    }

    /// The pipe from its stdout; none the second time.
    #[must_use]
    pub fn stdout(&self) -> Option<ChildStdout> {
        lock(&self.process.child).stdout.take()
    }

    #[must_use]
    pub fn running(&self) -> bool {
        self.process.running()
    }

    /// SIGKILL, and reap it.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Its status, once it has ended; none if that takes too long.
    #[must_use]
    pub fn wait(&self, bound: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(bound, || {
            status = lock(&self.process.child).try_wait().ok().flatten();
            status.is_some()
        });
        status
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        // One that is gone already is as good as killed.
        let _ = self.process.kill();
    }
}
