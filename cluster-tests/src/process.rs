//! One node: a child process, its arguments and its log file.
//!
//! 1. What the node writes on stdout and stderr is appended to one log file, over all its lives.
//! 2. A killed or ended process is always reaped before the next one starts, so its ports and its
//!    data directory are free.

pub use conclave_trials::binary::server as binary;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What a node prints once it serves clients; etcd says the same.
const READY: &str = "ready to serve client";
const STEP: Duration = Duration::from_millis(5);

/// A node's process, running or not.
#[derive(Debug)]
pub struct Process {
    binary: PathBuf,
    args: Vec<String>,
    /// The next start's environment, beside what the test itself has.
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    /// Where in the log the present life begins.
    mark: u64,
}

impl Process {
    /// A process that is not running yet.
    #[must_use]
    pub fn new(args: Vec<String>, log: PathBuf) -> Self {
        Self { binary: binary(), args, variables: Vec::new(), log, child: None, mark: 0 }
    }

    /// Another server than that under test, from the next start on.
    pub fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Sets a variable in the environment of every start from now on; none takes it away.
    pub fn set_variable(&mut self, variable: Option<(&str, &str)>) {
        self.set_variables(variable.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Sets the environment of every start from now on.
    pub fn set_variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        self.variables = variables.into_iter().collect();
    }

    /// The environment of the next start.
    #[must_use]
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Changes the arguments of the next start.
    pub fn set_args(&mut self, args: Vec<String>) {
        self.args = args;
    }

    /// The arguments of the next start.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Starts the process; it is not ready yet.
    ///
    /// # Errors
    /// It is running already, or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the node is running already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.mark = log.metadata()?.len();
        let mut command = Command::new(&self.binary);
        command.args(&self.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // The tests' own settings are not the node's.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CONCLAVE_") || name.starts_with("ETCD"))
        {
            command.env_remove(name);
        }
        command.envs(self.variables.clone());
        self.child = Some(command.spawn().with_context(|| format!("start {}", self.binary.display()))?);
        Ok(())
    }

    /// Waits until the node says that it serves clients.
    ///
    /// # Errors
    /// It ended, or `bound` passed.
    pub async fn ready(&mut self, bound: Duration) -> Result<()> {
        let end = Instant::now() + bound;
        loop {
            if self.life()?.contains(READY) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("the node ended before it was ready ({status}):\n{}", self.tail(20));
            }
            ensure!(Instant::now() < end, "the node was not ready within {bound:?}:\n{}", self.tail(20));
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// It has not ended when `bound` has passed.
    pub async fn exit(&mut self, bound: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + bound;
        loop {
            if let Some(status) = self.ended()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < end, "the node had not ended after {bound:?}:\n{}", self.tail(20));
            tokio::time::sleep(STEP).await;
        }
    }

    /// SIGKILL, and wait until it is gone. No effect on a node that is not running.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the process to end (SIGTERM) and waits for it; returns its status and how long it took.
    ///
    /// # Errors
    /// It has not ended when `bound` has passed.
    pub async fn terminate(&mut self, bound: Duration) -> Result<(ExitStatus, Duration)> {
        let asked = Instant::now();
        self.signal(Signal::TERM)?;
        Ok((self.exit(bound).await?, asked.elapsed()))
    }

    /// The process's id.
    ///
    /// # Errors
    /// It is not running.
    pub fn id(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the node is not running")?.id())
    }

    /// Stops the process where it stands (SIGSTOP).
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a stopped process go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether the process runs (or is stopped).
    ///
    /// # Errors
    /// The operating system did not say.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.ended()?.is_none())
    }

    /// What the node has written since it was last started.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn life(&self) -> Result<String> {
        read_from(&self.log, self.mark)
    }

    /// The last lines of the log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = read_from(&self.log, 0).unwrap_or_else(|error| format!("(no log: {error})"));
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the node is not running")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), |child| Ok(child.try_wait()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing better can be done than to try.
        let _ = self.kill();
    }
}

fn read_from(path: &Path, offset: u64) -> Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
