//! Work for clients does not delay consensus: a member whose clients' runtime stands still leads
//! on.

use conclave_node::config::Config;
use conclave_node::node::Node;
use conclave_server::server::Server;
use conclave_state::{Command, LeaseGrant};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(30);

const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// A member whose clients' runtime is one thread.
struct Member {
    node: Arc<Node>,
    /// Occupies the clients' runtime until the other end of what is sent here is dropped.
    occupy: Sender<Receiver<()>>,
    thread: JoinHandle<()>,
}

impl Member {
    fn start(dir: &Path, at: usize, cluster: &[(u16, u16); 3]) -> Receiver<Member> {
        let config = config(dir, at, cluster);
        let (started, member) = channel();
        let (occupy, wishes) = channel::<Receiver<()>>();
        let (give, thread) = channel::<JoinHandle<()>>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let server = Server::start(config).await.expect("the member starts");
                server.ready().await;
                let thread = thread.recv().expect("the handle of this thread");
                let node = server.node.clone();
                started.send(Member { node, occupy, thread }).expect("the test waits for it");
                loop {
                    match wishes.try_recv() {
                        // As a long request would: nothing else runs here meanwhile.
                        Ok(until) => drop(until.recv()),
                        Err(std::sync::mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
                    }
                }
                server.stop().await.expect("it stops");
            });
        };
        give.send(std::thread::spawn(run)).expect("the thread waits for it");
        member
    }

    fn leader(&self) -> (Option<u64>, u64) {
        let now = self.node.leadership.current();
        (now.leader, now.term)
    }
}

fn config(dir: &Path, at: usize, cluster: &[(u16, u16); 3]) -> Config {
    let peers = |(number, (_, peer)): (usize, &(u16, u16))| format!("n{number}=http://127.0.0.1:{peer}");
    let initial: Vec<String> = cluster.iter().enumerate().map(peers).collect();
    let client = format!("http://127.0.0.1:{}", cluster[at].0);
    let peer = format!("http://127.0.0.1:{}", cluster[at].1);
    let dir = dir.join(at.to_string()).display().to_string();
    let (name, initial) = (format!("n{at}"), initial.join(","));
    let timeout = ELECTION_TIMEOUT.as_millis().to_string();
    let settings = [
        ("--name", &name),
        ("--data-dir", &dir),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", &initial),
        ("--election-timeout", &timeout),
    ];
    let flags = settings.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]);
    Config::load(std::iter::once("conclave".to_owned()).chain(flags)).expect("valid settings")
}

fn free_ports() -> [(u16, u16); 3] {
    let listeners: Vec<_> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let port = |at: usize| listeners[at].local_addr().expect("bound").port();
    [(port(0), port(1)), (port(2), port(3)), (port(4), port(5))]
}

#[test]
fn a_leader_that_is_busy_with_clients_keeps_its_leadership() {
    let (dir, cluster) = (tempfile::tempdir().expect("a directory"), free_ports());
    let starting: Vec<_> = (0..3).map(|at| Member::start(dir.path(), at, &cluster)).collect();
    let members: Vec<Member> = starting.into_iter().map(|member| member.recv().expect("it started")).collect();
    let (Some(leader), term) = members[0].leader() else { panic!("there is no leader") };
    let lead = members.iter().find(|member| member.node.identity.member_id == leader).expect("one of them leads");

    let other = members.iter().find(|member| member.node.identity.member_id != leader).expect("and others do not");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let grant = Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 600 });
    runtime.block_on(other.node.proposer.propose(grant)).expect("it is decided");

    let (release, until) = channel();
    lead.occupy.send(until).expect("it runs");
    std::thread::sleep(6 * ELECTION_TIMEOUT);
    // Its time was over meanwhile. That is decided without the runtime that stands still, and so is
    // what waits for it.
    let renewed = async { tokio::time::timeout(PATIENCE, other.node.leases.renew(7)).await };
    let renewed = runtime.block_on(renewed).expect("the leader decides").expect("it answers");
    assert_eq!(renewed.span, Duration::ZERO, "it was renewed after its end");
    drop(release);

    for member in &members {
        assert_eq!(member.leader(), (Some(leader), term), "another election took place");
    }
    for Member { occupy, thread, node } in members {
        drop((occupy, node));
        thread.join().expect("it ends");
    }
}
