//! `etcdserverpb.Watch` over gRPC.
//!
//! Written by hand where the others are generated, since its responses have their own codec ([`crate::watch::codec`]).

use crate::node::Node;
use crate::status::text;
use crate::watch::WatchHub;
use crate::watch::codec::{Reply, WatchCodec};
use conclave_api::etcdserverpb::{ResponseHeader, WatchRequest};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

/// Metadata with which a client says that it wants to hear when the cluster has no leader.
const REQUIRE_LEADER: &str = "hasleader";

pub(super) fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// What the service needs of its node.
pub trait WatchContext: Send + Sync + 'static {
    fn hub(&self) -> &WatchHub;

    fn header(&self, revision: i64) -> ResponseHeader;

    /// Comes true when a stream must end, with the status to end it by: the server stops, or, with `require_leader`, there has been no
    /// leader for too long. `Err`: it must not even begin.
    fn stream_end(&self, require_leader: bool) -> Result<BoxFuture<'static, Status>, Status>;
}

/// The service, for a router.
pub struct WatchServer<C> {
    context: Arc<C>,
}

impl<C> Clone for WatchServer<C> {
    fn clone(&self) -> Self {
        WatchServer { context: self.context.clone() }
    }
}

impl<C> WatchServer<C> {
    pub fn new(context: Arc<C>) -> Self {
        WatchServer { context }
    }
}

impl<C> NamedService for WatchServer<C> {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl<C, B> Service<http::Request<B>> for WatchServer<C>
where
    C: WatchContext,
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = Method(self.context.clone());
        Box::pin(async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                return Ok(Status::unimplemented("the Watch service has no such method").into_http());
            }
            Ok(Grpc::new(WatchCodec).streaming(method, request).await)
        })
    }
}

impl WatchContext for Node {
    fn hub(&self) -> &WatchHub {
        &self.watches
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        Node::header(self, revision)
    }

    fn stream_end(&self, require_leader: bool) -> Result<BoxFuture<'static, Status>, Status> {
        let contact = self.leadership.contact();
        if require_leader && self.leadership.current().leader.is_none() {
            return Err(text::NO_LEADER.into());
        }
        let patience = PATIENCE * Duration::from_millis(self.config.election_timeout_max_ms());
        let stopping = self.stopping.clone();
        Ok(Box::pin(async move {
            tokio::select! {
                () = stopping.cancelled() => text::STOPPED.into(),
                () = leaderless(contact, patience), if require_leader => text::NO_LEADER.into(),
            }
        }))
    }
}

/// How many election time-outs a stream that requires a leader goes on without one.
const PATIENCE: u32 = 3;

/// Comes true when no leader has been heard for as long as `patience`.
async fn leaderless(mut contact: watch::Receiver<bool>, patience: Duration) {
    while contact.wait_for(|contact| !contact).await.is_ok() {
        let found = tokio::time::timeout(patience, contact.wait_for(|contact| *contact)).await;
        if found.is_err() {
            return;
        }
    }
    // Consensus has ended; that it stops, the node tells by itself.
    std::future::pending().await
}

struct Method<C>(Arc<C>);

impl<C: WatchContext> StreamingService<WatchRequest> for Method<C> {
    type Response = Reply;
    type ResponseStream = BoxStream<'static, Result<Reply, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        let context = self.0.clone();
        let require_leader = requires_leader(request.metadata());
        let end = match context.stream_end(require_leader) {
            Ok(end) => end,
            Err(status) => return std::future::ready(Err(status)),
        };
        let responses = context.hub().serve(request.into_inner(), end);
        let replies =
            responses.map(move |frame| frame.map(|frame| Reply { header: context.header(frame.revision), frame }));
        std::future::ready(Ok(Response::new(replies.boxed())))
    }
}

#[cfg(test)]
mod tests;
