//! Lock and Campaign of etcd: take a place in a queue, and wait until it is the first.
//!
//! That no place is left behind is the work of [`crate::pending`]. What is special here:
//!
//! 1. Whether a place that was found again is released is decided by `apply`, which knows who else
//!    asked for it.
//! 2. With lease 0 the call owns a lease. The same command grants it; the call keeps it alive while
//!    it waits, renews it to its full TTL at the grant, and revokes it if it ends otherwise.
//! 3. A copy of the command of a call that brought its own lease may still be on its way when the
//!    call ends. While the lease is there, that copy is refused. So such a lease is not revoked but
//!    left to expire, and is granted first if it is not there yet.

use super::{Lost, Waiters};
use crate::limits::Exceeded;
use crate::pending::{CallError, Calls, Decided, Owed, Pending, Request};
use async_trait::async_trait;
use bytes::Bytes;
use conclave_node::keeper::{Deadlines, Leases};
use conclave_node::proposer::ProposeError;
use conclave_node::reader::ReadError;
use conclave_state::{
    Cancel, Command, Enqueue, LeaseGrant, LeaseId, Outcome, Place, PlaceId, QueueKind, Rejection, Response, queue_key,
};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// TTL of a lease granted for a call that brings none.
const OWN_LEASE_TTL_MS: u64 = 60_000;
const OWN_LEASE_REFRESH: Duration = Duration::from_secs(20);
/// After a renewal that failed.
const REFRESH_PAUSE: Duration = Duration::from_millis(500);

/// Renews a lease of the call's own.
#[async_trait]
pub trait RefreshLease: Send + Sync + 'static {
    /// False: it is gone.
    async fn refresh(&self, lease: LeaseId) -> Result<bool, ReadError>;
}

#[async_trait]
impl RefreshLease for Deadlines<Leases> {
    async fn refresh(&self, lease: LeaseId) -> Result<bool, ReadError> {
        Ok(!self.renew(lease).await?.span.is_zero())
    }
}

/// What a call asks for.
#[derive(Clone, Debug)]
pub struct AcquireRequest {
    pub kind: QueueKind,
    pub name: Bytes,
    /// 0: a lease of the call's own.
    pub lease: LeaseId,
    pub value: Bytes,
}

/// The first place of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub place: Place,
    /// When it became the first; later than any earlier holder's.
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcquireError {
    #[error("{0}")]
    Rejected(Rejection),
    #[error("{0}")]
    NotProposed(ProposeError),
    #[error("the place was lost while waiting")]
    Lost,
    #[error("the node is stopping")]
    Stopped,
    #[error("the caller is gone")]
    Cancelled,
    #[error("{0}")]
    Limited(Exceeded),
    #[error("{0}")]
    Fault(String),
}

impl From<CallError> for AcquireError {
    fn from(error: CallError) -> AcquireError {
        match error {
            CallError::NotProposed(error) => AcquireError::NotProposed(error),
            CallError::Stopped => AcquireError::Stopped,
            CallError::Cancelled => AcquireError::Cancelled,
            CallError::Limited(exceeded) => AcquireError::Limited(exceeded),
        }
    }
}

/// Where the calls of etcd's Lock and Campaign are served. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    pub(super) calls: Calls,
    leases: Arc<dyn RefreshLease>,
    waiters: Waiters,
    stopping: CancellationToken,
}

/// A place that is the first. It is released when this is dropped, unless it is kept.
pub struct Held {
    pending: Pending<Entry>,
    acquired: Acquired,
}

impl Held {
    /// The answer is about to be handed over: the place is the client's now.
    #[must_use]
    pub fn keep(mut self) -> Acquired {
        self.pending.keep(self.acquired.place.create_revision);
        self.acquired
    }
}

impl Queues {
    #[must_use]
    pub fn new(calls: Calls, leases: Arc<dyn RefreshLease>, waiters: Waiters, stopping: CancellationToken) -> Queues {
        Queues { calls, leases, waiters, stopping }
    }

    /// Takes a place and waits until it is the first.
    pub async fn acquire(&self, request: AcquireRequest) -> Result<Held, AcquireError> {
        let mut pending = loop {
            match self.calls.ask(Entry::new(&request)).await {
                // Another lease has the id that was drawn.
                Err(AcquireError::Rejected(Rejection::LeaseExists)) if request.lease == 0 => {}
                asked => break asked?,
            }
        };
        let (place, revision) = pending.request().taken.clone().ok_or_else(no_place)?;
        if place.first {
            return Ok(Held { pending, acquired: Acquired { place, revision } });
        }
        let revision = self.wait(&mut pending, &place).await?;
        Ok(Held { pending, acquired: Acquired { place: Place { first: true, ..place }, revision } })
    }

    /// Waits for the grant and returns its revision.
    async fn wait(&self, pending: &mut Pending<Entry>, place: &Place) -> Result<i64, AcquireError> {
        let (name, own_lease) = (pending.request().enqueue.name.clone(), pending.request().own_lease);
        let granted = tokio::select! {
            granted = self.waiters.wait(&name, place) => granted,
            never = self.keep_fresh(own_lease) => match never {},
            () = self.stopping.cancelled() => return Err(AcquireError::Stopped),
        };
        match (granted, own_lease) {
            (Ok(granted), None) => Ok(granted.revision),
            (Ok(granted), Some(lease)) => tokio::select! {
                lives = self.refresh(lease) => if lives { Ok(granted.revision) } else { Err(AcquireError::Lost) },
                () = self.stopping.cancelled() => Err(AcquireError::Stopped),
            },
            (Err(Lost::Gone), None) => {
                pending.lost(place.create_revision);
                Err(AcquireError::Lost)
            }
            // The lease is still there to be revoked.
            (Err(Lost::Gone), Some(_)) => Err(AcquireError::Lost),
            (Err(Lost::Fault(reason)), _) => Err(AcquireError::Fault(reason)),
        }
    }

    /// Keeps a call's own lease alive for as long as it is polled.
    async fn keep_fresh(&self, lease: Option<LeaseId>) -> std::convert::Infallible {
        let Some(lease) = lease else { return std::future::pending().await };
        loop {
            tokio::time::sleep(OWN_LEASE_REFRESH).await;
            // If it is gone, so is the key: the waiter learns that from the queue.
            self.refresh(lease).await;
        }
    }

    async fn refresh(&self, lease: LeaseId) -> bool {
        loop {
            match self.leases.refresh(lease).await {
                Ok(lives) => return lives,
                Err(_) => tokio::time::sleep(REFRESH_PAUSE).await,
            }
        }
    }
}

fn no_place() -> AcquireError {
    AcquireError::Fault("a command was decided without a place".into())
}

/// One call's entry in a queue.
struct Entry {
    enqueue: Enqueue,
    own_lease: Option<LeaseId>,
    /// The place, and the revision of the answer.
    taken: Option<(Place, i64)>,
    /// There were proposals whose outcome is unknown.
    copies: bool,
}

impl Entry {
    fn new(request: &AcquireRequest) -> Entry {
        let own_lease = (request.lease == 0).then(|| rand::random_range(1..=LeaseId::MAX));
        let enqueue = Enqueue {
            kind: request.kind,
            name: request.name.clone(),
            lease: own_lease.unwrap_or(request.lease),
            grant_ttl_ms: if own_lease.is_some() { OWN_LEASE_TTL_MS } else { 0 },
            value: request.value.clone(),
            attempt: 0,
        };
        Entry { enqueue, own_lease, taken: None, copies: false }
    }

    fn queue_key(&self) -> Bytes {
        queue_key(&self.enqueue.name, self.enqueue.lease)
    }

    fn cancel(&self, attempt: u64) -> Command {
        Command::Cancel(Cancel { session: self.enqueue.lease, attempt, place: PlaceId::Key(self.queue_key()) })
    }
}

impl Request for Entry {
    const KIND: &'static str = "queue";
    type Error = AcquireError;

    fn key(&self) -> Bytes {
        self.queue_key()
    }

    fn command(&self, attempt: u64) -> Command {
        Command::Enqueue(Enqueue { attempt, ..self.enqueue.clone() })
    }

    fn decided(&mut self, outcome: Outcome, unknown: bool) -> Decided<AcquireError> {
        self.copies |= unknown;
        match outcome.result {
            Ok(Response::Enqueue(place)) => {
                let incarnation = place.create_revision;
                self.taken = Some((place, outcome.revision));
                Decided::Taken(Some(incarnation))
            }
            // An earlier proposal granted the lease; its place may or may not be there.
            Err(Rejection::LeaseExists) if unknown && self.enqueue.grant_ttl_ms != 0 => {
                self.enqueue.grant_ttl_ms = 0;
                Decided::Again
            }
            Err(rejection) => Decided::Refused(AcquireError::Rejected(rejection)),
            Ok(other) => Decided::Refused(AcquireError::Fault(format!("an Enqueue answered with {other:?}"))),
        }
    }

    fn release(&self, attempt: u64, owed: Owed) -> Option<Command> {
        Some(match (self.own_lease, owed) {
            (None, _) => self.cancel(attempt),
            // Takes the key along.
            (Some(id), Owed::Incarnation(_)) if !self.copies => Command::LeaseRevoke { id },
            (Some(id), _) => Command::LeaseGrant(LeaseGrant { id, ttl_ms: OWN_LEASE_TTL_MS }),
        })
    }

    fn release_more(&self, attempt: u64, outcome: Outcome) -> Option<Command> {
        // The lease was there, so the place may be.
        (outcome.result == Err(Rejection::LeaseExists)).then(|| self.cancel(attempt))
    }
}
