//! Acquire: take the places, and wait until the locks are held.
//!
//! That no place is left behind is the work of [`crate::pending`]. What is special here:
//!
//! 1. Every request is found again, by its client's dedupe id or by this member's attempt: a
//!    command that is proposed twice takes effect once, and a call that knows no fence can give its
//!    request up.
//! 2. A request found again that is *held* already is not released: an earlier call's client may
//!    have been told of it.
//! 3. Answers may be remembered ones. Whether a fence is held is read from the state after the
//!    answer, and again after each change of the fence's own key: no caller is told that it holds
//!    what it has lost.

use crate::convert::conclave::Caller;
use crate::follow::{Ended, Feed, Span, Subscription};
use crate::pending::{Calls, Decided, Owed, Pending, Request};
use crate::status::{fault, internal, rejected, text};
use bytes::Bytes;
use conclave_node::proposer::ProposeError;
use conclave_state::coord::{self, read};
use conclave_state::{
    Acquire, Cancel, Command, CoordBody, CoordResponse, Fault, LeaseId, LockPart, Outcome, PlaceId, Response as Answer,
    View,
};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The cluster ends a wait by itself. A call waits so much longer for that before it does so on its
/// own.
const GRACE: Duration = Duration::from_millis(200);

/// The applied state, as acquiring needs it.
pub(super) trait Requests: Send + Sync + 'static {
    fn standing(&self, fence: i64, session: LeaseId) -> Result<Standing, Fault>;

    /// How many wait before a fence for a lock, and the revision of which that is so.
    fn before<'a>(&'a self, part: &'a LockPart, fence: i64) -> BoxFuture<'a, Result<(u64, i64), Status>>;
}

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting,
    Held {
        since: i64,
        /// The store's revision when that was so.
        revision: i64,
    },
    /// Released, withdrawn, evicted, or waited too long.
    Gone,
    SessionGone,
}

/// Reads the state of a request from any view.
pub(super) fn standing<V: View>(view: &V, fence: i64, session: LeaseId) -> Result<Standing, Fault> {
    if let Some(request) = read::request(view, fence)? {
        let revision = conclave_state::read::meta(view)?.revision;
        return Ok(match request.held_since {
            0 => Standing::Waiting,
            since => Standing::Held { since, revision },
        });
    }
    let lives = conclave_state::read::lease_ttl(view, session)?.is_some();
    Ok(if lives { Standing::Gone } else { Standing::SessionGone })
}

/// Where calls are served. Cheap to clone.
#[derive(Clone)]
pub(super) struct Acquiring {
    calls: Calls,
    pub(super) requests: Arc<dyn Requests>,
    pub(super) feed: Feed,
    pub(super) stopping: CancellationToken,
}

/// What is held; fence 0 if the lock was only tried, and another holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) fence: i64,
    pub(super) since: i64,
    pub(super) revision: i64,
}

impl Acquiring {
    pub(super) fn new(calls: Calls, requests: Arc<dyn Requests>, feed: Feed, stopping: CancellationToken) -> Acquiring {
        Acquiring { calls, requests, feed, stopping }
    }

    /// Takes the places. They are released when the result is dropped, unless it is kept.
    pub(super) async fn ask(&self, caller: Caller, acquire: Acquire) -> Result<Place, Status> {
        let (began, wait) = (Instant::now(), Duration::from_millis(acquire.wait_ms));
        let timed = acquire.wait_ms != 0;
        let wait_over = timed.then(|| began.checked_add(wait)).flatten();
        let deadline = timed.then(|| began.checked_add(wait + wait / 20 + GRACE)).flatten();
        let entry = Entry {
            requests: self.requests.clone(),
            session: caller.session,
            dedupe: caller.dedupe,
            id: caller.dedupe.unwrap_or_else(rand::random),
            acquire,
            wait_over,
            fence: 0,
            granted: None,
        };
        tokio::select! {
            pending = self.calls.ask(entry) => Ok(Place { acquiring: self.clone(), pending: pending?, deadline }),
            () = reached(deadline) => Err(text::LOCK_WAIT_OVER.status()),
        }
    }
}

/// One call's request for its locks: what is asked for, and what is known of it.
struct Entry {
    requests: Arc<dyn Requests>,
    session: LeaseId,
    dedupe: Option<[u8; 16]>,
    /// Of the call itself if its client gave none: no other call asks for the same then.
    id: [u8; 16],
    acquire: Acquire,
    wait_over: Option<Instant>,
    fence: i64,
    granted: Option<Granted>,
}

impl Entry {
    /// The command, or an earlier one of the same id, was answered so.
    fn take(&mut self, fence: i64, held_since: i64, revision: i64) -> Result<Option<i64>, Status> {
        self.fence = fence;
        let fresh = fence == revision;
        if fence == 0 && !self.acquire.try_only {
            // Remembered of a request that only tried, with the same dedupe id.
            return Err(text::LOCK_WITHDRAWN.status());
        }
        if fence == 0 || (fresh && held_since != 0) {
            self.granted = Some(Granted { fence, since: held_since, revision });
        } else {
            self.look().map_err(|(_, status)| status)?;
        }
        // Without a dedupe id no other client can have been told.
        let owed = fence != 0 && (fresh || self.granted.is_none() || self.dedupe.is_none());
        Ok(owed.then_some(fence))
    }

    /// Reads the state of the request. An error with `true` says that it is gone.
    fn look(&mut self) -> Result<(), (bool, Status)> {
        match self.requests.standing(self.fence, self.session).map_err(|error| (false, fault(error)))? {
            Standing::Waiting => Ok(()),
            Standing::Held { since, revision } => {
                self.granted = Some(Granted { fence: self.fence, since, revision });
                Ok(())
            }
            Standing::SessionGone => Err((true, text::LEASE_NOT_FOUND.status())),
            Standing::Gone => {
                let over = self.wait_over.is_some_and(|at| Instant::now() >= at);
                Err((true, if over { text::LOCK_WAIT_OVER } else { text::LOCK_WITHDRAWN }.status()))
            }
        }
    }
}

impl Request for Entry {
    const KIND: &'static str = "lock";
    type Error = Status;

    fn key(&self) -> Bytes {
        [&self.session.to_be_bytes()[..], &self.id].concat().into()
    }

    fn command(&self, attempt: u64) -> Command {
        let who = Caller { session: self.session, dedupe: self.dedupe, expect: None };
        who.command(CoordBody::Acquire(Acquire { attempt, ..self.acquire.clone() }))
    }

    fn decided(&mut self, outcome: Outcome, _unknown: bool) -> Decided<Status> {
        let taken = match outcome.result {
            Ok(Answer::Coord(CoordResponse::Lock { fence, held_since })) => {
                self.take(fence, held_since, outcome.revision)
            }
            Ok(other) => Err(internal(format_args!("an Acquire answered with {other:?}"))),
            Err(rejection) => Err(rejected(rejection)),
        };
        taken.map_or_else(Decided::Refused, Decided::Taken)
    }

    /// A caller that only tries prefers an answer to a lock.
    fn gives_up(&self, _error: ProposeError) -> bool {
        self.acquire.try_only
    }

    fn release(&self, attempt: u64, owed: Owed) -> Option<Command> {
        let fence = match owed {
            Owed::Incarnation(fence) => fence,
            Owed::Unknown => 0,
        };
        let place = PlaceId::Request { fence, dedupe: self.dedupe };
        Some(Command::Cancel(Cancel { session: self.session, attempt, place }))
    }
}

/// A call's place in the queues of its locks. It is released when this is dropped, unless it is
/// kept.
pub(super) struct Place {
    acquiring: Acquiring,
    pending: Pending<Entry>,
    deadline: Option<Instant>,
}

impl Place {
    pub(super) fn fence(&self) -> i64 {
        self.pending.request().fence
    }

    pub(super) fn parts(&self) -> &[LockPart] {
        &self.pending.request().acquire.parts
    }

    /// The result, if the wait is over.
    pub(super) fn granted(&self) -> Option<Granted> {
        self.pending.request().granted
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn acquiring(&self) -> &Acquiring {
        &self.acquiring
    }

    /// Reads the state of the request: a change that was applied may have been about it.
    pub(super) fn look(&mut self) -> Result<(), Status> {
        self.pending.request_mut().look().map_err(|(gone, status)| {
            if gone {
                let fence = self.fence();
                self.pending.lost(fence);
            }
            status
        })
    }

    /// Waits until the locks are held.
    pub(super) async fn wait(&mut self) -> Result<Granted, Status> {
        while self.granted().is_none() {
            let mut changes = self.follow();
            // This look sees what happened before it; `changes` has what happens after it.
            self.look()?;
            while self.granted().is_none() {
                let (stopping, deadline) = (self.acquiring.stopping.clone(), self.deadline);
                let change = tokio::select! {
                    change = changes.next() => change,
                    () = stopping.cancelled() => return Err(text::STOPPED.status()),
                    () = reached(deadline) => return Err(text::LOCK_WAIT_OVER.status()),
                };
                match change {
                    Ok(_) => self.look()?,
                    Err(Ended::Compacted(_)) => break,
                    Err(Ended::Fault(reason)) => return Err(internal(reason)),
                }
            }
        }
        self.granted().ok_or_else(|| internal("a wait ended without a grant"))
    }

    /// All places of a request go together: the key of one tells of all.
    fn follow(&self) -> Subscription {
        let key = coord::lock_waiter_key(&self.parts()[0].lock, self.fence());
        self.acquiring.feed.subscribe(Span::key(key), None)
    }

    /// The answer is about to be handed over: the locks are the client's now.
    pub(super) fn keep(&mut self) {
        let fence = self.fence();
        self.pending.keep(fence);
    }
}

pub(super) async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
