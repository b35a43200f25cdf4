//! For tests: a node that is nothing but the state machine, in memory, with answers that can be
//! lost or held up.

use super::acquire::RefreshLease;
use super::{AcquireRequest, Queues, Waiters};
use crate::follow::tests::World as Base;
use crate::pending::Calls;
use crate::pending::tests::{Fate, TestLog};
use async_trait::async_trait;
use bytes::Bytes;
use conclave_node::reader::ReadError;
use conclave_state::{
    Changes, Command, DeleteRange, Enqueue, KeyRange, KeyValue, LeaseGrant, LeaseId, Outcome, Place, Put, QueueKind,
    Response, read,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(super) struct World {
    pub(super) base: Base,
    /// The log of the members that the test makes calls at.
    log: Option<TestLog>,
    refreshed: Arc<Mutex<Vec<LeaseId>>>,
    pub(super) stopping: CancellationToken,
}

impl World {
    pub(super) fn new() -> (World, Waiters) {
        let base = Base::empty();
        let mut world = World { base, log: None, refreshed: Arc::default(), stopping: CancellationToken::new() };
        let decided = world.clone();
        world.log = Some(TestLog::new(move |command| decided.batch(std::slice::from_ref(command)).remove(0)));
        let waiters = Waiters::new(world.base.feed.clone());
        (world, waiters)
    }

    /// Another member, which sees everything at once.
    pub(super) fn member(&self) -> Waiters {
        Waiters::new(self.base.member())
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
        self.base.apply(commands)
    }

    /// Applies one batch and leaves it to the test to show it.
    pub(super) fn apply(&self, commands: &[Command]) -> Changes {
        self.base.write(commands).1
    }

    pub(super) fn show(&self, changes: &Changes) {
        self.base.show(changes);
    }

    pub(super) fn reset(&self) {
        self.base.reset();
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
        self.base.revision()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        read::version_at(&self.base.store.lock().view, key, i64::MAX).unwrap()
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        read::leases(&self.base.store.lock().view).unwrap().into_iter().map(|(id, _)| id).collect()
    }

    pub(super) fn leases_with_keys(&self) -> Vec<LeaseId> {
        let view = self.base.store.lock().view.clone();
        self.leases().into_iter().filter(|id| !read::lease_keys(&view, *id).unwrap().is_empty()).collect()
    }

    pub(super) fn refreshed(&self) -> Vec<LeaseId> {
        self.refreshed.lock().clone()
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

#[async_trait]
impl RefreshLease for World {
    async fn refresh(&self, lease: LeaseId) -> Result<bool, ReadError> {
        self.refreshed.lock().push(lease);
        Ok(self.leases().contains(&lease))
    }
}
