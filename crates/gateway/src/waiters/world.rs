//! For tests: a node that is nothing but the state machine, in memory, with answers that can be lost or held up.

use super::acquire::RefreshLease;
use super::source::{Look, Source, look};
use super::{AcquireRequest, Queues, Waiters};
use crate::pending::Calls;
use crate::pending::tests::{Fate, TestLog};
use async_trait::async_trait;
use bytes::Bytes;
use conclave_node::reader::ReadError;
use conclave_state::{
    Changes, Command, DeleteRange, Enqueue, Fault, KeyRange, KeyValue, LeaseGrant, LeaseId, Machine, MemoryView,
    Outcome, Place, Position, Put, QueueKind, Response, Step, Table, View, read,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
struct SharedView(Arc<MemoryView>);

impl View for SharedView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.0.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.0.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.0.scan(table, from, below, visit)
    }
}

struct Store {
    machine: Machine,
    view: SharedView,
    index: u64,
    /// One for each member.
    waiters: Vec<Waiters>,
    refreshed: Vec<LeaseId>,
}

#[derive(Clone)]
pub(super) struct World {
    store: Arc<Mutex<Store>>,
    /// The log of the members that the test makes calls at.
    log: Option<TestLog>,
    pub(super) stopping: CancellationToken,
}

impl World {
    pub(super) fn new() -> (World, Waiters) {
        let view = SharedView::default();
        let machine = Machine::load(&view).unwrap();
        let store = Store { machine, view, index: 0, waiters: Vec::new(), refreshed: Vec::new() };
        let mut world = World { store: Arc::new(Mutex::new(store)), log: None, stopping: CancellationToken::new() };
        let decided = world.clone();
        world.log = Some(TestLog::new(move |command| decided.batch(std::slice::from_ref(command)).remove(0)));
        let waiters = world.member();
        (world, waiters)
    }

    /// Another member, which sees everything at once.
    pub(super) fn member(&self) -> Waiters {
        self.member_with(Arc::new(self.clone()))
    }

    /// The same, seeing through `source`.
    pub(super) fn member_with(&self, source: Arc<dyn Source>) -> Waiters {
        let waiters = Waiters::with_source(source);
        self.store.lock().waiters.push(waiters.clone());
        waiters
    }

    pub(super) fn queues(&self, waiters: &Waiters) -> Queues {
        let calls = Calls::new(Arc::new(self.log().clone()), self.stopping.clone());
        Queues::new(calls, Arc::new(self.clone()), waiters.clone(), self.stopping.clone())
    }

    fn log(&self) -> &TestLog {
        self.log.as_ref().expect("made with the world")
    }

    /// Applies one batch and shows it to the waiters.
    pub(super) fn batch(&self, commands: &[Command]) -> Vec<Outcome> {
        let (outcomes, changes, waiters) = self.apply(commands);
        waiters.iter().for_each(|waiters| waiters.observe(&changes));
        outcomes
    }

    /// Applies one batch and leaves it to the test to show it.
    pub(super) fn apply(&self, commands: &[Command]) -> (Vec<Outcome>, Changes, Vec<Waiters>) {
        let mut store = self.store.lock();
        let Store { machine, view, index, waiters, .. } = &mut *store;
        *index += 1;
        let at = Position { index: *index, term: 1 };
        let mut batch = machine.begin(view);
        let outcomes = commands.iter().map(|command| batch.apply(at, command, true).unwrap()).collect();
        let changes = batch.finish();
        Arc::make_mut(&mut view.0).write(&changes.writes);
        (outcomes, changes, waiters.clone())
    }

    pub(super) fn one(&self, command: Command) -> Response {
        self.batch(&[command]).remove(0).result.unwrap()
    }

    pub(super) fn grant(&self, id: LeaseId) {
        self.one(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 }));
    }

    /// Grants the lease too.
    pub(super) fn enqueue(&self, name: &str, lease: LeaseId) -> Place {
        let enqueue = Enqueue {
            kind: QueueKind::Election,
            name: Bytes::copy_from_slice(name.as_bytes()),
            lease,
            grant_ttl_ms: 60_000,
            value: format!("v{lease}").into(),
            attempt: 0,
        };
        match self.one(Command::Enqueue(enqueue)) {
            Response::Enqueue(place) => place,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn put(&self, key: &str, value: &str, lease: LeaseId) {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        self.one(Command::Put(Put { key, value, lease, ..Put::default() }));
    }

    pub(super) fn delete(&self, key: &[u8]) {
        self.one(delete(key));
    }

    pub(super) fn revoke(&self, id: LeaseId) {
        self.one(Command::LeaseRevoke { id });
    }

    pub(super) fn revision(&self) -> i64 {
        self.store.lock().machine.revision()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        let view = self.store.lock().view.clone();
        read::version_at(&view, key, i64::MAX).unwrap()
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        let view = self.store.lock().view.clone();
        read::leases(&view).unwrap().into_iter().map(|(id, _)| id).collect()
    }

    pub(super) fn refreshed(&self) -> Vec<LeaseId> {
        self.store.lock().refreshed.clone()
    }

    pub(super) fn proposals(&self) -> usize {
        self.log().proposals()
    }

    pub(super) fn fate(&self, fate: Fate) {
        self.log().fate(fate);
    }

    /// Waits, in the tests' own time, until `so` holds.
    pub(super) async fn until(&self, what: &str, so: impl Fn(&World) -> bool) {
        for _ in 0..1000 {
            if so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still not so: {what}");
    }
}

pub(super) fn delete(key: &[u8]) -> Command {
    let range = KeyRange { key: Bytes::copy_from_slice(key), end: Bytes::new() };
    Command::DeleteRange(DeleteRange { range, prev_kv: false })
}

pub(super) fn wanted(kind: QueueKind, name: &str, lease: LeaseId) -> AcquireRequest {
    AcquireRequest { kind, name: Bytes::copy_from_slice(name.as_bytes()), lease, value: Bytes::new() }
}

impl Source for World {
    fn look(&self) -> Result<Box<dyn Look>, Fault> {
        look(self.store.lock().view.clone())
    }
}

#[async_trait]
impl RefreshLease for World {
    async fn refresh(&self, lease: LeaseId) -> Result<i64, ReadError> {
        self.store.lock().refreshed.push(lease);
        Ok(if self.leases().contains(&lease) { 60 } else { 0 })
    }
}
