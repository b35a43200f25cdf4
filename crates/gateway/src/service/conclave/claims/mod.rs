//! `conclave.v1.Claims`: Juju's leadership. Takings are commands, extensions are the timer
//! keeper's, what waits follows applied changes.

mod taking;
mod vacancy;
mod waiting;
#[cfg(test)]
mod waiting_tests;
mod watch;

use super::decide::{Decided, decide, look_at, not_of_it};
use crate::convert::conclave::claim as convert;
use crate::convert::conclave::{BadField, Caller, ListPage, compare, listing, page, token};
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, require_leader};
use crate::status::not_holder;
use conclave_api::conclave::v1::claims_server::Claims;
use conclave_api::conclave::v1::{
    AwaitVacantRequest, AwaitVacantResponse, CheckRequest, CheckResponse, ClaimEvent, ClaimRequest, ClaimResponse,
    GetClaimRequest, GetClaimResponse, ListClaimsResponse, ListRequest, PinRequest, PinResponse, RevokeRequest,
    RevokeResponse, SetLimitsRequest, SetLimitsResponse, UnclaimRequest, UnclaimResponse, UnpinRequest, UnpinResponse,
    WatchClaimRequest,
};
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_node::keeper::whole_millis;
use conclave_state::auth::{listed, prefix_range};
use conclave_state::coord::{claim_prefix, read, token as tokens};
use conclave_state::{CoordBody, CoordResponse, Name, Token};
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// About how much a pin or new limits add to the store.
const SMALL: usize = 512;

pub struct ClaimsService {
    gateway: Arc<Gateway>,
    quota: Quota,
}

impl ClaimsService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> ClaimsService {
        ClaimsService { quota: Quota::new(gateway.clone()), gateway }
    }

    /// An operation that answers whether it changed anything.
    async fn change<T: prost::Message>(
        &self,
        request: Request<T>,
        convert: impl FnOnce(T) -> Result<(Caller, CoordBody), BadField>,
    ) -> Result<(Option<ResponseHeader>, bool), Status> {
        let (caller, body) = convert(admit(&self.gateway, request)?)?;
        if matches!(body, CoordBody::Pin(_) | CoordBody::SetLimits(_)) {
            self.quota.admit(SMALL).await?;
        }
        let asked = std::mem::discriminant(&body);
        let Decided { revision, answer } = decide(&self.gateway, caller, body).await?;
        let changed = match answer {
            CoordResponse::Unclaimed { changed } | CoordResponse::Revoked { changed } => changed,
            CoordResponse::Pinned { changed } | CoordResponse::Unpinned { changed } => changed,
            CoordResponse::Limits { changed } => changed,
            other => {
                tracing::debug!(?asked, "answered as another operation");
                return Err(not_of_it(&other));
            }
        };
        Ok((Some(self.gateway.header(revision)), changed))
    }

    async fn token(&self, check: &convert::Check, serializable: bool) -> Result<(Option<Token>, i64), Status> {
        let convert::Check { claim, holder, instance, .. } = check.clone();
        let prefix = claim_prefix(&claim);
        look_at(
            &self.gateway,
            serializable,
            false,
            move || prefix_range(&prefix),
            move |view| read::claim_token(view, &claim, &holder, instance.as_deref()),
        )
        .await
    }

    /// How long a claim is sure to last, as the leader knows. Only the present is worth asking the
    /// leader for.
    async fn remaining(&self, serializable: bool, state: Option<&read::ClaimState>) -> u64 {
        let timer = state.filter(|state| state.pins == 0).and_then(|state| state.holder.as_ref()).map(|h| h.timer);
        match timer {
            Some(timer) if timer != 0 && !serializable => {
                self.gateway.node.timers.remaining(timer).await.ok().flatten().map_or(0, whole_millis)
            }
            _ => 0,
        }
    }
}

#[tonic::async_trait]
impl Claims for ClaimsService {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, Status> {
        let taking = taking::Taking::new(&self.gateway, &self.quota);
        let (caller, items) = convert::claim(admit(&self.gateway, request)?)?;
        Ok(Response::new(taking.run(caller, items).await?))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let check = convert::check(admit(&self.gateway, request)?)?;
        let (mut found, mut revision) = self.token(&check, true).await?;
        if found.is_none() {
            // To say no takes the present.
            (found, revision) = self.token(&check, false).await?;
        }
        let Some(found) = found else { return Err(not_holder(&check.holder, &check.claim.name)) };
        let weak = check.weak.then(|| compare(tokens::holder(&check.claim, &check.holder)));
        Ok(Response::new(CheckResponse {
            header: Some(self.gateway.header(revision)),
            token: Some(token(found)),
            weak,
        }))
    }

    async fn await_vacant(
        &self,
        request: Request<AwaitVacantRequest>,
    ) -> Result<Response<AwaitVacantResponse>, Status> {
        let (claim, from) = convert::await_vacant(admit(&self.gateway, request)?)?;
        Ok(Response::new(vacancy::wait(&self.gateway, &claim, from).await?))
    }

    async fn unclaim(&self, request: Request<UnclaimRequest>) -> Result<Response<UnclaimResponse>, Status> {
        let (header, changed) = self.change(request, convert::unclaim).await?;
        Ok(Response::new(UnclaimResponse { header, changed }))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let (header, changed) = self.change(request, convert::revoke).await?;
        Ok(Response::new(RevokeResponse { header, changed }))
    }

    async fn pin(&self, request: Request<PinRequest>) -> Result<Response<PinResponse>, Status> {
        let (header, changed) = self.change(request, convert::pin).await?;
        Ok(Response::new(PinResponse { header, changed }))
    }

    async fn unpin(&self, request: Request<UnpinRequest>) -> Result<Response<UnpinResponse>, Status> {
        let (header, changed) = self.change(request, convert::unpin).await?;
        Ok(Response::new(UnpinResponse { header, changed }))
    }

    async fn get(&self, request: Request<GetClaimRequest>) -> Result<Response<GetClaimResponse>, Status> {
        let convert::Get { claim, serializable, limit, after } = convert::get(admit(&self.gateway, request)?)?;
        let prefix = claim_prefix(&claim);
        let range = move || prefix_range(&prefix);
        let ((state, waiting, pins), revision) = look_at(&self.gateway, serializable, true, range, move |view| {
            let waiting = if limit == 0 { vec![] } else { read::claim_waiting(view, &claim, after, limit)? };
            Ok((read::claim(view, &claim)?, waiting, read::pins(view, &claim)?))
        })
        .await?;
        let remaining = self.remaining(serializable, state.as_ref()).await;
        Ok(Response::new(convert::gotten(self.gateway.header(revision), state, waiting, pins, remaining)))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListClaimsResponse>, Status> {
        let ListPage { listing, size, serializable } = listing(admit(&self.gateway, request)?)?;
        let namespace = listing.namespace.clone();
        let found = move |view: &_| read::claims(view, &listing);
        let (names, revision): (Vec<Name>, _) =
            look_at(&self.gateway, serializable, true, || listed("c", namespace.as_deref()), found).await?;
        let (names, more) = page(names, size);
        Ok(Response::new(ListClaimsResponse { header: Some(self.gateway.header(revision)), names, more }))
    }

    type WatchStream = BoxStream<'static, Result<ClaimEvent, Status>>;

    async fn watch(&self, request: Request<WatchClaimRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require_leader(&self.gateway, request.metadata())?;
        let leaderless = crate::service::etcd::watch::requires_leader(request.metadata());
        let asked = convert::watch(request.into_inner())?;
        Ok(Response::new(watch::events(self.gateway.clone(), asked, leaderless).await?))
    }

    async fn set_limits(&self, request: Request<SetLimitsRequest>) -> Result<Response<SetLimitsResponse>, Status> {
        let (header, changed) = self.change(request, convert::set_limits).await?;
        Ok(Response::new(SetLimitsResponse { header, changed }))
    }
}
