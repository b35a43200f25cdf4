//! Network namespaces: one for each host, named after the run.

use super::{fabric::packet::NETWORK, native::Native, tools::run};
use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
};

/// Larger than an Ethernet's, to spare the fabric's thread; no segment comes near the whole of it
/// in ordinary traffic.
const MTU: &str = "9000";

/// The address of a host in the fabric.
pub(crate) fn address(host: usize) -> String {
    let [a, b, c] = NETWORK;
    format!("{a}.{b}.{c}.{}", host + 1)
}

/// Makes the namespace with its loopback and its device.
pub(crate) fn create(native: &Native, name: &str, host: usize) -> Result<(PathBuf, OwnedFd)> {
    run("ip", ["netns", "add", name])?;
    let path = Path::new("/run/netns").join(name);
    let device = native.tun(&path, "eth0")?;
    run("ip", ["-n", name, "link", "set", "lo", "up"])?;
    run("ip", ["-n", name, "addr", "add", &format!("{}/24", address(host)), "dev", "eth0"])?;
    run("ip", ["-n", name, "link", "set", "eth0", "mtu", MTU, "up"])?;
    Ok((path, device))
}

/// Runs a job in a thread whose sockets, and those of the threads it starts, belong to the
/// namespace.
pub(crate) fn inside<T: Send + 'static>(
    netns: Option<&Path>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let space = netns.map(File::open).transpose().context("open the namespace")?;
    let (entered, is_in) = mpsc::channel();
    let thread = std::thread::Builder::new().name("inside".into()).spawn(move || {
        let result =
            space.map_or(Ok(()), |space| move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)));
        let failed = result.is_err();
        // The one that waits for it may be gone only if this thread is of no use any more.
        let _ = entered.send(result);
        assert!(!failed, "the thread is not where its job belongs");
        job()
    })?;
    is_in.recv().map_err(|_| anyhow!("the thread ended early"))?.context("enter the namespace")?;
    Ok(thread)
}
