//! `conclave.v1.Sessions`: leases whose TTL need not be whole seconds.

use super::quota::Quota;
use super::{admit, require_leader, response, unexpected, until_stopped};
use crate::convert::coord::session as convert;
use crate::node::Node;
use crate::status::{opening_refused, received};
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
    node: Arc<Node>,
    quota: Quota,
    shortest: u64,
}

impl SessionsService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> SessionsService {
        let shortest = convert::shortest_session(Duration::from_millis(node.config.election_timeout_ms));
        SessionsService { quota: Quota::new(node.clone()), shortest, node }
    }
}

#[tonic::async_trait]
impl Sessions for SessionsService {
    async fn open(&self, request: Request<OpenSessionRequest>) -> Result<Response<OpenSessionResponse>, Status> {
        let mut grant = convert::open(&admit(&self.node, request)?, self.shortest)?;
        self.quota.admit(0).await?;
        let chosen_here = grant.id == 0;
        loop {
            if chosen_here {
                grant.id = rand::random_range(1..=LeaseId::MAX);
            }
            let outcome = self.node.proposer.propose(Command::LeaseGrant(grant)).await?.outcome;
            let header = self.node.header(outcome.revision);
            return match outcome.result {
                Ok(Answer::LeaseGrant { id, ttl_ms }) => Ok(Response::new(convert::opened(header, id, ttl_ms))),
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
        require_leader(&self.node, request.metadata())?;
        let node = self.node.clone();
        let answers = request.into_inner().map_err(received).map_ok(move |request| keep(node.clone(), request.session));
        Ok(Response::new(until_stopped(&self.node, answers.try_buffered(PIPELINE).boxed())))
    }

    async fn close(&self, request: Request<CloseSessionRequest>) -> Result<Response<CloseSessionResponse>, Status> {
        let CloseSessionRequest { session: id } = admit(&self.node, request)?;
        let outcome = self.node.proposer.propose(Command::LeaseRevoke { id }).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::LeaseRevoke => Ok(Response::new(CloseSessionResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }
}

async fn keep(node: Arc<Node>, session: LeaseId) -> Result<KeepSessionResponse, Status> {
    let kept = node.leases.renew(session).await?;
    Ok(convert::kept(node.header(kept.revision), session, kept))
}
