//! Requests to an election named [`E`], and what a campaign or a watch says next.

use super::{AT_ONCE, by, named};
use crate::{client, cluster::Cluster, wait::within};
use anyhow::{Context, Result, ensure};
use conclave_api::conclave::v1::campaign_response::Now;
use conclave_api::conclave::v1::elections_client::ElectionsClient;
use conclave_api::conclave::v1::{
    AnointRequest, CampaignRequest, CampaignResponse, DeleteElectionRequest, DemoteRequest, ElectionEvent,
    ElectionResponse, EnterRequest, EvictRequest, GetTermRequest, LeaveRequest, PromoteRequest, Term,
    WatchElectionRequest,
};
use conclave_api::etcdserverpb::StatusRequest;
use conclave_client::wire::Client;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub const E: &str = "e";
pub type Elections = ElectionsClient<Channel>;

pub async fn elections(cluster: &Cluster, i: usize) -> Result<Elections> {
    Ok(Elections::connect(cluster.endpoint(i)).await?)
}

pub fn entering(candidate: &str, session: i64) -> EnterRequest {
    let (candidate, value) = (candidate.into(), client::bytes(format!("value of {candidate}")));
    EnterRequest { caller: by(session), election: named(E), candidate, value, ..Default::default() }
}

pub async fn enter(at: &mut Elections, candidate: &str, session: i64) -> Result<ElectionResponse, Status> {
    Ok(at.enter(entering(candidate, session)).await?.into_inner())
}

pub async fn leave(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    let request = LeaveRequest { election: named(E), candidate: candidate.into(), ..Default::default() };
    Ok(at.leave(request).await?.into_inner())
}

pub async fn anoint(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    let request = AnointRequest { election: named(E), candidate: candidate.into(), ..Default::default() };
    Ok(at.anoint(request).await?.into_inner())
}

pub fn promoting(candidate: &str) -> PromoteRequest {
    PromoteRequest { election: named(E), candidate: candidate.into(), ..Default::default() }
}

pub async fn promote(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    Ok(at.promote(promoting(candidate)).await?.into_inner())
}

pub async fn demote(at: &mut Elections, candidate: &str, places: u32) -> Result<ElectionResponse, Status> {
    let request = DemoteRequest { election: named(E), candidate: candidate.into(), places, ..Default::default() };
    Ok(at.demote(request).await?.into_inner())
}

pub async fn evict(at: &mut Elections, candidate: &str, reason: &str) -> Result<ElectionResponse, Status> {
    let (candidate, reason) = (candidate.into(), reason.into());
    let request = EvictRequest { election: named(E), candidate, reason, ..Default::default() };
    Ok(at.evict(request).await?.into_inner())
}

pub async fn delete(at: &mut Elections) -> Result<(), Status> {
    at.delete(DeleteElectionRequest { caller: None, election: named(E) }).await.map(drop)
}

/// The term, with all candidates.
pub async fn term(at: &mut Elections) -> Result<Term> {
    let request = GetTermRequest { election: named(E), limit: 1_000, ..Default::default() };
    at.get_term(request).await?.into_inner().term.context("no term")
}

/// Who stands, the leader first.
pub fn order(term: &Term) -> Vec<&str> {
    term.candidates.iter().map(|candidate| candidate.id.as_str()).collect()
}

pub async fn campaign(
    at: &mut Elections,
    candidate: &str,
    session: i64,
) -> Result<Streaming<CampaignResponse>, Status> {
    campaign_for(at, CampaignRequest { enter: Some(entering(candidate, session)), ..Default::default() }).await
}

pub async fn campaign_for(at: &mut Elections, request: CampaignRequest) -> Result<Streaming<CampaignResponse>, Status> {
    Ok(at.campaign(request).await?.into_inner())
}

/// What a campaign says next, and soon.
pub async fn now(campaign: &mut Streaming<CampaignResponse>) -> Result<Now> {
    let message = within("news of a campaign", AT_ONCE, campaign.message()).await??;
    message.context("the campaign ended")?.now.context("a message without news")
}

pub async fn before(campaign: &mut Streaming<CampaignResponse>) -> Result<u64> {
    match now(campaign).await? {
        Now::Before(before) => Ok(before),
        Now::Won(won) => anyhow::bail!("won too early: {won:?}"),
    }
}

/// The win, after any number of places.
pub async fn won(campaign: &mut Streaming<CampaignResponse>) -> Result<ElectionResponse> {
    loop {
        if let Now::Won(won) = now(campaign).await? {
            let end = within("the end of a campaign", AT_ONCE, campaign.message()).await??;
            ensure!(end.is_none(), "after the win comes nothing: {end:?}");
            return Ok(won);
        }
    }
}

pub async fn watch(at: &mut Elections, request: WatchElectionRequest) -> Result<Streaming<ElectionEvent>> {
    Ok(at.watch(WatchElectionRequest { election: named(E), ..request }).await?.into_inner())
}

pub async fn event(watch: &mut Streaming<ElectionEvent>) -> Result<ElectionEvent> {
    within("an event", AT_ONCE, watch.message()).await??.context("the watch ended")
}

pub fn revision(event: &ElectionEvent) -> i64 {
    event.header.as_ref().map_or(0, |header| header.revision)
}

/// Where the log of this node's client stands.
pub async fn raft_index(client: &Client) -> Result<u64> {
    Ok(client.maintenance().status(StatusRequest {}).await?.raft_index)
}
