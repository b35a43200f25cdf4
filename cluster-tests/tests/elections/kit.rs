//! Short forms of the requests that these tests make.

use anyhow::{Context, Result, ensure};
use cluster_tests::{client, cluster::Cluster, wait::within};
use conclave_api::conclave::v1::campaign_response::Now;
use conclave_api::conclave::v1::elections_client::ElectionsClient;
use conclave_api::conclave::v1::{
    AnointRequest, Caller, CampaignRequest, CampaignResponse, DeleteElectionRequest, DemoteRequest, ElectionEvent,
    ElectionResponse, EnterRequest, EvictRequest, GetTermRequest, LeaveRequest, Name, PromoteRequest, Term,
    WatchElectionRequest,
};
use conclave_api::etcdserverpb::StatusRequest;
use conclave_client::wire::Client;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const E: &str = "e";
/// A lease that outlives any test here.
pub(crate) const LASTING: i64 = 300;
/// "At once", with room for a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);
/// Long enough to see that nothing comes.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

pub(crate) type Elections = ElectionsClient<Channel>;

pub(crate) async fn elections(cluster: &Cluster, i: usize) -> Result<Elections> {
    Ok(Elections::connect(cluster.endpoint(i)).await?)
}

pub(crate) fn named(name: &str) -> Option<Name> {
    Some(Name { namespace: String::new(), name: name.into() })
}

pub(crate) fn by(session: i64) -> Option<Caller> {
    Some(Caller { session, ..Default::default() })
}

pub(crate) fn entering(candidate: &str, session: i64) -> EnterRequest {
    let (candidate, value) = (candidate.into(), client::bytes(format!("value of {candidate}")));
    EnterRequest { caller: by(session), election: named(E), candidate, value, ..Default::default() }
}

pub(crate) async fn enter(at: &mut Elections, candidate: &str, session: i64) -> Result<ElectionResponse, Status> {
    Ok(at.enter(entering(candidate, session)).await?.into_inner())
}

pub(crate) async fn leave(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    let request = LeaveRequest { election: named(E), candidate: candidate.into(), ..Default::default() };
    Ok(at.leave(request).await?.into_inner())
}

pub(crate) async fn anoint(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    let request = AnointRequest { election: named(E), candidate: candidate.into(), ..Default::default() };
    Ok(at.anoint(request).await?.into_inner())
}

pub(crate) fn promoting(candidate: &str) -> PromoteRequest {
    PromoteRequest { election: named(E), candidate: candidate.into(), ..Default::default() }
}

pub(crate) async fn promote(at: &mut Elections, candidate: &str) -> Result<ElectionResponse, Status> {
    Ok(at.promote(promoting(candidate)).await?.into_inner())
}

pub(crate) async fn demote(at: &mut Elections, candidate: &str, places: u32) -> Result<ElectionResponse, Status> {
    let request = DemoteRequest { election: named(E), candidate: candidate.into(), places, ..Default::default() };
    Ok(at.demote(request).await?.into_inner())
}

pub(crate) async fn evict(at: &mut Elections, candidate: &str, reason: &str) -> Result<ElectionResponse, Status> {
    let (candidate, reason) = (candidate.into(), reason.into());
    let request = EvictRequest { election: named(E), candidate, reason, ..Default::default() };
    Ok(at.evict(request).await?.into_inner())
}

pub(crate) async fn delete(at: &mut Elections) -> Result<(), Status> {
    at.delete(DeleteElectionRequest { caller: None, election: named(E) }).await.map(drop)
}

/// The term, with all candidates.
pub(crate) async fn term(at: &mut Elections) -> Result<Term> {
    let request = GetTermRequest { election: named(E), limit: 1_000, ..Default::default() };
    at.get_term(request).await?.into_inner().term.context("no term")
}

/// Who stands, the leader first.
pub(crate) fn order(term: &Term) -> Vec<&str> {
    term.candidates.iter().map(|candidate| candidate.id.as_str()).collect()
}

pub(crate) async fn campaign(
    at: &mut Elections,
    candidate: &str,
    session: i64,
) -> Result<Streaming<CampaignResponse>, Status> {
    campaign_for(at, CampaignRequest { enter: Some(entering(candidate, session)), ..Default::default() }).await
}

pub(crate) async fn campaign_for(
    at: &mut Elections,
    request: CampaignRequest,
) -> Result<Streaming<CampaignResponse>, Status> {
    Ok(at.campaign(request).await?.into_inner())
}

/// What a campaign says next, and soon.
pub(crate) async fn now(campaign: &mut Streaming<CampaignResponse>) -> Result<Now> {
    let message = within("news of a campaign", AT_ONCE, campaign.message()).await??;
    message.context("the campaign ended")?.now.context("a message without news")
}

pub(crate) async fn before(campaign: &mut Streaming<CampaignResponse>) -> Result<u64> {
    match now(campaign).await? {
        Now::Before(before) => Ok(before),
        Now::Won(won) => anyhow::bail!("won too early: {won:?}"),
    }
}

/// The win, after any number of places.
pub(crate) async fn won(campaign: &mut Streaming<CampaignResponse>) -> Result<ElectionResponse> {
    loop {
        if let Now::Won(won) = now(campaign).await? {
            let end = within("the end of a campaign", AT_ONCE, campaign.message()).await??;
            ensure!(end.is_none(), "after the win comes nothing: {end:?}");
            return Ok(won);
        }
    }
}

/// The error that a campaign or a watch ends with, after any number of messages.
pub(crate) async fn ending<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Result<Status> {
    loop {
        match within("the end of a stream", AT_ONCE, stream.message()).await? {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the stream ended without an error"),
            Err(status) => return Ok(status),
        }
    }
}

pub(crate) async fn watch(at: &mut Elections, request: WatchElectionRequest) -> Result<Streaming<ElectionEvent>> {
    Ok(at.watch(WatchElectionRequest { election: named(E), ..request }).await?.into_inner())
}

pub(crate) async fn event(watch: &mut Streaming<ElectionEvent>) -> Result<ElectionEvent> {
    within("an event", AT_ONCE, watch.message()).await??.context("the watch ended")
}

pub(crate) async fn silent<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Result<()> {
    match within("anything", A_WHILE, stream.message()).await {
        Err(_) => Ok(()),
        Ok(message) => anyhow::bail!("nothing was to come, but: {message:?}"),
    }
}

pub(crate) fn revision(event: &ElectionEvent) -> i64 {
    event.header.as_ref().map_or(0, |header| header.revision)
}

/// Where the log of this node's client stands.
pub(crate) async fn raft_index(client: &Client) -> Result<u64> {
    Ok(client.maintenance().status(StatusRequest {}).await?.raft_index)
}
