//! `v3electionpb.Election`: a candidate is a place in the same queues as a lock's
//! (`crate::waiters`).

use super::lock::{limits, status};
use crate::auth::Reading;
use crate::convert::etcd::{self as convert, Limits};
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, response, unexpected};
use crate::status::{fault, not_proposed, not_read, text};
use crate::waiters::{LeaderFeed, Queues};
use conclave_api::v3electionpb::election_server::Election;
use conclave_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse, ResignRequest,
    ResignResponse,
};
use conclave_state::auth::prefix_range;
use conclave_state::{KeyRange, QueueKind, Response as Answer, queue_prefix};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ElectionService {
    gateway: Arc<Gateway>,
    queues: Queues,
    limits: Limits,
    quota: Quota,
}

impl ElectionService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> ElectionService {
        ElectionService {
            queues: gateway.queues.clone(),
            limits: limits(&gateway),
            quota: Quota::new(gateway.clone()),
            gateway,
        }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        let wanted = convert::campaign(admit(&self.gateway, request)?, self.limits)?;
        self.quota.admit(wanted.name.len() + wanted.value.len()).await?;
        let name = wanted.name.clone();
        let held = self.queues.acquire(wanted).await.map_err(|error| status(error, QueueKind::Election))?;
        let acquired = held.keep();
        Ok(Response::new(convert::elected(self.gateway.header(acquired.revision), name, acquired)))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let request = admit(&self.gateway, request)?;
        let grows_by = request.value.len();
        let command = convert::proclaim(request, self.limits)?;
        self.quota.admit(grows_by).await?;
        let outcome = self.gateway.propose(command).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            Answer::Proclaim => Ok(Response::new(ProclaimResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let request = admit(&self.gateway, request)?;
        self.gateway.node.reader.barrier().await.map_err(not_read)?;
        Reading::new(&self.gateway.access).check(&line(&request.name))?;
        let (kv, revision) = self.gateway.waiters.leader(&request.name).map_err(fault)?;
        let kv = kv.ok_or(text::ELECTION_NO_LEADER)?;
        let header = self.gateway.header(revision.max(kv.mod_revision));
        Ok(Response::new(convert::leader(header, kv)))
    }

    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let request = admit(&self.gateway, request)?;
        // So that the first answer is nobody who was deposed before the call.
        self.gateway.node.reader.barrier().await.map_err(not_read)?;
        // An end without an error would look as if there were nothing more to observe.
        let stopping = self.gateway.node.stopping.clone();
        let end = async move {
            stopping.cancelled().await;
            text::STOPPED.status()
        };
        let end = Reading::new(&self.gateway.access).guard(line(&request.name), Box::pin(end))?;
        let feed = self.gateway.waiters.observe_leader(&request.name);
        let answers = stream::unfold(Some((self.gateway.clone(), feed, end)), |live| async {
            let (gateway, mut feed, mut end) = live?;
            match next(&gateway, &mut feed, &mut end).await {
                Ok(answer) => Some((Ok(answer), Some((gateway, feed, end)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let command = convert::resign(admit(&self.gateway, request)?, self.limits)?;
        let outcome = self.gateway.propose(command).await.map_err(not_proposed)?.outcome;
        let header = self.gateway.header(outcome.revision);
        match response(outcome)? {
            // A place that is gone already was given up before: nothing to complain about.
            Answer::Dequeue { .. } => Ok(Response::new(ResignResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }
}

/// What is read of a queue.
fn line(name: &[u8]) -> KeyRange {
    prefix_range(&queue_prefix(name))
}

async fn next(
    gateway: &Gateway,
    feed: &mut LeaderFeed,
    end: &mut BoxFuture<'static, Status>,
) -> Result<LeaderResponse, Status> {
    tokio::select! {
        news = feed.next() => {
            let news = news.map_err(fault)?;
            Ok(convert::leader(gateway.header(news.revision), news.kv))
        }
        status = end => Err(status),
    }
}
