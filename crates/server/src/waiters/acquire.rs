//! Lock and Campaign: take a place in a queue, wait until it is the first, and never leave one behind.
//!
//! 1. A call that ends without its answer handed over (cancelled, failed, its connection lost) gives its place back, at whatever moment it
//!    ends: before its command was decided, while waiting, or just after the grant. [`Held`] and [`Stay`] see to that when dropped.
//! 2. Three exceptions. Another call of this node that asks for the same place (same name, same lease) still wants it: the last to go
//!    gives it back. A place found again that was *already the first*: an earlier call's client holds it. And a place that was asked
//!    for again by way of another node: it is that one's to give back. Calls of one node name their attempt, and apply decides.
//!    A place found again that still waits is given back like a new one: a client that comes back to another node after its node
//!    died keeps its place, and if it then gives up it means it.
//! 3. A node that stops gives nothing back: the clients come back elsewhere and find their places again.
//! 4. A command whose outcome is unknown is proposed again (it finds what the first one did). A call that was cancelled meanwhile does
//!    not ask for a place any more: it gives back, which stands in the log after whatever is left of the earlier command.
//! 5. With lease 0 the call owns a lease, granted by the same command, kept alive while it waits, renewed to its full TTL at the
//!    grant, and revoked if the call ends otherwise.

use super::places::Asking;
use super::{Lost, Waiters};
use crate::proposer::{Applied, ProposeError};
use crate::reader::ReadError;
use async_trait::async_trait;
use bytes::Bytes;
use conclave_state::{
    Ask, Command, Enqueue, GiveBack, LeaseId, Place, QueueKind, Rejection, Response, mutant, queue_key,
};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// TTL of a lease granted for a call that brings none.
const OWN_LEASE_TTL_SECONDS: i64 = 60;
const OWN_LEASE_REFRESH: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What is needed of the node.
#[async_trait]
pub trait DeskHost: Send + Sync + 'static {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError>;

    /// Renews a lease; 0 if it is gone.
    async fn refresh(&self, lease: LeaseId) -> Result<i64, ReadError>;
}

/// What a call asks for.
#[derive(Clone, Debug)]
pub struct Wish {
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
    Fault(String),
}

/// Where calls for places are served. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    host: Arc<dyn DeskHost>,
    waiters: Waiters,
    stopping: CancellationToken,
}

/// A place that is the first, until it is kept or given back.
pub struct Held {
    stay: Stay,
    acquired: Acquired,
}

impl Held {
    /// The answer is about to be handed over: the place is the client's now.
    #[must_use]
    pub fn keep(self) -> Acquired {
        self.stay.settle();
        self.acquired.clone()
    }
}

/// A call's stay in a queue. Dropping it gives back what it owes.
struct Stay {
    desk: Desk,
    asking: Asking,
    key: Bytes,
    place: Option<Place>,
    own_lease: Option<LeaseId>,
    /// A proposal of which nothing is known may have been, or may yet be, decided.
    open: bool,
}

impl Desk {
    #[must_use]
    pub fn new(host: Arc<dyn DeskHost>, waiters: Waiters, stopping: CancellationToken) -> Desk {
        Desk { host, waiters, stopping }
    }

    /// Takes a place and waits until it is the first.
    pub async fn acquire(&self, wish: Wish) -> Result<Held, AcquireError> {
        let (name, kind) = (wish.name.clone(), wish.kind);
        let gone = CancellationToken::new();
        let _hang_up = gone.clone().drop_guard();
        // In a task of its own, so that a cancelled call still learns what to give back: the task drops its stay then.
        let enqueued = tokio::spawn(self.clone().enqueue(wish, gone)).await;
        let (mut stay, place, revision) = enqueued.map_err(|_| AcquireError::Stopped)??;
        if place.first {
            return Ok(Held { stay, acquired: Acquired { place, revision } });
        }
        let revision = match stay.wait(&name, &place).await {
            Err(AcquireError::Lost) if takes_any_wakeup(kind) => self.waiters.revision(),
            waited => waited?,
        };
        Ok(Held { stay, acquired: Acquired { place: Place { first: true, ..place }, revision } })
    }

    async fn enqueue(self, wish: Wish, gone: CancellationToken) -> Result<(Stay, Place, i64), AcquireError> {
        let mut stay = self.begin(&wish);
        let mut enqueue = Enqueue {
            kind: wish.kind,
            name: wish.name.clone(),
            lease: stay.own_lease.unwrap_or(wish.lease),
            grant_ttl_seconds: if stay.own_lease.is_some() { OWN_LEASE_TTL_SECONDS } else { 0 },
            value: wish.value.clone(),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let ask = Ask { enqueue: enqueue.clone(), attempt: stay.asking.attempt() };
            match self.host.propose(Command::Ask(ask)).await {
                Ok(applied) => match applied.outcome.result {
                    Ok(Response::Enqueue(place)) => {
                        stay.take(&place);
                        return Ok((stay, place, applied.outcome.revision));
                    }
                    Err(Rejection::LeaseExists) if stay.open => {
                        // Granted by the first attempt; the place may or may not be there.
                        enqueue.grant_ttl_seconds = 0;
                    }
                    Err(Rejection::LeaseExists) if stay.own_lease.is_some() => {
                        drop(std::mem::replace(&mut stay, self.begin(&wish)));
                        enqueue.lease = stay.own_lease.unwrap_or_default();
                    }
                    Err(rejection) => return Err(AcquireError::Rejected(rejection)),
                    Ok(other) => return Err(AcquireError::Fault(format!("an Enqueue answered with {other:?}"))),
                },
                Err(ProposeError::Stopped) => return Err(AcquireError::Stopped),
                Err(error @ (ProposeError::TooManyRequests | ProposeError::TooLarge)) => {
                    return Err(AcquireError::NotProposed(error));
                }
                Err(error) => {
                    stay.open |= error != ProposeError::NoLeader;
                    self.pause(&mut pause, &gone).await;
                }
            }
            if self.stopping.is_cancelled() {
                return Err(AcquireError::Stopped);
            }
            if gone.is_cancelled() {
                return Err(AcquireError::Cancelled);
            }
        }
    }

    fn begin(&self, wish: &Wish) -> Stay {
        let own_lease = (wish.lease == 0).then(|| rand::random_range(1..=LeaseId::MAX));
        let key = queue_key(&wish.name, own_lease.unwrap_or(wish.lease));
        Stay {
            desk: self.clone(),
            asking: self.waiters.shared.places.ask(key.clone()),
            key,
            place: None,
            own_lease,
            open: false,
        }
    }

    async fn pause(&self, pause: &mut Duration, gone: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = gone.cancelled() => {}
            () = self.stopping.cancelled() => {}
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    /// Proposes until the command is decided, whatever it takes; `None` if the node stops before.
    async fn decide(&self, command: Command) -> Option<Applied> {
        let mut pause = FIRST_PAUSE;
        let never = CancellationToken::new();
        while !self.stopping.is_cancelled() {
            match self.host.propose(command.clone()).await {
                Ok(applied) => return Some(applied),
                Err(ProposeError::Stopped | ProposeError::TooLarge) => return None,
                Err(_) => self.pause(&mut pause, &never).await,
            }
        }
        None
    }
}

impl Stay {
    /// The command gave this place, perhaps for the second time. Whether it is this attempt's to give back is decided where it is given
    /// back.
    fn take(&mut self, place: &Place) {
        self.asking.owe(place.create_revision);
        self.open = false;
        self.place = Some(place.clone());
    }

    /// Waits for the grant and returns its revision.
    async fn wait(&mut self, name: &[u8], place: &Place) -> Result<i64, AcquireError> {
        let desk = self.desk.clone();
        let granted = tokio::select! {
            granted = desk.waiters.wait(name, place) => granted,
            never = keep_fresh(&*desk.host, self.own_lease) => match never {},
            () = desk.stopping.cancelled() => return Err(AcquireError::Stopped),
        };
        match granted {
            Ok(granted) => {
                if let Some(lease) = self.own_lease {
                    tokio::select! {
                        ttl = refresh_now(&*desk.host, lease) => if ttl == 0 { return Err(self.lost()) },
                        () = desk.stopping.cancelled() => return Err(AcquireError::Stopped),
                    }
                }
                Ok(granted.revision)
            }
            Err(Lost::Gone) => Err(self.lost()),
            Err(Lost::Fault(reason)) => Err(AcquireError::Fault(reason)),
        }
    }

    fn lost(&self) -> AcquireError {
        if let Some(place) = &self.place {
            self.asking.settle(place.create_revision);
        }
        AcquireError::Lost
    }

    /// Nothing is to be given back any more.
    fn settle(mut self) {
        self.own_lease = None;
        if let Some(place) = &self.place {
            self.asking.keep(place.create_revision);
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.open {
            self.asking.doubt();
        }
        let gives_back = self.asking.leave();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.desk.stopping.is_cancelled() {
            return;
        }
        let command = match self.own_lease {
            // Takes the key along, and is harmless if there is no such lease.
            Some(id) if self.open || self.place.is_some() => Command::LeaseRevoke { id },
            None if gives_back => Command::GiveBack(GiveBack { key: self.key.clone(), attempt: self.asking.attempt() }),
            _ => return,
        };
        let desk = self.desk.clone();
        runtime.spawn(async move { drop(desk.decide(command).await) });
    }
}

/// Whether whatever ends the waiting counts as a grant: only as a planted bug.
fn takes_any_wakeup(kind: QueueKind) -> bool {
    match kind {
        QueueKind::Lock => mutant!("lock-unchecked"),
        QueueKind::Election => mutant!("campaign-unchecked"),
    }
}

/// Keeps a call's own lease alive for as long as it is polled.
async fn keep_fresh(host: &dyn DeskHost, lease: Option<LeaseId>) -> std::convert::Infallible {
    let Some(lease) = lease else { return std::future::pending().await };
    loop {
        tokio::time::sleep(OWN_LEASE_REFRESH).await;
        // If it is gone, so is the key: the waiter learns that from the queue.
        refresh_now(host, lease).await;
    }
}

async fn refresh_now(host: &dyn DeskHost, lease: LeaseId) -> i64 {
    loop {
        match host.refresh(lease).await {
            Ok(ttl) => return ttl,
            Err(_) => tokio::time::sleep(LONGEST_PAUSE).await,
        }
    }
}
