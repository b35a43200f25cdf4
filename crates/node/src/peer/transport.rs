//! The transport of peer messages: the network in production, function calls in a test cluster.

use super::pb;
use conclave_storage::types::MemberNode;
use futures::stream::BoxStream;
use std::sync::Arc;
use thiserror::Error;

/// Larger than any message: an append holds at most about one MiB, or a single entry of one
/// request.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// Why a call to a peer has no answer. What matters is whether the peer may have acted on it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    #[error("the peer cannot be reached")]
    Unreachable,
    #[error("the peer is not the leader")]
    NotLeader,
    #[error("the call failed on its way; whether it had effect is unknown")]
    Unknown,
    /// The peer refuses: it is in another cluster, is another member, or is not ready.
    #[error("the peer refuses: {0}")]
    Refused(String),
}

/// Creates links. A link connects and reconnects by itself.
pub trait Transport: Send + Sync {
    fn link(&self, to: u64, node: &MemberNode) -> Arc<dyn Link>;
}

/// The requests as they come; an error at the end if the stream broke.
pub type AppendRequests = BoxStream<'static, Result<pb::AppendRequest, PeerError>>;

pub type AppendReplies = BoxStream<'static, Result<pb::AppendReply, PeerError>>;

/// The calls to one peer.
#[async_trait::async_trait]
pub trait Link: Send + Sync {
    /// The replies end when the requests do, or with an error.
    async fn append(&self, requests: BoxStream<'static, pb::AppendRequest>) -> Result<AppendReplies, PeerError>;
    async fn heartbeat(&self, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError>;
    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError>;
    async fn transfer_leader(&self, request: pb::TransferRequest) -> Result<pb::TransferReply, PeerError>;
    async fn snapshot(&self, parts: BoxStream<'static, pb::SnapshotPart>) -> Result<pb::SnapshotReply, PeerError>;
    async fn forward(&self, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError>;
    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexReply, PeerError>;
    async fn keep_alive(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveReply, PeerError>;
    async fn remaining(&self, request: pb::RemainingRequest) -> Result<pb::RemainingReply, PeerError>;
    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::RegisterReply, PeerError>;
    async fn members(&self, request: pb::MembersRequest) -> Result<pb::MembersReply, PeerError>;
    async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinReply, PeerError>;
    async fn change(&self, request: pb::ChangeRequest) -> Result<pb::ChangeReply, PeerError>;
}
