//! N nodes on loopback, each with its own data directory, log and ports; started, broken and
//! repaired by number.
//!
//! 1. A node keeps its ports and its directory over all its lives, until it is wiped.
//! 2. Dropping the cluster kills all nodes and prints the ends of their logs, which the test runner
//!    shows if the test failed.
//! 3. With `CONCLAVE_TESTS_KEEP` set, the directory stays behind.

use crate::{
    client::connect,
    ports,
    process::Process,
    status,
    wait::{LONG, SOON, eventually},
};
use anyhow::{Context, Result, ensure};
use conclave_client::{api::etcdserverpb::StatusRequest, wire::Client};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Lines of each node's log that a failed test shows.
const TAIL: usize = 25;

/// How a node is addressed.
#[derive(Clone, Debug)]
pub struct Address {
    pub name: String,
    pub client: u16,
    pub peer: u16,
}

impl Address {
    /// A name with two free ports.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self { name: name.into(), client: ports::free()?, peer: ports::free()? })
    }

    /// Where clients reach it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Where peers reach it.
    #[must_use]
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }
}

/// `--initial-cluster` for these nodes.
#[must_use]
pub fn initial_cluster(nodes: &[Address]) -> String {
    nodes.iter().map(|node| format!("{}={}", node.name, node.peer_url())).collect::<Vec<_>>().join(",")
}

/// The command line of one node.
#[must_use]
pub fn arguments(node: &Address, data_dir: &Path, initial_cluster: &str, token: &str, flags: &[&str]) -> Vec<String> {
    let (endpoint, peer_url, data_dir) = (node.endpoint(), node.peer_url(), data_dir.display().to_string());
    let pairs = [
        ("--name", node.name.as_str()),
        ("--data-dir", &data_dir),
        ("--listen-client-urls", &endpoint),
        ("--advertise-client-urls", &endpoint),
        ("--listen-peer-urls", &peer_url),
        ("--initial-advertise-peer-urls", &peer_url),
        ("--initial-cluster", initial_cluster),
        ("--initial-cluster-state", "new"),
        ("--initial-cluster-token", token),
    ];
    let own = pairs.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]);
    own.chain(flags.iter().map(|flag| (*flag).to_owned())).collect()
}

/// A cluster of real processes.
#[derive(Debug)]
pub struct Cluster {
    addresses: Vec<Address>,
    nodes: Vec<Process>,
    dir: TempDir,
}

impl Cluster {
    /// Starts `size` nodes with default settings and waits until all are ready.
    ///
    /// # Errors
    /// A node does not start.
    pub async fn start(size: usize) -> Result<Self> {
        Self::start_with(size, &[]).await
    }

    /// Starts `size` nodes with further flags and waits until all are ready.
    ///
    /// # Errors
    /// A node does not start.
    pub async fn start_with(size: usize, flags: &[&str]) -> Result<Self> {
        let mut cluster = Self::plan(size, flags)?;
        cluster.spawn_all()?;
        cluster.ready_all().await?;
        Ok(cluster)
    }

    /// Nodes with addresses and directories, not running yet.
    ///
    /// # Errors
    /// No port is free, or no directory can be made.
    pub fn plan(size: usize, flags: &[&str]) -> Result<Self> {
        let mut dir = tempfile::Builder::new().prefix("conclave-test-").tempdir()?;
        dir.disable_cleanup(std::env::var_os("CONCLAVE_TESTS_KEEP").is_some());
        let addresses = (1..=size).map(|i| Address::new(format!("n{i}"))).collect::<Result<Vec<_>>>()?;
        let members = initial_cluster(&addresses);
        let token = dir.path().display().to_string();
        let node = |address: &Address| {
            let data = dir.path().join(&address.name);
            let log = dir.path().join(format!("{}.log", address.name));
            Process::new(arguments(address, &data, &members, &token, flags), log)
        };
        let nodes = addresses.iter().map(node).collect();
        Ok(Self { addresses, nodes, dir })
    }

    /// How many nodes there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The process of node `i`.
    pub fn node(&mut self, i: usize) -> &mut Process {
        &mut self.nodes[i]
    }

    /// The address of node `i`.
    #[must_use]
    pub fn address(&self, i: usize) -> &Address {
        &self.addresses[i]
    }

    /// Where node `i` keeps its data.
    #[must_use]
    pub fn data_dir(&self, i: usize) -> PathBuf {
        self.dir.path().join(&self.addresses[i].name)
    }

    /// A directory for a test's own files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where clients reach node `i`.
    #[must_use]
    pub fn endpoint(&self, i: usize) -> String {
        self.addresses[i].endpoint()
    }

    /// Where clients reach each node.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(Address::endpoint).collect()
    }

    /// A client of node `i` alone.
    ///
    /// # Errors
    /// Never for these endpoints.
    pub fn client(&self, i: usize) -> Result<Client> {
        connect(&[self.endpoint(i)])
    }

    /// A client of all nodes.
    ///
    /// # Errors
    /// Never for these endpoints.
    pub fn client_of_all(&self) -> Result<Client> {
        connect(&self.endpoints())
    }

    /// Starts every node that is not running.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn spawn_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if !node.running()? {
                node.spawn()?;
            }
        }
        Ok(())
    }

    /// Waits until every node is ready.
    ///
    /// # Errors
    /// A node ended or took too long.
    pub async fn ready_all(&mut self) -> Result<()> {
        for (node, address) in self.nodes.iter_mut().zip(&self.addresses) {
            node.ready(LONG).await.with_context(|| address.name.clone())?;
        }
        Ok(())
    }

    /// Waits until the members have decided on the cluster's version, for tests that count entries
    /// of the log.
    ///
    /// # Errors
    /// They do not.
    pub async fn version_is_decided(&self) -> Result<()> {
        eventually("the cluster's version", LONG, async || {
            ensure!(status::version_is_decided(&self.endpoint(0), status::PATIENCE)?, "it is not decided");
            Ok(())
        })
        .await
    }

    /// SIGKILL for every node, at once.
    ///
    /// # Errors
    /// A signal could not be sent.
    pub fn kill_all(&mut self) -> Result<()> {
        // Stopped first, so that none sees another go.
        for node in &mut self.nodes {
            if node.running()? {
                node.pause()?;
            }
        }
        self.nodes.iter_mut().try_for_each(Process::kill)
    }

    /// SIGTERM for every node at once; all must end with status 0.
    ///
    /// # Errors
    /// A node does not end, or ends badly.
    pub async fn terminate_all(&mut self) -> Result<()> {
        let ends = self.nodes.iter_mut().map(|node| node.terminate(LONG));
        for (end, address) in futures::future::join_all(ends).await.into_iter().zip(&self.addresses) {
            let (status, _) = end.with_context(|| address.name.clone())?;
            ensure!(status.success(), "{} ended with {status}", address.name);
        }
        Ok(())
    }

    /// Starts node `i` again and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self, i: usize) -> Result<()> {
        self.nodes[i].kill()?;
        self.nodes[i].spawn()?;
        self.nodes[i].ready(LONG).await
    }

    /// Removes the data of node `i`, which must not be running.
    ///
    /// # Errors
    /// It is running, or its directory cannot be removed.
    pub fn wipe(&mut self, i: usize) -> Result<()> {
        ensure!(!self.nodes[i].running()?, "a running node's data cannot be wiped");
        Ok(std::fs::remove_dir_all(self.data_dir(i))?)
    }

    /// The number of the node that a majority takes for the Raft leader.
    ///
    /// # Errors
    /// There is none for a long time.
    pub async fn leader(&self) -> Result<usize> {
        eventually("a leader known to a majority", LONG, async || self.leader_now().await).await
    }

    /// Waits until another node than `old` leads; returns it.
    ///
    /// # Errors
    /// There is none for a long time.
    pub async fn leader_other_than(&self, old: usize) -> Result<usize> {
        let ask = async || {
            let leader = self.leader_now().await?;
            ensure!(leader != old, "n{} still leads", old + 1);
            Ok(leader)
        };
        eventually("another leader", LONG, ask).await
    }

    async fn leader_now(&self) -> Result<usize> {
        let mut ids = vec![0; self.size()];
        let mut votes = Vec::new();
        for (i, id) in ids.iter_mut().enumerate() {
            let client = self.client(i)?.with_timeout(Duration::from_millis(500));
            if let Ok(status) = client.maintenance().status(StatusRequest {}).await {
                *id = status.header.context("status without header")?.member_id;
                votes.push(status.leader);
            }
        }
        let named = |id: u64| votes.iter().filter(|vote| **vote == id).count();
        let leader = ids.iter().position(|id| *id != 0 && named(*id) > self.size() / 2);
        leader.context("no leader that a majority names")
    }

    /// Waits until every node answers a linearizable read.
    ///
    /// # Errors
    /// One does not for a long time.
    pub async fn serves_everywhere(&self) -> Result<()> {
        for i in 0..self.size() {
            let client = self.client(i)?.with_timeout(Duration::from_secs(3));
            let what = format!("a read through n{}", i + 1);
            eventually(&what, SOON, async || Ok(crate::client::get(&client, "nothing").await?)).await?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    #[allow(clippy::print_stderr, reason = "the test runner shows it with a failed test")]
    fn drop(&mut self) {
        let began = Instant::now();
        // Nothing better can be done than to try.
        let _ = self.kill_all();
        for (node, address) in self.nodes.iter().zip(&self.addresses) {
            eprintln!("--- end of {}'s log\n{}", address.name, node.tail(TAIL));
        }
        eprintln!("--- cluster ended in {:?}, {}", began.elapsed(), self.dir.path().display());
    }
}
