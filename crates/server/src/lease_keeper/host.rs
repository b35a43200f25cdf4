//! What the lease keeper needs of the rest of the node, so that it can be tested without one.

use crate::leadership::{Leadership, LeadershipNow};
use crate::peer::Peers;
use crate::proposer::{ProposeError, Proposer};
use crate::reader::{ReadError, Reader};
use async_trait::async_trait;
use conclave_state::view::Fault;
use conclave_state::{Command, Expire, LeaseId, Outcome, read};
use conclave_storage::StateHandle;
use tokio::sync::watch;

#[async_trait]
pub trait LeaseHost: Send + Sync + 'static {
    fn leadership(&self) -> LeadershipNow;

    fn leadership_changes(&self) -> watch::Receiver<LeadershipNow>;

    /// The store's revision here and now.
    fn revision(&self) -> i64;

    /// Every lease of the applied state with its TTL in seconds.
    fn leases(&self) -> Result<Vec<(LeaseId, i64)>, Fault>;

    /// Returns this leader's term after a quorum has confirmed it in a round begun after the call, and after everything that was
    /// committed before the call has been applied (and observed by the keeper) here.
    async fn confirm(&self) -> Result<u64, ReadError>;

    async fn expire(&self, expire: Expire) -> Result<Outcome, ProposeError>;

    /// The other end of this is the leader's `LeaseKeeper::keep_alive_here`.
    async fn keep_alive_at(&self, leader: u64, ids: &[LeaseId]) -> Result<Vec<i64>, ReadError>;

    /// The other end of this is the leader's `LeaseKeeper::remaining_here`.
    async fn remaining_at(&self, leader: u64, id: LeaseId) -> Result<Option<i64>, ReadError>;
}

/// The node's own parts.
pub struct NodeLeaseHost {
    pub leadership: Leadership,
    pub proposer: Proposer,
    pub reader: Reader,
    pub peers: Peers,
    pub state: StateHandle,
}

#[async_trait]
impl LeaseHost for NodeLeaseHost {
    fn leadership(&self) -> LeadershipNow {
        self.leadership.current()
    }

    fn leadership_changes(&self) -> watch::Receiver<LeadershipNow> {
        self.leadership.subscribe()
    }

    fn revision(&self) -> i64 {
        self.state.revision()
    }

    fn leases(&self) -> Result<Vec<(LeaseId, i64)>, Fault> {
        read::leases(&self.state.view())
    }

    async fn confirm(&self) -> Result<u64, ReadError> {
        // Both take part in the same coalesced round; the barrier adds the wait for apply.
        let (term, ()) = tokio::try_join!(self.reader.confirm_leadership(), self.reader.barrier())?;
        // An entry counts as applied a moment before the keeper has been told of it; the news is sent after that.
        let applied = self.state.applied_index();
        let told = self.state.applied().wait_for(|told| *told >= applied).await.map(|_| ());
        told.map_err(|_| ReadError::Stopped)?;
        Ok(term)
    }

    async fn expire(&self, expire: Expire) -> Result<Outcome, ProposeError> {
        Ok(self.proposer.propose(Command::Expire(expire)).await?.outcome)
    }

    async fn keep_alive_at(&self, leader: u64, ids: &[LeaseId]) -> Result<Vec<i64>, ReadError> {
        // Why a peer did not answer makes no difference: the caller asks the next leader until its own time is up.
        self.peers.keep_alive(leader, ids.to_vec()).await.map_err(|_| ReadError::LeaderChanged)
    }

    async fn remaining_at(&self, leader: u64, id: LeaseId) -> Result<Option<i64>, ReadError> {
        self.peers.remaining(leader, id).await.map_err(|_| ReadError::LeaderChanged)
    }
}
