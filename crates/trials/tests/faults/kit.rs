//! An environment for one test, and what is asked of it.

use conclave_api::{etcdserverpb::PutRequest, etcdserverpb::kv_client::KvClient};
use conclave_trials::{
    binary,
    env::{Capabilities, Capability, Env, Evidence, Fault, Host, Setup, World, remains},
    figure,
};
use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    thread::sleep,
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const MOMENT: Duration = Duration::from_millis(600);

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// An environment and the directory of its logs.
pub(crate) struct Trial {
    pub(crate) env: Env,
    pub(crate) out: TempDir,
}

impl std::ops::Deref for Trial {
    type Target = Arc<World>;
    fn deref(&self) -> &Arc<World> {
        &self.env
    }
}

impl Trial {
    pub(crate) fn finish(self) {
        let id = self.env.id().to_owned();
        assert_eq!(self.env.unexpected_exits(), []);
        self.env.finish().unwrap();
        assert_eq!(remains(&id).unwrap(), Vec::<String>::new());
        drop(self.out);
    }
}

pub(crate) fn setup(out: &TempDir) -> Setup {
    Setup { clients: 1, volume_mb: 96, ..Setup::new(binary::server(), out.path().join("logs"), 7) }
}

/// An environment with what the test needs; none, with the reason said, if the machine does not
/// have it.
pub(crate) fn start(needs: &[Capability], change: impl FnOnce(&mut Setup)) -> Option<Trial> {
    for need in [&[Capability::Namespaces], needs].concat() {
        if let Some(reason) = Capabilities::find().why_not(need) {
            figure(&format!("left out, because {need:?} is missing: {reason}"));
            return None;
        }
    }
    let out = tempfile::tempdir().unwrap();
    let mut setup = setup(&out);
    change(&mut setup);
    Some(Trial { env: Env::start(setup).unwrap(), out })
}

/// Holds a fault for a time; the rest happens meanwhile.
pub(crate) fn hold<T>(trial: &Trial, fault: &Fault, during: impl FnOnce() -> T) -> (Evidence, T) {
    let installed = trial.install(fault).unwrap();
    let result = during();
    let evidence = trial.heal(installed).unwrap();
    figure(&format!("{}: {:?} {}", fault.name(), evidence.effects, evidence.note));
    assert!(evidence.effective, "no effect: {evidence:?}");
    (evidence, result)
}

pub(crate) fn for_a_moment(trial: &Trial, fault: &Fault) -> Evidence {
    hold(trial, fault, || sleep(MOMENT)).0
}

/// The address of a node's host.
pub(crate) fn ip(trial: &Trial, node: usize) -> SocketAddr {
    let url = trial.endpoint(Host::Runner, node);
    url.trim_start_matches("http://").parse().unwrap()
}

/// Whether a connection to a node can be made from a host.
pub(crate) fn connects(trial: &Trial, from: Host, node: usize) -> bool {
    let to = ip(trial, node);
    let try_it = move || TcpStream::connect_timeout(&to, Duration::from_millis(400)).is_ok();
    trial.inside(from, try_it).unwrap().join().unwrap()
}

/// Sends numbered datagrams from a host to a node's host; returns those that came, in the order
/// they came.
pub(crate) fn datagrams(trial: &Trial, from: Host, to: usize, count: u32, size: usize) -> Vec<u32> {
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

pub(crate) fn hears(trial: &Trial, from: usize, to: usize) -> bool {
    !datagrams(trial, Host::Node(from), to, 3, 8).is_empty()
}

/// Puts through a node, from a host; how many succeeded.
pub(crate) fn puts(trial: &Trial, from: Host, node: usize, count: u32) -> u32 {
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
