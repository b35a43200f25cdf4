//! Peers within one process: a network of function calls whose links can be cut.
//!
//! Messages and handlers are the same as over gRPC; only the sockets are missing. A cut link fails
//! new calls, leaves running calls without an answer, and ends streams.

use super::handler::Handler;
use super::pb;
use super::transport::{AppendReplies, Link, PeerError, Transport};
use conclave_storage::types::MemberNode;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

#[derive(Clone, Default)]
struct NodeContext {
    members: BTreeMap<u64, Handler>,
    /// Directed: from, to.
    cut: BTreeSet<(u64, u64)>,
}

/// The network of one test cluster.
#[derive(Clone)]
pub struct MemoryNetwork {
    context: Arc<watch::Sender<NodeContext>>,
    /// Number of append sessions that were tried.
    sessions: Arc<AtomicUsize>,
}

impl Default for MemoryNetwork {
    fn default() -> MemoryNetwork {
        MemoryNetwork { context: Arc::new(watch::Sender::default()), sessions: Arc::default() }
    }
}

impl MemoryNetwork {
    /// Lets the member be called.
    pub fn listen(&self, id: u64, handler: Handler) {
        self.context.send_modify(|w| drop(w.members.insert(id, handler)));
    }

    /// Removes the member: calls to it fail.
    pub fn unlisten(&self, id: u64) {
        self.context.send_modify(|w| drop(w.members.remove(&id)));
    }

    /// Cuts all links of the member, in both directions.
    pub fn isolate(&self, id: u64) {
        self.context.send_modify(|w| {
            let others: Vec<u64> = w.members.keys().copied().filter(|other| *other != id).collect();
            w.cut.extend(others.iter().flat_map(|other| [(id, *other), (*other, id)]));
        });
    }

    pub fn heal(&self) {
        self.context.send_modify(|w| w.cut.clear());
    }

    /// How many append sessions were tried.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// The transport of one member.
    pub fn transport(&self, me: u64) -> MemoryTransport {
        MemoryTransport { network: self.clone(), me }
    }
}

pub struct MemoryTransport {
    network: MemoryNetwork,
    me: u64,
}

impl Transport for MemoryTransport {
    fn link(&self, to: u64, _: &MemberNode) -> Arc<dyn Link> {
        Arc::new(MemoryLink { network: self.network.clone(), from: self.me, to })
    }
}

struct MemoryLink {
    network: MemoryNetwork,
    from: u64,
    to: u64,
}

impl MemoryLink {
    fn is_cut(&self, context: &NodeContext) -> bool {
        context.cut.contains(&(self.from, self.to)) || !context.members.contains_key(&self.to)
    }

    fn peer(&self) -> Result<Handler, PeerError> {
        let context = self.network.context.borrow();
        match context.members.get(&self.to) {
            Some(handler) if !self.is_cut(&context) => Ok(handler.clone()),
            _ => Err(PeerError::Unreachable),
        }
    }

    /// Resolves when the link is cut in either direction.
    fn broken(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut context = self.network.context.subscribe();
        let link = MemoryLink { network: self.network.clone(), from: self.from, to: self.to };
        async move {
            let back = (link.to, link.from);
            let _ = context.wait_for(|w| link.is_cut(w) || w.cut.contains(&back)).await;
        }
    }

    /// A call that is running when the link breaks has an unknown outcome; it continues at the
    /// other end.
    async fn call<T, R>(&self, run: impl FnOnce(Handler) -> R + Send) -> Result<T, PeerError>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, PeerError>> + Send + 'static,
    {
        let running = tokio::spawn(run(self.peer()?));
        tokio::select! {
            reply = running => reply.unwrap_or(Err(PeerError::Unknown)),
            () = self.broken() => Err(PeerError::Unknown),
        }
    }
}

#[async_trait::async_trait]
impl Link for MemoryLink {
    async fn append(&self, requests: BoxStream<'static, pb::AppendRequest>) -> Result<AppendReplies, PeerError> {
        self.network.sessions.fetch_add(1, Ordering::Relaxed);
        let requests = requests.take_until(self.broken()).map(Ok).boxed();
        let replies = self.peer()?.append(self.from, requests)?;
        let broken = futures::stream::once(async { Err(PeerError::Unknown) });
        Ok(replies.take_until(self.broken()).chain(broken).boxed())
    }

    async fn heartbeat(&self, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.heartbeat(from, request).await }).await
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.vote(from, request).await }).await
    }

    async fn transfer_leader(&self, request: pb::TransferRequest) -> Result<pb::TransferReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.transfer_leader(from, request).await }).await
    }

    async fn snapshot(&self, parts: BoxStream<'static, pb::SnapshotPart>) -> Result<pb::SnapshotReply, PeerError> {
        let parts = parts.take_until(self.broken()).map(Ok).boxed();
        let from = self.from;
        self.call(|peer: Handler| async move { peer.snapshot(from, parts).await }).await
    }

    async fn forward(&self, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.forward(from, request).await }).await
    }

    async fn read_index(&self, _: pb::ReadIndexRequest) -> Result<pb::ReadIndexReply, PeerError> {
        self.call(|peer: Handler| async move { peer.read_index().await }).await
    }

    async fn keep_alive(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.keep_alive(from, request).await }).await
    }

    async fn remaining(&self, request: pb::RemainingRequest) -> Result<pb::RemainingReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.remaining(from, request).await }).await
    }

    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::RegisterReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.register(from, request).await }).await
    }

    async fn members(&self, request: pb::MembersRequest) -> Result<pb::MembersReply, PeerError> {
        self.call(|peer: Handler| async move { peer.members(request).await }).await
    }

    async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinReply, PeerError> {
        let from = self.from;
        self.call(|peer: Handler| async move { peer.join(from, request).await }).await
    }

    async fn change(&self, request: pb::ChangeRequest) -> Result<pb::ChangeReply, PeerError> {
        self.call(|peer: Handler| async move { peer.change(request).await }).await
    }
}
