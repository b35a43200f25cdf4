//! Debian's `etcdctl` 3.4 (package `etcd-client`), run as people run it.

use crate::wait::{SOON, within};
use anyhow::{Context, Result, bail, ensure};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

/// How long one command may take unless the test says otherwise.
const BOUND: Duration = Duration::from_secs(30);

/// `etcdctl` for certain endpoints.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    endpoints: String,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Etcdctl {
    /// For these endpoints, in this order.
    #[must_use]
    pub fn new(endpoints: &[String]) -> Self {
        Self { endpoints: endpoints.join(",") }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_with(args, "", BOUND).await
    }

    /// Runs a command that reads `input`, for at most `bound`.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run_with(&self, args: &[&str], input: &str, bound: Duration) -> Result<Output> {
        let mut child = self.command(args).spawn().context("etcdctl is missing: install the package etcd-client")?;
        let mut stdin = child.stdin.take().context("stdin was piped")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = within(&format!("etcdctl {args:?}"), bound, child.wait_with_output()).await??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Runs a command that must succeed; returns what it printed, without the end of line.
    ///
    /// # Errors
    /// It fails.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        self.ok_with(args, "").await
    }

    /// Runs a command that reads `input` and must succeed.
    ///
    /// # Errors
    /// It fails.
    pub async fn ok_with(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.run_with(args, input, BOUND).await?;
        ensure!(output.success, "etcdctl {args:?} failed: {} {}", output.stderr, output.stdout);
        Ok(output.stdout.trim_end().to_owned())
    }

    /// Runs a command that must succeed and print JSON.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub async fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let mut all = args.to_vec();
        all.extend(["-w", "json"]);
        let text = self.ok(&all).await?;
        serde_json::from_str(&text).with_context(|| format!("etcdctl {args:?} printed {text}"))
    }

    /// Runs a command that must fail; returns what it said.
    ///
    /// # Errors
    /// It succeeds.
    pub async fn fails(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        ensure!(!output.success, "etcdctl {args:?} succeeded: {}", output.stdout);
        Ok(output.stderr + &output.stdout)
    }

    /// Starts a command that goes on until it is ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, args: &[&str]) -> Result<Session> {
        let mut child = self.command(args).spawn().context("etcdctl is missing: install the package etcd-client")?;
        let stdout = child.stdout.take().context("stdout was piped")?;
        Ok(Session {
            lines: BufReader::new(stdout).lines(),
            stderr: child.stderr.take().context("stderr was piped")?,
            _stdin: child.stdin.take().context("stdin was piped")?,
            child,
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&self.endpoints).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// A command that is running; ended when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: ChildStderr,
    /// Kept open: some commands end with their input.
    _stdin: ChildStdin,
}

impl Session {
    /// The next line it prints.
    ///
    /// # Errors
    /// It ended, or prints nothing for long.
    pub async fn line(&mut self) -> Result<String> {
        match within("a line of etcdctl", SOON, self.lines.next_line()).await?? {
            Some(line) => Ok(line),
            None => {
                let mut said = String::new();
                self.stderr.read_to_string(&mut said).await?;
                bail!("etcdctl ended: {said}")
            }
        }
    }

    /// Makes sure that it prints nothing for a while.
    ///
    /// # Errors
    /// It prints something, or ends.
    pub async fn silent_for(&mut self, time: Duration) -> Result<()> {
        match within("a line", time, self.lines.next_line()).await {
            Err(_) => Ok(()),
            Ok(line) => bail!("etcdctl said {:?}", line?),
        }
    }

    /// Ends it as Ctrl-C does, and waits until it has cleaned up.
    ///
    /// # Errors
    /// It does not end.
    pub async fn interrupt(mut self) -> Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        let id = i32::try_from(self.child.id().context("etcdctl has ended already")?)?;
        kill_process(Pid::from_raw(id).context("a process id is not 0")?, Signal::INT)?;
        within("the end of etcdctl", SOON, self.child.wait()).await??;
        Ok(())
    }
}
