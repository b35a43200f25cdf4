//! A member of `conclave dev`: a process of this program, over all its lives.

use super::child::{forget_settings, pid, send};
use super::{News, ports};
use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The word behind which a member's process is started: then the process that it ends with, then
/// its flags.
pub const WORD: &str = "dev-member";

/// From the request to end until a member is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Lines of a log that an error shows.
const TAIL: usize = 5;

pub(super) struct Member {
    pub(super) name: String,
    pub(super) client_url: String,
    peer_url: String,
    /// That of all members.
    initial_cluster: String,
    dir: PathBuf,
    running: Option<Running>,
}

/// One life.
struct Running {
    pid: Option<Pid>,
    waiting: JoinHandle<()>,
}

impl Member {
    /// The members of a cluster; nothing is started.
    pub(super) fn plan(dir: &Path, count: usize, port: Option<u16>) -> anyhow::Result<Vec<Member>> {
        let ports = ports::free(2 * count, port)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = ports.split_at(count);
        let name = |i: usize| format!("node{}", i + 1);
        let initial_cluster: Vec<String> =
            peers.iter().enumerate().map(|(i, port)| format!("{}={}", name(i), url(port))).collect();
        let plan = clients.iter().zip(peers).enumerate().map(|(i, (client, peer))| Member {
            name: name(i),
            client_url: url(client),
            peer_url: url(peer),
            initial_cluster: initial_cluster.join(","),
            dir: dir.join(name(i)),
            running: None,
        });
        Ok(plan.collect())
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Starts its process, and sends what happens to it.
    pub(super) fn start(&mut self, number: usize, news: UnboundedSender<News>) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut child = self.command()?.stderr(log).spawn().with_context(|| format!("start {}", self.name))?;
        let pid = pid(&child);
        let waiting = tokio::spawn(async move {
            if is_ready(&mut child).await {
                // Nobody listens any more if all of it ends.
                let _ = news.send(News::Ready(number));
            }
            let _ = news.send(News::Ended(number, how(child.wait().await)));
        });
        self.running = Some(Running { pid, waiting });
        Ok(())
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("where this program is")?);
        command.arg(WORD).arg(std::process::id().to_string());
        command.arg(format!("--data-dir={}", self.dir.join("data").display()));
        let flags = [
            ("--name", &self.name),
            ("--listen-client-urls", &self.client_url),
            ("--listen-peer-urls", &self.peer_url),
            ("--initial-cluster", &self.initial_cluster),
        ];
        command.args(flags.map(|(flag, value)| format!("{flag}={value}")));
        forget_settings(&mut command, &["CONCLAVE_", "ETCD_"]);
        // A process group of its own: the terminal's Ctrl-C is for the one who ends them all in
        // order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        Ok(command)
    }

    pub(super) fn ask_to_end(&self) {
        // One that has been stopped could not hear it otherwise.
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Returns once its process has ended.
    pub(super) async fn ended(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        if timeout(GRACE, &mut running.waiting).await.is_err() {
            send(running.pid, Signal::KILL);
            // It ended, or the kernel cannot end it.
            let _ = timeout(GRACE, running.waiting).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = self.running.as_ref().filter(|running| !running.waiting.is_finished()) {
            send(running.pid, signal);
        }
    }
}

/// Whether it says that it serves, which it does in one line; otherwise it has ended.
async fn is_ready(child: &mut Child) -> bool {
    let Some(output) = child.stdout.take() else { return false };
    let mut line = String::new();
    matches!(BufReader::new(output).read_line(&mut line).await, Ok(1..))
}

fn how(ended: io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// In a member's process: takes what is before the member's own flags, and makes sure that it ends
/// with the process that started it.
///
/// # Errors
/// It has ended already, or this was not started by it.
pub fn bound(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Vec<OsString>> {
    let parent = arguments.next().and_then(|word| word.to_str()?.parse::<i32>().ok()).and_then(Pid::from_raw);
    let parent = parent.ok_or_else(|| io::Error::other(format!("`conclave {WORD}` is for conclave dev only")))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the kernel was told.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("conclave dev, which started this member, has ended"));
    }
    Ok(std::iter::once(OsString::from("conclave")).chain(arguments).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_whose_parent_is_another_does_not_start() {
        let own = std::process::id().to_string();
        for words in [vec![], vec!["x"], vec!["0"], vec![own.as_str(), "--name=a"]] {
            assert!(bound(words.into_iter().map(OsString::from)).is_err());
        }
    }

    #[test]
    fn all_members_agree_on_the_cluster() {
        let members = Member::plan(Path::new("/nowhere"), 3, Some(0)).expect("ports");
        for member in &members {
            assert_eq!(member.initial_cluster, members[0].initial_cluster);
            assert!(member.initial_cluster.contains(&format!("{}={}", member.name, member.peer_url)));
        }
    }
}
