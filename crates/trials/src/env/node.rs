//! A node: a process of the binary under test, its host, its disk and its log file, over all its
//! lives.
//!
//! 1. Whatever the number of faults that hold a node down or stopped, it goes on only when the last
//!    lets go.
//! 2. An end that nobody asked for is written down, with the faults' excuse if there is one.
//! 3. A process is reaped before the next one starts.

use super::{
    clock::now_ns,
    fault::Effect,
    host::{Site, is_stopped, signal, stop},
    native::Native,
    tools::{lock, wait_until},
    volume::{Before, Loss, Volume},
};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a node prints once it serves clients; etcd says the same.
const READY: &str = "ready to serve client";
/// Lines of the log in the account of an end.
const TAIL: usize = 20;

/// The nodes' processes, by node.
pub(crate) type Pids = Arc<Mutex<BTreeMap<usize, u32>>>;

/// What a node's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Running { pid: u32 },
    Stopped { pid: u32 },
    Down,
}

/// A node ended that nobody had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub node: usize,
    pub seen_ns: u64,
    pub how: String,
    /// A fault was there that may end a node, such as a failing disk.
    pub excused: bool,
    pub tail: String,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) site: Site,
    pub(crate) log: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) volume: Option<Volume>,
    pub(crate) binary: PathBuf,
    args: Mutex<Vec<String>>,
    pub(crate) run: String,
    pub(crate) native: Option<Native>,
    pids: Pids,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    child: Option<Child>,
    /// Faults that keep it down, or stopped.
    down: u32,
    stopped: u32,
    /// Faults that excuse an end; one that leaves damage behind is never taken back.
    excuses: u32,
    /// Its power is off.
    dark: Option<Before>,
    /// Where in the log the present life begins.
    mark: u64,
    exits: Vec<Exit>,
}

impl Node {
    #[allow(clippy::too_many_arguments, reason = "called once")]
    pub(crate) fn new(
        index: usize,
        site: Site,
        log: PathBuf,
        (data, volume): (PathBuf, Option<Volume>),
        (binary, args): (PathBuf, Vec<String>),
        run: &str,
        native: Option<Native>,
        pids: Pids,
    ) -> Self {
        let args = Mutex::new(args);
        Self { index, site, log, data, volume, binary, args, run: run.into(), native, pids, life: Mutex::default() }
    }

    pub(crate) fn state(&self) -> NodeState {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        match &life.child {
            None => NodeState::Down,
            Some(child) if is_stopped(child.id()) => NodeState::Stopped { pid: child.id() },
            Some(child) => NodeState::Running { pid: child.id() },
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        life.child.as_ref().map(Child::id)
    }

    pub(crate) fn exits(&self) -> Vec<Exit> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        life.exits.clone()
    }

    /// Starts it unless it runs or something keeps it down; returns the new process.
    pub(crate) fn start(&self) -> Result<Option<u32>> {
        let mut life = lock(&self.life);
        self.start_in(&mut life)
    }

    fn start_in(&self, life: &mut Life) -> Result<Option<u32>> {
        self.reap(life);
        if life.child.is_some() || life.down > 0 {
            return Ok(None);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        life.mark = log.metadata()?.len();
        let mut command = self.site.command(&self.run, self.native.as_ref(), &self.binary, &lock(&self.args));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {}", self.binary.display()))?;
        let pid = child.id();
        lock(&self.pids).insert(self.index, pid);
        life.child = Some(child);
        if life.stopped > 0 {
            // Another fault wants it stopped: so is its next life.
            life.child.as_ref().map(stop).transpose()?;
        }
        Ok(Some(pid))
    }

    /// SIGKILL; none if it was not running.
    pub(crate) fn kill(&self) -> Result<Option<u32>> {
        self.kill_in(&mut lock(&self.life))
    }

    /// The same to one certain process; whether it still ran.
    pub(crate) fn kill_process(&self, pid: u32) -> Result<bool> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        if life.child.as_ref().is_none_or(|child| child.id() != pid) {
            return Ok(false);
        }
        self.kill_in(&mut life).map(|killed| killed.is_some())
    }

    fn kill_in(&self, life: &mut Life) -> Result<Option<u32>> {
        self.reap(life);
        let Some(mut child) = life.child.take() else { return Ok(None) };
        child.kill()?;
        child.wait()?;
        Ok(Some(child.id()))
    }

    /// SIGTERM and wait; SIGKILL if that takes too long.
    pub(crate) fn terminate(&self, bound: Duration) -> Result<Option<(u32, ExitStatus)>> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        let Some(mut child) = life.child.take() else { return Ok(None) };
        signal(&child, Signal::TERM)?;
        let mut status = None;
        wait_until(bound, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if let Some(status) = status {
            return Ok(Some((child.id(), status)));
        }
        child.kill()?;
        Ok(Some((child.id(), child.wait()?)))
    }

    /// Kills it and keeps it down until [`Self::let_up`].
    pub(crate) fn hold_down(&self) -> Result<Option<u32>> {
        let mut life = lock(&self.life);
        life.down += 1;
        self.kill_in(&mut life)
    }

    /// Lets go; the last one starts it.
    pub(crate) fn let_up(&self) -> Result<Option<u32>> {
        let mut life = lock(&self.life);
        life.down = life.down.saturating_sub(1);
        self.start_in(&mut life)
    }

    /// Stops it (SIGSTOP) until [`Self::let_go`]; tells the process and whether it was seen
    /// stopped.
    pub(crate) fn hold_still(&self) -> Result<Option<(u32, bool)>> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        life.stopped += 1;
        life.child.as_ref().map(|child| Ok((child.id(), stop(child)?))).transpose()
    }

    /// Lets go; the last one continues it. Tells the process and whether it was still stopped.
    pub(crate) fn let_go(&self) -> Result<Option<(u32, bool)>> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        life.stopped = life.stopped.saturating_sub(1);
        let Some(child) = &life.child else { return Ok(None) };
        let was = is_stopped(child.id());
        if life.stopped == 0 {
            signal(child, Signal::CONT)?;
        }
        Ok(Some((child.id(), was)))
    }

    /// Cuts the power of its disk. The process sees nothing of it if it is ended, and EIO if it is
    /// left alive.
    pub(crate) fn cut(&self, alive: bool) -> Result<Option<u32>> {
        let (volume, native) = (self.disk()?, self.native.as_ref().context("there is no helper")?);
        let mut life = lock(&self.life);
        ensure!(life.dark.is_none(), "n{}'s power is off already", self.index + 1);
        self.reap(&mut life);
        let pid = life.child.as_ref().map(Child::id);
        if let Some(child) = &life.child {
            // It must not run between the cut and its end.
            stop(child)?;
        }
        life.dark = Some(volume.cut(native)?);
        if alive {
            if let (Some(child), 0) = (&life.child, life.stopped) {
                signal(child, Signal::CONT)?;
            }
        } else {
            life.down += 1;
            self.kill_in(&mut life)?;
        }
        Ok(pid)
    }

    /// Gives the power back and starts it, if nothing else keeps it down.
    pub(crate) fn recover(&self, was_alive: bool) -> Result<(Loss, Option<u32>)> {
        let mut life = lock(&self.life);
        let before = life.dark.take().context("the power is not off")?;
        self.kill_in(&mut life)?;
        let mut loss = self.disk()?.recover(&before)?;
        if !was_alive {
            loss.torn_bytes = Volume::tear(&before)?;
        }
        if !was_alive {
            life.down = life.down.saturating_sub(1);
        }
        Ok((loss, self.start_in(&mut life)?))
    }

    /// Empties the directory of a node that is down, for its next life with these arguments. False
    /// if it cannot be done now.
    pub(crate) fn renew(&self, args: Vec<String>) -> Result<bool> {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        if life.child.is_some() || life.dark.is_some() {
            return Ok(false);
        }
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data)?;
            // A power cut must not bring it back.
            if let Some(parent) = self.data.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        *lock(&self.args) = args;
        Ok(true)
    }

    pub(crate) fn is_dark(&self) -> bool {
        lock(&self.life).dark.is_some()
    }

    pub(crate) fn disk(&self) -> Result<&Volume> {
        self.volume.as_ref().context("the node has no volume of its own")
    }

    pub(crate) fn excuse(&self) {
        lock(&self.life).excuses += 1;
    }

    pub(crate) fn blame(&self) {
        let mut life = lock(&self.life);
        self.reap(&mut life);
        life.excuses = life.excuses.saturating_sub(1);
    }

    /// Whether its present life has said that it serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.life_log().is_ok_and(|text| text.contains(READY))
    }

    /// Waits until it says that it serves; false if it ended or took too long.
    pub(crate) fn ready(&self, bound: Duration) -> bool {
        wait_until(bound, || self.is_ready() || self.state() == NodeState::Down) && self.is_ready()
    }

    /// Waits until it is ready, or says why not.
    pub(crate) fn must_be_ready(&self, bound: Duration) -> Result<()> {
        if !self.ready(bound) {
            bail!("n{} was not ready within {bound:?}:\n{}", self.index + 1, self.tail());
        }
        Ok(())
    }

    /// What it logged since its present life began.
    pub(crate) fn life_log(&self) -> Result<String> {
        read_from(&self.log, lock(&self.life).mark)
    }

    /// How often a text stands in its log.
    pub(crate) fn count_in_log(&self, text: &str) -> u64 {
        read_from(&self.log, 0).map_or(0, |log| log.matches(text).count() as u64)
    }

    fn tail(&self) -> String {
        let text = read_from(&self.log, 0).unwrap_or_else(|error| format!("(no log: {error})"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    fn reap(&self, life: &mut Life) {
        let Some(Ok(Some(status))) = life.child.as_mut().map(Child::try_wait) else { return };
        life.child = None;
        let excused = life.excuses > 0 || life.dark.is_some();
        life.exits.push(Exit { node: self.index, seen_ns: now_ns(), how: how(status), excused, tail: self.tail() });
    }
}

/// An exit status in words.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

/// A node's name, as its flags, its log and effects have it.
pub(crate) fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// SIGKILL was seen to end this process.
pub(crate) fn killed(node: usize, pid: u32) -> Effect {
    Effect::Ended { who: name(node), pid, how: "signal 9".into() }
}

fn read_from(path: &Path, offset: u64) -> Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
