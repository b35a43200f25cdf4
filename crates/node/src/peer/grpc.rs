//! Peers over the network: gRPC for calls, and [`super::log`] for the log.
//!
//! There are three connections: one for forwarded commands, one for snapshots, and one for small
//! calls that must not wait behind bulk data (heartbeats, votes, read-index, keep-alives). Each
//! connects on first use and reconnects on the next use after a failure, without back-off, so the
//! next heartbeat reaches a peer that comes back.

use super::identity::{Ids, Stamp};
use super::pb::{self, peer_client::PeerClient};
use super::proof::{PeerSecret, Speaks};
use super::stream::Stream as Connection;
use super::target::Target;
use super::transport::{AppendReplies, Link, MAX_MESSAGE, PeerError, Transport};
use conclave_storage::types::MemberNode;
use conclave_tls::Tls;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http::Uri;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::codegen::Service;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

pub struct GrpcTransport {
    pub cluster: u64,
    pub me: u64,
    /// For members with `https` URLs.
    pub tls: Option<Tls>,
    /// For the others.
    pub secret: Option<PeerSecret>,
}

impl Transport for GrpcTransport {
    fn link(&self, to: u64, node: &MemberNode) -> Arc<dyn Link> {
        let ids = Ids { cluster: self.cluster, from: self.me, to };
        let target = Target::of(node, self.tls.as_ref(), self.secret.as_ref());
        Arc::new(GrpcLink {
            ids,
            commands: client(&target, ids),
            quick: client(&target, ids),
            snapshots: client(&target, ids),
            target,
            peer: node.to_string(),
            reached: AtomicBool::new(true),
        })
    }
}

type Client = PeerClient<InterceptedService<Channel, Stamp>>;

struct GrpcLink {
    ids: Ids,
    /// The address of the log connection.
    target: Target,
    commands: Client,
    quick: Client,
    snapshots: Client,
    /// For logs.
    peer: String,
    /// Whether the last heartbeat was answered, so that each change is logged once.
    reached: AtomicBool,
}

impl GrpcLink {
    fn note(&self, outcome: &Result<pb::AppendReply, PeerError>) {
        let reached = outcome.is_ok();
        if self.reached.swap(reached, Ordering::Relaxed) != reached {
            match outcome {
                Ok(_) => tracing::info!(peer = self.peer, "the peer answers again"),
                Err(error) => tracing::warn!(peer = self.peer, %error, "the peer does not answer"),
            }
        }
    }
}

fn client(target: &Target, ids: Ids) -> Client {
    // The connector knows where to; the name here is what requests call their receiver.
    let endpoint = Endpoint::from_static("http://peer.conclave")
        .connect_timeout(target.patience())
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let channel = endpoint.connect_with_connector_lazy(Connect(target.clone()));
    PeerClient::with_interceptor(channel, Stamp::new(ids))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

/// Connects, for the channel.
struct Connect(Target);

impl Service<Uri> for Connect {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Connection>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move {
            let connection = target.connect(Speaks::Calls).await.ok_or(io::ErrorKind::ConnectionRefused)?;
            connection.tcp().set_nodelay(true)?;
            Ok(TokioIo::new(connection))
        })
    }
}

/// A named request stream: the compiler cannot prove that a future with the bare trait object is
/// `Send`.
struct Requests<T>(BoxStream<'static, T>);

impl<T> Stream for Requests<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_next_unpin(cx)
    }
}

/// The peer's errors also come as a status; [`super::service`] chooses the codes.
fn failed(status: Status) -> PeerError {
    match status.code() {
        Code::FailedPrecondition => PeerError::NotLeader,
        Code::PermissionDenied => PeerError::Refused(status.message().to_owned()),
        _ if never_sent(&status) => PeerError::Unreachable,
        _ => PeerError::Unknown,
    }
}

/// Only a failed connection attempt proves that the peer saw nothing.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[async_trait::async_trait]
impl Link for GrpcLink {
    async fn append(&self, requests: BoxStream<'static, pb::AppendRequest>) -> Result<AppendReplies, PeerError> {
        super::log::open(&self.target, self.ids, requests).await
    }

    async fn heartbeat(&self, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError> {
        let outcome = self.quick.clone().heartbeat(request).await.map(tonic::Response::into_inner).map_err(failed);
        self.note(&outcome);
        outcome
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError> {
        self.quick.clone().vote(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn transfer_leader(&self, request: pb::TransferRequest) -> Result<pb::TransferReply, PeerError> {
        self.quick.clone().transfer_leader(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn snapshot(&self, parts: BoxStream<'static, pb::SnapshotPart>) -> Result<pb::SnapshotReply, PeerError> {
        self.snapshots.clone().snapshot(Requests(parts)).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn forward(&self, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError> {
        self.commands.clone().forward(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexReply, PeerError> {
        self.quick.clone().read_index(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn keep_alive(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveReply, PeerError> {
        self.quick.clone().keep_alive(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn remaining(&self, request: pb::RemainingRequest) -> Result<pb::RemainingReply, PeerError> {
        self.quick.clone().remaining(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::RegisterReply, PeerError> {
        self.quick.clone().register(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn members(&self, request: pb::MembersRequest) -> Result<pb::MembersReply, PeerError> {
        self.quick.clone().members(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinReply, PeerError> {
        self.quick.clone().join(request).await.map(tonic::Response::into_inner).map_err(failed)
    }

    async fn change(&self, request: pb::ChangeRequest) -> Result<pb::ChangeReply, PeerError> {
        self.commands.clone().change(request).await.map(tonic::Response::into_inner).map_err(failed)
    }
}
