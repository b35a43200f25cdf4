//! Acquire: take the places, wait until they are held, and leave none behind.
//!
//! 1. A call that ends without its answer handed over gives its request back, at whatever moment it ends: before its command was decided,
//!    while waiting, or just after the grant. [`Stay`] sees to that when dropped.
//! 2. Every request is found again, by its client's dedupe id or by this member's attempt: what is proposed again because its outcome is
//!    unknown takes effect once. A cancelled call whose command is undecided asks the same again without waiting, and releases whatever
//!    fence it hears of; or gives up its attempt, decided or not.
//! 3. Other calls with the same dedupe id still want what it gave. Of this node's the last to go gives it back, in the name of their attempt
//!    alone: what another member has told its client of stays. A request found again that is *held* already is not given back: an
//!    earlier call's client may have been told.
//! 4. Answers may be remembered ones. Whether a fence is held is read from the state after it was answered, and again after each change
//!    of the fence's own key: nobody is told that it holds what it has lost.
//! 5. A node that stops gives nothing back: the clients come back elsewhere, with the same dedupe id.

use crate::convert::coord::Caller;
use crate::coordination::{Ended, Feed, Span, Subscription};
use crate::proposer::{Applied, ProposeError};
use crate::status::{fault, internal, rejected, text};
use crate::waiters::places::{Asking, Places};
use conclave_state::coord::{self, read};
use conclave_state::{
    Acquire, Command, CoordBody, CoordResponse, Fault, LeaseId, LockPart, Release, Response as Answer, View,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The cluster ends a wait by itself. A call waits so much longer for that before it does so on its own.
const GRACE: Duration = Duration::from_millis(200);

/// What is needed of the node.
#[tonic::async_trait]
pub(super) trait Host: Send + Sync + 'static {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError>;

    fn standing(&self, fence: i64, session: LeaseId) -> Result<Standing, Fault>;

    /// How many wait before a fence for a lock, and the revision of which that is so.
    fn before(&self, part: &LockPart, fence: i64) -> Result<(u64, i64), Fault>;
}

/// How a request stands.
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

/// Reads a standing from any view.
pub(super) fn standing<V: View>(view: &V, fence: i64, session: LeaseId) -> Result<Standing, Fault> {
    if let Some(request) = read::request(view, fence)? {
        let revision = conclave_state::read::meta(view)?.revision;
        return Ok(match request.held_since {
            0 => Standing::Waiting,
            since => Standing::Held { since, revision },
        });
    }
    let lives = conclave_state::read::lease_ttl_millis(view, session)?.is_some();
    Ok(if lives { Standing::Gone } else { Standing::SessionGone })
}

/// Where calls are served. Cheap to clone.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) host: Arc<dyn Host>,
    pub(super) feed: Feed,
    pub(super) stopping: CancellationToken,
    asked: Places,
}

/// What is held, or tried in vain (fence 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) fence: i64,
    pub(super) since: i64,
    pub(super) revision: i64,
}

impl Desk {
    pub(super) fn new(host: Arc<dyn Host>, feed: Feed, stopping: CancellationToken) -> Desk {
        Desk { host, feed, stopping, asked: Places::default() }
    }

    /// Takes the places. The stay gives them back unless it is kept.
    pub(super) async fn ask(&self, caller: Caller, acquire: Acquire) -> Result<Stay, Status> {
        let gone = CancellationToken::new();
        let _hang_up = gone.clone().drop_guard();
        let stay = self.begin(caller, acquire);
        let deadline = stay.deadline;
        // In a task of its own, so that a cancelled call still learns what to give back: the task drops its stay then.
        let mut asking = tokio::spawn(stay.propose(gone));
        tokio::select! {
            asked = &mut asking => asked.map_err(internal)?,
            () = reached(deadline) => Err(text::LOCK_WAIT_OVER.status()),
        }
    }

    fn begin(&self, caller: Caller, acquire: Acquire) -> Stay {
        let own = || rand::random::<[u8; 16]>();
        let key = [&caller.session.to_be_bytes()[..], &caller.dedupe.unwrap_or_else(own)].concat();
        let wait = Duration::from_millis(acquire.wait_ms);
        let began = Instant::now();
        let asking = self.asked.ask(key.into());
        let acquire = Acquire { attempt: asking.attempt(), ..acquire };
        Stay {
            asking,
            desk: self.clone(),
            session: caller.session,
            dedupe: caller.dedupe,
            wait_over: (acquire.wait_ms != 0).then(|| began.checked_add(wait)).flatten(),
            deadline: (acquire.wait_ms != 0).then(|| began.checked_add(wait + wait / 20 + GRACE)).flatten(),
            acquire: Arc::new(acquire),
            fence: 0,
            got: None,
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

    /// Proposes until it is decided, whatever it takes; `None` if the node stops before.
    async fn decide(&self, command: Command) -> Option<Applied> {
        let (mut pause, never) = (FIRST_PAUSE, CancellationToken::new());
        while !self.stopping.is_cancelled() {
            match self.host.propose(command.clone()).await {
                Ok(applied) => return Some(applied),
                Err(ProposeError::Stopped | ProposeError::TooLarge) => return None,
                Err(_) => self.pause(&mut pause, &never).await,
            }
        }
        None
    }

    /// With fence 0: whatever the attempt was given, or would be yet.
    async fn give_back(self, session: LeaseId, fence: i64, attempt: u64) {
        let who = Caller { session, ..Caller::default() };
        drop(self.decide(who.command(CoordBody::Release(Release { fence, attempt, ..Release::default() }))).await);
    }
}

/// One call's stay in the lines of its locks. Dropping it gives back what it owes.
pub(super) struct Stay {
    desk: Desk,
    asking: Asking,
    session: LeaseId,
    dedupe: Option<[u8; 16]>,
    acquire: Arc<Acquire>,
    wait_over: Option<Instant>,
    deadline: Option<Instant>,
    fence: i64,
    got: Option<Got>,
    /// A proposal of which nothing is known may have been, or may yet be, decided.
    open: bool,
}

impl Stay {
    pub(super) fn fence(&self) -> i64 {
        self.fence
    }

    pub(super) fn parts(&self) -> &[LockPart] {
        &self.acquire.parts
    }

    /// What came of it, if waiting is over.
    pub(super) fn got(&self) -> Option<Got> {
        self.got
    }

    fn command(&self, try_only: bool) -> Command {
        let who = Caller { session: self.session, dedupe: self.dedupe, expect: None };
        who.command(CoordBody::Acquire(Acquire { try_only, wait_ms: 0, ..(*self.acquire).clone() }))
    }

    async fn propose(mut self, gone: CancellationToken) -> Result<Stay, Status> {
        let who = Caller { session: self.session, dedupe: self.dedupe, expect: None };
        let command = who.command(CoordBody::Acquire((*self.acquire).clone()));
        let mut pause = FIRST_PAUSE;
        loop {
            match self.desk.host.propose(command.clone()).await {
                Ok(applied) => {
                    let revision = applied.outcome.revision;
                    let answer = applied.outcome.result;
                    self.open = false;
                    return match answer.map_err(rejected)? {
                        Answer::Coord(CoordResponse::Lock { fence, held_since }) => {
                            self.take(fence, held_since, revision)?;
                            Ok(self)
                        }
                        other => Err(internal(format_args!("an Acquire answered with {other:?}"))),
                    };
                }
                Err(ProposeError::Stopped) => return Err(text::STOPPED.status()),
                Err(error @ (ProposeError::TooManyRequests | ProposeError::TooLarge)) => return Err(error.into()),
                // Whoever only tries wants an answer more than a lock.
                Err(error) if self.acquire.try_only && !error.outcome_unknown() && !self.open => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.open |= error.outcome_unknown();
                    self.desk.pause(&mut pause, &gone).await;
                }
            }
            if self.desk.stopping.is_cancelled() {
                return Err(text::STOPPED.status());
            }
            if gone.is_cancelled() {
                return Err(Status::cancelled("conclave: the call was cancelled"));
            }
        }
    }

    /// The command, or an earlier one of the same id, was answered so.
    fn take(&mut self, fence: i64, held_since: i64, revision: i64) -> Result<(), Status> {
        self.fence = fence;
        let fresh = fence == revision;
        if fence == 0 && !self.acquire.try_only {
            // Remembered of a call that was cancelled before its command was decided.
            return Err(text::LOCK_WITHDRAWN.status());
        }
        if fence == 0 || (fresh && held_since != 0) {
            self.got = Some(Got { fence, since: held_since, revision });
        } else {
            self.look()?;
        }
        // Without a dedupe id nobody else can have been told.
        if fence != 0 && (fresh || self.got.is_none() || self.dedupe.is_none()) {
            self.asking.owe(fence);
        }
        Ok(())
    }

    /// Reads how the request stands.
    fn look(&mut self) -> Result<(), Status> {
        match self.desk.host.standing(self.fence, self.session).map_err(fault)? {
            Standing::Waiting => Ok(()),
            Standing::Held { since, revision } => {
                self.got = Some(Got { fence: self.fence, since, revision });
                Ok(())
            }
            Standing::SessionGone => {
                self.asking.settle(self.fence);
                Err(text::LEASE_NOT_FOUND.status())
            }
            Standing::Gone => {
                self.asking.settle(self.fence);
                let over = self.wait_over.is_some_and(|at| Instant::now() >= at);
                Err(if over { text::LOCK_WAIT_OVER } else { text::LOCK_WITHDRAWN }.status())
            }
        }
    }

    /// Waits until the locks are held.
    pub(super) async fn wait(&mut self) -> Result<Got, Status> {
        while self.got.is_none() {
            let mut changes = self.follow();
            // What happened before this look is seen by it, what happens after it is told.
            self.look()?;
            while self.got.is_none() {
                let (desk, deadline) = (self.desk.clone(), self.deadline);
                let told = tokio::select! {
                    told = changes.next() => told,
                    () = desk.stopping.cancelled() => return Err(text::STOPPED.status()),
                    () = reached(deadline) => return Err(text::LOCK_WAIT_OVER.status()),
                };
                match told {
                    Ok(_) => self.look()?,
                    Err(Ended::Compacted(_)) => break,
                    Err(Ended::Fault(reason)) => return Err(internal(reason)),
                }
            }
        }
        self.got.ok_or_else(|| internal("a wait ended without a grant"))
    }

    /// All places of a request go together: the key of one tells of all.
    fn follow(&self) -> Subscription {
        let key = coord::lock_waiter_key(&self.parts()[0].lock, self.fence);
        self.desk.feed.subscribe(Span::key(key), None)
    }

    /// For those who follow a line: the revision's changes may have been about this request.
    pub(super) fn look_again(&mut self) -> Result<(), Status> {
        self.look()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The answer is about to be handed over: the locks are the client's now.
    pub(super) fn keep(&mut self) {
        self.asking.settle(self.fence);
    }
}

pub(super) async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        // Others of this node who ask for the same see to it.
        let Some(owed) = self.asking.depart() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.desk.stopping.is_cancelled() {
            return;
        }
        let (desk, session, attempt) = (self.desk.clone(), self.session, self.asking.attempt());
        if let Some(fence) = owed {
            runtime.spawn(desk.give_back(session, fence, attempt));
        } else if self.open && self.dedupe.is_none() {
            runtime.spawn(desk.give_back(session, 0, attempt));
        } else if self.open {
            // Whichever of the two commands comes first decides; the other one hears its answer.
            let again = self.command(true);
            runtime.spawn(async move {
                let Some(applied) = desk.decide(again).await else { return };
                if let Ok(Answer::Coord(CoordResponse::Lock { fence, .. })) = applied.outcome.result
                    && fence != 0
                {
                    desk.give_back(session, fence, attempt).await;
                }
            });
        }
    }
}
