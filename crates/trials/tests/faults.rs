//! Every fault of the trials' environment does what its name says, is undone, and leaves nothing behind.
//!
//! A test that this machine cannot run says so and passes: `conclave-trials doctor` says the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use anyhow::{Context, Result, ensure};
use conclave_api::etcdserverpb::{PutRequest, kv_client::KvClient};
use conclave_trials::{
    binary,
    env::{
        Capabilities, Capability, Effect, Env, Evidence, Fault, Host, Mode, NodeState, NotPossible, Scope, Setup,
        Target, Who, World, doctor, now_ns, remains, sweep,
    },
    figure,
};
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const MOMENT: Duration = Duration::from_millis(600);
const LONG: Duration = Duration::from_secs(30);

/// An environment and the directory of its logs.
struct Trial {
    env: Env,
    out: TempDir,
}

impl std::ops::Deref for Trial {
    type Target = Arc<World>;
    fn deref(&self) -> &Arc<World> {
        &self.env
    }
}

impl Trial {
    fn finish(self) {
        let id = self.env.id().to_owned();
        assert_eq!(self.env.unexpected_exits(), []);
        self.env.finish().unwrap();
        assert_eq!(remains(&id).unwrap(), Vec::<String>::new());
        drop(self.out);
    }
}

fn setup(out: &TempDir) -> Setup {
    Setup { clients: 1, volume_mb: 96, ..Setup::new(binary::server(), out.path().join("logs"), 7) }
}

/// An environment with what the test needs; none, with the reason said, if the machine does not have it.
fn start(needs: &[Capability], change: impl FnOnce(&mut Setup)) -> Option<Trial> {
    for need in [&[Capability::Namespaces], needs].concat() {
        if let Some(reason) = Capabilities::find().why_not(need) {
            figure(&format!("left out, for want of {need:?}: {reason}"));
            return None;
        }
    }
    let out = tempfile::tempdir().unwrap();
    let mut setup = setup(&out);
    change(&mut setup);
    Some(Trial { env: Env::start(setup).unwrap(), out })
}

/// Holds a fault for a time; the rest happens meanwhile.
fn hold<T>(trial: &Trial, fault: &Fault, during: impl FnOnce() -> T) -> (Evidence, T) {
    let installed = trial.install(fault).unwrap();
    let result = during();
    let evidence = trial.heal(installed).unwrap();
    figure(&format!("{}: {:?} {}", fault.name(), evidence.effects, evidence.note));
    assert!(evidence.effective, "no effect: {evidence:?}");
    (evidence, result)
}

fn for_a_moment(trial: &Trial, fault: &Fault) -> Evidence {
    hold(trial, fault, || sleep(MOMENT)).0
}

/// The address of a node's host.
fn ip(trial: &Trial, node: usize) -> SocketAddr {
    let url = trial.endpoint(Host::Runner, node);
    url.trim_start_matches("http://").parse().unwrap()
}

/// Whether a connection to a node can be made from a host.
fn connects(trial: &Trial, from: Host, node: usize) -> bool {
    let to = ip(trial, node);
    let try_it = move || TcpStream::connect_timeout(&to, Duration::from_millis(400)).is_ok();
    trial.inside(from, try_it).unwrap().join().unwrap()
}

/// Sends numbered datagrams from a host to a node's host; returns those that came, in the order they came.
fn datagrams(trial: &Trial, from: Host, to: usize, count: u32, size: usize) -> Vec<u32> {
    let mut address = ip(trial, to);
    let bind = move || UdpSocket::bind((address.ip(), 0)).unwrap();
    let receiver = trial.inside(Host::Node(to), bind).unwrap().join().unwrap();
    address.set_port(receiver.local_addr().unwrap().port());
    let send = move || {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        for i in 0..count {
            let mut bytes = vec![0; size];
            bytes[..4].copy_from_slice(&i.to_le_bytes());
            sender.send_to(&bytes, address).unwrap();
            sleep(Duration::from_micros(300));
        }
    };
    let sender = trial.inside(from, send).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match receiver.recv(&mut buffer) {
            Ok(_) => came.push(u32::from_le_bytes(buffer[..4].try_into().unwrap())),
            Err(_) if sender.is_finished() => break,
            Err(_) => {}
        }
    }
    sender.join().unwrap();
    came
}

fn hears(trial: &Trial, from: usize, to: usize) -> bool {
    !datagrams(trial, Host::Node(from), to, 3, 8).is_empty()
}

/// Puts through a node, from a host; how many succeeded.
fn puts(trial: &Trial, from: Host, node: usize, count: u32) -> u32 {
    let url = trial.endpoint(from, node);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Ok(mut client) = KvClient::connect(url).await else { return 0 };
            let mut done = 0;
            for i in 0..count {
                let put = PutRequest {
                    key: format!("key{}", i % 10).into(),
                    value: vec![b'v'; 200].into(),
                    ..Default::default()
                };
                let sent = tokio::time::timeout(Duration::from_secs(2), client.put(put)).await;
                done += u32::from(matches!(sent, Ok(Ok(_))));
            }
            done
        })
    };
    trial.inside(from, work).unwrap().join().unwrap()
}

#[test]
fn the_doctor_says_what_is_there() {
    let diagnosis = doctor().unwrap();
    figure(&diagnosis.to_string());
    let text = diagnosis.to_string();
    for capability in ["root", "namespaces", "ext4", "shim", "strace", "CPU"] {
        assert!(text.contains(capability), "{text}");
    }
}

#[test]
fn runs_side_by_side_do_not_meet() {
    let one = |setup: &mut Setup| setup.nodes = 1;
    let (Some(a), Some(b)) = (start(&[], one), start(&[], one)) else { return };
    let client = Host::Client(0);
    assert_eq!(a.endpoint(client, 0), b.endpoint(client, 0), "the same address, in two networks");
    assert_eq!((puts(&a, client, 0, 3), puts(&b, client, 0, 1)), (3, 1));
    assert_eq!((a.status(0).unwrap().revision, b.status(0).unwrap().revision), (4, 2));
    hold(&a, &Fault::ClientCut { client: 0 }, || assert!(!connects(&a, client, 0) && connects(&b, client, 0)));
    a.finish();
    assert!(connects(&b, client, 0));
    b.finish();
}

#[test]
fn partitions_cut_what_they_name_and_nothing_else() {
    let Some(trial) = start(&[], |setup| setup.nodes = 5) else { return };
    let leader = trial.leader().unwrap();
    let followers: Vec<usize> = (0..5).filter(|node| *node != leader).collect();
    let (client, other) = (Host::Client(0), followers[0]);

    let isolate = Fault::Isolate { target: Target::Leader, clients_too: true };
    hold(&trial, &isolate, || {
        assert!(!connects(&trial, client, leader) && connects(&trial, client, other));
        assert!(!hears(&trial, leader, other) && !hears(&trial, other, leader) && hears(&trial, other, followers[1]));
        let end = Instant::now() + LONG;
        while trial.leader_now().is_none_or(|now| now == leader) {
            assert!(Instant::now() < end, "nobody else leads");
            sleep(Duration::from_millis(20));
        }
        assert!(trial.status(leader).is_ok(), "the harness still reaches the isolated one");
    });
    trial.wait_all_serve(LONG).unwrap();

    let leader = trial.leader().unwrap();
    let other = (leader + 1) % 5;
    let deaf = Fault::OneWay { target: Target::Node(leader), deaf: true };
    hold(&trial, &deaf, || assert!(hears(&trial, leader, other) && !hears(&trial, other, leader)));
    let mute = Fault::OneWay { target: Target::Node(leader), deaf: false };
    hold(&trial, &mute, || assert!(!hears(&trial, leader, other) && hears(&trial, other, leader)));
    let partial = Fault::Partial { a: Target::Node(0), b: Target::Node(1) };
    hold(&trial, &partial, || {
        assert!(!hears(&trial, 0, 1) && !hears(&trial, 1, 0) && hears(&trial, 0, 2) && hears(&trial, 1, 2));
    });
    let clients = Fault::ClientsCut { target: Target::Node(2) };
    hold(&trial, &clients, || {
        assert!(!connects(&trial, client, 2) && connects(&trial, client, 1) && hears(&trial, 2, 1))
    });
    let alone = Fault::ClientCut { client: 0 };
    hold(&trial, &alone, || assert!((0..5).all(|node| !connects(&trial, client, node))));
    let halves = Fault::Halves { leader_in_minority: true, seed: 3 };
    let evidence = for_a_moment(&trial, &halves);
    assert!(evidence.nodes.len() == 2 && evidence.nodes.contains(&evidence.leader_was.unwrap()));
    for_a_moment(&trial, &Fault::MajorityRing { seed: 3 });
    assert!(hears(&trial, 0, 1) && connects(&trial, client, 0));
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn links_delay_lose_repeat_and_reorder() {
    let Some(trial) = start(&[], |_| {}) else { return };
    let (client, scope) = (Host::Client(0), Scope::Clients);
    let orderly = datagrams(&trial, client, 0, 300, 100);
    assert_eq!(orderly, (0..300).collect::<Vec<u32>>());

    let delay = Fault::Delay { scope, ms: 40, jitter_ms: 10 };
    let (_, took) = hold(&trial, &delay, || {
        let began = Instant::now();
        assert!(connects(&trial, client, 0));
        assert_eq!(datagrams(&trial, client, 0, 100, 100), (0..100).collect::<Vec<u32>>(), "jitter changes no order");
        began.elapsed()
    });
    assert!(took > Duration::from_millis(120), "{took:?}");
    let (_, came) =
        hold(&trial, &Fault::Loss { scope, percent: 30.0 }, || datagrams(&trial, client, 0, 400, 100).len());
    assert!((200..360).contains(&came), "{came}");
    let (_, came) =
        hold(&trial, &Fault::Duplicate { scope, percent: 30.0 }, || datagrams(&trial, client, 0, 400, 100).len());
    assert!((440..600).contains(&came), "{came}");
    let reorder = Fault::Reorder { scope, percent: 20.0, hold_ms: 20 };
    let (_, came) = hold(&trial, &reorder, || datagrams(&trial, client, 0, 200, 100));
    assert!(came.len() == 200 && !came.is_sorted(), "{came:?}");
    // 50 kilobytes at 50 kilobytes a second.
    let (_, took) = hold(&trial, &Fault::Rate { scope, kbit: 400 }, || {
        let began = Instant::now();
        assert_eq!(datagrams(&trial, client, 0, 50, 1000).len(), 50);
        began.elapsed()
    });
    assert!(took > Duration::from_millis(900), "{took:?}");

    let to = ip(&trial, 0);
    let connect = move || TcpStream::connect(to).unwrap();
    let mut stream = trial.inside(client, connect).unwrap().join().unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    sleep(Duration::from_millis(50));
    hold(&trial, &Fault::ResetStorm { scope, percent: 100.0 }, || {
        stream.write_all(b"\r\nSM\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 1024];
        let kind = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.kind()),
            }
        };
        assert_eq!(kind, Some(ErrorKind::ConnectionReset));
    });
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn processes_are_killed_restarted_and_stopped() {
    let Some(trial) = start(&[], |_| {}) else { return };
    let leader = trial.leader().unwrap();
    let pid = |node: usize| match trial.node_state(node) {
        NodeState::Running { pid } | NodeState::Stopped { pid } => Some(pid),
        NodeState::Down => None,
    };
    let before = pid(leader);
    hold(&trial, &Fault::Kill { target: Target::Leader }, || assert_eq!(trial.node_state(leader), NodeState::Down));
    assert!(pid(leader).is_some() && pid(leader) != before);
    hold(&trial, &Fault::Kill { target: Target::All }, || assert!((0..3).all(|node| pid(node).is_none())));
    trial.wait_all_serve(LONG).unwrap();

    // Two faults keep a node down until both have let go.
    let (first, second) = (Fault::Kill { target: Target::Node(0) }, Fault::Kill { target: Target::Node(0) });
    let first = trial.install(&first).unwrap();
    let second = trial.install(&second).unwrap();
    trial.heal(first).unwrap();
    assert_eq!(trial.node_state(0), NodeState::Down);
    let nothing_left = trial.heal(second).unwrap();
    assert!(!nothing_left.effective, "a node that is down is not killed again");
    assert!(pid(0).is_some());

    let (evidence, ()) =
        hold(&trial, &Fault::CrashLoop { target: Target::Follower(0), up_ms: 200 }, || sleep(2 * MOMENT));
    assert!(evidence.effects.len() > 4);
    trial.wait_all_serve(LONG).unwrap();
    let evidence = for_a_moment(&trial, &Fault::RollingRestart);
    assert_eq!(
        evidence.effects.iter().filter(|e| matches!(e, Effect::Ended { how, .. } if how == "exit 0")).count(),
        3
    );

    let leader = trial.leader().unwrap();
    let (evidence, ()) = hold(&trial, &Fault::Pause { target: Target::Leader }, || {
        assert!(matches!(trial.node_state(leader), NodeState::Stopped { .. }));
        sleep(MOMENT);
    });
    let moment = u64::try_from(MOMENT.as_nanos()).unwrap();
    assert!(matches!(evidence.effects[..], [Effect::Stopped { nanos, .. }] if nanos >= moment));
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn an_end_that_nobody_asked_for_is_seen() {
    let Some(trial) = start(&[], |_| {}) else { return };
    let NodeState::Running { pid } = trial.node_state(1) else { panic!("n2 is down") };
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    let end = Instant::now() + LONG;
    while trial.node_state(1) != NodeState::Down {
        assert!(Instant::now() < end);
    }
    let exits = trial.unexpected_exits();
    assert!(exits.len() == 1 && exits[0].node == 1 && exits[0].how == "signal 9", "{exits:?}");
}

#[test]
fn clients_are_stopped_skewed_and_killed() {
    let Some(trial) = start(&[Capability::Preload], |setup| setup.nodes = 1) else { return };
    // Three columns: the host's clock, libc's monotonic clock, both in nanoseconds, and libc's wall clock in seconds.
    let program = std::env::current_exe().unwrap().display().to_string();
    let args = ["-c", "TRIALS_ROLE=clock exec \"$0\" --exact clock_reader --nocapture", &program].map(str::to_owned);
    let process = trial.spawn_client(0, Path::new("/bin/sh"), &args).unwrap();
    let mut lines = BufReader::new(process.stdout().unwrap()).lines();
    let mut read = || -> [i64; 3] {
        loop {
            let line = lines.next().unwrap().unwrap();
            let Some((_, columns)) = line.split_once("clocks ") else { continue };
            let columns: Vec<i64> = columns.split(' ').map(|column| column.parse().unwrap()).collect();
            return columns.try_into().unwrap();
        }
    };
    let mut read_until = |after: u64| loop {
        let [host, libc, wall] = read();
        if host > i64::try_from(after).unwrap() {
            return [host, libc, wall];
        }
    };
    let who = Who::Client(0);
    let wall = || {
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
    };

    let [host, libc, _] = read_until(now_ns());
    let offset = libc - host;
    hold(&trial, &Fault::ClockRate { who, rate: 2.0 }, || {
        let from = read_until(now_ns());
        sleep(Duration::from_secs(1));
        let to = read_until(now_ns());
        let (host, libc) = (to[0] - from[0], to[1] - from[1]);
        assert!((1_900_000_000..2_100_000_000).contains(&(libc * 1_000_000_000 / host)), "{libc} in {host}");
        assert!(to[0] < i64::try_from(now_ns()).unwrap(), "the host's clock is not skewed");
    });
    let [host, libc, _] = read_until(now_ns());
    assert!(libc - host > offset + 900_000_000, "what has been gained stays");
    hold(&trial, &Fault::MonotonicJump { who, ms: 60_000 }, || {
        let [host, libc, _] = read_until(now_ns());
        assert!(libc - host > offset + 60_000_000_000);
    });
    hold(&trial, &Fault::WallJump { who, ms: -3_600_000 }, || {
        let [.., seen] = read_until(now_ns());
        assert!((wall() - seen - 3600).abs() < 20, "{seen}");
    });
    assert!((wall() - read_until(now_ns())[2]).abs() < 20);

    hold(&trial, &Fault::PauseClient { client: 0 }, || sleep(MOMENT));
    read_until(now_ns());
    hold(&trial, &Fault::KillClient { client: 0 }, || assert!(!process.running()));
    let nobody = trial.install(&Fault::KillClient { client: 0 }).unwrap_err();
    assert!(nobody.downcast_ref::<NotPossible>().is_some());
    trial.finish();
}

/// No test of its own: what the clients' test runs as a client.
#[test]
fn clock_reader() {
    if std::env::var_os("TRIALS_ROLE").is_none_or(|role| role != "clock") {
        return;
    }
    let began = Instant::now();
    loop {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        println!("clocks {} {} {wall}", now_ns(), began.elapsed().as_nanos());
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn power_loss_takes_what_was_not_synced_and_nothing_else() {
    let Some(trial) = start(&[Capability::Volumes, Capability::PowerCut], |_| {}) else { return };
    let file = |node: usize, name: &str| trial.data_dir(node).with_file_name(name);
    let write = |path: &Path, sync: bool| {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(&[7; 50_000]).unwrap();
        if sync {
            file.sync_all().unwrap();
        }
    };
    for target in [Target::Follower(1), Target::All] {
        for node in 0..3 {
            write(&file(node, "kept"), true);
            write(&file(node, "lost"), false);
        }
        let (evidence, ()) = hold(&trial, &Fault::PowerLoss { target }, || {});
        for node in &evidence.nodes {
            assert_eq!(std::fs::read(file(*node, "kept")).unwrap(), [7; 50_000]);
            assert!(std::fs::read(file(*node, "lost")).unwrap_or_default().is_empty());
            let lost = evidence.effects.iter().find_map(|effect| match effect {
                Effect::Lost { node: n, loss } if n == node => Some(loss),
                _ => None,
            });
            let lost = lost.unwrap();
            assert!(lost.data_bytes >= 50_000 && lost.files.contains(&"lost".to_owned()), "{lost:?}");
        }
        trial.wait_all_serve(LONG).unwrap();
    }
    assert!(puts(&trial, Host::Client(0), 0, 10) == 10);

    let follower =
        hold(&trial, &Fault::DiskError { target: Target::Follower(0) }, || puts(&trial, Host::Client(0), 0, 20)).0;
    figure(&format!("after a disk error: {:?}", trial.exits()));
    assert_eq!(follower.nodes.len(), 1);
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn disks_are_slow_fail_lie_and_fill_up() {
    let Some(trial) = start(&[Capability::Volumes, Capability::Preload], |_| {}) else { return };
    let leader = trial.leader().unwrap();
    let client = Host::Client(0);
    let slow = Fault::SlowSync { target: Target::All, ms: 100 };
    let (_, took) = hold(&trial, &slow, || {
        let began = Instant::now();
        assert_eq!(puts(&trial, client, leader, 5), 5);
        began.elapsed()
    });
    assert!(took >= Duration::from_millis(450), "{took:?}");
    let target = Target::Follower(0);
    // The leader does not wait for this follower, so the test does.
    hold(&trial, &Fault::LyingSync { target }, || {
        assert_eq!(puts(&trial, client, leader, 20), 20);
        sleep(MOMENT);
    });
    hold(&trial, &Fault::FailingSync { target }, || {
        assert!(puts(&trial, client, leader, 20) > 0);
        sleep(MOMENT);
    });
    figure(&format!("after failing syncs: {:?}", trial.exits()));
    trial.wait_all_serve(LONG).unwrap();
    let room = |node: usize| trial.data_dir(node).with_file_name("room");
    let (evidence, ()) = hold(&trial, &Fault::DiskFull { target }, || {
        puts(&trial, client, trial.leader().unwrap(), 50);
        let no_room = |node: usize| {
            std::fs::write(room(node), vec![1; 1 << 20]).is_err_and(|e| e.kind() == ErrorKind::StorageFull)
        };
        assert_eq!((0..3).filter(|node| no_room(*node)).count(), 1);
    });
    std::fs::write(room(evidence.nodes[0]), vec![1; 1 << 20]).unwrap();
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

/// The control of all that is said about durability: if syncs lie on every node, a power loss of all takes what was acknowledged. Either
/// it is gone, or a member notices that it is gone and does not start.
#[test]
fn syncs_that_lie_lose_acknowledged_writes_with_the_power() {
    let needs = [Capability::Volumes, Capability::PowerCut, Capability::Preload];
    let Some(trial) = start(&needs, |_| {}) else { return };
    let client = Host::Client(0);
    assert_eq!(puts(&trial, client, 0, 10), 10);
    let lie = trial.install(&Fault::LyingSync { target: Target::All }).unwrap();
    assert_eq!(puts(&trial, client, 0, 30), 30);
    let before = trial.status(0).unwrap().revision;
    let cut = trial.install(&Fault::PowerLoss { target: Target::All }).unwrap();
    assert!(trial.heal(cut).unwrap().effective && trial.heal(lie).unwrap().effective);
    let noticed = || {
        let refusals = ["lost or changed data that was acknowledged", "has lost what was synced"];
        trial.exits().iter().any(|exit| refusals.iter().any(|refusal| exit.tail.contains(refusal)))
    };
    if let Err(error) = trial.wait_all_serve(Duration::from_secs(15)) {
        assert!(noticed(), "{error:#}");
        figure("a member noticed the loss and did not start");
        trial.env.finish().unwrap();
        return;
    }
    let after = trial.status(0).unwrap().revision;
    figure(&format!("revision {before} before the power loss, {after} after it"));
    assert!((11..before).contains(&after), "what was synced is there, what was lied about is not");
    trial.finish();
}

#[test]
fn damaged_files_are_damaged_and_the_node_comes_back() {
    let Some(trial) = start(&[], |_| {}) else { return };
    let client = Host::Client(0);
    assert!(puts(&trial, client, 0, 50) > 0);
    let target = Target::Follower(0);
    for fault in [Fault::TornTail { target, bytes: 300 }, Fault::FlipBytes { target, count: 3, seed: 5 }] {
        let evidence = hold(&trial, &fault, || {}).0;
        let answered = |effect: &Effect| matches!(effect, Effect::Refused { .. } | Effect::Survived { .. });
        assert!(evidence.effects.iter().any(answered));
    }
    let all = trial.install(&Fault::FlipBytes { target: Target::All, count: 1, seed: 5 }).unwrap_err();
    assert!(all.downcast_ref::<NotPossible>().is_some(), "{all:?}");
    trial.env.finish().unwrap();
}

#[test]
fn nodes_believe_wrong_clocks() {
    let Some(trial) = start(&[Capability::Preload], |_| {}) else { return };
    let who = Who::Nodes(Target::Leader);
    let (evidence, ()) = hold(&trial, &Fault::ClockRate { who, rate: 1.5 }, || sleep(2 * MOMENT));
    let gained = evidence.effects.iter().find_map(|effect| match effect {
        Effect::Clock { ahead_nanos, .. } => Some(*ahead_nanos),
        _ => None,
    });
    assert!((400_000_000..2_000_000_000).contains(&gained.unwrap()), "{gained:?}");
    trial.wait_all_serve(LONG).unwrap();
    for_a_moment(&trial, &Fault::MonotonicJump { who, ms: 5000 });
    trial.wait_all_serve(LONG).unwrap();
    hold(&trial, &Fault::WallJump { who: Who::Nodes(Target::All), ms: 3_600_000 }, || {
        assert!(puts(&trial, Host::Client(0), 0, 10) > 0);
        sleep(MOMENT);
    });
    trial.finish();
}

#[test]
fn nodes_starve_fall_behind_and_see_their_history_go() {
    let flags = ["--snapshot-count", "50"].map(str::to_owned).to_vec();
    let Some(trial) = start(&[], |setup| setup.flags = flags) else { return };
    let client = Host::Client(0);
    let leader = trial.leader().unwrap();
    hold(&trial, &Fault::CpuStarve { target: Target::Node(leader), percent: 5 }, || {
        puts(&trial, client, leader, 100);
    });
    trial.wait_all_serve(LONG).unwrap();
    hold(&trial, &Fault::CompactionStorm { every_ms: 20 }, || {
        puts(&trial, client, trial.leader().unwrap(), 100);
        sleep(MOMENT);
    });
    let (evidence, ()) = hold(&trial, &Fault::SnapshotLag { target: Target::Follower(0) }, || {
        let leader = trial.leader().unwrap();
        assert!(puts(&trial, client, leader, 500) > 450);
        // What is on its way to a member is not purged until the leader gives up waiting for its answer.
        sleep(Duration::from_secs(5));
        assert!(puts(&trial, client, leader, 500) > 450);
    });
    assert!(evidence.effects.iter().any(|effect| matches!(effect, Effect::Snapshots { behind, .. } if *behind > 500)));
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn without_namespaces_proxies_cut_delay_and_reset() {
    let out = tempfile::tempdir().unwrap();
    let env = Env::start(Setup { mode: Mode::Loopback, ..setup(&out) }).unwrap();
    let trial = Trial { env, out };
    let (client, leader) = (Host::Client(0), trial.leader().unwrap());
    assert_eq!(puts(&trial, client, leader, 5), 5);
    hold(&trial, &Fault::Isolate { target: Target::Leader, clients_too: true }, || {
        assert_eq!(puts(&trial, client, leader, 1), 0);
        let end = Instant::now() + LONG;
        while trial.leader_now().is_none_or(|now| now == leader) {
            assert!(Instant::now() < end, "nobody else leads");
            sleep(Duration::from_millis(20));
        }
    });
    trial.wait_all_serve(LONG).unwrap();
    let began = Instant::now();
    hold(&trial, &Fault::Delay { scope: Scope::Clients, ms: 50, jitter_ms: 0 }, || {
        assert_eq!(puts(&trial, client, 0, 5), 5)
    });
    assert!(began.elapsed() > Duration::from_millis(500));
    hold(&trial, &Fault::ResetStorm { scope: Scope::Peers, percent: 20.0 }, || sleep(MOMENT));
    hold(&trial, &Fault::Pause { target: Target::Follower(0) }, || sleep(MOMENT));
    hold(&trial, &Fault::CpuStarve { target: Target::Follower(0), percent: 20 }, || sleep(MOMENT));
    let loss = trial.install(&Fault::Loss { scope: Scope::Peers, percent: 5.0 }).unwrap_err();
    assert!(loss.downcast_ref::<NotPossible>().is_some());
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

#[test]
fn stock_etcd_runs_here_too() {
    let etcd = Path::new("/usr/bin/etcd");
    if !etcd.exists() {
        figure("left out: there is no /usr/bin/etcd (Debian: etcd-server)");
        return;
    }
    let needs = [Capability::Strace, Capability::Volumes, Capability::PowerCut];
    let Some(trial) = start(&needs, |setup| (setup.binary, setup.volume_mb) = (etcd.into(), 256)) else { return };
    let (client, leader) = (Host::Client(0), trial.leader().unwrap());
    let skew = Fault::ClockRate { who: Who::Nodes(Target::All), rate: 2.0 };
    assert!(trial.possible(&skew).is_err(), "a program in Go does not read clocks through libc");
    let slow = Fault::SlowSync { target: Target::Node(leader), ms: 50 };
    hold(&trial, &slow, || assert!(puts(&trial, client, leader, 3) > 0));
    hold(&trial, &Fault::PowerLoss { target: Target::All }, || {});
    hold(&trial, &Fault::Isolate { target: Target::Leader, clients_too: false }, || sleep(3 * MOMENT));
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}

/// Starts this program again to hold an environment; returns the process and the run's name.
fn held() -> Result<(std::process::Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "holder", "--nocapture"]).env("TRIALS_ROLE", "holder");
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    let line = lines.find_map(|line| line.ok()?.split_once("holding ").map(|(_, id)| id.to_owned()));
    let id = line.context("the holder ended early")?;
    ensure!(!remains(&id)?.is_empty(), "an environment that leaves no trace could not leave one behind");
    Ok((child, id))
}

/// No test of its own: what the test of the guard kills.
#[test]
fn holder() {
    if std::env::var_os("TRIALS_ROLE").is_none_or(|role| role != "holder") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let env = Env::start(setup(&out)).unwrap();
    env.install(&Fault::Pause { target: Target::Leader }).unwrap();
    println!("holding {}", env.id());
    sleep(Duration::from_secs(120));
}

#[test]
fn a_killed_harness_leaves_nothing_behind() {
    let (mut child, id) = held().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let end = Instant::now() + LONG;
    while !remains(&id).unwrap().is_empty() {
        assert!(Instant::now() < end, "{:?}", remains(&id));
        sleep(Duration::from_millis(100));
    }

    // Its guard is killed with it: the next run sweeps.
    let (mut child, id) = held().unwrap();
    let guard = Command::new("pgrep").args(["-f", &format!("guard wait {id} ")]).output().unwrap();
    let guard = String::from_utf8(guard.stdout).unwrap();
    assert_eq!(guard.lines().count(), 1, "{guard}");
    Command::new("kill").args(["-9", guard.trim()]).status().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!remains(&id).unwrap().is_empty());
    // Another test may be the one that sweeps it.
    sweep().unwrap();
    let end = Instant::now() + LONG;
    while !remains(&id).unwrap().is_empty() {
        assert!(Instant::now() < end, "{:?}", remains(&id));
        sleep(Duration::from_millis(100));
    }
}
