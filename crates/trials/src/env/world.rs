//! Everything that runs: hosts, network, nodes, clients and the faults installed in them.
//!
//! 1. Whatever it makes in the system carries the run's name, and the guard knows the name before
//!    anything is made.
//! 2. Teardown: faults' threads end, nodes and clients are killed and reaped, the network ends, and
//!    then the guard removes the rest.

use super::{
    client::{ClientProcess, Guest},
    doctor::Capabilities,
    holding::Active,
    host::Site,
    native::Native,
    net::{Net, Plan},
    netns,
    node::{Exit, Node, NodeState},
    probe::{NodeStatus, Probe},
    run::Run,
    setup::{CommandLines, Mode, Setup, Start},
    tools::{ask_every, lock},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

/// How long a start or a recovery may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(40);
const ELECTION: Duration = Duration::from_secs(10);
/// Between two requests for the same answer.
const REQUESTS: Duration = Duration::from_millis(50);

/// Where something runs, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Node(usize),
    Client(usize),
    /// The harness's own, which faults never touch.
    Runner,
}

/// This fault cannot be installed here, or not now. It does not count, and it is no failure of the
/// harness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPossible(pub String);

impl std::fmt::Display for NotPossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not possible here: {}", self.0)
    }
}

impl std::error::Error for NotPossible {}

/// A running environment's parts. Methods block; call them from threads of their own.
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) mode: Mode,
    pub(crate) plan: Plan,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) client_sites: Vec<Site>,
    pub(crate) probe: Probe,
    pub(crate) native: Option<Native>,
    pub(crate) run_id: String,
    pub(crate) endpoints: Vec<Vec<String>>,
    pub(crate) runner: Option<PathBuf>,
    guests: Mutex<Vec<(usize, Arc<Guest>)>>,
    pub(crate) installed: Mutex<(u64, BTreeMap<u64, Active>)>,
    members: Mutex<BTreeMap<u64, usize>>,
    lines: CommandLines,
    /// The nodes that are members now, as far as the harness knows.
    seated: Mutex<BTreeSet<usize>>,
    run: Mutex<Option<Run>>,
}

impl World {
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.plan.nodes
    }

    #[must_use]
    pub fn clients(&self) -> usize {
        self.plan.clients
    }

    /// How it runs; never `Auto`.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The run's name, which all that it makes in the system carries.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.run_id
    }

    #[must_use]
    pub fn capabilities(&self) -> &'static Capabilities {
        Capabilities::find()
    }

    /// The nodes that are members now: faults are aimed at these, and these must serve.
    #[must_use]
    pub fn seated(&self) -> Vec<usize> {
        lock(&self.seated).iter().copied().collect()
    }

    /// Where members reach a node.
    #[must_use]
    pub fn peer_url(&self, node: usize) -> String {
        self.lines.addresses[node].peer.clone()
    }

    /// Makes a node ready for its life as a member that was added: with an empty directory, among
    /// these members. It is started with [`Self::seat`]. False if it cannot be done now.
    ///
    /// # Errors
    /// Its directory cannot be emptied.
    pub fn prepare(&self, node: usize, cluster: &[usize]) -> Result<bool> {
        let args = self.lines.of(node, cluster, &self.nodes[node].data, Start::Existing);
        self.nodes[node].renew(args)
    }

    /// Lets a node run as a member.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn seat(&self, node: usize) -> Result<()> {
        lock(&self.seated).insert(node);
        self.nodes[node].let_up().map(drop)
    }

    /// From now on this node is no member, and may end by itself. It may still run.
    pub fn unseat(&self, node: usize) {
        lock(&self.seated).remove(&node);
    }

    /// Excuses the ends of a node, or takes that back.
    pub fn excuse(&self, node: usize, excused: bool) {
        if excused { self.nodes[node].excuse() } else { self.nodes[node].blame() }
    }

    /// Ends a node and keeps it down until it is let up again.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn hold_down(&self, node: usize) -> Result<()> {
        self.nodes[node].hold_down().map(drop)
    }

    /// Lets go of what [`Self::hold_down`] holds.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn let_up(&self, node: usize) -> Result<()> {
        self.nodes[node].let_up().map(drop)
    }

    /// What a node has logged in its present or last life.
    ///
    /// # Errors
    /// There is no log.
    pub fn life_log(&self, node: usize) -> Result<String> {
        self.nodes[node].life_log()
    }

    /// Where this host reaches a node.
    #[must_use]
    pub fn endpoint(&self, from: Host, node: usize) -> String {
        self.endpoints(from)[node].clone()
    }

    /// Where this host reaches each node.
    #[must_use]
    pub fn endpoints(&self, from: Host) -> Vec<String> {
        let client = if let Host::Client(client) = from { client } else { self.plan.clients };
        self.endpoints[client].clone()
    }

    #[must_use]
    pub fn out(&self) -> &Path {
        &self.setup.out
    }

    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.nodes[node].log.clone()
    }

    #[must_use]
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.nodes[node].data.clone()
    }

    #[must_use]
    pub fn node_state(&self, node: usize) -> NodeState {
        self.nodes[node].state()
    }

    /// Ends of nodes that nobody had asked for. One that no fault excuses is a violation.
    #[must_use]
    pub fn exits(&self) -> Vec<Exit> {
        self.nodes.iter().flat_map(Node::exits).collect()
    }

    /// Those of [`Self::exits`] that no fault excuses.
    #[must_use]
    pub fn unexpected_exits(&self) -> Vec<Exit> {
        self.exits().into_iter().filter(|exit| !exit.excused).collect()
    }

    /// A hash of the binary under test, to tell one from another in reports.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn binary_hash(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        std::fs::read(&self.setup.binary)?.hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// Packets that the network has carried.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.net.carried()
    }

    /// Starts a program in a client's host, with pipes for stdin and stdout; stderr is appended to
    /// the client's log.
    ///
    /// # Errors
    /// There is no such client, or the program cannot be started.
    pub fn spawn_client(&self, client: usize, program: &Path, args: &[String]) -> Result<ClientProcess> {
        ensure!(client < self.plan.clients, "there is no client {client}");
        let program = program.canonicalize().with_context(|| program.display().to_string())?;
        let site = &self.client_sites[client];
        let log = OpenOptions::new().create(true).append(true).open(self.out().join(format!("{}.log", site.name)))?;
        let mut command = site.command(&self.run_id, self.native.as_ref(), &program, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let process = Arc::new(Guest::new(child));
        let mut guests = lock(&self.guests);
        guests.retain(|(_, guest)| guest.running());
        guests.push((client, Arc::clone(&process)));
        Ok(ClientProcess { process })
    }

    /// The living processes of a client.
    pub(crate) fn guests(&self, client: usize) -> Vec<Arc<Guest>> {
        let guests = lock(&self.guests);
        guests
            .iter()
            .filter(|(of, guest)| *of == client && guest.running())
            .map(|(_, guest)| Arc::clone(guest))
            .collect()
    }

    /// Runs a job in a thread of this process whose sockets are in a host's network, as are those
    /// of the threads it starts. Build an async runtime inside the job, with worker threads:
    /// `block_on` runs where it is called.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn inside<T: Send + 'static>(
        &self,
        host: Host,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        netns::inside(self.netns(host), job)
    }

    fn netns(&self, host: Host) -> Option<&Path> {
        match host {
            Host::Runner => self.runner.as_deref(),
            Host::Node(node) => self.nodes[node].site.netns.as_deref(),
            Host::Client(client) => self.client_sites[client].netns.as_deref(),
        }
    }

    /// What each node says of itself; none for those that do not answer.
    #[must_use]
    pub fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let statuses = self.probe.statuses();
        let mut members = lock(&self.members);
        members.extend(statuses.iter().enumerate().filter_map(|(i, status)| Some((status.as_ref()?.member_id, i))));
        statuses
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, node: usize) -> Result<NodeStatus> {
        let status = self.statuses().into_iter().nth(node).flatten();
        status.with_context(|| format!("{} does not answer", super::node::name(node)))
    }

    /// The node with this member id, once it has answered.
    #[must_use]
    pub fn node_of(&self, member_id: u64) -> Option<usize> {
        lock(&self.members).get(&member_id).copied()
    }

    /// The node that leads in the newest term that anybody knows.
    #[must_use]
    pub fn leader_now(&self) -> Option<usize> {
        let statuses = self.statuses();
        let known = statuses.iter().flatten().filter(|status| status.leader_id != 0);
        let newest = known.max_by_key(|status| status.term)?;
        self.node_of(newest.leader_id)
    }

    /// The node that leads, waiting for an election.
    ///
    /// # Errors
    /// There is none.
    pub fn leader(&self) -> Result<usize> {
        let mut leader = None;
        ask_every(REQUESTS, ELECTION, || {
            leader = self.leader_now();
            leader.is_some()
        });
        leader.context("there is no leader")
    }

    /// Waits until every node answers a linearizable read.
    ///
    /// # Errors
    /// One does not.
    pub fn wait_all_serve(&self, bound: Duration) -> Result<()> {
        for node in self.seated() {
            let mut last = None;
            let served = ask_every(REQUESTS, bound, || {
                last = self.probe.read(node, Duration::from_secs(2)).err();
                last.is_none()
            });
            if !served {
                let last = last.map_or_else(String::new, |error| format!("{error:#}"));
                bail!("{} does not serve: {last}; {:?}", super::node::name(node), self.node_state(node));
            }
        }
        Ok(())
    }

    /// SIGKILL for a node.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn kill(&self, node: usize) -> Result<()> {
        self.nodes[node].kill().map(drop)
    }

    /// Starts a node that is down, and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_node(&self, node: usize) -> Result<()> {
        self.nodes[node].start()?;
        self.nodes[node].must_be_ready(LONG)
    }

    /// SIGTERM for a node; returns how it ended.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn terminate(&self, node: usize) -> Result<Option<String>> {
        Ok(self.nodes[node].terminate(LONG)?.map(|(_, status)| super::node::how(status)))
    }

    /// Ends everything; what could not be removed is an error.
    pub(crate) fn end(self: &Arc<Self>) -> Result<()> {
        let Some(mut run) = lock(&self.run).take() else { return Ok(()) };
        // Threads of faults must not start nodes again.
        let active = std::mem::take(&mut lock(&self.installed).1);
        drop(active);
        for (_, guest) in lock(&self.guests).drain(..) {
            guest.kill()?;
        }
        for node in &self.nodes {
            node.hold_down()?;
        }
        run.close()
    }
}

pub(crate) struct Parts {
    pub(crate) setup: Setup,
    pub(crate) mode: Mode,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) lines: CommandLines,
    pub(crate) client_sites: Vec<Site>,
    pub(crate) endpoints: Vec<Vec<String>>,
    pub(crate) native: Option<Native>,
    pub(crate) runner: Option<PathBuf>,
    pub(crate) run: Run,
}

impl Parts {
    /// Starts the nodes and waits until all are ready.
    pub(crate) fn wake(self) -> Result<Arc<World>> {
        let Self { setup, mode, net, nodes, lines, client_sites, endpoints, native, runner, run } = self;
        let own = endpoints.last().ok_or_else(|| anyhow!("the harness has no endpoints"))?.clone();
        let world = Arc::new(World {
            plan: Plan { nodes: setup.seats(), clients: setup.clients },
            seated: Mutex::new((0..setup.nodes).collect()),
            probe: Probe::start(runner.as_deref(), own)?,
            run_id: run.id().to_owned(),
            setup,
            mode,
            net,
            nodes,
            lines,
            client_sites,
            native,
            endpoints,
            runner,
            guests: Mutex::default(),
            installed: Mutex::default(),
            members: Mutex::default(),
            run: Mutex::new(Some(run)),
        });
        let started = world.start_all();
        if started.is_err() {
            // The reason for the failure matters more than what is left of it.
            let _ = world.end();
        }
        started.map(|()| world)
    }
}

impl World {
    fn start_all(&self) -> Result<()> {
        let seated = self.seated();
        for (i, node) in self.nodes.iter().enumerate() {
            // Whatever is mended later starts no node that is no member.
            if seated.contains(&i) { node.start().map(drop) } else { node.hold_down().map(drop) }?;
        }
        for node in seated {
            self.nodes[node].must_be_ready(LONG)?;
        }
        self.wait_all_serve(LONG)
    }
}
