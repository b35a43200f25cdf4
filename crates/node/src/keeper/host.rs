//! What a keeper needs of the rest of the node, so that it can be tested without one.

use super::request::{Id, Kind, RenewRequest};
use crate::handover::Handover;
use crate::leadership::{Leadership, LeadershipNow};
use crate::peer::Peers;
use crate::proposer::{ProposeError, Proposer};
use crate::reader::{ReadError, Reader};
use async_trait::async_trait;
use conclave_state::view::Fault;
use conclave_state::{Command, CoordTimer, Expire, Outcome, coord, read};
use conclave_storage::StateHandle;
use std::time::Duration;
use tokio::sync::watch;

#[async_trait]
pub trait KeeperHost: Send + Sync + 'static {
    fn leadership(&self) -> LeadershipNow;

    fn leadership_changes(&self) -> watch::Receiver<LeadershipNow>;

    /// The store's revision here and now.
    fn revision(&self) -> i64;

    /// Everything of the applied state that has a deadline.
    fn all(&self) -> Result<Loaded, Fault>;

    /// Returns this leader's term after a quorum has confirmed it in a round begun after the call,
    /// and after everything that was committed before the call has been applied (and observed by
    /// the keeper) here.
    async fn confirm(&self) -> Result<u64, ReadError>;

    /// Runs a job on the clients' runtime.
    fn hand_over(&self, job: Box<dyn FnOnce() + Send>);

    /// Proposes that the time of these is over.
    async fn expire(&self, request: ExpireRequest) -> Result<Outcome, ProposeError>;

    /// The other end of this is the leader's `Keeper::renew_here`.
    async fn renew_at(&self, leader: u64, requests: &[RenewRequest]) -> Result<Vec<Duration>, ReadError>;

    /// The other end of this is the leader's `Keeper::remaining_here`.
    async fn remaining_at(&self, leader: u64, id: Id) -> Result<Option<Duration>, ReadError>;
}

/// What a state holds of all that has a deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The log index up to which the state speaks; it may speak of a little more.
    pub applied: u64,
    /// With their full spans; zero for what is ending and cannot be renewed.
    pub spans: Vec<(Id, Duration)>,
}

/// Says of some that their time is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpireRequest {
    pub ids: Vec<Id>,
    /// In which it was found. Of no effect in an entry of another term.
    pub term: u64,
    /// The keeper had observed the changes up to this log index when it found them due. What began
    /// later under one of these ids is not meant.
    pub observed: u64,
}

/// The node's own parts.
#[derive(Clone)]
pub struct NodeHost {
    pub kind: Kind,
    pub leadership: Leadership,
    pub proposer: Proposer,
    pub reader: Reader,
    pub peers: Peers,
    pub state: StateHandle,
    pub handover: Handover,
}

#[async_trait]
impl KeeperHost for NodeHost {
    fn leadership(&self) -> LeadershipNow {
        self.leadership.current()
    }

    fn leadership_changes(&self) -> watch::Receiver<LeadershipNow> {
        self.leadership.subscribe()
    }

    fn revision(&self) -> i64 {
        self.state.revision()
    }

    fn all(&self) -> Result<Loaded, Fault> {
        let view = self.state.view();
        let spans = match self.kind {
            Kind::Leases => {
                let leases = read::lease_spans(&view)?.into_iter();
                leases.map(|(id, millis)| (id, Duration::from_millis(millis))).collect()
            }
            Kind::Timers => {
                let timers = coord::read::timers(&view)?.into_iter();
                timers.map(|timer| (timer.id.cast_signed(), Duration::from_millis(timer.millis))).collect()
            }
        };
        Ok(Loaded { applied: view.applied_index(), spans })
    }

    async fn confirm(&self) -> Result<u64, ReadError> {
        self.reader.confirm_leadership().await
    }

    fn hand_over(&self, job: Box<dyn FnOnce() + Send>) {
        self.handover.run(job);
    }

    async fn expire(&self, request: ExpireRequest) -> Result<Outcome, ProposeError> {
        let ExpireRequest { ids, term, observed } = request;
        let command = match self.kind {
            Kind::Leases => Command::Expire(Expire { leases: ids, term, observed }),
            Kind::Timers => {
                // A timer's id is given once.
                Command::CoordTimer(CoordTimer { ids: ids.into_iter().map(i64::cast_unsigned).collect(), term })
            }
        };
        Ok(self.proposer.propose_own(command).await?.outcome)
    }

    async fn renew_at(&self, leader: u64, requests: &[RenewRequest]) -> Result<Vec<Duration>, ReadError> {
        // Why a peer did not answer makes no difference: the caller asks the next leader until its
        // own time is up.
        self.peers.renew(leader, self.kind, requests).await.map_err(|_| ReadError::LeaderChanged)
    }

    async fn remaining_at(&self, leader: u64, id: Id) -> Result<Option<Duration>, ReadError> {
        self.peers.remaining(leader, self.kind, id).await.map_err(|_| ReadError::LeaderChanged)
    }
}
