//! `v3electionpb.Election`: a candidate is a place in the same queues as a lock's (`crate::waiters`).

use super::lock::{limits, status};
use super::quota::Quota;
use super::{admit, response, unexpected};
use crate::convert::{self, Limits};
use crate::node::Node;
use crate::status::{fault, text};
use crate::waiters::{LeaderFeed, Queues};
use conclave_api::v3electionpb::election_server::Election;
use conclave_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse, ResignRequest,
    ResignResponse,
};
use conclave_state::{QueueKind, Response as Answer};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ElectionService {
    node: Arc<Node>,
    queues: Queues,
    limits: Limits,
    quota: Quota,
}

impl ElectionService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> ElectionService {
        ElectionService { queues: node.queues.clone(), limits: limits(&node), quota: Quota::new(node.clone()), node }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        let wanted = convert::campaign(admit(&self.node, request)?, self.limits)?;
        self.quota.admit(wanted.name.len() + wanted.value.len()).await?;
        let name = wanted.name.clone();
        let held = self.queues.acquire(wanted).await.map_err(|error| status(error, QueueKind::Election))?;
        let acquired = held.keep();
        Ok(Response::new(convert::elected(self.node.header(acquired.revision), name, acquired)))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let request = admit(&self.node, request)?;
        let grows_by = request.value.len();
        let command = convert::proclaim(request, self.limits)?;
        self.quota.admit(grows_by).await?;
        let outcome = self.node.proposer.propose(command).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            Answer::Proclaim => Ok(Response::new(ProclaimResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let request = admit(&self.node, request)?;
        self.node.reader.barrier().await?;
        let (kv, revision) = self.node.waiters.leader(&request.name).map_err(fault)?;
        let kv = kv.ok_or(text::ELECTION_NO_LEADER)?;
        let header = self.node.header(revision.max(kv.mod_revision));
        Ok(Response::new(convert::leader(header, kv)))
    }

    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let request = admit(&self.node, request)?;
        // So that the first answer is nobody who was deposed before the call.
        self.node.reader.barrier().await?;
        let feed = self.node.waiters.observe_leader(&request.name);
        let answers = stream::unfold(Some((self.node.clone(), feed)), |live| async {
            let (node, mut feed) = live?;
            match next(&node, &mut feed).await {
                Ok(answer) => Some((Ok(answer), Some((node, feed)))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let command = convert::resign(admit(&self.node, request)?, self.limits)?;
        let outcome = self.node.proposer.propose(command).await?.outcome;
        let header = self.node.header(outcome.revision);
        match response(outcome)? {
            // A place that is gone already was given up before: nothing to complain about.
            Answer::Dequeue { .. } => Ok(Response::new(ResignResponse { header: Some(header) })),
            other => Err(unexpected(&other)),
        }
    }
}

async fn next(node: &Node, feed: &mut LeaderFeed) -> Result<LeaderResponse, Status> {
    tokio::select! {
        news = feed.next() => {
            let news = news.map_err(fault)?;
            Ok(convert::leader(node.header(news.revision), news.kv))
        }
        // An end without an error would look as if there were nothing more to observe.
        () = node.stopping.cancelled() => Err(text::STOPPED.status()),
    }
}
