//! `v3lockpb.Lock`: one command takes the place, the grant is read off the applied log (`crate::waiters`).

use super::quota::Quota;
use super::{admit, response, unexpected};
use crate::convert::{self, Limits};
use crate::node::Node;
use crate::status::{internal, rejected, text};
use crate::waiters::{AcquireError, Queues};
use conclave_api::v3lockpb::lock_server::Lock;
use conclave_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use conclave_state::{QueueKind, Response as Answer};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct LockService {
    node: Arc<Node>,
    queues: Queues,
    limits: Limits,
    quota: Quota,
}

impl LockService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> LockService {
        LockService { queues: node.queues.clone(), limits: limits(&node), quota: Quota::new(node.clone()), node }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let wanted = convert::lock(admit(&self.node, request)?, self.limits)?;
        self.quota.admit(wanted.name.len()).await?;
        let held = self.queues.acquire(wanted).await.map_err(|error| status(error, QueueKind::Lock))?;
        let acquired = held.keep();
        Ok(Response::new(convert::locked(self.node.header(acquired.revision), acquired)))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let command = convert::unlock(admit(&self.node, request)?, self.limits)?;
        let outcome = self.node.proposer.propose(command).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::Dequeue { .. } => Ok(Response::new(UnlockResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn limits(node: &Node) -> Limits {
    Limits { max_request_bytes: node.config.max_request_bytes, max_txn_ops: node.config.max_txn_ops }
}

/// The words of the wire for a place that was not acquired.
#[cold]
pub(super) fn status(error: AcquireError, kind: QueueKind) -> Status {
    match (error, kind) {
        (AcquireError::Rejected(rejection), _) => rejected(rejection),
        (AcquireError::NotProposed(error), _) => error.into(),
        (AcquireError::Lost, QueueKind::Lock) => text::SESSION_EXPIRED.status(),
        (AcquireError::Lost, QueueKind::Election) => text::ELECTION_NOT_LEADER.status(),
        (AcquireError::Stopped, _) => text::STOPPED.status(),
        (AcquireError::Cancelled, _) => Status::cancelled("etcdserver: request canceled"),
        (AcquireError::Fault(reason), _) => internal(reason),
    }
}
