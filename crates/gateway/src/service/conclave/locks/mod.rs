//! `conclave.v1.Locks`: one command takes the places, the grant is read off the applied log.

mod acquire;
#[cfg(test)]
mod acquire_tests;
mod progress;
mod watch;

use self::acquire::{Acquiring, Granted, Place, Requests, Standing};
use super::cooldown;
use super::decide::{Decided, decide, look_at, not_of_it};
use crate::convert::conclave::{self, lock as convert};
use crate::follow::snapshot;
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::service::{admit, require_leader};
use crate::status::{fault, not_read};
use conclave_api::conclave::v1::locks_server::Locks;
use conclave_api::conclave::v1::{
    AcquireProgress, AcquireRequest, AcquireResponse, GetLockRequest, GetLockResponse, ListLocksResponse, ListRequest,
    LockEvent, ReleaseRequest, ReleaseResponse, WatchLockRequest,
};
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::auth::{listed, prefix_range};
use conclave_state::coord::{lock_prefix, read};
use conclave_state::{Acquire, CoordBody, CoordResponse, Fault, LeaseId, LockPart, Name, View};
use conclave_storage::StateView;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// From here on a list is read beside the event loop.
const LONG: usize = 1_000;

pub struct LocksService {
    gateway: Arc<Gateway>,
    acquiring: Acquiring,
    quota: Quota,
}

impl LocksService {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> LocksService {
        let requests = Arc::new(Applied(gateway.clone()));
        let acquiring =
            Acquiring::new(gateway.calls.clone(), requests, gateway.feed.clone(), gateway.node.stopping.clone());
        LocksService { acquiring, quota: Quota::new(gateway.clone()), gateway }
    }

    async fn ask(&self, request: Request<AcquireRequest>) -> Result<Place, Status> {
        let (caller, acquire) = convert::acquire(admit(&self.gateway, request)?)?;
        self.quota.admit(grows_by(&acquire)).await?;
        let owner = acquire.owner.clone();
        let names: Vec<Name> = acquire.parts.iter().map(|part| part.lock.clone()).collect();
        match self.acquiring.ask(caller, acquire).await {
            Ok(place) => Ok(place),
            Err(status) => {
                Err(cooldown::timed(&self.gateway, status, |view| read::lock_cooldown(view, &names, &owner)).await)
            }
        }
    }
}

/// About how many bytes a request adds to the store.
fn grows_by(acquire: &Acquire) -> usize {
    const PART: usize = 512;
    acquire.parts.iter().map(|part| PART + part.lock.namespace.len() + part.lock.name.len()).sum()
}

fn answer(header: ResponseHeader, place: &Place, granted: Granted) -> AcquireResponse {
    match granted.fence {
        0 => convert::not_at_once(header),
        fence => convert::held(header, place.parts(), fence, granted.since),
    }
}

#[tonic::async_trait]
impl Locks for LocksService {
    async fn acquire(&self, request: Request<AcquireRequest>) -> Result<Response<AcquireResponse>, Status> {
        let mut place = self.ask(request).await?;
        let granted = place.wait().await?;
        place.keep();
        Ok(Response::new(answer(self.gateway.header(granted.revision), &place, granted)))
    }

    type AcquireStreamStream = BoxStream<'static, Result<AcquireProgress, Status>>;

    async fn acquire_stream(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<Self::AcquireStreamStream>, Status> {
        let place = self.ask(request).await?;
        Ok(Response::new(progress::run(self.gateway.clone(), place)))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let (caller, release) = convert::release(admit(&self.gateway, request)?)?;
        let Decided { revision, answer } = decide(&self.gateway, caller, CoordBody::Release(release)).await?;
        match answer {
            CoordResponse::Released { released } => {
                Ok(Response::new(ReleaseResponse { header: Some(self.gateway.header(revision)), released }))
            }
            other => Err(not_of_it(&other)),
        }
    }

    async fn get(&self, request: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        let convert::GetLock { lock, serializable, limit, after } = convert::get(admit(&self.gateway, request)?)?;
        let prefix = lock_prefix(&lock);
        let read = move |view: &_| {
            let state = read::lock(view, &lock)?;
            let holders = read::lock_holders(view, &lock, after, limit)?;
            Ok((state, holders, read::lock_waiting(view, &lock, after, limit)?))
        };
        let ((state, holders, waiting), revision) =
            look_at(&self.gateway, serializable, limit > LONG, move || prefix_range(&prefix), read).await?;
        Ok(Response::new(convert::lock_state(self.gateway.header(revision), state, holders, waiting)))
    }

    type WatchStream = BoxStream<'static, Result<LockEvent, Status>>;

    async fn watch(&self, request: Request<WatchLockRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require_leader(&self.gateway, request.metadata())?;
        let leaderless = crate::service::etcd::watch::requires_leader(request.metadata());
        let watch = convert::watch(request.into_inner())?;
        Ok(Response::new(watch::run(self.gateway.clone(), watch, leaderless).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListLocksResponse>, Status> {
        let conclave::ListPage { listing, size, serializable } = conclave::listing(admit(&self.gateway, request)?)?;
        let namespace = listing.namespace.clone();
        let (found, revision) = look_at(
            &self.gateway,
            serializable,
            size > LONG,
            || listed("l", namespace.as_deref()),
            move |view| read::locks(view, &listing),
        )
        .await?;
        let (names, more) = conclave::page(found, size);
        Ok(Response::new(ListLocksResponse { header: Some(self.gateway.header(revision)), names, more }))
    }
}

/// The state of this node.
struct Applied(Arc<Gateway>);

impl Requests for Applied {
    fn standing(&self, fence: i64, session: LeaseId) -> Result<Standing, Fault> {
        acquire::standing(&self.0.node.state.view(), fence, session)
    }

    fn before<'a>(&'a self, part: &'a LockPart, fence: i64) -> BoxFuture<'a, Result<(u64, i64), Status>> {
        let look = async move {
            let (view, revision) = snapshot(&self.0.node.state).map_err(fault)?;
            let part = part.clone();
            let count = move |view: &StateView, most: usize| before(view, &part, fence, most);
            Ok::<_, Status>((self.0.node.reader.within(view, count).await.map_err(not_read)?, revision))
        };
        look.boxed()
    }
}

/// How many wait before a fence; 0 if it does not wait; `None` if it takes more than `most` steps
/// to know. A request is mostly asked about when it has just come: those behind it are fewer.
fn before<V: View>(view: &V, part: &LockPart, fence: i64, most: usize) -> Result<Option<u64>, Fault> {
    const FEW: usize = 64;
    let Some(state) = read::lock(view, &part.lock)? else { return Ok(Some(0)) };
    let from_here = read::lock_waiting(view, &part.lock, fence.saturating_sub(1), FEW)?;
    if from_here.first().is_some_and(|own| own.fence == fence) && from_here.len() < FEW {
        return Ok(Some(u64::from(state.waiting).saturating_sub(from_here.len() as u64)));
    }
    let position = read::lock_position_within(view, &part.lock, fence, most)?;
    Ok(position.map(Option::unwrap_or_default))
}
