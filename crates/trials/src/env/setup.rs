//! What an environment is to be, and the command lines of its nodes.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where nodes and clients live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Namespaces if the machine allows them, loopback if not.
    #[default]
    Auto,
    /// Each host in a network namespace; the fabric carries packets between them.
    Namespaces,
    /// All on 127.0.0.1, with proxies between them. Needs no root.
    Loopback,
}

/// What to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub nodes: usize,
    /// Further hosts for nodes, which nobody starts at first: members come to them later.
    pub spares: usize,
    /// Hosts for client processes.
    pub clients: usize,
    /// The server under test: `conclave`, or stock `etcd`.
    pub binary: PathBuf,
    /// Further flags of every node.
    pub flags: Vec<String>,
    /// Of the fabric's dice.
    pub seed: u64,
    /// Where logs go, which stay behind.
    pub out: PathBuf,
    pub mode: Mode,
    /// The size of a node's volume.
    pub volume_mb: u64,
    /// Where volumes are, which do not stay behind; in memory if there is enough.
    pub scratch: Option<PathBuf>,
    /// Whether nodes and clients have the shim preloaded.
    pub shim: bool,
}

impl Setup {
    /// Hosts for nodes.
    pub(crate) fn seats(&self) -> usize {
        self.nodes + self.spares
    }

    /// Three nodes and three clients.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, out: impl Into<PathBuf>, seed: u64) -> Self {
        Self {
            nodes: 3,
            spares: 0,
            clients: 3,
            binary: binary.into(),
            flags: Vec::new(),
            seed,
            out: out.into(),
            mode: Mode::Auto,
            volume_mb: 256,
            scratch: None,
            shim: true,
        }
    }
}

/// Where a node listens, and where others reach it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) listen_client: String,
    pub(crate) listen_peer: String,
    pub(crate) client: String,
    pub(crate) peer: String,
}

/// How a node is to start in an empty directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With all of the first members.
    New,
    /// As a member that was added to the running cluster.
    Existing,
}

/// What the command lines of all nodes are made of.
#[derive(Debug)]
pub(crate) struct CommandLines {
    pub(crate) addresses: Vec<Address>,
    pub(crate) token: String,
    pub(crate) flags: Vec<String>,
}

impl CommandLines {
    /// The command line of node `index` in a cluster of these nodes.
    pub(crate) fn of(&self, index: usize, cluster: &[usize], data: &std::path::Path, start: Start) -> Vec<String> {
        let own = &self.addresses[index];
        let named = |i: &usize| format!("{}={}", super::node::name(*i), self.addresses[*i].peer);
        let cluster = cluster.iter().map(named).collect::<Vec<_>>().join(",");
        let state = if start == Start::New { "new" } else { "existing" };
        let pairs = [
            ("--name", super::node::name(index)),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", own.listen_client.clone()),
            ("--advertise-client-urls", own.client.clone()),
            ("--listen-peer-urls", own.listen_peer.clone()),
            ("--initial-advertise-peer-urls", own.peer.clone()),
            ("--initial-cluster", cluster),
            ("--initial-cluster-state", state.to_owned()),
            ("--initial-cluster-token", self.token.clone()),
        ];
        let own = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        own.chain(self.flags.iter().cloned()).collect()
    }
}
