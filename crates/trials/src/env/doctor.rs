//! What this machine lets a trial do: every means is tried, not looked up.

use super::{
    cgroup::Hierarchy,
    fabric::packet,
    native::Native,
    netns,
    run::{Run, own_dir, sweep},
    tools::{has, run},
    volume::Volume,
};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::getuid;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Something a fault may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    Root,
    Compiler,
    Namespaces,
    Volumes,
    PowerCut,
    CpuGroups,
    Preload,
    Strace,
}

impl Capability {
    const ALL: [Self; 8] = [
        Self::Root,
        Self::Compiler,
        Self::Namespaces,
        Self::Volumes,
        Self::PowerCut,
        Self::CpuGroups,
        Self::Preload,
        Self::Strace,
    ];

    fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::Root => ("root", "what follows, but for the shim and strace"),
            Self::Compiler => ("a C compiler", "the helper and the shim; Debian: gcc libc6-dev"),
            Self::Namespaces => ("namespaces and TUN devices", "network faults packet by packet; Debian: iproute2"),
            Self::Volumes => ("loop-mounted ext4", "a volume for each node, disk full; Debian: e2fsprogs mount"),
            Self::PowerCut => ("forced shutdown of ext4", "power loss and disk errors"),
            Self::CpuGroups => ("control groups for CPU", "CPU starvation by quota; without: by stopping in turns"),
            Self::Preload => ("the preloaded shim", "clock faults and sync faults of programs that use libc"),
            Self::Strace => ("strace", "sync faults of programs that do not, such as etcd; Debian: strace"),
        }
    }
}

/// What is there; for what is not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(BTreeMap<Capability, Option<String>>);

impl Capabilities {
    /// Tries everything, once in a process.
    #[must_use]
    pub fn find() -> &'static Self {
        static FOUND: OnceLock<Capabilities> = OnceLock::new();
        FOUND.get_or_init(|| Self(Capability::ALL.iter().map(|one| (*one, attempt(*one))).collect()))
    }

    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.why_not(capability).is_none()
    }

    /// The reason why it is not there.
    #[must_use]
    pub fn why_not(&self, capability: Capability) -> Option<&str> {
        self.0.get(&capability).map_or(Some("not tried"), Option::as_deref)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (capability, reason) in &self.0 {
            let (name, purpose) = capability.about();
            match reason {
                None => writeln!(f, "  yes  {name}: {purpose}")?,
                Some(reason) => writeln!(f, "  NO   {name}: left out: {purpose}\n         ({reason})")?,
            }
        }
        if self.has(Capability::Namespaces) {
            write!(f, "Trials run in namespaces of their own.")
        } else {
            write!(f, "Trials run on loopback: with proxies that cut and delay connections, and with signals.")
        }
    }
}

/// What `doctor` says.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub capabilities: Capabilities,
    /// Dead runs whose remains it removed.
    pub swept: Vec<String>,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.swept {
            writeln!(f, "Removed what the dead run {run} had left behind.")?;
        }
        write!(f, "{}", self.capabilities)
    }
}

/// Sweeps up after dead runs and tries what this machine can do.
///
/// # Errors
/// Something of a dead run could not be removed.
pub fn doctor() -> Result<Diagnosis> {
    Ok(Diagnosis { swept: sweep()?, capabilities: Capabilities::find().clone() })
}

/// Where volumes and pages go if nobody says: memory, if there is enough.
pub(crate) fn scratch() -> PathBuf {
    const ENOUGH: u64 = 2 << 30;
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |room| room.f_bavail * room.f_frsize);
    let in_memory = getuid().is_root() && room >= ENOUGH;
    if in_memory { memory.join("conclave-trials") } else { own_dir().join("volumes") }
}

fn attempt(capability: Capability) -> Option<String> {
    let tried = match capability {
        Capability::Root => root(),
        Capability::Compiler => Native::build().map(drop),
        Capability::Namespaces => namespaces(),
        Capability::Volumes => volumes(false),
        Capability::PowerCut => volumes(true),
        Capability::CpuGroups => root().and_then(|()| Hierarchy::find().map(drop)),
        Capability::Preload => preload(),
        Capability::Strace => strace(),
    };
    tried.err().map(|error| format!("{error:#}"))
}

fn root() -> Result<()> {
    ensure!(getuid().is_root(), "the user is not root");
    Ok(())
}

fn namespaces() -> Result<()> {
    root()?;
    ensure!(has("ip"), "there is no command `ip`");
    let (native, mut probe) = (Native::build()?, Run::open(&scratch(), None)?);
    let made = netns::create(&native, &format!("{}-probe", probe.id()), 0).and_then(|(path, device)| {
        // A packet from inside arrives at the device's other end.
        let send = || std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"probe", (netns::address(1), 9));
        let sent = netns::inside(Some(&path), send)?.join();
        ensure!(matches!(sent, Ok(Ok(_))), "nothing could be sent: {sent:?}");
        let mut buffer = [0; 2048];
        let arrived = (0..16).any(|_| {
            let length = rustix::io::read(&device, &mut buffer).unwrap_or(0);
            packet::destination(&buffer[..length]) == Some(2)
        });
        ensure!(arrived, "what was sent did not arrive at the device");
        Ok(())
    });
    made.and(probe.close())
}

fn volumes(cut: bool) -> Result<()> {
    root()?;
    ensure!(has("mkfs.ext4"), "there is no command `mkfs.ext4`");
    let mut probe = Run::open(&scratch(), None)?;
    let tried = Volume::create(probe.scratch(), 16).and_then(|volume| {
        if cut {
            let before = volume.cut(&Native::build()?)?;
            let loss = volume.recover(&before)?;
            ensure!(loss.canary_bytes > 0 && loss.canary_kept, "the cut did not do what it should: {loss:?}");
        }
        Ok(())
    });
    tried.and(probe.close())
}

fn preload() -> Result<()> {
    let native = Native::build()?;
    // A program of libc's reads the clock through the shim, from a page that says one hour more.
    let dir = tempfile::tempdir()?;
    let page = super::shim::Page::create(dir.path().join("page"))?;
    page.set_wall(3_600_000_000_000)?;
    let mut date = Command::new("date");
    date.arg("+%s").env("LD_PRELOAD", &native.shim).env("TRIALS_PAGE", page.path());
    let seen: u64 = String::from_utf8(date.output().context("run date")?.stdout)?.trim().parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!((now + 3590..now + 3610).contains(&seen), "a preloaded program saw no other time");
    Ok(())
}

fn strace() -> Result<()> {
    ensure!(has("strace"), "there is no command `strace`");
    let seen = run(
        "sh",
        ["-c", "strace -f -e trace=fsync,fdatasync -e inject=fsync,fdatasync:error=EIO sync -d . 2>&1 || true"],
    )?;
    if !seen.contains("(INJECTED)") {
        bail!("strace cannot inject: {}", seen.lines().next().unwrap_or_default());
    }
    Ok(())
}
