//! Faults of disks, and loss of power.

use super::kit::{LONG, MOMENT, hold, puts, start};
use conclave_trials::{
    env::{Capability, Effect, Fault, Host, NotPossible, Target},
    figure,
};
use std::{
    io::{ErrorKind, Write},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

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

/// The control of all that is said about durability: if syncs lie on every node, a power loss of
/// all takes what was acknowledged. Either it is gone, or a member notices that it is gone and does
/// not start.
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
