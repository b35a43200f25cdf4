//! What a run works with: connections, keys, and what is to be cleaned up.
//!
//! 1. Generated clients on plain connections (`wire`): one attempt an operation, nothing tried
//!    again, as little of the processor as possible.
//! 2. What a run made goes at its end, also when it fails or is interrupted, unless it is to be
//!    kept.

use super::{
    keys::{Draw, Keys},
    options::Options,
    wire::{Windows, Wire},
};
use conclave_cli::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    output,
    settings::Settings,
};
use conclave_client::api::etcdserverpb::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RequestOp, StatusRequest, StatusResponse,
    TxnRequest, kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    request_op::Request as Op,
};
use futures::{StreamExt as _, stream};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tonic::Status;

/// Requests under way at once while preparing and cleaning up.
const SETUP_WIDTH: usize = 64;
/// Keys of one transaction while preparing; etcd takes 128.
const BATCH: u64 = 100;
/// Bytes of values in one such transaction.
const BATCH_BYTES: u64 = 512 << 10;
/// How long cleaning up may take.
const CLEANUP: Duration = Duration::from_secs(120);

/// The surroundings of one run.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) options: Options,
    pub(super) keys: Keys,
    /// How long one operation may take.
    pub(super) patience: Duration,
    endpoints: Vec<String>,
    dial_timeout: Duration,
    wires: Vec<Wire>,
    leases: Mutex<Vec<i64>>,
}

/// The connections of one client, used in turn.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    wires: Vec<Wire>,
    next: usize,
}

impl Lanes {
    /// The connection of the next operation.
    pub(super) fn next(&mut self) -> Wire {
        self.next = (self.next + 1) % self.wires.len();
        self.wires[self.next].clone()
    }
}

impl Lab {
    /// Connects to every endpoint.
    pub(super) async fn new(settings: &Settings, options: Options) -> Result<Arc<Self>> {
        let run = Draw::new(u64::from(std::process::id()), unix_nanos()).next();
        let mut lab = Self {
            keys: Keys::new(&options, run as u32),
            patience: settings.command_timeout,
            endpoints: settings.endpoints.iter().map(|endpoint| settings.url(endpoint)).collect(),
            dial_timeout: settings.dial_timeout,
            wires: Vec::new(),
            leases: Mutex::default(),
            options,
        };
        lab.wires = lab.connect(lab.options.connections, Windows::default()).await?;
        Ok(Arc::new(lab))
    }

    /// Further connections, spread over the endpoints.
    pub(super) async fn connect(&self, count: usize, windows: Windows) -> Result<Vec<Wire>> {
        let mut wires = Vec::with_capacity(count);
        for i in 0..count {
            let address = &self.endpoints[i % self.endpoints.len()];
            let refused = |why: String| {
                Failure::new(Exit::NoConnection, format!("{address}: {why}")).hint(
                    "a load is spread over all endpoints, so each must answer; give those that run with --endpoints",
                )
            };
            match timeout(self.dial_timeout, Wire::connect(address, windows)).await {
                Ok(Ok(wire)) => wires.push(wire),
                Ok(Err(error)) => return Err(refused(error.to_string())),
                Err(_) => return Err(refused(format!("no connection within {:?}", self.dial_timeout))),
            }
        }
        Ok(wires)
    }

    /// The connections of client `i`: one, or, if there are fewer clients than connections, its
    /// share of them, so that a single client's figure does not depend on which member it happens
    /// to talk to.
    pub(super) fn lanes(&self, i: usize) -> Lanes {
        let (wires, clients) = (&self.wires, self.options.clients.max(1));
        let own = wires.iter().skip(i % wires.len()).step_by(clients).cloned().collect();
        Lanes { wires: own, next: 0 }
    }

    /// Any connection, for what is not measured.
    pub(super) fn wire(&self, i: usize) -> Wire {
        self.wires[i % self.wires.len()].clone()
    }

    /// The first answer to what each member says of itself.
    pub(super) async fn status(&self) -> Option<StatusResponse> {
        for i in 0..self.endpoints.len().min(self.wires.len()) {
            let mut client = MaintenanceClient::new(self.wire(i));
            if let Ok(Ok(response)) = timeout(self.patience, client.status(StatusRequest {})).await {
                return Some(response.into_inner());
            }
        }
        None
    }

    /// Tells what is going on before and after the measurement.
    pub(super) fn say(&self, text: &str) {
        if !self.options.quiet {
            output::note_by(crate::NAME, text);
        }
    }

    /// A lease that goes at the end.
    pub(super) async fn grant(&self, i: usize, ttl: i64) -> Result<i64, Status> {
        self.grant_on(self.wire(i), ttl).await
    }

    pub(super) async fn grant_on(&self, wire: Wire, ttl: i64) -> Result<i64, Status> {
        let request = LeaseGrantRequest { ttl, id: 0 };
        let id = LeaseClient::new(wire).lease_grant(request).await?.into_inner().id;
        self.remember(id);
        Ok(id)
    }

    pub(super) fn remember(&self, lease: i64) {
        self.leases.lock().expect("nothing panics while it is locked").push(lease);
    }

    /// Leases that live no longer.
    pub(super) fn forget_leases(&self) {
        self.leases.lock().expect("nothing panics while it is locked").clear();
    }

    /// Many leases, told of now and then.
    pub(super) async fn grants(&self, count: usize, ttl: impl Fn() -> i64) -> Result<Vec<i64>> {
        let mut leases = Vec::with_capacity(count);
        let calls = (0..count).map(|i| self.grant(i, ttl()));
        let mut granting = stream::iter(calls).buffer_unordered(SETUP_WIDTH);
        let mut told = Instant::now();
        while let Some(lease) = granting.next().await {
            leases.push(lease.map_err(|status| preparing(&status))?);
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                self.say(&format!("preparing: {} of {count} leases", leases.len()));
            }
        }
        Ok(leases)
    }

    /// Writes all keys of the key space.
    pub(super) async fn fill(&self) -> Result<()> {
        let (space, size) = (self.keys.space, self.options.value_size as u64);
        let batch = (BATCH_BYTES / size.max(1)).clamp(1, BATCH);
        let calls =
            (0..space.div_ceil(batch)).map(|i| self.fill_batch(i as usize, i * batch, batch.min(space - i * batch)));
        let mut filling = stream::iter(calls).buffer_unordered(16);
        let (mut told, mut written) = (Instant::now(), 0);
        while let Some(batch) = filling.next().await {
            written += batch.map_err(|status| preparing(&status))?;
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                self.say(&format!("preparing: {written} of {space} keys"));
            }
        }
        self.settle().await.map_err(|status| preparing(&status))
    }

    /// Lets servers come to rest after many large writes. For each read etcd 3.4 copies the buffer
    /// of what it has not committed, which stays as large as it ever was until a commit finds it
    /// unused: reads right after a preparation would be ten times slower than they are later. A
    /// lease that comes and goes makes it commit twice without a key.
    async fn settle(&self) -> Result<(), Status> {
        const COMMITTED: Duration = Duration::from_millis(250);
        tokio::time::sleep(COMMITTED).await;
        let grant = LeaseGrantRequest { ttl: 60, ..Default::default() };
        let lease = LeaseClient::new(self.wire(0)).lease_grant(grant).await?.into_inner();
        tokio::time::sleep(COMMITTED).await;
        LeaseClient::new(self.wire(0)).lease_revoke(LeaseRevokeRequest { id: lease.id }).await?;
        tokio::time::sleep(COMMITTED).await;
        Ok(())
    }

    async fn fill_batch(&self, i: usize, first: u64, count: u64) -> Result<u64, Status> {
        let mut draw = Draw::new(self.options.seed, u64::MAX - 1 - first);
        let put = |number| RequestOp { request: Some(Op::RequestPut(self.put(number, &mut draw, 0))) };
        let success = (first..first + count).map(put).collect();
        let request = TxnRequest { success, ..Default::default() };
        KvClient::new(self.wire(i)).txn(request).await.map(|_| count)
    }

    /// A put of the key with this number.
    pub(super) fn put(&self, number: u64, draw: &mut Draw, lease: i64) -> PutRequest {
        PutRequest { key: self.keys.key(number), value: self.keys.value(draw), lease, ..Default::default() }
    }

    /// Takes away what the run made.
    pub(super) async fn clean_up(&self) {
        if self.options.keep {
            return;
        }
        if timeout(CLEANUP, async { tokio::join!(self.revoke_all(), self.delete_all()) }).await.is_err() {
            output::note_by(
                crate::NAME,
                &format!("some of what the run made is left behind: it was not gone within {CLEANUP:?}"),
            );
        }
    }

    async fn revoke_all(&self) {
        let leases = std::mem::take(&mut *self.leases.lock().expect("nothing panics while it is locked"));
        let count = leases.len();
        if count > 1000 {
            self.say(&format!("cleaning up: {count} leases"));
        }
        let revoke = |(i, id): (usize, i64)| async move {
            LeaseClient::new(self.wire(i)).lease_revoke(LeaseRevokeRequest { id }).await
        };
        let calls = leases.into_iter().enumerate().map(revoke);
        // A lease that has run out already is none to be sorry for.
        stream::iter(calls).buffer_unordered(SETUP_WIDTH).for_each(|_| std::future::ready(())).await;
    }

    async fn delete_all(&self) {
        let (key, range_end) = (self.keys.prefix(), self.keys.prefix_end());
        let request = DeleteRangeRequest { key, range_end, prev_kv: false };
        for i in 0..self.endpoints.len() {
            if KvClient::new(self.wire(i)).delete_range(request.clone()).await.is_ok() {
                break;
            }
        }
    }
}

/// A refusal while preparing.
pub(super) fn preparing(status: &Status) -> Failure {
    Failure::of(status, Effect::Reads).about("preparing the run")
}

fn unix_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}
