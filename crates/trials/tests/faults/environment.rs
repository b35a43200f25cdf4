//! The environment itself: what is possible, runs side by side, etcd, and a harness that is killed.

use super::kit::{LONG, MOMENT, connects, hold, puts, setup, start};
use anyhow::{Context, Result, ensure};
use conclave_trials::{
    env::{Capability, Env, Fault, Host, Setup, Target, Who, doctor, remains, sweep},
    figure,
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

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
    command.args(["--exact", "environment::holder", "--nocapture"]).env("TRIALS_ROLE", "holder");
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
