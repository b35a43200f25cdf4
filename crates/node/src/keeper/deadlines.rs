//! What the keepers of a node keep: leases, and the timers of elections, locks and claims.
//!
//! Both begin and end by commands. A lease is renewed by its client. A timer's id is given once, so
//! what was meant for a timer that was disarmed, or armed anew, has no effect; only the timer of a
//! claim is extended, which is how a claim lasts on without a command. All others just run.

use super::{Id, Keeper, KeeperHost, RenewRequest, Renewed};
use crate::clock::Clock;
use crate::reader::ReadError;
use crate::sink::ApplyObserver;
use conclave_state::{Changes, Deadline, LeaseId};
use conclave_storage::AppliedBatch;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Something that has a deadline.
pub trait Timed: Send + Sync + 'static {
    /// Its id in the state.
    type Id: Copy;

    fn id(id: Self::Id) -> Id;

    /// What a batch of commands did to such deadlines.
    fn changes(changes: &Changes) -> &[Deadline<Self::Id>];
}

#[derive(Clone)]
pub struct Leases;

#[derive(Clone)]
pub struct Timers;

impl Timed for Leases {
    type Id = LeaseId;

    fn id(id: LeaseId) -> Id {
        id
    }

    fn changes(changes: &Changes) -> &[Deadline<LeaseId>] {
        &changes.leases
    }
}

impl Timed for Timers {
    type Id = u64;

    fn id(id: u64) -> Id {
        id.cast_signed()
    }

    fn changes(changes: &Changes) -> &[Deadline<u64>] {
        &changes.timers
    }
}

/// The deadlines of all leases, or of all timers.
#[derive(Clone)]
pub struct Deadlines<T>(Keeper, PhantomData<T>);

/// A claim that is to last on, as its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    pub timer: u64,
    /// From now; at most the timer's own.
    pub millis: u64,
}

impl<T: Timed> Deadlines<T> {
    /// The host must be of the same kind.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, host: Box<dyn KeeperHost>) -> Deadlines<T> {
        Deadlines(Keeper::new(clock, host), PhantomData)
    }

    /// What renews and ends them.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.0
    }

    pub async fn run(self) {
        self.0.run().await;
    }

    /// How many there are, for metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives one its full span from the moment of the call. Works on every member.
    pub async fn renew(&self, id: T::Id) -> Result<Renewed, ReadError> {
        self.0.renew(RenewRequest { id: T::id(id), span: None }).await
    }

    /// The time that one has left, by the leader's clock; `None` if there is no such one.
    pub async fn remaining(&self, id: T::Id) -> Result<Option<Duration>, ReadError> {
        self.0.remaining(T::id(id)).await
    }

    /// The time that these have left as far as this member knows: if it leads. For display.
    #[must_use]
    pub fn known(&self, ids: &[T::Id]) -> Vec<Option<Duration>> {
        self.0.known(&ids.iter().map(|id| T::id(*id)).collect::<Vec<_>>())
    }
}

impl Deadlines<Leases> {
    /// Sorts leases by when they expire, as far as this member knows: if it leads.
    pub fn soonest_first(&self, ids: &mut [LeaseId]) {
        self.0.soonest_first(ids);
    }
}

impl Deadlines<Timers> {
    /// Lets timers run for so long from the moment of the call. True, in order, for those that do;
    /// false for those that are over or disarmed. Works on every member; one call to the leader for
    /// all.
    pub async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, ReadError> {
        let requests: Vec<RenewRequest> = extensions
            .iter()
            .map(|of| RenewRequest { id: Timers::id(of.timer), span: Some(Duration::from_millis(of.millis)) })
            .collect();
        let spans = match requests[..] {
            // Shares a batch with others that come at the same time.
            [one] => vec![self.0.renew(one).await?.span],
            _ => self.0.renew_all(&requests).await?,
        };
        Ok(spans.iter().zip(&requests).map(|(span, request)| Some(*span) >= request.span).collect())
    }
}

impl<T: Timed> ApplyObserver for Deadlines<T> {
    fn applied(&self, batch: &mut AppliedBatch) {
        let changes = T::changes(&batch.changes).iter().map(|change| match *change {
            Deadline::Armed { id, ms } => Deadline::Armed { id: T::id(id), ms },
            Deadline::Gone { id } => Deadline::Gone { id: T::id(id) },
        });
        self.0.observe(batch.last.index, changes);
    }

    fn reset(&self) {
        self.0.reset();
    }
}
