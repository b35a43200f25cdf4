//! Requests to claims of a namespace that allows short ones.

use super::Node;
use crate::{
    cluster::Cluster,
    wait::{SOON, eventually},
};
use anyhow::{Context, Result, ensure};
use conclave_api::conclave::v1::{
    AwaitVacantRequest, AwaitVacantResponse, Caller, CheckRequest, CheckResponse, ClaimItem, ClaimRequest,
    ClaimResponse, ClaimResult, Limits, Name, RevokeRequest, SetLimitsRequest, claim_result::Outcome,
};
use tonic::Status;

/// Claims here may be shorter than the usual limits allow.
pub const NAMESPACE: &str = "short";

pub fn name(name: &str) -> Option<Name> {
    Some(Name { namespace: NAMESPACE.into(), name: name.into() })
}

pub fn item(claim: &str, holder: &str, duration_ms: u64) -> ClaimItem {
    ClaimItem { claim: name(claim), holder: holder.into(), instance: "1".into(), duration_ms, ..Default::default() }
}

impl Node {
    pub async fn bulk(&self, caller: Caller, items: Vec<ClaimItem>) -> Result<ClaimResponse, Status> {
        let request = ClaimRequest { caller: Some(caller), items };
        Ok(self.claims().claim(request).await?.into_inner())
    }

    pub async fn one(&self, item: ClaimItem) -> Result<ClaimResult, Status> {
        let mut results = self.bulk(Caller::default(), vec![item]).await?.results;
        results.pop().ok_or_else(|| Status::internal("no result"))
    }

    pub async fn claim(&self, claim: &str, holder: &str, duration_ms: u64) -> Result<ClaimResult, Status> {
        self.one(item(claim, holder, duration_ms)).await
    }

    pub async fn check(&self, claim: &str, holder: &str) -> Result<CheckResponse, Status> {
        let request = CheckRequest { claim: name(claim), holder: holder.into(), weak: true, ..Default::default() };
        Ok(self.claims().check(request).await?.into_inner())
    }

    pub async fn vacant(&self, claim: &str, min_revision: i64) -> Result<AwaitVacantResponse, Status> {
        let request = AwaitVacantRequest { claim: name(claim), min_revision };
        Ok(self.claims().await_vacant(request).await?.into_inner())
    }

    pub async fn revoke(&self, claim: &str) -> Result<bool, Status> {
        let request = RevokeRequest { claim: name(claim), ..Default::default() };
        Ok(self.claims().revoke(request).await?.into_inner().changed)
    }
}

/// Nodes whose namespace for tests allows a fifth of a second to a minute, and whose log is at
/// rest.
pub async fn start(size: usize) -> Result<(Cluster, Vec<Node>)> {
    let (cluster, nodes) = super::start(size).await?;
    let limits = Limits { min_ms: 200, max_ms: 60_000, max_waiting: 5_000 };
    let request = SetLimitsRequest { namespace: NAMESPACE.into(), limits: Some(limits), ..Default::default() };
    let set = async || Ok(nodes[0].claims().set_limits(request.clone()).await?.into_inner());
    ensure!(eventually("new limits", SOON, set).await?.changed, "the limits were set before");
    Ok((cluster, nodes))
}

pub trait Fate {
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
