//! The network between hosts, of either kind, and the links that faults speak of.

use super::fabric::{
    Fabric,
    rules::{HostNo, Packets, Rule},
};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts are numbered: nodes first, then clients, then the harness itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
}

/// Directed links.
pub(crate) type Links = BTreeSet<(HostNo, HostNo)>;

impl Plan {
    pub(crate) fn client(self, client: usize) -> HostNo {
        self.nodes + client
    }

    pub(crate) fn runner(self) -> HostNo {
        self.nodes + self.clients
    }

    pub(crate) fn all_nodes(self) -> Vec<HostNo> {
        (0..self.nodes).collect()
    }

    pub(crate) fn all_clients(self) -> Vec<HostNo> {
        (self.nodes..self.nodes + self.clients).collect()
    }

    /// All hosts but the harness.
    pub(crate) fn everybody(self) -> Vec<HostNo> {
        (0..self.nodes + self.clients).collect()
    }
}

/// From each of these to each of those.
pub(crate) fn one_way(from: &[HostNo], to: &[HostNo]) -> Links {
    from.iter().flat_map(|a| to.iter().map(|b| (*a, *b))).filter(|(a, b)| a != b).collect()
}

/// Between these and those, in both directions.
pub(crate) fn between(a: &[HostNo], b: &[HostNo]) -> Links {
    &one_way(a, b) | &one_way(b, a)
}

/// Those that are not these.
pub(crate) fn except(all: &[HostNo], these: &[HostNo]) -> Vec<HostNo> {
    all.iter().copied().filter(|host| !these.contains(host)).collect()
}

/// The running network.
#[derive(Debug)]
pub(crate) enum Net {
    Fabric(Fabric),
    Proxies(super::proxy::Proxies),
}

impl Net {
    pub(crate) fn add(&self, links: &Links, rule: &Rule) -> u64 {
        let rules: BTreeMap<_, _> = links.iter().map(|link| (*link, rule.clone())).collect();
        match self {
            Self::Fabric(fabric) => fabric.add(rules),
            Self::Proxies(proxies) => proxies.add(rules),
        }
    }

    pub(crate) fn remove(&self, layer: u64) -> Packets {
        match self {
            Self::Fabric(fabric) => fabric.remove(layer),
            Self::Proxies(proxies) => proxies.remove(layer),
        }
    }

    /// Packets (or pieces of streams) that arrived so far.
    pub(crate) fn carried(&self) -> u64 {
        match self {
            Self::Fabric(fabric) => fabric.carried(),
            Self::Proxies(proxies) => proxies.carried(),
        }
    }
}
