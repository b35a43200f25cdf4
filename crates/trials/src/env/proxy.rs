//! The network on loopback, for machines where namespaces are out of reach: a proxy before each
//! node's ports.
//!
//! A node's peers connect to the proxy of its peer address. Which of them a connection comes from
//! is found in /proc: the socket's owner is the process that has it open. Clients have a proxy for
//! each node and client, so their links need no search.
//!
//! 1. A link that is cut lets nothing through and answers nothing, as a lost network does;
//!    connections stay open.
//! 2. Pieces of a stream cannot be lost or change places; rules that would are not possible here.

use super::{
    clock::now_ns,
    fabric::rules::{HostNo, Packet, Packets, Rule, Rules},
    tools::lock,
};
use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

const PIECE: usize = 16 * 1024;
/// How often a held stream looks whether its link is open again, and a listener whether it shall
/// end.
const LOOK: Duration = Duration::from_millis(10);

/// How long the owner of a connection is looked for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is at the other end of a new connection.
type Who = Arc<dyn Fn(SocketAddr) -> Option<HostNo> + Send + Sync>;

struct Shared {
    rules: Mutex<(Rules, StdRng)>,
    carried: AtomicU64,
    stop: AtomicBool,
}

/// All proxies of a run.
pub struct Proxies {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

impl Proxies {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rules = Mutex::new((Rules::default(), StdRng::seed_from_u64(seed)));
        Self { shared: Arc::new(Shared { rules, carried: AtomicU64::new(0), stop: AtomicBool::new(false) }) }
    }

    /// A port of loopback that leads to the node's own; connections are of whom `who` says.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn open(
        &self,
        node: HostNo,
        target: u16,
        who: impl Fn(SocketAddr) -> Option<HostNo> + Send + Sync + 'static,
    ) -> Result<u16> {
        let port = crate::ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let (shared, who): (_, Who) = (Arc::clone(&self.shared), Arc::new(who));
        let accept = move || {
            while !shared.stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((near, from)) => {
                        let (shared, who) = (Arc::clone(&shared), Arc::clone(&who));
                        // Without a thread the connection closes, as it does if the node is down.
                        let _ = thread("proxy", move || shared.join(node, target, near, who(from)));
                    }
                    Err(_) => sleep(LOOK),
                }
            }
        };
        thread("listener", accept)?;
        Ok(port)
    }

    /// Adds a layer of rules; the number takes it off again.
    #[must_use]
    pub fn add(&self, rules: BTreeMap<(HostNo, HostNo), Rule>) -> u64 {
        lock(&self.shared.rules).0.add(rules)
    }

    /// Takes a layer off; returns what it did.
    pub fn remove(&self, layer: u64) -> Packets {
        lock(&self.shared.rules).0.remove(layer)
    }

    pub(crate) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// A connection of nobody known is not taken: no rule would hold for it, and it would lead
    /// through every cut.
    fn join(self: Arc<Self>, node: HostNo, target: u16, near: TcpStream, from: Option<HostNo>) {
        let Some(from) = from else { return };
        let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
        let back = Arc::clone(&self);
        let answer = thread("proxy", move || back.pump((node, from), far_too, near_too));
        self.pump((from, node), near, far);
        drop(answer);
    }

    /// Carries one direction until the stream ends or the run does.
    fn pump(&self, link: (HostNo, HostNo), mut from: TcpStream, mut to: TcpStream) {
        let _ = (from.set_nodelay(true), to.set_nodelay(true), from.set_read_timeout(Some(Duration::from_millis(200))));
        let mut buffer = vec![0; PIECE];
        while !self.stop.load(Ordering::SeqCst) {
            let length = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if !self.pass(link, length) || to.write_all(&buffer[..length]).is_err() {
                break;
            }
            self.carried.fetch_add(1, Ordering::Relaxed);
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Waits as the rules say; false if the connection shall end.
    fn pass(&self, link: (HostNo, HostNo), length: usize) -> bool {
        loop {
            let fate = {
                let (rules, dice) = &mut *lock(&self.rules);
                rules.decide(&Packet { now: now_ns(), link, length, resettable: &|| true }, dice)
            };
            if fate.reset || self.stop.load(Ordering::SeqCst) {
                return false;
            }
            if !fate.dropped {
                sleep(Duration::from_nanos(fate.delay));
                return true;
            }
            sleep(LOOK);
        }
    }
}

/// The process, of these, that has the socket with this local address open. Asked for a while: a
/// process may connect before it stands among them, and the kernel's table may leave out a line
/// while others come and go.
pub(crate) fn owner_of(peer: SocketAddr, candidates: impl Fn() -> BTreeMap<HostNo, u32>) -> Option<HostNo> {
    let end = Instant::now() + PATIENCE;
    loop {
        let owner = look_for_owner(peer, &candidates());
        if owner.is_some() || Instant::now() >= end {
            return owner;
        }
        sleep(LOOK);
    }
}

fn look_for_owner(peer: SocketAddr, candidates: &BTreeMap<HostNo, u32>) -> Option<HostNo> {
    let links = inodes_of(peer).ok()?.into_iter().map(|inode| format!("socket:[{inode}]")).collect::<Vec<_>>();
    candidates.iter().find_map(|(host, pid)| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let is_one = |to: PathBuf| links.iter().any(|link| to.as_os_str() == link.as_str());
        let has = fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(is_one));
        has.then_some(*host)
    })
}

/// The sockets with this local address. Several: that of an earlier connection to somebody else
/// stays in the table for a minute, without an inode.
fn inodes_of(peer: SocketAddr) -> Result<Vec<u64>> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    // Addresses are hexadecimal and in the machine's byte order, ports in the network's.
    let local = format!("0100007F:{:04X}", peer.port());
    let lines = table.lines().skip(1).filter(|line| line.split_whitespace().nth(1) == Some(local.as_str()));
    let inodes = lines.filter_map(|line| line.split_whitespace().nth(9)?.parse().ok());
    Ok(inodes.filter(|inode| *inode != 0).collect())
}

fn thread(name: &str, job: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    Ok(std::thread::Builder::new().name(name.into()).spawn(job)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(proxies: &Proxies, who: impl Fn(SocketAddr) -> Option<HostNo> + Send + Sync + 'static) -> TcpStream {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let target = server.local_addr().unwrap().port();
        thread("echo", move || {
            for stream in server.incoming().flatten() {
                let _ = thread("echo", move || {
                    let (mut reading, mut writing) = (stream.try_clone().unwrap(), stream);
                    let _ = std::io::copy(&mut reading, &mut writing);
                });
            }
        })
        .unwrap();
        let port = proxies.open(0, target, who).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    #[test]
    fn a_known_client_is_let_through_even_if_that_takes_a_while() {
        let (proxies, began) = (Proxies::new(1), Instant::now());
        let known = move || match began.elapsed() > Duration::from_millis(100) {
            true => BTreeMap::from([(1, std::process::id())]),
            false => BTreeMap::new(),
        };
        let mut stream = proxied(&proxies, move |peer| owner_of(peer, known));
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }

    #[test]
    fn a_connection_of_nobody_known_would_pass_every_cut_and_is_closed() {
        let proxies = Proxies::new(1);
        let mut stream = proxied(&proxies, |_| None);
        let _ = stream.write_all(b"hello");
        // Its end, or a reset, and no answer.
        assert!(!stream.read(&mut [0; 5]).is_ok_and(|length| length > 0));
    }
}
