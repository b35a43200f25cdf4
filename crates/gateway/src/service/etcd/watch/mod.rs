//! `etcdserverpb.Watch` over gRPC.
//!
//! Written by hand where the others are generated: a stream's queue is the body of its response, so
//! that everything which is queued goes out as one piece of data, for one wake-up.

use crate::auth::Reading;
use crate::gateway::Gateway;
use crate::status::{received, text};
use crate::watch::codec::{Reply, TooLarge};
use crate::watch::{Responses, WatchHub};
use bytes::{Bytes, BytesMut};
use conclave_api::codec::buffer_settings;
use conclave_api::etcdserverpb::{ResponseHeader, WatchRequest};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body as HttpBody, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// What is sent in one piece, about; a larger response goes alone.
const PIECE: usize = 32 << 10;

/// Metadata with which a client says that it wants to hear when the cluster has no leader.
const REQUIRE_LEADER: &str = "hasleader";

pub(crate) fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

/// What the service needs of its node.
pub trait WatchContext: Send + Sync + 'static {
    fn hub(&self) -> &WatchHub;

    fn header(&self, revision: i64) -> ResponseHeader;

    /// Whose right to read is looked at.
    #[expect(private_interfaces, reason = "only this crate has somebody to look at")]
    fn reading(&self) -> Option<Reading> {
        None
    }

    /// The largest message that a client may send.
    fn max_message(&self) -> usize;

    /// Comes true when a stream must end, with the status to end it by: the server stops, or, with
    /// `require_leader`, there has been no leader for too long. `Err`: it must not even begin.
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
        let answer = match request.uri().path() {
            PATH => open(&self.context, request).map(|response| response.map(Body::new)),
            _ => Err(Status::unimplemented("the Watch service has no such method")),
        };
        Box::pin(std::future::ready(Ok(answer.unwrap_or_else(Status::into_http))))
    }
}

/// The only method.
pub const PATH: &str = "/etcdserverpb.Watch/Watch";

/// Begins a stream of watches.
pub fn open<C, B>(context: &Arc<C>, request: http::Request<B>) -> Result<http::Response<WatchBody<C>>, Status>
where
    C: WatchContext,
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let (head, body) = request.into_parts();
    if let Some(encoding) = head.headers.get("grpc-encoding").filter(|encoding| *encoding != "identity") {
        return Err(Status::unimplemented(format!("messages in the encoding {encoding:?} are not supported")));
    }
    let end = context.stream_end(requires_leader(&MetadataMap::from_headers(head.headers)))?;
    let decoder = ProstCodec::<WatchRequest, WatchRequest>::raw_decoder(buffer_settings());
    let requests = Streaming::new_request(decoder, body, None, Some(context.max_message())).map_err(received);
    let responses = Some(context.hub().serve_reader(requests, end, context.reading()));
    let mut response = http::Response::new(WatchBody { context: context.clone(), responses, failed: None });
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The responses of a stream.
pub struct WatchBody<C> {
    context: Arc<C>,
    /// Until the trailers are sent.
    responses: Option<Responses>,
    /// A response could not be sent: nothing may follow what was before it.
    failed: Option<TooLarge>,
}

impl<C> std::fmt::Debug for WatchBody<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchBody")
    }
}

impl<C: WatchContext> HttpBody for WatchBody<C> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(responses) = &mut this.responses else { return Poll::Ready(None) };
        if let Some(failed) = this.failed {
            this.responses = None;
            return Poll::Ready(Some(trailers(&Status::resource_exhausted(failed.to_string()))));
        }
        let mut data = BytesMut::new();
        let mut header = None;
        let failed = &mut this.failed;
        let polled = responses.poll_frames(cx, PIECE, |frame| {
            let header = header.get_or_insert_with(|| this.context.header(0));
            let header = ResponseHeader { revision: frame.revision, ..*header };
            if failed.is_none() {
                *failed = Reply { header, frame }.encode_message(&mut data).err();
            }
        });
        Poll::Ready(match ready!(polled) {
            Some(Ok(())) => Some(Ok(Frame::data(data.freeze()))),
            Some(Err(status)) => {
                this.responses = None;
                Some(trailers(&status))
            }
            None => None,
        })
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::with_capacity(2);
    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
}

impl WatchContext for Gateway {
    fn hub(&self) -> &WatchHub {
        &self.watches
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        Gateway::header(self, revision)
    }

    #[expect(private_interfaces, reason = "as in the trait")]
    fn reading(&self) -> Option<Reading> {
        Some(Reading::new(&self.access))
    }

    fn max_message(&self) -> usize {
        self.node.config.max_message()
    }

    fn stream_end(&self, require_leader: bool) -> Result<BoxFuture<'static, Status>, Status> {
        let contact = self.node.leadership.contact();
        if require_leader && !self.node.leadership.is_led() {
            return Err(text::NO_LEADER.into());
        }
        let patience = PATIENCE * Duration::from_millis(self.node.config.election_timeout_max_ms());
        let stopping = self.node.stopping.clone();
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

#[cfg(test)]
mod tests;
