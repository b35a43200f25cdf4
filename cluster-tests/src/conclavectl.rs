//! `conclavectl`, run as people run it. `etcdctl` can be run in the same way, to compare.
//!
//! The binary is `$CONCLAVECTL_BIN`, or `conclavectl` beside the server's binary.

use crate::{
    process,
    wait::{SOON, within},
};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

/// How long one command may take unless the test says otherwise.
const BOUND: Duration = Duration::from_secs(30);

/// A command line program for certain endpoints.
#[derive(Clone, Debug)]
pub struct Ctl {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ctl {
    /// `conclavectl` for these endpoints, in this order.
    #[must_use]
    pub fn new(endpoints: &[String]) -> Self {
        let beside = || process::binary().with_file_name("conclavectl");
        let program = std::env::var_os("CONCLAVECTL_BIN").map_or_else(beside, PathBuf::from);
        Self { program, environment: Vec::new() }.with("CONCLAVECTL_ENDPOINTS", endpoints.join(","))
    }

    /// `conclave-bench` for these endpoints: `$CONCLAVE_BENCH_BIN`, or the one beside the server's
    /// binary.
    #[must_use]
    pub fn bench(endpoints: &[String]) -> Self {
        let beside = || process::binary().with_file_name("conclave-bench");
        let program = std::env::var_os("CONCLAVE_BENCH_BIN").map_or_else(beside, PathBuf::from);
        Self { program, environment: Vec::new() }.with("CONCLAVECTL_ENDPOINTS", endpoints.join(","))
    }

    /// `etcdctl` for these endpoints.
    #[must_use]
    pub fn etcdctl(endpoints: &[String]) -> Self {
        let this = Self { program: "etcdctl".into(), environment: Vec::new() };
        this.with("ETCDCTL_ENDPOINTS", endpoints.join(",")).with("ETCDCTL_API", "3")
    }

    /// With an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run(&self, args: &[&str]) -> Result<Ended> {
        self.run_with(args, "", BOUND).await
    }

    /// Runs a command that reads `input`, for at most `bound`.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run_with(&self, args: &[&str], input: &str, bound: Duration) -> Result<Ended> {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| self.program.display().to_string())?;
        let mut stdin = child.stdin.take().context("stdin was piped")?;
        // A program that refuses its arguments does not read.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = within(&format!("{} {args:?}", self.program.display()), bound, child.wait_with_output()).await??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Runs a command that writes to `stdout`, which is not captured.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub async fn run_into(&self, args: &[&str], stdout: impl Into<Stdio>) -> Result<Ended> {
        let child = self.command(args).stdin(Stdio::null()).stdout(stdout).spawn()?;
        let output = within(&format!("{args:?}"), BOUND, child.wait_with_output()).await??;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended { code: output.status.code(), stdout: String::new(), stderr })
    }

    /// Runs a command that must succeed; returns what it printed, without the end of line.
    ///
    /// # Errors
    /// It fails.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        let ended = self.run(args).await?;
        ensure!(ended.code == Some(0), "{args:?} ended with {:?}: {}{}", ended.code, ended.stderr, ended.stdout);
        Ok(ended.stdout.trim_end().to_owned())
    }

    /// Runs a command that must succeed and print JSON.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub async fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let text = self.ok(&[args, &["-w", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} printed {text}"))
    }

    /// Starts a command that goes on until it is ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, args: &[&str]) -> Result<Running> {
        Running::new(self.command(args).stdin(Stdio::null()).spawn()?)
    }

    /// Starts a command that reads what it is [told](Running::tell).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_listening(&self, args: &[&str]) -> Result<Running> {
        Running::new(self.command(args).stdin(Stdio::piped()).spawn()?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // The tests' own settings are not the program's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE") || name.starts_with("ETCD")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A command that is running; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    messages: BufReader<ChildStderr>,
    /// What it has said so far on standard error.
    heard: String,
}

impl Running {
    fn new(mut child: Child) -> Result<Self> {
        let stdout = child.stdout.take().context("stdout was piped")?;
        let stderr = child.stderr.take().context("stderr was piped")?;
        let messages = BufReader::new(stderr);
        Ok(Self { lines: BufReader::new(stdout).lines(), messages, heard: String::new(), child })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It does not read, or has ended.
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("it was not started to listen")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// The next line it prints.
    ///
    /// # Errors
    /// It ended, or prints nothing for long.
    pub async fn line(&mut self) -> Result<String> {
        self.line_within(SOON).await
    }

    /// The next line it prints in this time.
    ///
    /// # Errors
    /// It ended, or prints nothing.
    pub async fn line_within(&mut self, bound: Duration) -> Result<String> {
        match within("a line", bound, self.lines.next_line()).await?? {
            Some(line) => Ok(line),
            None => bail!("it ended: {}", self.said().await?),
        }
    }

    /// Reads on to a line that has this text in it.
    ///
    /// # Errors
    /// It ended, or does not print it in this time.
    pub async fn line_with(&mut self, text: &str, bound: Duration) -> Result<String> {
        let mut seen = Vec::new();
        let reading = async {
            loop {
                let line = self.line_within(bound).await?;
                if line.contains(text) {
                    return Ok::<_, anyhow::Error>(line);
                }
                seen.push(line);
            }
        };
        let found = within(text, bound, reading).await;
        found.and_then(|line| line).with_context(|| format!("after {seen:#?}"))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id().context("it has ended already")?)?;
        Ok(kill_process(Pid::from_raw(id).context("a process id is not 0")?, signal)?)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not in this time.
    pub async fn ended(&mut self, bound: Duration) -> Result<ExitStatus> {
        Ok(within("the end", bound, self.child.wait()).await??)
    }

    /// What it says on standard error until its end.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn said(&mut self) -> Result<String> {
        let reading = self.messages.read_to_string(&mut self.heard);
        within("the end of its messages", SOON, reading).await??;
        Ok(std::mem::take(&mut self.heard))
    }

    /// Waits until it has said this on standard error.
    ///
    /// # Errors
    /// It ended, or does not say it in this time.
    pub async fn says(&mut self, text: &str, bound: Duration) -> Result<()> {
        let reading = async {
            loop {
                let start = self.heard.len();
                ensure!(self.messages.read_line(&mut self.heard).await? > 0, "it ended: {}", self.heard);
                if self.heard[start..].contains(text) {
                    return Ok(());
                }
            }
        };
        within(text, bound, reading).await?
    }
}
