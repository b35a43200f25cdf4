//! Locks and elections of the etcd v3 wire. `lock` and `campaign` wait as long as it takes: drop
//! the future to leave the queue.

use super::Client;
use crate::{
    Error,
    api::{
        v3electionpb::{
            CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
            ResignRequest, ResignResponse, election_client::ElectionClient,
        },
        v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_client::LockClient},
    },
};
use tonic::{Request, Streaming};

/// Locks.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::{etcdserverpb::LeaseGrantRequest, v3lockpb::{LockRequest, UnlockRequest}};
///
/// let lease = wire.lease().grant(LeaseGrantRequest { ttl: 10, id: 0 }).await?.id;
/// let key = wire.lock().lock(LockRequest { name: "report".into(), lease }).await?.key;
/// wire.lock().unlock(UnlockRequest { key }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lock(pub(crate) Client);

/// One attempt a call, as in the [example](Lock#examples). What dropping the future of a call
/// leaves behind is up to the member: Conclave gives the place up.
impl Lock {
    /// Waits until the lock is held. The key in the answer lives as long as the lease and the lock
    /// do.
    ///
    /// # Errors
    /// The lease or the key is gone, the member's refusal, or the transport's failure.
    pub async fn lock(&self, request: LockRequest) -> Result<LockResponse, Error> {
        let call = async |channel, request| LockClient::new(channel).lock(request).await;
        self.0.patient(Request::new(request), call).await
    }

    /// Releases the lock whose key `lock` gave.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn unlock(&self, request: UnlockRequest) -> Result<UnlockResponse, Error> {
        self.0.unary(request, async |channel, request| LockClient::new(channel).unlock(request).await).await
    }
}

/// Elections.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::{
///     etcdserverpb::LeaseGrantRequest,
///     v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest},
/// };
///
/// let (elections, name) = (wire.election(), "printing");
/// let lease = wire.lease().grant(LeaseGrantRequest { ttl: 10, id: 0 }).await?.id;
/// let leader = elections.campaign(CampaignRequest { name: name.into(), lease, value: "a".into() }).await?.leader;
/// elections.proclaim(ProclaimRequest { leader: leader.clone(), value: "b".into() }).await?;
/// elections.leader(LeaderRequest { name: name.into() }).await?;
/// elections.resign(ResignRequest { leader }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Election(pub(crate) Client);

/// One attempt a call, as in the [example](Election#examples). What dropping the future of a call
/// leaves behind is up to the member: Conclave gives the place up.
impl Election {
    /// Waits until elected.
    ///
    /// # Errors
    /// The lease or the key is gone, the member's refusal, or the transport's failure.
    pub async fn campaign(&self, request: CampaignRequest) -> Result<CampaignResponse, Error> {
        let call = async |channel, request| ElectionClient::new(channel).campaign(request).await;
        self.0.patient(Request::new(request), call).await
    }

    /// Announces another value without leaving office.
    ///
    /// # Errors
    /// The caller leads no longer, the member's refusal, or the transport's failure.
    pub async fn proclaim(&self, request: ProclaimRequest) -> Result<ProclaimResponse, Error> {
        self.0.unary(request, async |channel, request| ElectionClient::new(channel).proclaim(request).await).await
    }

    /// Who leads now.
    ///
    /// # Errors
    /// Nobody leads, the member's refusal, or the transport's failure.
    pub async fn leader(&self, request: LeaderRequest) -> Result<LeaderResponse, Error> {
        self.0.unary(request, async |channel, request| ElectionClient::new(channel).leader(request).await).await
    }

    /// Follows the election: who leads now, then each change.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn observe(&self, request: LeaderRequest) -> Result<Streaming<LeaderResponse>, Error> {
        let call = async |channel, request| ElectionClient::new(channel).observe(request).await;
        self.0.patient(Request::new(request), call).await
    }

    /// Leaves office, or the queue.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn resign(&self, request: ResignRequest) -> Result<ResignResponse, Error> {
        self.0.unary(request, async |channel, request| ElectionClient::new(channel).resign(request).await).await
    }
}
