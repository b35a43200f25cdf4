//! Faults of the network.

use super::kit::{LONG, MOMENT, Trial, connects, datagrams, for_a_moment, hears, hold, ip, puts, setup, start};
use conclave_trials::env::{Env, Fault, Host, Mode, NotPossible, Scope, Setup, Target};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

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
