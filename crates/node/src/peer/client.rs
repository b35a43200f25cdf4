//! openraft's network on top of [`Link`]s.
//!
//! openraft creates three clients for each peer (log, heartbeats, snapshots). The link chooses the
//! connection for each call, so one type serves all three. openraft sends a heartbeat as a stream
//! of one request, which becomes a unary call.

use super::acknowledged::Peer;
use super::pace::Pace;
use super::sending::Sending;
use super::session::{self, Session};
use super::transport::{Link, PeerError};
use super::validate::Rules;
use super::{Peers, convert, snapshot};
use crate::versions::Versions;
use conclave_storage::types::{C, MemberNode, Vote};
use conclave_storage::{Checkpoint, Witness};
use futures::stream::{self, StreamExt};
use futures::{FutureExt, Stream, TryFutureExt, TryStreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftNetworkFactory};
use std::sync::Arc;
use std::time::Duration;

/// Timeout of a reply on the log stream. It is generous because a reply means that the peer's disk
/// has synced; heartbeats detect a dead peer.
const APPEND_PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two attempts to connect to a peer for the log. Constant and short: a failed
/// attempt is cheap, and a restarted peer should take part at once.
const RETRY: Duration = Duration::from_millis(50);

/// Pause between two attempts to send a snapshot. Each begins from the start.
const RETRY_SNAPSHOT: Duration = Duration::from_millis(500);

/// Creates openraft's clients.
pub struct Network {
    peers: Peers,
    sending: Sending,
    rules: Arc<Rules>,
    witness: Witness,
    versions: Versions,
}

impl RaftNetworkFactory<C> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> PeerClient {
        self.client(target, node, Use::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &MemberNode) -> PeerClient {
        self.client(target, node, Use::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &MemberNode) -> PeerClient {
        self.client(target, node, Use::Snapshots)
    }
}

impl Network {
    pub fn new(peers: Peers, sending: Sending, rules: Arc<Rules>, witness: Witness, versions: Versions) -> Network {
        Network { peers, sending, rules, witness, versions }
    }

    fn client(&self, target: u64, node: &MemberNode, used_for: Use) -> PeerClient {
        self.peers.learn(target, node);
        let peers = self.peers.clone();
        let (sending, rules) = (self.sending.clone(), self.rules.clone());
        let peer = Peer::new(target, self.witness.clone());
        let versions = self.versions.clone();
        PeerClient { peers, target, used_for, pace: Pace::new(RETRY), sending, rules, peer, versions }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Log,
    Heartbeats,
    Snapshots,
}

pub struct PeerClient {
    /// Has the link for each call, because a member's URLs may change.
    peers: Peers,
    target: u64,
    used_for: Use,
    pace: Pace,
    sending: Sending,
    rules: Arc<Rules>,
    peer: Peer,
    /// Names the cluster's version in each request.
    versions: Versions,
}

fn rpc(error: PeerError) -> RPCError<C> {
    match error {
        PeerError::Unreachable | PeerError::Refused(_) => RPCError::Unreachable(Unreachable::new(&error)),
        PeerError::NotLeader | PeerError::Unknown => RPCError::Network(NetworkError::new(&error)),
    }
}

/// Like [`rpc`], for log sessions: openraft begins another session after any error, and [`Pace`]
/// delays it.
fn session_failed(error: PeerError) -> RPCError<C> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl PeerClient {
    fn link(&self) -> Result<Arc<dyn Link>, RPCError<C>> {
        self.peers.link(self.target).map_err(rpc)
    }

    async fn ask(
        &self,
        request: VoteRequest<C>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let link = self.link()?;
        let call = link.vote(convert::vote_request(&request, pre_vote));
        let reply = tokio::time::timeout(option.hard_ttl(), call).await.unwrap_or(Err(PeerError::Unknown));
        let reply = reply.and_then(|reply| {
            self.rules.vote_reply(&reply, request.vote.leader_id.term)?;
            convert::from_vote_reply(reply)
        });
        reply.map_err(rpc)
    }

    async fn beat(&self, request: AppendEntriesRequest<C>) -> Result<StreamAppendResult<C>, PeerError> {
        let link = self.peers.link(self.target)?;
        let term = request.vote.leader_id.term;
        let request = convert::append(request, self.versions.packed());
        let previous = request.previous;
        self.peer.led_in(term);
        // openraft bounds this by the heartbeat interval.
        let reply = link.heartbeat(request).await?;
        self.rules.append_reply(&reply, previous, term)?;
        convert::from_append_reply(self.peer.check(reply).await?)
    }

    /// The check of a session's replies.
    fn check(&self) -> session::Check {
        let rules = self.rules.clone();
        Box::new(move |reply, last, term| rules.append_reply(reply, last, term).map_err(PeerError::from))
    }
}

type Replies<'s> = BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>;

impl NetStreamAppend<C> for PeerClient {
    fn stream_append<'s, S>(&'s mut self, mut input: S, _: RPCOption) -> BoxFuture<'s, Result<Replies<'s>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        async move {
            let link = self.link()?;
            if self.used_for == Use::Heartbeats {
                let Some(request) = input.next().await else { return Ok(stream::empty().boxed()) };
                let reply = self.beat(request).await.map_err(rpc)?;
                return Ok(stream::iter([Ok(reply)]).boxed());
            }
            let (link, pace, check, peer) = (link, &self.pace, self.check(), self.peer.clone());
            let leading = peer.clone();
            let versions = self.versions.clone();
            // Waiting and connecting are part of the reply stream, because openraft drops that when
            // it stops.
            let session = async move {
                let turn = Arc::new(pace.turn().await);
                let (out, far) = session::channel();
                let opened = tokio::time::timeout(APPEND_PATIENCE, link.append(far.boxed())).await;
                let replies = opened.unwrap_or(Err(PeerError::Unknown))?;
                let asked = turn.clone();
                let input = input.inspect(move |request| leading.led_in(request.vote.leader_id.term));
                let append = move |request| convert::append(request, versions.packed());
                let requests = input.map(append).inspect(move |request| {
                    if !request.entries.is_empty() {
                        asked.brings();
                    }
                });
                Ok(Session::new(requests, out, replies, check, APPEND_PATIENCE).inspect_ok(move |reply| {
                    turn.replied(reply.conflict.is_some());
                }))
            };
            let replies = session.try_flatten_stream().and_then(move |reply| {
                let peer = peer.clone();
                async move { peer.check(reply).await }
            });
            Ok(replies.map(|r| r.and_then(convert::from_append_reply).map_err(session_failed)).boxed())
        }
        .boxed()
    }
}

impl NetVote<C> for PeerClient {
    async fn vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask(request, false, &option).await
    }

    async fn pre_vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.ask(request, true, &option).await
    }
}

impl NetBackoff<C> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        let pause = match self.used_for {
            // [`Pace`] delays it.
            Use::Log => Duration::ZERO,
            Use::Heartbeats => RETRY,
            Use::Snapshots => RETRY_SNAPSHOT,
        };
        Some(Backoff::new(std::iter::repeat(pause)))
    }
}

impl NetSnapshot<C> for PeerClient {
    type SnapshotData = Checkpoint;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<C, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let unreachable = |e: PeerError| StreamingError::Unreachable(Unreachable::new(&e));
        let link = self.peers.link(self.target).map_err(unreachable)?;
        let last = snapshot.meta.last_log_id;
        let version = self.versions.packed();
        let on_its_way = self.sending.begin(snapshot.meta.last_log_id.as_ref().map_or(0, |last| last.index));
        let sent = tokio::select! {
            sent = snapshot::send(&*link, vote, snapshot, version) => sent,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let reply = sent.map_err(unreachable)?;
        self.rules.told_vote(reply.vote.as_ref(), vote.leader_id.term).map_err(|e| unreachable(e.into()))?;
        on_its_way.arrived();
        let theirs = convert::from_vote(reply.vote).map_err(unreachable)?;
        if let (Some(last), true) = (last, theirs == vote) {
            self.peer.has(vote.leader_id.term, last.index);
        }
        Ok(SnapshotResponse::new(theirs))
    }
}

impl NetTransferLeader<C> for PeerClient {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let link = self.link()?;
        let call = link.transfer_leader(convert::transfer(&request));
        let reply = tokio::time::timeout(option.hard_ttl(), call).await.unwrap_or(Err(PeerError::Unknown));
        reply.and_then(convert::from_transfer_reply).map_err(rpc)
    }
}
