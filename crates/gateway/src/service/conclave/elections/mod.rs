//! `conclave.v1.Elections`: each operation one command, each answer from this node's own applied
//! state.

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
use super::cooldown;
use super::decide::{Decided, decide, look_at, not_of_it};
use crate::convert::conclave::election::{self as convert, Operation};
use crate::convert::conclave::{self, BadField};
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, require_leader};
use conclave_api::conclave::v1::elections_server::Elections;
use conclave_api::conclave::v1::{
    AnointRequest, CampaignRequest, CampaignResponse, DeleteElectionRequest, DeleteElectionResponse, DemoteRequest,
    ElectionEvent, ElectionResponse, EnterRequest, EvictEverywhereRequest, EvictEverywhereResponse, EvictRequest,
    GetTermRequest, GetTermResponse, LeaveRequest, ListElectionsResponse, ListRequest, ProclaimRequest, PromoteRequest,
    RequestTransferRequest, TransferRequest, WatchElectionRequest,
};
use conclave_state::auth::listed;
use conclave_state::coord::read;
use conclave_state::{CoordBody, CoordResponse, Name};
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ElectionsService {
    gateway: Arc<Gateway>,
    quota: Quota,
    campaigns: Campaigns,
}

impl ElectionsService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> ElectionsService {
        let campaigns = Campaigns {
            calls: gateway.calls.clone(),
            state: Arc::new(Applied(gateway.clone())),
            feed: gateway.feed.clone(),
            lines: Arc::default(),
            stopping: gateway.node.stopping.clone(),
            leave_timeout: gateway.node.config.request_timeout(),
        };
        ElectionsService { quota: Quota::new(gateway.clone()), campaigns, gateway }
    }

    /// An operation on one election, answered with its term.
    async fn operate<T: prost::Message>(
        &self,
        request: Request<T>,
        convert: impl FnOnce(T) -> Result<Operation, BadField>,
    ) -> Result<Response<ElectionResponse>, Status> {
        let (caller, body) = convert(admit(&self.gateway, request)?)?;
        self.quota.admit(grows_by(&body)).await?;
        let name = election_of(&body).clone();
        let candidate = match &body {
            CoordBody::Enter(enter) => enter.candidate.clone(),
            _ => String::new(),
        };
        match decide(&self.gateway, caller, body).await {
            Ok(decided) => Ok(Response::new(standing::answer(&self.gateway, &name, decided)?)),
            Err(status) => Err(self.not_entered(status, &name, &candidate).await),
        }
    }

    async fn not_entered(&self, status: Status, election: &Name, candidate: &str) -> Status {
        cooldown::timed(&self.gateway, status, |view| read::election_cooldown(view, election, candidate)).await
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
        let campaign = convert::campaign(admit(&self.gateway, request)?)?;
        let grows_by = grows_by(&CoordBody::Enter(campaign.enter.clone()));
        self.quota.admit(grows_by).await?;
        let (election, candidate) = (campaign.enter.election.clone(), campaign.enter.candidate.clone());
        match self.campaigns.run(campaign).await {
            Ok(answers) => Ok(Response::new(answers)),
            Err(status) => Err(self.not_entered(status, &election, &candidate).await),
        }
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
        let (caller, body) = convert::evict_everywhere(admit(&self.gateway, request)?)?;
        let Decided { revision, answer } = decide(&self.gateway, caller, body).await?;
        match answer {
            CoordResponse::EvictedEverywhere { evicted } => {
                Ok(Response::new(EvictEverywhereResponse { header: Some(self.gateway.header(revision)), evicted }))
            }
            other => Err(not_of_it(&other)),
        }
    }

    async fn get_term(&self, request: Request<GetTermRequest>) -> Result<Response<GetTermResponse>, Status> {
        let get = convert::get_term(admit(&self.gateway, request)?)?;
        Ok(Response::new(standing::term(&self.gateway, get).await?))
    }

    type WatchStream = BoxStream<'static, Result<ElectionEvent, Status>>;

    async fn watch(&self, request: Request<WatchElectionRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require_leader(&self.gateway, request.metadata())?;
        let leaderless = crate::service::etcd::watch::requires_leader(request.metadata());
        let watch = convert::watch(request.into_inner())?;
        Ok(Response::new(watch::run(self.gateway.clone(), watch, leaderless).await?))
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
        let (caller, body) = convert::delete(admit(&self.gateway, request)?)?;
        let Decided { revision, answer } = decide(&self.gateway, caller, body).await?;
        match answer {
            CoordResponse::ElectionDeleted {} => {
                Ok(Response::new(DeleteElectionResponse { header: Some(self.gateway.header(revision)) }))
            }
            other => Err(not_of_it(&other)),
        }
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListElectionsResponse>, Status> {
        let conclave::ListPage { listing, size, serializable } = conclave::listing(admit(&self.gateway, request)?)?;
        let namespace = listing.namespace.clone();
        let (found, revision) = look_at(
            &self.gateway,
            serializable,
            size > 1_000,
            || listed("e", namespace.as_deref()),
            move |view| read::elections(view, &listing),
        )
        .await?;
        let (names, more) = conclave::page(found, size);
        Ok(Response::new(ListElectionsResponse { header: Some(self.gateway.header(revision)), names, more }))
    }
}
