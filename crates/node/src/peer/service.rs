//! The peer protocol over gRPC: checks the ids, then calls the [`Handler`].

use super::handler::Handler;
use super::transport::PeerError;
use super::{identity, pb};
use conclave_net::admission::Activity;
use futures::stream::{BoxStream, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Request, Response, Status, Streaming};

pub struct PeerService(pub Handler);

/// The other end of a connection. It is unknown until a member makes a call.
#[derive(Clone)]
pub(crate) struct Caller {
    connection: Activity,
    known: Arc<AtomicBool>,
}

impl Caller {
    pub(crate) fn new(connection: Activity) -> Caller {
        Caller { connection, known: Arc::default() }
    }

    /// The caller is a member, so its connection is not closed to make room for others.
    fn is_known(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            self.connection.keep();
        }
    }
}

/// The server with its size limits.
pub fn server(handler: Handler) -> pb::peer_server::PeerServer<PeerService> {
    pb::peer_server::PeerServer::new(PeerService(handler))
        .max_decoding_message_size(super::transport::MAX_MESSAGE)
        .max_encoding_message_size(super::transport::MAX_MESSAGE)
}

/// `grpc.rs` converts these codes back.
fn status(error: PeerError) -> Status {
    match error {
        PeerError::Refused(reason) => Status::permission_denied(reason),
        PeerError::NotLeader => Status::failed_precondition(error.to_string()),
        PeerError::Unreachable | PeerError::Unknown => Status::unknown(error.to_string()),
    }
}

impl PeerService {
    /// The sender and its message.
    fn admit<T>(&self, request: Request<T>) -> Result<(u64, T), Status> {
        let checked = identity::read(request.metadata()).and_then(|ids| self.0.check(ids).map(|()| ids.from));
        let from = checked.map_err(|error| {
            tracing::debug!(%error, "refused a peer call");
            status(error)
        })?;
        if let Some(caller) = request.extensions().get::<Caller>() {
            caller.is_known();
        }
        Ok((from, request.into_inner()))
    }

    /// The same for a question that a removed member may ask too.
    fn admit_asking<T>(&self, request: Request<T>) -> Result<(u64, T), Status> {
        let checked = identity::read(request.metadata()).and_then(|ids| self.0.check_address(ids).map(|()| ids.from));
        checked.map(|from| (from, request.into_inner())).map_err(status)
    }
}

fn messages<T: Send + 'static>(stream: Streaming<T>) -> BoxStream<'static, Result<T, PeerError>> {
    // An unreadable message ends the stream with an error and is never skipped.
    stream.map(|m| m.map_err(|s| PeerError::Refused(format!("a broken request stream: {}", s.message())))).boxed()
}

#[tonic::async_trait]
impl pb::peer_server::Peer for PeerService {
    async fn heartbeat(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.heartbeat(from, request).await.map(Response::new).map_err(status)
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.vote(from, request).await.map(Response::new).map_err(status)
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.transfer_leader(from, request).await.map(Response::new).map_err(status)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let (from, parts) = self.admit(request)?;
        self.0.snapshot(from, messages(parts)).await.map(Response::new).map_err(status)
    }

    async fn forward(&self, request: Request<pb::ForwardRequest>) -> Result<Response<pb::ForwardReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.forward(from, request).await.map(Response::new).map_err(status)
    }

    async fn read_index(&self, request: Request<pb::ReadIndexRequest>) -> Result<Response<pb::ReadIndexReply>, Status> {
        self.admit(request)?;
        self.0.read_index().await.map(Response::new).map_err(status)
    }

    async fn keep_alive(&self, request: Request<pb::KeepAliveRequest>) -> Result<Response<pb::KeepAliveReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.keep_alive(from, request).await.map(Response::new).map_err(status)
    }

    async fn remaining(&self, request: Request<pb::RemainingRequest>) -> Result<Response<pb::RemainingReply>, Status> {
        let (from, request) = self.admit(request)?;
        self.0.remaining(from, request).await.map(Response::new).map_err(status)
    }

    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterReply>, Status> {
        let (from, request) = self.admit_asking(request)?;
        self.0.register(from, request).await.map(Response::new).map_err(status)
    }

    async fn members(&self, request: Request<pb::MembersRequest>) -> Result<Response<pb::MembersReply>, Status> {
        self.0.members(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let (from, request) = self.admit_asking(request)?;
        self.0.join(from, request).await.map(Response::new).map_err(status)
    }

    async fn change(&self, request: Request<pb::ChangeRequest>) -> Result<Response<pb::ChangeReply>, Status> {
        let (_, request) = self.admit(request)?;
        self.0.change(request).await.map(Response::new).map_err(status)
    }
}
