//! `conclave.v1.Elections`: each operation one command, each answer from this node's own applied state.

mod campaign;
#[cfg(test)]
mod campaign_tests;
mod candidacy;
mod lines;
mod standing;
mod state;
mod watch;

use self::campaign::Campaigns;
use self::state::Applied;
use super::coord::{Decided, decide, look, not_of_it};
use super::quota::Quota;
use super::{admit, require_leader};
use crate::convert::coord::election::{self as convert, Operation};
use crate::convert::coord::{self, BadField};
use crate::node::Node;
use conclave_api::conclave::v1::elections_server::Elections;
use conclave_api::conclave::v1::{
    AnointRequest, CampaignRequest, CampaignResponse, DeleteElectionRequest, DeleteElectionResponse, DemoteRequest,
    ElectionEvent, ElectionResponse, EnterRequest, EvictEverywhereRequest, EvictEverywhereResponse, EvictRequest,
    GetTermRequest, GetTermResponse, LeaveRequest, ListElectionsResponse, ListRequest, ProclaimRequest, PromoteRequest,
    RequestTransferRequest, TransferRequest, WatchElectionRequest,
};
use conclave_state::coord::read;
use conclave_state::{CoordBody, CoordResponse, Name};
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ElectionsService {
    node: Arc<Node>,
    quota: Quota,
    campaigns: Campaigns,
}

impl ElectionsService {
    #[must_use]
    pub fn new(node: Arc<Node>) -> ElectionsService {
        let campaigns = Campaigns {
            calls: node.calls.clone(),
            state: Arc::new(Applied(node.clone())),
            feed: node.coordination.clone(),
            lines: Arc::default(),
            stopping: node.stopping.clone(),
            leave_timeout: node.config.request_timeout(),
        };
        ElectionsService { quota: Quota::new(node.clone()), campaigns, node }
    }

    /// An operation on one election, answered with its term.
    async fn operate<T>(
        &self,
        request: Request<T>,
        convert: impl FnOnce(T) -> Result<Operation, BadField>,
    ) -> Result<Response<ElectionResponse>, Status> {
        let (caller, body) = convert(admit(&self.node, request)?)?;
        self.quota.admit(grows_by(&body)).await?;
        let name = election_of(&body).clone();
        let decided = decide(&self.node, caller, body).await?;
        Ok(Response::new(standing::answer(&self.node, &name, decided)?))
    }
}

fn election_of(body: &CoordBody) -> &Name {
    body.election().expect("only operations on one election are converted to here")
}

/// About how many bytes an operation adds to the store.
fn grows_by(body: &CoordBody) -> usize {
    const ROWS: usize = 512;
    match body {
        CoordBody::Enter(enter) => {
            let labels = enter.labels.iter().map(|(label, value)| label.len() + value.len()).sum::<usize>();
            ROWS + enter.value.len() + labels
        }
        CoordBody::ProclaimTerm(proclaim) => proclaim.value.len(),
        CoordBody::RequestTransfer(_) => ROWS,
        _ => 0,
    }
}

#[tonic::async_trait]
impl Elections for ElectionsService {
    async fn enter(&self, request: Request<EnterRequest>) -> Result<Response<ElectionResponse>, Status> {
        let convert = |request| convert::enter(request).map(|(caller, enter)| (caller, CoordBody::Enter(enter)));
        self.operate(request, convert).await
    }

    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<Self::CampaignStream>, Status> {
        let campaign = convert::campaign(admit(&self.node, request)?)?;
        let grows_by = grows_by(&CoordBody::Enter(campaign.enter.clone()));
        self.quota.admit(grows_by).await?;
        Ok(Response::new(self.campaigns.run(campaign).await?))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::leave).await
    }

    async fn anoint(&self, request: Request<AnointRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::anoint).await
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::promote).await
    }

    async fn demote(&self, request: Request<DemoteRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::demote).await
    }

    async fn evict(&self, request: Request<EvictRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::evict).await
    }

    async fn evict_everywhere(
        &self,
        request: Request<EvictEverywhereRequest>,
    ) -> Result<Response<EvictEverywhereResponse>, Status> {
        let (caller, body) = convert::evict_everywhere(admit(&self.node, request)?)?;
        let Decided { revision, answer } = decide(&self.node, caller, body).await?;
        match answer {
            CoordResponse::EvictedEverywhere { evicted } => {
                Ok(Response::new(EvictEverywhereResponse { header: Some(self.node.header(revision)), evicted }))
            }
            other => Err(not_of_it(&other)),
        }
    }

    async fn get_term(&self, request: Request<GetTermRequest>) -> Result<Response<GetTermResponse>, Status> {
        let get = convert::get_term(admit(&self.node, request)?)?;
        Ok(Response::new(standing::term(&self.node, get).await?))
    }

    type WatchStream = BoxStream<'static, Result<ElectionEvent, Status>>;

    async fn watch(&self, request: Request<WatchElectionRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require_leader(&self.node, request.metadata())?;
        let leaderless = super::watch::requires_leader(request.metadata());
        let watch = convert::watch(request.into_inner())?;
        Ok(Response::new(watch::run(self.node.clone(), watch, leaderless).await?))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::proclaim).await
    }

    async fn request_transfer(
        &self,
        request: Request<RequestTransferRequest>,
    ) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::request_transfer).await
    }

    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<ElectionResponse>, Status> {
        self.operate(request, convert::transfer).await
    }

    async fn delete(
        &self,
        request: Request<DeleteElectionRequest>,
    ) -> Result<Response<DeleteElectionResponse>, Status> {
        let (caller, body) = convert::delete(admit(&self.node, request)?)?;
        let Decided { revision, answer } = decide(&self.node, caller, body).await?;
        match answer {
            CoordResponse::ElectionDeleted {} => {
                Ok(Response::new(DeleteElectionResponse { header: Some(self.node.header(revision)) }))
            }
            other => Err(not_of_it(&other)),
        }
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListElectionsResponse>, Status> {
        let coord::ListPage { listing, size, serializable } = coord::listing(admit(&self.node, request)?)?;
        let (found, revision) =
            look(&self.node, serializable, size > 1_000, move |view| read::elections(view, &listing)).await?;
        let (names, more) = coord::page(found, size);
        Ok(Response::new(ListElectionsResponse { header: Some(self.node.header(revision)), names, more }))
    }
}
