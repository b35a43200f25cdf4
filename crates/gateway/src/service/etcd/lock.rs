//! `v3lockpb.Lock`: one command takes the place, the grant is read off the applied log
//! (`crate::waiters`).

use crate::convert::etcd::{self as convert, Limits};
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, response, unexpected};
use crate::status::{internal, limited, not_proposed, rejected, text};
use crate::waiters::{AcquireError, Queues};
use conclave_api::v3lockpb::lock_server::Lock;
use conclave_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use conclave_state::{QueueKind, Response as Answer};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct LockService {
    gateway: Arc<Gateway>,
    queues: Queues,
    limits: Limits,
    quota: Quota,
}

impl LockService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> LockService {
        LockService {
            queues: gateway.queues.clone(),
            limits: limits(&gateway),
            quota: Quota::new(gateway.clone()),
            gateway,
        }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let wanted = convert::lock(admit(&self.gateway, request)?, self.limits)?;
        self.quota.admit(wanted.name.len()).await?;
        let held = self.queues.acquire(wanted).await.map_err(|error| status(error, QueueKind::Lock))?;
        let acquired = held.keep();
        Ok(Response::new(convert::locked(self.gateway.header(acquired.revision), acquired)))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let command = convert::unlock(admit(&self.gateway, request)?, self.limits)?;
        let outcome = self.gateway.propose(command).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            Answer::Dequeue { .. } => Ok(Response::new(UnlockResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn limits(gateway: &Gateway) -> Limits {
    Limits { max_request_bytes: gateway.node.config.max_request_bytes, max_txn_ops: gateway.node.config.max_txn_ops }
}

/// The words of the wire for a place that was not acquired.
#[cold]
pub(super) fn status(error: AcquireError, kind: QueueKind) -> Status {
    match (error, kind) {
        (AcquireError::Rejected(rejection), _) => rejected(rejection),
        (AcquireError::NotProposed(error), _) => not_proposed(error),
        (AcquireError::Lost, QueueKind::Lock) => text::SESSION_EXPIRED.status(),
        (AcquireError::Lost, QueueKind::Election) => text::ELECTION_NOT_LEADER.status(),
        (AcquireError::Limited(exceeded), _) => limited(exceeded),
        (AcquireError::Stopped, _) => text::STOPPED.status(),
        (AcquireError::Cancelled, _) => Status::cancelled("etcdserver: request canceled"),
        (AcquireError::Fault(reason), _) => internal(reason),
    }
}
