//! Small things that all of the environment uses: commands run to their end, locks that outlive a
//! panic.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// Runs a command to its end; returns what it wrote on stdout.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command of this name can be found.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps `ip` and `mkfs.ext4`, which is not in everybody's path.
    let more = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
}

/// The lock, whatever happened to its last holder: a run is torn down after a panic as well.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks until the answer is yes; false if `bound` passed first.
pub(crate) fn wait_until(bound: Duration, ask: impl FnMut() -> bool) -> bool {
    ask_every(Duration::from_millis(5), bound, ask)
}

/// As [`wait_until`], for questions that cost something.
pub(crate) fn ask_every(step: Duration, bound: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + bound;
    loop {
        if ask() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(step);
    }
}

/// `part` of 100, as a probability.
pub(crate) fn chance(percent: f64) -> f64 {
    (percent / 100.0).clamp(0.0, 1.0)
}
