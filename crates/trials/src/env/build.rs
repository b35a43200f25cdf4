//! Makes the parts of an environment: sites and their network, volumes, command lines.

use super::{
    cgroup::Hierarchy,
    doctor::{Capabilities, Capability, scratch},
    fabric::Fabric,
    host::Site,
    native::Native,
    net::Net,
    netns,
    node::{Node, Pids, name},
    proxy::{Proxies, owner_of},
    run::Run,
    setup::{Address, CommandLines, Mode, Setup, Start},
    shim::Page,
    volume::Volume,
    world::{NotPossible, Parts},
};
use anyhow::{Context, Result, ensure};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// What the nodes' sites need, whatever the mode.
struct Builder {
    setup: Setup,
    native: Option<Native>,
    groups: Option<Hierarchy>,
    run: Run,
    binary: PathBuf,
    pids: Pids,
}

pub(crate) fn build(mut setup: Setup) -> Result<Parts> {
    ensure!(setup.nodes >= 1 && setup.seats() + setup.clients <= 100, "that many nodes and clients are not meant");
    let found = Capabilities::find();
    let mode = match setup.mode {
        Mode::Auto if found.has(Capability::Namespaces) => Mode::Namespaces,
        Mode::Auto => Mode::Loopback,
        mode => mode,
    };
    if let (Mode::Namespaces, Some(reason)) = (mode, found.why_not(Capability::Namespaces)) {
        return Err(NotPossible(format!("namespaces: {reason}")).into());
    }
    std::fs::create_dir_all(&setup.out).with_context(|| setup.out.display().to_string())?;
    setup.out = setup.out.canonicalize()?;
    let binary = setup.binary.canonicalize().with_context(|| setup.binary.display().to_string())?;
    let groups = (mode == Mode::Namespaces).then(|| Hierarchy::find().ok()).flatten();
    let base = setup.scratch.clone().unwrap_or_else(scratch);
    let run = Run::open(&base, groups.as_ref().map(Hierarchy::root))?;
    let native = Native::build().ok();
    let builder = Builder { setup, native, groups, run, binary, pids: Pids::default() };
    if mode == Mode::Namespaces { builder.namespaces() } else { builder.loopback() }
}

impl Builder {
    fn namespaces(self) -> Result<Parts> {
        let native = self.native.clone().context("there is no helper")?;
        let count = self.setup.seats() + self.setup.clients + 1;
        let (mut sites, mut devices) = (Vec::new(), Vec::new());
        for i in 0..count {
            let label = self.label(i);
            let (netns, device) = netns::create(&native, &format!("{}-{label}", self.run.id()), i)?;
            devices.push(device);
            sites.push(self.site(i, Some(netns))?);
        }
        let net = Net::Fabric(Fabric::start(devices, self.setup.seed)?);
        let addresses: Vec<Address> = (0..self.setup.seats())
            .map(|i| {
                let (ip, client, peer) = (netns::address(i), CLIENT_PORT, PEER_PORT);
                let (client, peer) = (format!("http://{ip}:{client}"), format!("http://{ip}:{peer}"));
                Address { listen_client: client.clone(), listen_peer: peer.clone(), client, peer }
            })
            .collect();
        let runner = sites.pop().and_then(|host| host.netns);
        let endpoints: Vec<String> = addresses.iter().map(|address| address.client.clone()).collect();
        let (nodes, lines) = self.nodes(addresses, sites.drain(..self.setup.seats()).collect())?;
        let endpoints = vec![endpoints; self.setup.clients + 1];
        Ok(self.parts(Mode::Namespaces, net, (nodes, lines), sites, endpoints, runner))
    }

    fn loopback(self) -> Result<Parts> {
        let proxies = Proxies::new(self.setup.seed);
        let (mut addresses, mut endpoints) = (Vec::new(), vec![Vec::new(); self.setup.clients + 1]);
        for node in 0..self.setup.seats() {
            let (client, peer) = (crate::ports::free()?, crate::ports::free()?);
            let url = |port: u16| format!("http://127.0.0.1:{port}");
            let of = Arc::clone(&self.pids);
            let who = move |from: SocketAddr| owner_of(from, || super::tools::lock(&of).clone());
            let before_peer = proxies.open(node, peer, who)?;
            for (i, list) in endpoints.iter_mut().enumerate() {
                // The last is the harness, which goes straight.
                let host = self.setup.seats() + i;
                let direct = i == self.setup.clients;
                list.push(url(if direct { client } else { proxies.open(node, client, move |_| Some(host))? }));
            }
            let (listen_client, listen_peer) = (url(client), url(peer));
            addresses.push(Address {
                client: listen_client.clone(),
                listen_client,
                listen_peer,
                peer: url(before_peer),
            });
        }
        let sites = (0..self.setup.seats() + self.setup.clients).map(|i| self.site(i, None));
        let mut sites = sites.collect::<Result<Vec<_>>>()?;
        let (nodes, lines) = self.nodes(addresses, sites.drain(..self.setup.seats()).collect())?;
        Ok(self.parts(Mode::Loopback, Net::Proxies(proxies), (nodes, lines), sites, endpoints, None))
    }

    fn label(&self, host: usize) -> String {
        let (nodes, clients) = (self.setup.seats(), self.setup.clients);
        match host {
            node if node < nodes => name(node),
            client if client < nodes + clients => format!("client{}", client - nodes + 1),
            _ => "runner".into(),
        }
    }

    fn site(&self, i: usize, netns: Option<PathBuf>) -> Result<Site> {
        let label = self.label(i);
        let dir = self.run.scratch().join(&label);
        std::fs::create_dir_all(&dir)?;
        let page = if self.setup.shim && self.native.is_some() { Some(Page::create(dir.join("page"))?) } else { None };
        let group = match &self.groups {
            Some(groups) if i < self.setup.seats() => Some(groups.create(&format!("{}-{label}", self.run.id()))?),
            _ => None,
        };
        Ok(Site { name: label, netns, page, group })
    }

    fn nodes(&self, addresses: Vec<Address>, sites: Vec<Site>) -> Result<(Vec<Node>, CommandLines)> {
        let volumes = self.has_volumes();
        let lines = CommandLines { addresses, token: self.run.id().to_owned(), flags: self.setup.flags.clone() };
        let first: Vec<usize> = (0..self.setup.nodes).collect();
        let node = |(i, site): (usize, Site)| {
            let dir = self.run.scratch().join(&site.name);
            let volume = volumes.then(|| Volume::create(&dir, self.setup.volume_mb)).transpose()?;
            let data = volume.as_ref().map_or(dir.as_path(), Volume::root).join("data");
            let args = lines.of(i, &first, &data, Start::New);
            let log = self.setup.out.join(format!("{}.log", site.name));
            let (binary, native) = (self.binary.clone(), self.native.clone());
            Ok(Node::new(i, site, log, (data, volume), (binary, args), self.run.id(), native, Arc::clone(&self.pids)))
        };
        let nodes = sites.into_iter().enumerate().map(node).collect::<Result<_>>()?;
        Ok((nodes, lines))
    }

    fn has_volumes(&self) -> bool {
        self.setup.mode != Mode::Loopback && Capabilities::find().has(Capability::Volumes)
    }

    fn parts(
        self,
        mode: Mode,
        net: Net,
        (nodes, lines): (Vec<Node>, CommandLines),
        clients: Vec<Site>,
        endpoints: Vec<Vec<String>>,
        runner: Option<PathBuf>,
    ) -> Parts {
        let Self { setup, native, run, .. } = self;
        Parts { setup, mode, net, nodes, lines, client_sites: clients, endpoints, native, runner, run }
    }
}
