//! What users of a package meet first: `conclave dev`, `conclavectl demo`, and a service that
//! systemd watches.
//!
//! The packages themselves are installed, run and removed by `scripts/test-packages`
//! (docs/testing.md).

use anyhow::{Context as _, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::Ctl,
    process,
    wait::{LONG, eventually, within},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// `conclave dev` and what it prints.
struct Dev {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    temporary: tempfile::TempDir,
}

impl Dev {
    fn start() -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let mut command = Command::new(fs::canonicalize(process::binary())?);
        command.args(["dev", "--port", "0"]).env("TMPDIR", temporary.path());
        // Settings of a server are not for its members.
        command.env("CONCLAVE_DATA_DIR", "/nowhere").env("ETCD_NAME", "nobody");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines, temporary })
    }

    /// Reads up to a line that has this text.
    async fn line_with(&mut self, text: &str) -> Result<String> {
        let mut seen = Vec::new();
        loop {
            let line = within(text, LONG, self.lines.next_line()).await.with_context(|| seen.join("\n"))??;
            let line = line.with_context(|| format!("{text:?} is not printed: {}", seen.join("\n")))?;
            if line.contains(text) {
                return Ok(line);
            }
            seen.push(line);
        }
    }

    fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id().context("it runs")?)?)
    }

    /// The processes of its members.
    fn members(&self) -> Result<Vec<i32>> {
        members_of(self.pid()?)
    }
}

/// The processes that run as members of this one.
fn members_of(dev: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end meanwhile.
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).collect();
        if words.get(1) == Some(&b"dev-member".as_slice()) && words.get(2) == Some(&dev.to_string().as_bytes()) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn send(pid: i32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(pid).context("a process")?, signal)?)
}

async fn none_is_left(dev: i32) -> Result<()> {
    eventually("all members have ended", LONG, || async move {
        let left = members_of(dev)?;
        ensure!(left.is_empty(), "{left:?} are left");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn three_members_in_one_terminal_and_an_election_explained() -> Result<()> {
    let mut dev = Dev::start()?;
    dev.line_with("3 members of Conclave on this machine").await?;
    let line = dev.line_with("export CONCLAVECTL_ENDPOINTS=").await?;
    let endpoints = line.split(['=', ' ']).find(|word| word.starts_with("http://")).context("endpoints")?;
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    ensure!(endpoints.len() == 3, "{line}");
    dev.line_with("of 3 members up").await?;

    let told = Ctl::new(&endpoints).ok(&["demo"]).await?;
    for part in ["alice leads, with fence", "alice leads; in line: bob", "bob leads after", "alice's write is refused"]
    {
        ensure!(told.contains(part), "{part:?} is missing:\n{told}");
    }
    let left = Ctl::new(&endpoints).ok(&["get", "conclave-demo", "--prefix", "--keys-only"]).await?;
    ensure!(left.trim().is_empty(), "the demonstration leaves keys: {left}");
    let left = Ctl::new(&endpoints).ok(&["election", "ls"]).await?;
    ensure!(!left.contains("conclave-demo"), "the demonstration leaves an election: {left}");

    // A crash is seen, and the member starts again.
    let members = dev.members()?;
    ensure!(members.len() == 3, "{members:?}");
    send(members[0], Signal::KILL)?;
    dev.line_with("has ended (signal: 9 (SIGKILL))").await?;
    dev.line_with("is ready again").await?;

    let pid = dev.pid()?;
    send(pid, Signal::INT)?;
    let ended = within("it ends", LONG, dev.child.wait()).await??;
    ensure!(ended.success(), "{ended}");
    none_is_left(pid).await?;
    ensure!(fs::read_dir(dev.temporary.path())?.next().is_none(), "its data is left");
    Ok(())
}

#[tokio::test]
async fn members_end_with_the_one_who_started_them() -> Result<()> {
    let mut dev = Dev::start()?;
    dev.line_with("members of Conclave").await?;
    let pid = dev.pid()?;
    ensure!(dev.members()?.len() == 3, "three members");
    send(pid, Signal::KILL)?;
    within("it ends", LONG, dev.child.wait()).await??;
    none_is_left(pid).await
}

/// What a service tells systemd, one word after the other.
fn heard(socket: &UnixDatagram) -> Result<String> {
    let mut word = [0; 64];
    let length = socket.recv(&mut word).context("nothing is told")?;
    Ok(String::from_utf8_lossy(&word[..length]).into_owned())
}

#[tokio::test]
async fn systemd_hears_that_a_member_is_ready_goes_on_and_stops() -> Result<()> {
    let mut cluster = Cluster::plan(1, &[])?;
    let path = cluster.dir().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(LONG))?;
    cluster.node(0).set_variables([
        ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
        ("WATCHDOG_USEC".to_owned(), "200000".to_owned()),
    ]);
    cluster.spawn_all()?;
    ensure!(heard(&socket)? == "READY=1", "it is ready first");
    for _ in 0..3 {
        ensure!(heard(&socket)? == "WATCHDOG=1", "it goes on");
    }
    let listens = std::thread::spawn(move || -> Result<()> {
        while heard(&socket)? != "STOPPING=1" {}
        Ok(())
    });
    cluster.terminate_all().await?;
    listens.join().map_err(|_| anyhow::anyhow!("the listener"))?
}

/// The chart has the version of the workspace.
#[test]
fn the_chart_has_the_version_of_the_programs() -> Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scripts/deploy/helm/conclave/Chart.yaml");
    let chart = fs::read_to_string(chart)?;
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
        ensure!(chart.lines().any(|other| other == line), "{line} is not in the chart");
    }
    Ok(())
}
