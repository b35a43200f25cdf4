//! Installing faults: whom they hit, whether they are possible, and how each family does it and
//! undoes it.

mod clock;
mod corrupt;
mod disk;
mod load;
mod network;
mod process;

use super::{
    doctor::Capability,
    fault::{Effect, Fault, Who},
    net::except,
    setup::Mode,
    target::Target,
    world::{NotPossible, World},
};
use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

/// How long a node that comes back may take, if no other fault holds.
pub(crate) const COMES_BACK: Duration = Duration::from_secs(20);

/// What a fault did, as far as was seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) effects: Vec<Effect>,
    pub(crate) effective: bool,
    pub(crate) note: String,
}

impl Outcome {
    pub(crate) fn new(effects: Vec<Effect>, effective: bool) -> Self {
        Self { effects, effective, note: String::new() }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Mends a fault. Dropped without a call, it ends the threads of the fault.
pub(crate) type Undo = Box<dyn FnOnce(&Arc<World>) -> Result<Outcome> + Send>;

/// A fault's thread, which ends with it.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a fault's thread shall end.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Sleeps; false if the thread shall end.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let step = Duration::from_millis(10);
        let mut left = duration;
        while !self.asked() && !left.is_zero() {
            sleep(left.min(step));
            left = left.saturating_sub(step);
        }
        !self.asked()
    }
}

impl Background {
    pub(crate) fn start(job: impl FnOnce(Stop) + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Stop(Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("fault".into()).spawn(move || job(asked))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits for the thread to end by itself.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows as missing evidence.
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn possible(world: &World, fault: &Fault) -> Result<(), NotPossible> {
    let needs = |capability: Capability| match world.capabilities().why_not(capability) {
        None => Ok(()),
        Some(reason) => Err(NotPossible(format!("{capability:?}: {reason}"))),
    };
    let volumes =
        || if world.nodes[0].volume.is_some() { Ok(()) } else { Err(no("nodes have no volumes of their own")) };
    match fault {
        Fault::Loss { .. } | Fault::Duplicate { .. } | Fault::Reorder { .. } if world.mode != Mode::Namespaces => {
            Err(no("a proxy cannot lose or reorder parts of a stream"))
        }
        Fault::PowerLoss { .. } | Fault::DiskError { .. } => volumes().and(needs(Capability::PowerCut)),
        Fault::DiskFull { .. } => volumes(),
        Fault::Members { .. } => Err(no("the runner changes the members")),
        Fault::SlowSync { .. } | Fault::FailingSync { .. } | Fault::LyingSync { .. } if !disk::shim_works(world) => {
            needs(Capability::Strace)
        }
        Fault::WallJump { who, .. } | Fault::ClockRate { who, .. } | Fault::MonotonicJump { who, .. } => match who {
            Who::Nodes(_) if !disk::shim_works(world) => Err(no("the nodes do not read clocks through libc")),
            Who::Nodes(_) => Ok(()),
            Who::Client(_) | Who::AllClients if world.client_sites.iter().all(|site| site.page.is_some()) => Ok(()),
            Who::Client(_) | Who::AllClients => needs(Capability::Preload).and(Err(no("there is no shim"))),
        },
        _ => Ok(()),
    }
}

pub(crate) fn no(reason: &str) -> NotPossible {
    NotPossible(reason.to_owned())
}

/// The nodes and clients that the fault is aimed at.
pub(crate) fn targets(world: &World, fault: &Fault, leader: Option<usize>) -> Result<(Vec<usize>, Vec<usize>)> {
    let clients = match fault {
        Fault::ClientCut { client } | Fault::PauseClient { client } | Fault::KillClient { client } => vec![*client],
        Fault::WallJump { who, .. } | Fault::ClockRate { who, .. } | Fault::MonotonicJump { who, .. } => match who {
            Who::Client(client) => vec![*client],
            Who::AllClients => (0..world.clients()).collect(),
            Who::Nodes(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    if let Some(client) = clients.iter().find(|client| **client >= world.clients()) {
        return Err(no(&format!("there is no client {client}")).into());
    }
    let nodes = fault.target().map_or(Ok(Vec::new()), |target| resolve(world, target, leader))?;
    Ok((nodes, clients))
}

/// The nodes that a target is now.
pub(crate) fn resolve(world: &World, target: Target, leader: Option<usize>) -> Result<Vec<usize>> {
    let all = world.seated();
    let count = all.len();
    let spare = count.saturating_sub(1) / 2;
    let drawn = |of: &[usize], size: usize, seed: u64| {
        let mut drawn = of.to_vec();
        drawn.shuffle(&mut StdRng::seed_from_u64(seed));
        drawn.truncate(size);
        drawn.sort_unstable();
        drawn
    };
    let leading = || leader.ok_or_else(|| no("nobody leads"));
    let nodes = match target {
        Target::Node(node) => all.into_iter().filter(|one| *one == node).collect(),
        Target::All => all,
        Target::Leader => vec![leading()?],
        Target::Follower(k) => {
            let followers = except(&all, &[leading()?]);
            followers.get(k % followers.len().max(1)).into_iter().copied().collect()
        }
        Target::Minority { seed } => drawn(&all, spare, seed),
        Target::Majority { seed } => drawn(&all, count - spare, seed),
        Target::MinorityWithLeader { .. } if spare == 0 => Vec::new(),
        Target::MinorityWithLeader { seed } => {
            let leader = leading()?;
            let mut nodes = drawn(&except(&all, &[leader]), spare - 1, seed);
            nodes.push(leader);
            nodes.sort_unstable();
            nodes
        }
    };
    if nodes.is_empty() {
        return Err(no(&format!("{target:?} is nobody among {count}")).into());
    }
    Ok(nodes)
}

pub(crate) fn install(world: &Arc<World>, fault: &Fault, nodes: &[usize], clients: &[usize]) -> Result<Undo> {
    match fault {
        Fault::Kill { .. } => process::kill(world, nodes),
        Fault::CrashLoop { up_ms, .. } => process::crash_loop(world, nodes, *up_ms),
        Fault::RollingRestart => process::rolling_restart(world),
        Fault::Pause { .. } => process::pause(world, nodes),
        Fault::PauseClient { client } => process::pause_client(world, *client),
        Fault::KillClient { client } => process::kill_client(world, *client),
        Fault::PowerLoss { .. } => disk::power_loss(world, nodes, false),
        Fault::DiskError { .. } => disk::power_loss(world, nodes, true),
        Fault::SlowSync { ms, .. } => disk::sync(world, nodes, disk::Trouble::Slow { millis: *ms }),
        Fault::FailingSync { .. } => disk::sync(world, nodes, disk::Trouble::Fail),
        Fault::LyingSync { .. } => disk::sync(world, nodes, disk::Trouble::Lie),
        Fault::DiskFull { .. } => disk::full(world, nodes),
        Fault::TornTail { .. } | Fault::Truncate { .. } | Fault::FlipBytes { .. } => {
            corrupt::damage(world, fault, nodes)
        }
        Fault::WallJump { ms, .. } => clock::wall(world, nodes, clients, *ms),
        Fault::ClockRate { rate, .. } => clock::rate(world, nodes, clients, *rate),
        Fault::MonotonicJump { ms, .. } => clock::jump(world, nodes, clients, *ms),
        Fault::CpuStarve { percent, .. } => load::cpu(world, nodes, *percent),
        Fault::CompactionStorm { every_ms } => load::compaction(world, *every_ms),
        Fault::SnapshotLag { .. } => load::snapshot_lag(world, nodes),
        _ => network::install(world, fault, nodes),
    }
}

/// Waits until these nodes are ready, unless another fault may keep them from it; effects for those
/// that are not.
pub(crate) fn come_back(world: &World, nodes: &[usize]) -> Vec<Effect> {
    if !world.is_quiet() {
        return Vec::new();
    }
    nodes
        .iter()
        .filter(|node| !world.nodes[**node].ready(COMES_BACK))
        .map(|node| Effect::NotReady { node: *node })
        .collect()
}
