//! What is seen of the members: `conclavectl status --watch` in a process of its own, on this
//! terminal.

use super::child::{forget_settings, pid, send};
use rustix::process::Signal;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct View(Child);

impl View {
    /// `title` stays above what it shows.
    ///
    /// # Errors
    /// The program cannot be run.
    pub(super) fn start(endpoints: &str, title: &str) -> io::Result<View> {
        let program = program();
        let mut command = Command::new(&program);
        // Behind this word conclavectl becomes another program that the kernel ends together with
        // this one: here, itself.
        command.arg("__run").arg(std::process::id().to_string()).arg(program);
        command.args(["--endpoints", endpoints, "status", "--watch", "--title", title]);
        forget_settings(&mut command, &["CONCLAVECTL_", "ETCDCTL_"]);
        command.stdin(Stdio::null()).kill_on_drop(true).spawn().map(View)
    }

    pub(super) async fn end(mut self) {
        // Ctrl-C at the terminal may have ended it before.
        send(pid(&self.0), Signal::TERM);
        // It is killed when it is dropped.
        let _ = timeout(GRACE, self.0.wait()).await;
    }
}

/// Beside this program, as packages place it; or on the PATH.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("conclavectl"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("conclavectl"))
}
