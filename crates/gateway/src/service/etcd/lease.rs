//! `etcdserverpb.Lease`. Grants and revocations are commands; renewals are the lease keeper's.

use crate::audit::{self, Subject};
use crate::auth::{Reading, current};
use crate::convert::etcd::{self as convert, LeaseLife};
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, require_leader, requires_leader, response, unexpected, until_stopped};
use crate::status::{fault, internal, not_proposed, not_read, received, rejected};
use conclave_api::etcdserverpb::lease_server::Lease;
use conclave_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use conclave_state::{AuthRefusal, Command, Fault, LeaseId, Outcome, Rejection, Response as Answer, read};
use conclave_storage::StateView;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Renewals of one stream that are under way together. Answers keep the order of the requests.
const PIPELINE: usize = 256;

pub struct LeaseService {
    gateway: Arc<Gateway>,
    quota: Quota,
    shortest_ttl: i64,
}

impl LeaseService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> LeaseService {
        let election_timeout = Duration::from_millis(gateway.node.config.election_timeout_ms);
        let quota = Quota::new(gateway.clone());
        LeaseService { shortest_ttl: convert::shortest_ttl(election_timeout), quota, gateway }
    }

    async fn propose(&self, only_led: bool, command: Command) -> Result<Outcome, Status> {
        Ok(self.gateway.propose_led(only_led, command).await.map_err(not_proposed)?.outcome)
    }

    /// The lease, with the revision at which its keys are attached: what the header tells, however
    /// long the leader takes to answer.
    async fn life(&self, id: LeaseId, keys: bool) -> Result<(i64, Option<LeaseLife>), Status> {
        self.gateway.node.reader.barrier().await.map_err(not_read)?;
        let view = self.gateway.node.state.view();
        let revision = view.bounds().current;
        if keys && let Some(auth) = view.auth() {
            audit::about(|| Subject::lease(id));
            let checked = auth.check_lease_read(current().as_ref(), &view, id).map_err(fault)?;
            checked.map_err(|refusal| rejected(Rejection::Auth(refusal)))?;
        }
        let Some(granted_ms) = read::lease_ttl(&view, id).map_err(fault)? else { return Ok((revision, None)) };
        let granted_seconds = convert::whole_seconds(granted_ms);
        let keys = match keys {
            true => self
                .gateway
                .node
                .reader
                .within(view, move |view, most| read::lease_keys_within(view, id, most))
                .await
                .map_err(not_read)?,
            false => {
                drop(view);
                Vec::new()
            }
        };
        let remaining = self.gateway.node.leases.remaining(id).await.map_err(not_read)?;
        let life = remaining.map(|remaining| LeaseLife { remaining, granted_seconds, keys });
        Ok((revision, life))
    }

    /// To list leases, their keys must be readable: all of them, as in etcd.
    async fn leases_if_readable(&self, view: StateView) -> Result<Vec<LeaseId>, Status> {
        let caller = current();
        let checked = move || -> Result<Result<Vec<LeaseId>, AuthRefusal>, Fault> {
            let leases = read::lease_ids_within(&view, usize::MAX)?.unwrap_or_default();
            let Some(auth) = view.auth() else { return Ok(Ok(leases)) };
            for id in &leases {
                if let Err(refusal) = auth.check_lease_read(caller.as_ref(), &view, *id)? {
                    return Ok(Err(refusal));
                }
            }
            Ok(Ok(leases))
        };
        let leases = self.gateway.node.reader.long(checked).await.map_err(internal)?.map_err(fault)?;
        leases.map_err(|refusal| rejected(Rejection::Auth(refusal)))
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let only_led = requires_leader(request.metadata());
        let mut grant = convert::lease_grant(&admit(&self.gateway, request)?, self.shortest_ttl)?;
        self.quota.admit(0).await?;
        let chosen_here = grant.id == 0;
        loop {
            if chosen_here {
                grant.id = rand::random_range(1..=LeaseId::MAX);
            }
            let granting = self.gateway.asks_for(grant.id)?;
            let outcome = self.propose(only_led, Command::LeaseGrant(grant)).await?;
            if chosen_here && outcome.result == Err(Rejection::LeaseExists) {
                continue;
            }
            let header = self.gateway.header(outcome.revision);
            return match response(outcome)? {
                Answer::LeaseGrant { id, ttl_ms } => {
                    if let Some(granting) = granting {
                        granting.granted();
                    }
                    self.gateway.metrics.leases_granted.inc();
                    Ok(Response::new(convert::lease_granted(header, id, ttl_ms)))
                }
                other => Err(unexpected(&other)),
            };
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let only_led = requires_leader(request.metadata());
        let LeaseRevokeRequest { id } = admit(&self.gateway, request)?;
        let revision = revoke(&self.gateway, only_led, id).await?;
        self.gateway.metrics.leases_revoked.inc();
        Ok(Response::new(LeaseRevokeResponse { header: Some(self.gateway.header(revision)) }))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        require_leader(&self.gateway, request.metadata())?;
        let gateway = self.gateway.clone();
        let reading = Arc::new(Reading::new(&gateway.access));
        let answers = request
            .into_inner()
            .map_err(received)
            .map_ok(move |request| renew(gateway.clone(), reading.clone(), request.id));
        Ok(Response::new(until_stopped(&self.gateway, answers.try_buffered(PIPELINE).boxed())))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let request = admit(&self.gateway, request)?;
        let (revision, life) = self.life(request.id, request.keys).await?;
        let header = self.gateway.header(revision);
        Ok(Response::new(convert::lease_time_to_live(header, request.id, life)))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let LeaseLeasesRequest {} = admit(&self.gateway, request)?;
        self.gateway.node.reader.barrier().await.map_err(not_read)?;
        let view = self.gateway.node.state.view();
        let revision = view.bounds().current;
        let mut leases = match self.gateway.access.is_on() && view.auth().is_some() {
            false => self.gateway.node.reader.within(view, read::lease_ids_within).await.map_err(not_read)?,
            true => self.leases_if_readable(view).await?,
        };
        // As in etcd: the leader, who knows, tells those first that end first.
        self.gateway.node.leases.soonest_first(&mut leases);
        Ok(Response::new(convert::lease_leases(self.gateway.header(revision), leases)))
    }
}

/// Revokes a lease, in several commands if more is attached to it than one command may end. Returns
/// the revision of the last.
pub(crate) async fn revoke(gateway: &Gateway, only_led: bool, id: LeaseId) -> Result<i64, Status> {
    let mut begun = false;
    loop {
        let outcome = gateway.propose_led(only_led, Command::LeaseRevoke { id }).await.map_err(not_proposed)?.outcome;
        let revision = outcome.revision;
        if begun && outcome.result == Err(Rejection::LeaseNotFound) {
            // The leader ended the rest.
            return Ok(revision);
        }
        match response(outcome)? {
            Answer::LeaseRevoke { left: false } => return Ok(revision),
            Answer::LeaseRevoke { left: true } => begun = true,
            other => return Err(unexpected(&other)),
        }
    }
}

async fn renew(gateway: Arc<Gateway>, reading: Arc<Reading>, id: LeaseId) -> Result<LeaseKeepAliveResponse, Status> {
    reading.check_renewal(|| gateway.node.state.view(), id)?;
    let kept = gateway.node.leases.renew(id).await.map_err(not_read)?;
    Ok(convert::lease_kept_alive(gateway.header(kept.revision), id, kept))
}
