//! Members whose directories were put back from older copies, three nodes in one process with a
//! network of function calls.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use bytes::Bytes;
use conclave_node::bootstrap::Plan;
use conclave_node::config::{Config, HttpUrl, InitialMember};
use conclave_node::node::Node;
use conclave_node::peer::memory::MemoryNetwork;
use conclave_node::running::RunningNode;
use conclave_state::{Command, KeyRange, Put, RangeQuery};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(dir: &Path, n: usize) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let url = |i: usize| HttpUrl::parse(&format!("http://member{i}:2380")).unwrap();
    let name = |i: usize| format!("m{i}");
    let mut config = Config::single(&name(n), dir.join(name(n)), any, any);
    config.initial_advertise_peer_urls = vec![url(n)];
    config.initial_cluster = (0..3).map(|i| InitialMember { name: name(i), peer_urls: vec![url(i)] }).collect();
    config
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn put(key: &str) -> Command {
    Command::Put(Put { key: key.as_bytes().to_vec().into(), value: "x".into(), ..Default::default() })
}

async fn has(node: &Node, key: &str) -> bool {
    let range = KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() };
    let begun = Instant::now();
    loop {
        let query = RangeQuery { range: range.clone(), ..Default::default() };
        match node.reader.range(query, false).await {
            Ok((found, _)) => return !found.kvs.is_empty(),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Members that are stopped and started again, with the directories they had or with older copies
/// of them.
struct Restarts {
    network: MemoryNetwork,
    dir: tempfile::TempDir,
}

impl Restarts {
    fn new() -> Restarts {
        Restarts { network: MemoryNetwork::default(), dir: tempfile::tempdir().unwrap() }
    }

    async fn assemble(&self, n: usize) -> RunningNode {
        let begun = Instant::now();
        loop {
            let config = config(self.dir.path(), n);
            let plan = Plan::new(&config).unwrap();
            let id = plan.identity.member_id;
            match RunningNode::assemble(config, plan, self.network.transport(id)) {
                Ok(node) => {
                    self.network.listen(id, node.handler.clone());
                    return node;
                }
                // The life before has not let go of everything yet.
                Err(error) => {
                    let in_use = error.to_string().contains("in use");
                    assert!(in_use && begun.elapsed() < PATIENCE, "{error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn start(&self, which: &[usize]) -> Vec<RunningNode> {
        let mut nodes = futures::future::join_all(which.iter().map(|n| self.assemble(*n))).await;
        futures::future::try_join_all(nodes.iter_mut().map(RunningNode::start_consensus)).await.unwrap();
        nodes
    }

    async fn stop(&self, node: RunningNode) {
        self.network.unlisten(node.node.identity.member_id);
        node.stop().await.unwrap();
    }

    async fn refuses(&self, n: usize) {
        let mut node = self.assemble(n).await;
        says_it_is_rolled_back(&node.start_consensus().await.unwrap_err());
        self.network.unlisten(node.node.identity.member_id);
    }

    fn copy(&self, n: usize, to: &str) {
        copy(&self.dir.path().join(format!("m{n}")), &self.dir.path().join(to));
    }

    /// The copy takes the directory's place.
    fn roll_back(&self, n: usize, from: &str) {
        std::fs::remove_dir_all(self.dir.path().join(format!("m{n}"))).unwrap();
        copy(&self.dir.path().join(from), &self.dir.path().join(format!("m{n}")));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn write(node: &Node, keys: std::ops::Range<u32>) {
    for i in keys {
        let begun = Instant::now();
        while node.proposer.propose(put(&format!("k{i}"))).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "nothing is written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn says_it_is_rolled_back(error: &anyhow::Error) {
    let text = error.to_string();
    for words in ["lacks what it has acknowledged", "never an older copy", "leave this member out"] {
        assert!(text.contains(words), "{text}");
    }
}

/// The others know what it acknowledged: by heart, and from their disks after they were restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_rolled_back_does_not_start() {
    let world = Restarts::new();
    let mut nodes = world.start(&[0, 1, 2]).await;
    write(&nodes[0].node, 0..5).await;
    world.stop(nodes.pop().unwrap()).await;
    world.copy(2, "old");
    nodes.extend(world.start(&[2]).await);
    write(&nodes[0].node, 5..50).await;
    let index = nodes[0].node.state.applied_index();
    eventually("it follows", || nodes[2].node.state.applied_index() >= index).await;
    // What is known on the disks lags a little.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.stop(nodes.pop().unwrap()).await;
    world.roll_back(2, "old");

    world.refuses(2).await;
    // Also if the file that says so is taken away, and the others have been restarted.
    for node in nodes {
        world.stop(node).await;
    }
    let others = world.start(&[0, 1]).await;
    let place = world.dir.path().join("m2/PLACE");
    std::fs::remove_file(&place).unwrap();
    world.refuses(2).await;
    for node in others {
        world.stop(node).await;
    }
}

/// Only the member that is away knows that something is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_forms_no_majority_with_a_member_that_lags_behind() {
    let world = Restarts::new();
    let mut nodes = world.start(&[0, 1, 2]).await;
    write(&nodes[0].node, 0..5).await;
    for _ in 0..2 {
        world.stop(nodes.pop().unwrap()).await;
    }
    world.copy(2, "old");
    nodes.extend(world.start(&[2]).await);
    write(&nodes[0].node, 5..50).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in nodes {
        world.stop(node).await;
    }
    world.roll_back(2, "old");
    let lagging = world.start(&[1]).await.pop().unwrap();
    let mut copy = world.assemble(2).await;
    {
        let start = copy.start_consensus();
        tokio::pin!(start);
        let waits = tokio::time::timeout(Duration::from_secs(3), &mut start).await;
        assert!(waits.is_err(), "it takes part: {waits:?}");
        assert!(!lagging.node.leadership.is_led());
        // The third comes back, and knows.
        let third = world.start(&[0]).await.pop().unwrap();
        let error = tokio::time::timeout(PATIENCE, start).await.unwrap().unwrap_err();
        says_it_is_rolled_back(&error);
        assert!(has(&third.node, "k49").await);
        world.stop(third).await;
    }
    world.stop(lagging).await;
}

/// The directory as it was last, in another place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_lacks_nothing_takes_part_once_all_others_have_said_so() {
    let world = Restarts::new();
    let mut nodes = world.start(&[0, 1, 2]).await;
    write(&nodes[0].node, 0..5).await;
    world.stop(nodes.pop().unwrap()).await;
    write(&nodes[0].node, 5..20).await;
    world.copy(2, "moved");
    world.roll_back(2, "moved");
    nodes.extend(world.start(&[2]).await);
    assert!(has(&nodes[2].node, "k19").await);
    // From now on this is its place.
    world.stop(nodes.pop().unwrap()).await;
    world.stop(nodes.pop().unwrap()).await;
    nodes.extend(world.start(&[2]).await);
    write(&nodes[1].node, 20..25).await;
    for node in nodes {
        world.stop(node).await;
    }
}

/// It could not ask when it started, and its leader is the one that it followed before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_rolled_back_under_its_leader_finds_out_and_stops() {
    // On a busy machine the leader may change meanwhile, and then it is another case.
    for _ in 0..5 {
        if rolled_back_under_its_leader().await {
            return;
        }
    }
    panic!("the leader changed in each of five attempts");
}

/// Waits until the leader knows that a follower has everything: the other two are a majority without
/// it. Returns whether another member leads.
async fn acknowledges(nodes: &[RunningNode], follower: u64) -> bool {
    let index = nodes[0].node.state.applied_index();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "the follower never has entry {index}");
        if nodes.iter().any(|node| node.node.leadership.current().leader == Some(follower)) {
            return false;
        }
        let mut replicated = nodes.iter().flat_map(|node| node.node.leadership.replicated());
        if replicated.any(|(id, matched)| id == follower && matched >= index) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the leader stayed the same.
async fn rolled_back_under_its_leader() -> bool {
    let world = Restarts::new();
    let mut nodes = world.start(&[0, 1, 2]).await;
    write(&nodes[0].node, 0..5).await;
    world.stop(nodes.pop().unwrap()).await;
    world.copy(2, "old");
    nodes.extend(world.start(&[2]).await);
    write(&nodes[0].node, 5..50).await;
    let id = nodes[2].node.identity.member_id;
    if !acknowledges(&nodes, id).await {
        return false;
    }
    let term = nodes[0].node.leadership.current().term;
    world.stop(nodes.pop().unwrap()).await;
    world.roll_back(2, "old");
    std::fs::remove_file(world.dir.path().join("m2/PLACE")).unwrap();
    world.network.isolate(id);
    let copy = world.start(&[2]).await.pop().unwrap();
    world.network.heal();
    let failed = tokio::time::timeout(PATIENCE / 2, copy.failed()).await;
    if nodes[0].node.leadership.current().term != term {
        return false;
    }
    says_it_is_rolled_back(&failed.unwrap());
    world.network.unlisten(copy.node.identity.member_id);
    drop(copy);
    // The others have not noticed more than its absence.
    write(&nodes[0].node, 50..55).await;
    assert!(has(&nodes[1].node, "k49").await);
    true
}
