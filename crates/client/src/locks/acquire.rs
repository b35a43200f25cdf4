//! Waiting for locks.
//!
//! 1. A request has one id over all its attempts: asked again of another member, it finds its
//!    place.
//! 2. A member that loses its caller gives the place up. So when a request that was moved to
//!    another member is told that its place is gone, it asks anew, with another id; one that was
//!    not moved was evicted, and is told so. So a request that is under way belongs to the wait,
//!    not to the call of `next` that began it.
//! 3. A request that is dropped releases its fence in the background. If it does not know its fence
//!    yet, it first asks for it, without waiting: whichever attempt is decided first, there is one
//!    fence, and it is released.

use super::{LockHold, Want};
use crate::{
    Error, ErrorKind, Session,
    api::conclave::v1::{self as pb, acquire_progress::Now},
    call::{Opened, Pauses},
    coord::{self, Expect, call, caller, millis},
    held::give_back,
};
use futures::future::BoxFuture;
use std::{fmt, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Streaming};

/// How it goes on.
///
/// [`Locks::acquiring`](super::Locks::acquiring) has an example.
#[derive(Debug)]
pub enum Progress {
    /// Others are before.
    Waiting {
        /// The fence that a grant will have.
        fence: i64,
        /// The largest number of requests before this one in any of its lines.
        before: u64,
    },
    /// The locks are held.
    Held(LockHold),
}

/// Waiting for locks; made by [`Locks::acquiring`](super::Locks::acquiring). Dropping it gives the
/// place up in the background.
///
/// [`Locks::acquiring`](super::Locks::acquiring) has an example.
#[must_use = "nothing is asked for before `next`"]
pub struct Acquiring {
    session: Session,
    want: Want,
    try_only: bool,
    end: Option<Instant>,
    pauses: Pauses,
    opening: Option<BoxFuture<'static, Result<Open, Error>>>,
    open: Option<Open>,
    moved: bool,
    done: bool,
    place: Place,
}

/// Waiting, as in the example of [`Locks::acquiring`](super::Locks::acquiring).
impl Acquiring {
    pub(super) fn new(session: &Session, want: Want, patience: Option<Duration>) -> Self {
        let place = Place::new(session, &want);
        let pauses = Pauses::new(session.client().endpoints_ref());
        let end = patience.and_then(|patience| Instant::now().checked_add(patience));
        let session = session.clone();
        Self {
            session,
            want,
            try_only: false,
            end,
            pauses,
            opening: None,
            open: None,
            moved: false,
            done: false,
            place,
        }
    }

    pub(super) fn trying(session: &Session, want: Want) -> Self {
        Self { try_only: true, ..Self::new(session, want, None) }
    }

    /// What happens next: the number of those before whenever it changes, then the locks. After
    /// that, or an error, it is over.
    ///
    /// # Errors
    /// As [`Locks::acquire`](super::Locks::acquire).
    ///
    /// # Cancel safety
    /// A dropped future loses nothing; the place is kept.
    pub async fn next(&mut self) -> Result<Progress, Error> {
        if self.done {
            return Err(Error::new(ErrorKind::Refused, "waiting for these locks is over"));
        }
        let session = self.session.clone();
        let result = session.during(self.message()).await;
        match &result {
            Ok(Progress::Waiting { .. }) => {}
            // What was taken belongs to the guard; a refusal left nothing.
            Ok(Progress::Held(_)) => (self.done, self.place.owed) = (true, false),
            Err(error) => {
                self.done = true;
                self.place.owed &= !error.is_final() || error.kind() == ErrorKind::SessionLost;
            }
        }
        result
    }

    pub(super) async fn held(mut self) -> Result<LockHold, Error> {
        loop {
            if let Progress::Held(hold) = self.next().await? {
                return Ok(hold);
            }
        }
    }

    pub(super) async fn tried(self) -> Result<Option<LockHold>, Error> {
        let patience = self.session.client().timeout();
        let late = || Err(Error::unsent("no member answered in time; what it may give is given back"));
        match timeout(patience, self.held()).await.unwrap_or_else(|_| late()) {
            Ok(hold) => Ok(Some(hold)),
            Err(error) if error.kind() == ErrorKind::Refused && error.message() == NOT_AT_ONCE => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn message(&mut self) -> Result<Progress, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.reopen().await?;
                continue;
            };
            let client = self.session.client();
            let error = match open.answers.message().await {
                Ok(Some(progress)) => {
                    client.praise(&open.choice);
                    match progress.now {
                        Some(Now::Held(answer)) if answer.fence == 0 => {
                            return Err(Error::new(ErrorKind::Refused, NOT_AT_ONCE));
                        }
                        Some(Now::Held(answer)) => return Ok(Progress::Held(LockHold::new(&self.session, answer))),
                        Some(Now::Before(before)) => {
                            self.place.fence = progress.fence;
                            return Ok(Progress::Waiting { fence: progress.fence, before });
                        }
                        None => continue,
                    }
                }
                Ok(None) => Error::unsent("the stream ended before the locks were held"),
                Err(status) => Error::from(status),
            };
            let error = client.blame(&open.choice, error);
            self.failed(error).await?;
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        if self.opening.is_none() {
            let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
            let wait_ms = left.map_or(0, |left| millis(left).max(1));
            let request = pb::AcquireRequest { try_only: self.try_only, wait_ms, ..self.place.request.clone() };
            self.place.owed = true;
            let client = self.session.client().clone();
            self.opening = Some(Box::pin(async move {
                let patience = client.attempt_timeout();
                client.open(patience, Request::new(request), call!(locks.acquire_stream)).await
            }));
        }
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let opened = opening.await;
        self.opening = None;
        match opened {
            Ok(open) => {
                self.open = Some(open);
                Ok(())
            }
            Err(error) => self.failed(error).await,
        }
    }

    /// Goes on after a failure of a member.
    async fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.open = None;
        match error.kind() {
            ErrorKind::LeaseNotFound => self.session.lease_gone(),
            // The member it was at before has given the place up.
            ErrorKind::NotHeld if std::mem::take(&mut self.moved) => {
                let fresh = Place::new(&self.session, &self.want);
                self.place.owed = false;
                self.place = fresh;
                return Ok(());
            }
            _ => {}
        }
        if error.is_final() {
            return Err(error);
        }
        tracing::debug!(%error, "waiting for locks goes on elsewhere");
        self.moved = true;
        sleep(self.pauses.next()).await;
        Ok(())
    }
}

type Open = Opened<Streaming<pb::AcquireProgress>>;

const NOT_AT_ONCE: &str = "the locks cannot be had at once";

impl fmt::Debug for Acquiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring").field("want", &self.want).field("fence", &self.place.fence).finish_non_exhaustive()
    }
}

/// A place in the lines, or the locks; given back when dropped, if it is owed.
struct Place {
    session: Session,
    request: pb::AcquireRequest,
    /// 0 until it is known.
    fence: i64,
    owed: bool,
}

impl Place {
    fn new(session: &Session, want: &Want) -> Self {
        let request = want.wire(caller(Some(session), &Expect::default()));
        Self { session: session.clone(), request, fence: 0, owed: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.owed || self.session.is_lost() {
            return;
        }
        let (session, request, fence) = (self.session.clone(), self.request.clone(), self.fence);
        self.session.in_background(async move {
            give_back(&session, || withdraw(&session, &request, fence)).await;
        });
    }
}

async fn withdraw(session: &Session, request: &pb::AcquireRequest, fence: i64) -> Result<(), Error> {
    let fence = match fence {
        0 => find(session, request).await?,
        fence => fence,
    };
    if fence == 0 {
        return Ok(());
    }
    let caller = caller(Some(session), &Expect::default());
    let release = pb::ReleaseRequest { caller, fence, ..Default::default() };
    session.client().repeatable(release, call!(locks.release)).await.map(drop)
}

/// What became of a request: its fence, or 0 if it holds nothing and never will.
async fn find(session: &Session, request: &pb::AcquireRequest) -> Result<i64, Error> {
    let client = session.client();
    let request = pb::AcquireRequest { try_only: true, wait_ms: 0, ..request.clone() };
    let patience = client.attempt_timeout();
    let call = |channel, request| async move { coord::locks(channel).acquire_stream(request).await };
    let found = async {
        let mut open = client.open(patience, Request::new(request), call).await?;
        match timeout(patience, open.answers.message()).await {
            Ok(Ok(progress)) => Ok(progress.map_or(0, |progress| progress.fence)),
            Ok(Err(status)) => Err(client.blame(&open.choice, status.into())),
            Err(_) => Err(client.blame(&open.choice, Error::unsent("no answer in time"))),
        }
    };
    match found.await {
        // It was given up, or refused.
        Err(error) if error.is_final() => Ok(0),
        found => found,
    }
}
