//! Members and clients are killed, stopped, starved, and skewed.

use super::kit::{LONG, MOMENT, for_a_moment, hold, puts, start};
use conclave_trials::env::{Capability, Effect, Fault, Host, NodeState, NotPossible, Target, Who, now_ns};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

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
    // Three columns: the host's clock, libc's monotonic clock, both in nanoseconds, and libc's wall
    // clock in seconds.
    let program = std::env::current_exe().unwrap().display().to_string();
    let args = ["-c", "TRIALS_ROLE=clock exec \"$0\" --exact processes::clock_reader --nocapture", &program]
        .map(str::to_owned);
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
        // What is on its way to a member is not purged until the leader gives up waiting for its
        // answer.
        sleep(Duration::from_secs(5));
        assert!(puts(&trial, client, leader, 500) > 450);
    });
    assert!(evidence.effects.iter().any(|effect| matches!(effect, Effect::Snapshots { behind, .. } if *behind > 500)));
    trial.wait_all_serve(LONG).unwrap();
    trial.finish();
}
