//! `etcdserverpb.Lease`. Grants and revocations are commands; renewals are the lease keeper's.

use super::quota::Quota;
use super::{admit, require_leader, response, unexpected, until_stopped};
use crate::convert::{self, LeaseLife};
use crate::node::Node;
use crate::status::{fault, received};
use conclave_api::etcdserverpb::lease_server::Lease;
use conclave_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use conclave_state::{Command, LeaseId, Outcome, Rejection, Response as Answer, read};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Renewals of one stream that are under way together. Answers keep the order of the requests.
const PIPELINE: usize = 256;

pub struct LeaseService {
    node: Arc<Node>,
    quota: Quota,
    shortest_ttl: i64,
}

impl LeaseService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> LeaseService {
        let election_timeout = Duration::from_millis(node.config.election_timeout_ms);
        let quota = Quota::new(node.clone());
        LeaseService { shortest_ttl: convert::shortest_ttl(election_timeout), quota, node }
    }

    async fn propose(&self, command: Command) -> Result<Outcome, Status> {
        Ok(self.node.proposer.propose(command).await?.outcome)
    }

    /// The lease, with the revision at which its keys are attached: what the header tells, however long the leader takes to answer.
    async fn life(&self, id: LeaseId, keys: bool) -> Result<(i64, Option<LeaseLife>), Status> {
        self.node.reader.barrier().await?;
        let view = self.node.state.view();
        let revision = view.bounds().current;
        let Some(granted_ms) = read::lease_ttl(&view, id).map_err(fault)? else { return Ok((revision, None)) };
        let granted_seconds = convert::whole_seconds(granted_ms);
        let keys = match keys {
            true => self.node.reader.within(view, move |view, most| read::lease_keys_within(view, id, most)).await?,
            false => {
                drop(view);
                Vec::new()
            }
        };
        let remaining = self.node.leases.remaining(id).await?;
        let life = remaining.map(|remaining| LeaseLife { remaining, granted_seconds, keys });
        Ok((revision, life))
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let mut grant = convert::lease_grant(&admit(&self.node, request)?, self.shortest_ttl)?;
        self.quota.admit(0).await?;
        let chosen_here = grant.id == 0;
        loop {
            if chosen_here {
                grant.id = rand::random_range(1..=LeaseId::MAX);
            }
            let outcome = self.propose(Command::LeaseGrant(grant)).await?;
            if chosen_here && outcome.result == Err(Rejection::LeaseExists) {
                continue;
            }
            let header = self.node.header(outcome.revision);
            return match response(outcome)? {
                Answer::LeaseGrant { id, ttl_ms } => Ok(Response::new(convert::lease_granted(header, id, ttl_ms))),
                other => Err(unexpected(&other)),
            };
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let outcome = self.propose(convert::lease_revoke(&admit(&self.node, request)?)).await?;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::LeaseRevoke => Ok(Response::new(LeaseRevokeResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        require_leader(&self.node, request.metadata())?;
        let node = self.node.clone();
        let answers = request.into_inner().map_err(received).map_ok(move |request| renew(node.clone(), request.id));
        Ok(Response::new(until_stopped(&self.node, answers.try_buffered(PIPELINE).boxed())))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let request = admit(&self.node, request)?;
        let (revision, life) = self.life(request.id, request.keys).await?;
        let header = self.node.header(revision);
        Ok(Response::new(convert::lease_time_to_live(header, request.id, life)))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let LeaseLeasesRequest {} = admit(&self.node, request)?;
        self.node.reader.barrier().await?;
        let view = self.node.state.view();
        let revision = view.bounds().current;
        let mut leases = self.node.reader.within(view, read::lease_ids_within).await?;
        // As in etcd: the leader, who knows, tells those first that end first.
        self.node.leases.soonest_first(&mut leases);
        Ok(Response::new(convert::lease_leases(self.node.header(revision), leases)))
    }
}

async fn renew(node: Arc<Node>, id: LeaseId) -> Result<LeaseKeepAliveResponse, Status> {
    let kept = node.leases.renew(id).await?;
    Ok(convert::lease_kept_alive(node.header(kept.revision), id, kept))
}
