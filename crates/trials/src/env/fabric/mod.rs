//! The network of a run: every host has a TUN device, and one thread carries packets between them
//! as the [`rules`] say.
//!
//! 1. A link's packets keep their order, whatever delays change, unless a rule says otherwise.
//! 2. Rules hold for the next packet the thread reads; packets already delayed arrive at their
//!    time.

pub(crate) mod packet;
pub(crate) mod rules;

use super::{clock::now_ns, tools::lock};
use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use rules::{HostNo, Packet, Packets, Rule, Rules};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// Packets read from one device before the others have their turn.
const BURST: usize = 64;
const LARGEST: usize = 65_536;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    due: u64,
    order: u64,
    to: HostNo,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    carried: AtomicU64,
    stop: AtomicBool,
    wake: OwnedFd,
}

/// The running network.
#[derive(Debug)]
pub(crate) struct Fabric {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Fabric {
    /// Carries packets between these devices; the host at index `i` has the address that ends in
    /// `i + 1`.
    pub(crate) fn start(devices: Vec<OwnedFd>, seed: u64) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let (rules, carried, stop) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { rules, carried, stop, wake });
        let mut carrier = Carrier {
            links: vec![0; devices.len() * devices.len()],
            devices,
            shared: Arc::clone(&shared),
            dice: StdRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            order: 0,
        };
        let thread = std::thread::Builder::new().name("fabric".into()).spawn(move || carrier.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn add(&self, rules: BTreeMap<(HostNo, HostNo), Rule>) -> u64 {
        lock(&self.shared.rules).add(rules)
    }

    pub(crate) fn remove(&self, layer: u64) -> Packets {
        lock(&self.shared.rules).remove(layer)
    }

    /// Packets that arrived so far.
    pub(crate) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The thread would notice by itself a little later.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Carrier {
    devices: Vec<OwnedFd>,
    shared: Arc<Shared>,
    dice: StdRng,
    queue: BinaryHeap<Reverse<Pending>>,
    order: u64,
    /// When the last packet that keeps its place is due, for each link.
    links: Vec<u64>,
}

impl Carrier {
    fn run(&mut self) {
        let mut buffer = vec![0; LARGEST];
        while !self.shared.stop.load(Ordering::SeqCst) {
            let ready = self.wait();
            for from in ready {
                for _ in 0..BURST {
                    // An error is an empty queue, or a device whose namespace is going away.
                    let Ok(length) = rustix::io::read(&self.devices[from], &mut buffer[..]) else { break };
                    self.take(from, &buffer[..length]);
                }
            }
            self.deliver_due();
        }
    }

    fn wait(&self) -> Vec<HostNo> {
        let mut fds: Vec<PollFd<'_>> = self.devices.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.shared.wake, PollFlags::IN));
        let idle = self.queue.peek().map_or(500_000_000, |Reverse(next)| next.due.saturating_sub(now_ns()));
        let nanos = i64::try_from(idle).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        if poll(&mut fds, Some(&timeout)).is_err() {
            return Vec::new();
        }
        fds.pop();
        fds.iter().enumerate().filter(|(_, fd)| fd.revents().contains(PollFlags::IN)).map(|(i, _)| i).collect()
    }

    fn take(&mut self, from: HostNo, packet: &[u8]) {
        let to = packet::destination(packet).map(usize::from).and_then(|last| last.checked_sub(1));
        let Some(to) = to.filter(|to| *to < self.devices.len()) else { return };
        let now = now_ns();
        let resettable = || packet::resets(packet).is_some();
        let asked = Packet { now, link: (from, to), length: packet.len(), resettable: &resettable };
        let fate = lock(&self.shared.rules).decide(&asked, &mut self.dice);
        if fate.dropped {
            return;
        }
        if let (true, Some([forward, back])) = (fate.reset, packet::resets(packet)) {
            self.deliver(to, &forward);
            self.deliver(from, &back);
            return;
        }
        let link = from * self.devices.len() + to;
        let mut due = now + fate.delay;
        if !fate.out_of_order {
            due = due.max(self.links[link]);
            self.links[link] = due;
        }
        for _ in 0..fate.copies {
            if due <= now {
                self.deliver(to, packet);
            } else {
                self.order += 1;
                self.queue.push(Reverse(Pending { due, order: self.order, to, bytes: packet.to_vec() }));
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = now_ns();
        while self.queue.peek().is_some_and(|Reverse(next)| next.due <= now) {
            if let Some(Reverse(pending)) = self.queue.pop() {
                self.deliver(pending.to, &pending.bytes);
            }
        }
    }

    fn deliver(&self, to: HostNo, packet: &[u8]) {
        // A full or vanished device loses packets, as a network does.
        if rustix::io::write(&self.devices[to], packet).is_ok() {
            self.shared.carried.fetch_add(1, Ordering::Relaxed);
        }
    }
}
