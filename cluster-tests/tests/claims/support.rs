//! Short forms of what these tests ask for.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster_tests::{
    cluster::Cluster,
    wait::{SOON, eventually},
};
use conclave_api::conclave::v1::{
    self, AwaitVacantRequest, AwaitVacantResponse, Caller, CheckRequest, CheckResponse, ClaimItem, ClaimRequest,
    ClaimResponse, ClaimResult, Limits, Name, RevokeRequest, SetLimitsRequest, claim_result::Outcome,
    claims_client::ClaimsClient, sessions_client::SessionsClient,
};
use conclave_api::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient, request_op,
};
use std::time::Duration;
use tonic::{Status, transport::Channel};

/// Claims here may be shorter than the usual limits allow.
pub(crate) const NAMESPACE: &str = "short";

/// Room for a busy machine beyond what is promised.
pub(crate) const LATE: Duration = Duration::from_secs(3);

pub(crate) fn name(name: &str) -> Option<Name> {
    Some(Name { namespace: NAMESPACE.into(), name: name.into() })
}

pub(crate) fn item(claim: &str, holder: &str, duration_ms: u64) -> ClaimItem {
    ClaimItem { claim: name(claim), holder: holder.into(), instance: "1".into(), duration_ms, ..Default::default() }
}

/// The services of one node.
#[derive(Clone)]
pub(crate) struct Node {
    channel: Channel,
}

impl Node {
    pub(crate) fn new(cluster: &Cluster, i: usize) -> Result<Node> {
        Ok(Node { channel: Channel::from_shared(cluster.endpoint(i))?.connect_lazy() })
    }

    pub(crate) fn claims(&self) -> ClaimsClient<Channel> {
        ClaimsClient::new(self.channel.clone())
    }

    pub(crate) fn sessions(&self) -> SessionsClient<Channel> {
        SessionsClient::new(self.channel.clone())
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    pub(crate) async fn open(&self, ttl_ms: u64) -> Result<i64, Status> {
        let request = v1::OpenSessionRequest { session: 0, ttl_ms };
        Ok(self.sessions().open(request).await?.into_inner().session)
    }

    pub(crate) async fn bulk(&self, caller: Caller, items: Vec<ClaimItem>) -> Result<ClaimResponse, Status> {
        let request = ClaimRequest { caller: Some(caller), items };
        Ok(self.claims().claim(request).await?.into_inner())
    }

    pub(crate) async fn one(&self, item: ClaimItem) -> Result<ClaimResult, Status> {
        let mut results = self.bulk(Caller::default(), vec![item]).await?.results;
        results.pop().ok_or_else(|| Status::internal("no result"))
    }

    pub(crate) async fn claim(&self, claim: &str, holder: &str, duration_ms: u64) -> Result<ClaimResult, Status> {
        self.one(item(claim, holder, duration_ms)).await
    }

    pub(crate) async fn check(&self, claim: &str, holder: &str) -> Result<CheckResponse, Status> {
        let request = CheckRequest { claim: name(claim), holder: holder.into(), weak: true, ..Default::default() };
        Ok(self.claims().check(request).await?.into_inner())
    }

    pub(crate) async fn vacant(&self, claim: &str, min_revision: i64) -> Result<AwaitVacantResponse, Status> {
        let request = AwaitVacantRequest { claim: name(claim), min_revision };
        Ok(self.claims().await_vacant(request).await?.into_inner())
    }

    pub(crate) async fn revoke(&self, claim: &str) -> Result<bool, Status> {
        let request = RevokeRequest { claim: name(claim), ..Default::default() };
        Ok(self.claims().revoke(request).await?.into_inner().changed)
    }

    /// A put that counts only while the token does.
    pub(crate) async fn guarded_put(&self, guards: Vec<conclave_api::etcdserverpb::Compare>) -> Result<bool, Status> {
        let put = PutRequest { key: Bytes::from_static(b"guarded"), ..Default::default() };
        let put = RequestOp { request: Some(request_op::Request::RequestPut(put)) };
        let request = TxnRequest { compare: guards, success: vec![put], failure: vec![] };
        Ok(self.kv().txn(request).await?.into_inner().succeeded)
    }

    /// How far the log is.
    pub(crate) async fn index(&self) -> Result<u64, Status> {
        // What was written by way of another member is here too from now on.
        self.kv().range(RangeRequest { key: "nothing".into(), ..Default::default() }).await?;
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        Ok(maintenance.status(StatusRequest {}).await?.into_inner().raft_index)
    }
}

/// Nodes whose namespace for tests allows a fifth of a second to a minute, and whose log has come to rest.
pub(crate) async fn start(size: usize) -> Result<(Cluster, Vec<Node>)> {
    let cluster = Cluster::start(size).await?;
    let nodes = (0..size).map(|i| Node::new(&cluster, i)).collect::<Result<Vec<_>>>()?;
    let limits = Limits { min_ms: 200, max_ms: 60_000, max_waiting: 5_000 };
    let request = SetLimitsRequest { namespace: NAMESPACE.into(), limits: Some(limits), ..Default::default() };
    let set = async || Ok(nodes[0].claims().set_limits(request.clone()).await?.into_inner());
    ensure!(eventually("new limits", SOON, set).await?.changed, "the limits were set before");
    let rest = async || {
        let before = nodes[0].index().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(nodes[0].index().await? == before, "the log goes on");
        Ok(())
    };
    eventually("a log at rest", SOON, rest).await?;
    Ok((cluster, nodes))
}

pub(crate) trait Fate {
    /// The fence, if it was that.
    fn fence_of(&self, outcome: Outcome) -> Result<i64>;
}

impl Fate for ClaimResult {
    fn fence_of(&self, outcome: Outcome) -> Result<i64> {
        ensure!(self.outcome() == outcome, "{self:?} instead of {outcome:?}");
        match outcome {
            Outcome::Taken | Outcome::Extended => {
                let token = self.token.as_ref().context("a tenure without a token")?;
                ensure!(token.fence == self.fence && !token.guards.is_empty(), "{self:?}");
                Ok(token.fence)
            }
            _ => Ok(self.fence),
        }
    }
}
