//! `conclave.v1.Sessions`: leases whose TTL need not be whole seconds.

use crate::auth::Reading;
use crate::convert::conclave::session as convert;
use crate::gateway::Gateway;
use crate::service::etcd::lease::revoke;
use crate::service::quota::Quota;
use crate::service::{admit, require_leader, unexpected, until_stopped};
use crate::status::{not_proposed, not_read, opening_refused, received};
use conclave_api::conclave::v1::sessions_server::Sessions;
use conclave_api::conclave::v1::{
    CloseSessionRequest, CloseSessionResponse, KeepSessionRequest, KeepSessionResponse, OpenSessionRequest,
    OpenSessionResponse,
};
use conclave_state::{Command, LeaseId, Rejection, Response as Answer};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Keep-alives of one stream that are under way together. Answers keep the order of the requests.
const PIPELINE: usize = 256;

pub struct SessionsService {
    gateway: Arc<Gateway>,
    quota: Quota,
    shortest: u64,
}

impl SessionsService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> SessionsService {
        let shortest = convert::shortest_session(Duration::from_millis(gateway.node.config.election_timeout_ms));
        SessionsService { quota: Quota::new(gateway.clone()), shortest, gateway }
    }
}

#[tonic::async_trait]
impl Sessions for SessionsService {
    async fn open(&self, request: Request<OpenSessionRequest>) -> Result<Response<OpenSessionResponse>, Status> {
        let mut grant = convert::open(&admit(&self.gateway, request)?, self.shortest)?;
        self.quota.admit(0).await?;
        let chosen_here = grant.id == 0;
        loop {
            if chosen_here {
                grant.id = rand::random_range(1..=LeaseId::MAX);
            }
            let granting = self.gateway.asks_for(grant.id)?;
            let outcome = self.gateway.propose(Command::LeaseGrant(grant)).await.map_err(not_proposed)?.outcome;
            let header = self.gateway.header(outcome.revision);
            return match outcome.result {
                Ok(Answer::LeaseGrant { id, ttl_ms }) => {
                    if let Some(granting) = granting {
                        granting.granted();
                    }
                    Ok(Response::new(convert::opened(header, id, ttl_ms)))
                }
                Ok(other) => Err(unexpected(&other)),
                Err(Rejection::LeaseExists) if chosen_here => continue,
                Err(rejection) => Err(opening_refused(rejection)),
            };
        }
    }

    type KeepAliveStream = BoxStream<'static, Result<KeepSessionResponse, Status>>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepSessionRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        require_leader(&self.gateway, request.metadata())?;
        let gateway = self.gateway.clone();
        let reading = Arc::new(Reading::new(&gateway.access));
        let answers = request
            .into_inner()
            .map_err(received)
            .map_ok(move |request| keep(gateway.clone(), reading.clone(), request.session));
        Ok(Response::new(until_stopped(&self.gateway, answers.try_buffered(PIPELINE).boxed())))
    }

    async fn close(&self, request: Request<CloseSessionRequest>) -> Result<Response<CloseSessionResponse>, Status> {
        let CloseSessionRequest { session: id } = admit(&self.gateway, request)?;
        let revision = revoke(&self.gateway, false, id).await?;
        Ok(Response::new(CloseSessionResponse { header: Some(self.gateway.header(revision)) }))
    }
}

async fn keep(gateway: Arc<Gateway>, reading: Arc<Reading>, session: LeaseId) -> Result<KeepSessionResponse, Status> {
    reading.check_renewal(|| gateway.node.state.view(), session)?;
    let kept = gateway.node.leases.renew(session).await.map_err(not_read)?;
    Ok(convert::kept(gateway.header(kept.revision), session, kept))
}
