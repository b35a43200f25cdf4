//! The peer protocol over gRPC: compares the ids, then hands over to the [`Handler`].

use super::handler::Handler;
use super::transport::PeerError;
use super::{identity, pb};
use futures::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

pub struct PeerService(pub Handler);

/// The server with its size limits.
pub fn server(handler: Handler) -> pb::peer_server::PeerServer<PeerService> {
    pb::peer_server::PeerServer::new(PeerService(handler))
        .max_decoding_message_size(super::grpc::MAX_MESSAGE)
        .max_encoding_message_size(super::grpc::MAX_MESSAGE)
}

/// `grpc.rs` turns these codes back.
fn status(error: PeerError) -> Status {
    match error {
        PeerError::Refused(reason) => Status::permission_denied(reason),
        PeerError::NotLeader => Status::failed_precondition(error.to_string()),
        PeerError::Unreachable | PeerError::Unknown => Status::unknown(error.to_string()),
    }
}

impl PeerService {
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        Ok(self.admit_from(request)?.1)
    }

    /// The sender, and what it sent.
    fn admit_from<T>(&self, request: Request<T>) -> Result<(u64, T), Status> {
        let checked = identity::read(request.metadata()).and_then(|ids| self.0.check(ids).map(|()| ids.from));
        let from = checked.map_err(|error| {
            tracing::warn!(%error, from = ?request.remote_addr(), "refused a peer call");
            status(error)
        })?;
        Ok((from, request.into_inner()))
    }
}

fn messages<T: Send + 'static>(stream: Streaming<T>) -> BoxStream<'static, Result<T, PeerError>> {
    // A message that cannot be read ends the stream with an error; it is never skipped.
    stream.map(|m| m.map_err(|s| PeerError::Refused(format!("a broken request stream: {}", s.message())))).boxed()
}

#[tonic::async_trait]
impl pb::peer_server::Peer for PeerService {
    async fn heartbeat(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendReply>, Status> {
        self.0.heartbeat(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        self.0.vote(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        self.0.transfer_leader(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        self.0.snapshot(messages(self.admit(request)?)).await.map(Response::new).map_err(status)
    }

    async fn forward(&self, request: Request<pb::ForwardRequest>) -> Result<Response<pb::ForwardReply>, Status> {
        self.0.forward(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn read_index(&self, request: Request<pb::ReadIndexRequest>) -> Result<Response<pb::ReadIndexReply>, Status> {
        self.admit(request)?;
        self.0.read_index().await.map(Response::new).map_err(status)
    }

    async fn keep_alive(&self, request: Request<pb::KeepAliveRequest>) -> Result<Response<pb::KeepAliveReply>, Status> {
        self.0.keep_alive(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn remaining(&self, request: Request<pb::RemainingRequest>) -> Result<Response<pb::RemainingReply>, Status> {
        self.0.remaining(self.admit(request)?).await.map(Response::new).map_err(status)
    }

    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::RegisterReply>, Status> {
        let (from, request) = self.admit_from(request)?;
        self.0.register(from, request).await.map(Response::new).map_err(status)
    }
}
