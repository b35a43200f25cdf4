//! Following a lock.

use crate::Channel;
use crate::{
    Cause, Client, Error, Name,
    api::conclave::v1::{self as pb, lock_event},
    coord::{
        self,
        follow::{Following, Source},
    },
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// What to follow of a lock. A name converts into it.
///
/// [`Locks::watch`](super::Locks::watch) has an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct LockWatch {
    name: Name,
    from: i64,
}

/// What changed in one revision, or how things stood when the watch began.
///
/// [`Locks::watch`](super::Locks::watch) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockEvent {
    /// Of which revision.
    pub revision: i64,
    /// `changes` is how things stood when the watch began; more than 10,000 come in several events.
    pub snapshot: bool,
    /// What happened.
    pub changes: Vec<LockChange>,
}

/// What happened to one request for a lock.
///
/// [`Locks::watch`](super::Locks::watch) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockChange {
    /// What.
    pub kind: LockChangeKind,
    /// Whose fence.
    pub fence: i64,
    /// Whose owner.
    pub owner: String,
    /// Of a grant: how the lock came to be free.
    pub cause: Cause,
    /// Of a grant: the fence that ended last before it, if known.
    pub previous_fence: Option<i64>,
}

/// What can happen to a request for a lock.
///
/// [`Locks::watch`](super::Locks::watch) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockChangeKind {
    /// It waits in line.
    Waits,
    /// It holds.
    Held,
    /// It holds no longer.
    Released,
    /// It waits no longer, without a grant.
    Withdrawn,
}

/// What to follow, as in the example of [`Locks::watch`](super::Locks::watch).
impl LockWatch {
    /// From now on, beginning with how things stand.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), from: 0 }
    }

    /// From a revision on, for a client that has seen everything before it.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.from = revision;
        self
    }

    pub(crate) async fn begin(self, client: &Client) -> Result<BoxStream<'static, Result<LockEvent, Error>>, Error> {
        let mut following = Following::new(client, LockSource(self.name), self.from);
        following.begin().await?;
        Ok(following.stream(|event| Some(event.into())))
    }
}

impl<N: Into<Name>> From<N> for LockWatch {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

#[derive(Clone)]
struct LockSource(Name);

impl Source for LockSource {
    type Event = pb::LockEvent;

    async fn open(
        &self,
        channel: Channel,
        from: i64,
        request: Request<()>,
    ) -> Result<Response<Streaming<Self::Event>>, Status> {
        let lock = self.0.wire();
        let request = request.map(|()| pb::WatchLockRequest { lock, start_revision: from, no_snapshot: false });
        coord::locks(channel).watch(request).await
    }

    fn revision(event: &Self::Event) -> i64 {
        event.header.as_ref().map_or(0, |header| header.revision)
    }

    fn is_snapshot(event: &Self::Event) -> bool {
        event.snapshot
    }
}

impl From<pb::LockEvent> for LockEvent {
    fn from(event: pb::LockEvent) -> Self {
        let revision = LockSource::revision(&event);
        let changes = event.changes.into_iter().map(LockChange::from).collect();
        Self { revision, snapshot: event.snapshot, changes }
    }
}

impl From<lock_event::Change> for LockChange {
    fn from(change: lock_event::Change) -> Self {
        let kind = match change.r#type() {
            lock_event::Type::Waits => LockChangeKind::Waits,
            lock_event::Type::Held => LockChangeKind::Held,
            lock_event::Type::Released => LockChangeKind::Released,
            lock_event::Type::Withdrawn => LockChangeKind::Withdrawn,
        };
        Self {
            kind,
            fence: change.fence,
            owner: change.owner,
            cause: Cause::of(change.cause),
            previous_fence: (change.previous_fence != 0).then_some(change.previous_fence),
        }
    }
}
