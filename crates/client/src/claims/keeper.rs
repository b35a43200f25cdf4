//! What keeping a claim needs of the cluster: apart, so that it can be tested without one.

use super::{Bid, Claims, Outcome};
use crate::{
    Error, ErrorKind, Expect, LostReason,
    api::conclave::v1 as pb,
    clock::Clock,
    coord::{call, caller, follow},
};
use futures::future::BoxFuture;
use std::sync::Arc;

/// The cluster, as the keeper of one claim sees it.
pub(super) trait Claimer: Send + Sync + 'static {
    /// Takes the claim, or extends the tenure of `fence` and nothing else. Denied: with who holds
    /// it.
    fn claim(&self, fence: Option<i64>) -> BoxFuture<'_, Result<Outcome, Error>>;

    /// Ends when the tenure of `fence` has ended.
    fn ended(&self, fence: i64) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends, with the reason, when the cluster has taken the tenure of `fence` away.
    fn taken_away(&self, fence: i64) -> BoxFuture<'static, LostReason>;

    /// Gives the tenure of `fence` up. The same if it happens twice.
    fn give_up(&self, fence: i64) -> BoxFuture<'static, Result<(), Error>>;

    fn clock(&self) -> Arc<dyn Clock>;
}

/// The cluster itself.
#[derive(Clone, Debug)]
pub(super) struct OfCluster {
    pub(super) claims: Claims,
    pub(super) bid: Bid,
}

impl Claimer for OfCluster {
    fn claim(&self, fence: Option<i64>) -> BoxFuture<'_, Result<Outcome, Error>> {
        Box::pin(async move {
            let expect = fence.map_or_else(Expect::default, |fence| Expect::new().fence(fence));
            let outcome = self.claims.expecting(expect).send(std::slice::from_ref(&self.bid)).await?.pop();
            outcome.ok_or_else(|| Error::new(ErrorKind::Refused, "a claim without an answer"))
        })
    }

    fn ended(&self, fence: i64) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.claims.await_end(self.bid.name(), fence).await.map(drop) })
    }

    fn taken_away(&self, fence: i64) -> BoxFuture<'static, LostReason> {
        let (client, source) = (self.claims.client().clone(), super::watch::ClaimSource(self.bid.name().clone()));
        Box::pin(async move {
            let over = |event: &pb::ClaimEvent| {
                (event.fence != fence).then(|| LostReason::TakenAway(crate::Cause::of(event.cause)))
            };
            follow::until(&client, source, fence + 1, over).await
        })
    }

    fn give_up(&self, fence: i64) -> BoxFuture<'static, Result<(), Error>> {
        let client = self.claims.client().clone();
        let request = self.bid.revocation(caller(None, &Expect::new().fence(fence)));
        Box::pin(async move {
            match client.repeatable(request, call!(claims.revoke)).await {
                Ok(_) => Ok(()),
                // It is over, and perhaps another's.
                Err(error) if matches!(error.kind(), ErrorKind::NotAsExpected | ErrorKind::NotHeld) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(self.claims.client().clock())
    }
}
