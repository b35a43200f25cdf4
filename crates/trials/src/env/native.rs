//! The parts in C: a helper for system calls that safe Rust has no name for, and the shim that is
//! preloaded into nodes and clients.
//!
//! 1. Compiled once for each version of the sources, into the user's cache; a build that was cut
//!    short leaves nothing behind.

use super::{run::own_dir, tools::run};
use anyhow::{Context, Result};
use rustix::{
    io::retry_on_intr,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const HELPER: &str = include_str!("native/helper.c");
const SHIM: &str = include_str!("native/shim.c");

/// Where the compiled parts are.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    pub(crate) helper: PathBuf,
    pub(crate) shim: PathBuf,
}

impl Native {
    /// Finds the parts in the cache, or compiles them.
    pub(crate) fn build() -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        (HELPER, SHIM).hash(&mut hasher);
        let dir = cache()?.join(format!("trials-{:016x}", hasher.finish()));
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let native = Self { helper: dir.join("helper"), shim: dir.join("shim.so") };
        if native.helper.exists() && native.shim.exists() {
            return Ok(native);
        }
        let work = tempfile::tempdir_in(&dir)?;
        compile(work.path(), "helper", HELPER, &[], &native.helper)?;
        compile(work.path(), "shim", SHIM, &["-shared", "-fPIC"], &native.shim)?;
        Ok(native)
    }

    /// Makes a TUN device in the namespace. It lives as long as the descriptor.
    pub(crate) fn tun(&self, netns: &Path, name: &str) -> Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.helper);
        command.arg("tun").arg(netns).arg(name).stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
        let child = command.spawn().context("start the helper")?;
        drop(command);
        let descriptor = receive_descriptor(&ours);
        let output = child.wait_with_output()?;
        descriptor.with_context(|| format!("no device: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Cuts the power of the ext4 mounted at `dir`.
    pub(crate) fn cut(&self, dir: &Path) -> Result<()> {
        run(&self.helper, ["cut".as_ref(), dir.as_os_str()]).map(drop)
    }
}

fn receive_descriptor(socket: &UnixStream) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    rights.context("no descriptor came")
}

fn compile(work: &Path, name: &str, source: &str, flags: &[&str], to: &Path) -> Result<()> {
    let (file, output) = (work.join(format!("{name}.c")), work.join(name));
    std::fs::write(&file, source)?;
    let mut args = vec!["-O2", "-o"];
    let (file, output_text) = (file.display().to_string(), output.display().to_string());
    args.push(&output_text);
    args.extend(flags);
    args.extend([file.as_str(), "-ldl", "-lpthread"]);
    run("cc", args)?;
    Ok(std::fs::rename(&output, to)?)
}

/// The user's cache, or a directory beside the register for users without a home.
fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let known = base.map(|base| base.join("conclave")).filter(|dir| std::fs::create_dir_all(dir).is_ok());
    let dir = known.unwrap_or_else(|| own_dir().join("native"));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}
