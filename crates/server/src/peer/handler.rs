//! What a member does for its peers, whatever carries the call.
//!
//! It exists before consensus runs (a starting member already answers [`Handler::register`]); until then the calls that need it
//! are refused, which is the same to the caller as a member that does not listen yet.

use super::identity::Ids;
use super::suspicion::Suspicion;
use super::transport::{AppendReplies, AppendRequests, PeerError};
use super::{convert, pb, snapshot};
use crate::keeper::Keeper;
use crate::leadership::RaftCell;
use crate::lease_keeper::{LeaseKeeper, whole_millis};
use crate::proposer::Proposer;
use crate::reader::{ReadError, Reader};
use crate::rollback::Rollback;
use crate::timer_keeper::TimerKeeper;
use conclave_state::mutant;
use conclave_storage::types::Raft;
use conclave_storage::{Identity, Registry, StateHandle};
use futures::stream::{BoxStream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesResponse, StreamAppendError};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Clone)]
pub struct Handler(Arc<Inner>);

struct Inner {
    identity: Identity,
    members: BTreeSet<u64>,
    raft: RaftCell,
    registry: Registry,
    proposer: Proposer,
    reader: Reader,
    leases: LeaseKeeper,
    timers: TimerKeeper,
    state: StateHandle,
    suspicion: Suspicion,
    rollback: Rollback,
}

/// What a [`Handler`] is made of.
pub struct Parts {
    pub identity: Identity,
    pub members: BTreeSet<u64>,
    pub raft: RaftCell,
    pub registry: Registry,
    pub proposer: Proposer,
    pub reader: Reader,
    pub leases: LeaseKeeper,
    pub timers: TimerKeeper,
    pub state: StateHandle,
    pub suspicion: Suspicion,
    pub rollback: Rollback,
}

fn stopped<E: std::fmt::Display>(error: E) -> PeerError {
    PeerError::Refused(format!("consensus has stopped here: {error}"))
}

impl Handler {
    pub fn new(parts: Parts) -> Handler {
        let Parts { identity, members, raft, registry, proposer, reader, leases, timers, state, suspicion, rollback } =
            parts;
        Handler(Arc::new(Inner {
            identity,
            members,
            raft,
            registry,
            proposer,
            reader,
            leases,
            timers,
            state,
            suspicion,
            rollback,
        }))
    }

    pub(super) fn check(&self, ids: Ids) -> Result<(), PeerError> {
        let Identity { cluster_id, member_id, .. } = self.0.identity;
        ids.check(cluster_id, member_id, |id| self.0.members.contains(&id))
    }

    fn raft(&self) -> Result<&Raft, PeerError> {
        self.0.raft.get().ok_or_else(|| PeerError::Refused("this member is starting".into()))
    }

    /// As [`Handler::append`], if the ids are right.
    pub(crate) fn append_from(&self, ids: Ids, requests: AppendRequests) -> Result<AppendReplies, PeerError> {
        self.check(ids).inspect_err(|error| tracing::warn!(%error, "refused a peer's log"))?;
        self.append(ids.from, requests)
    }

    pub(super) fn append(&self, from: u64, requests: AppendRequests) -> Result<AppendReplies, PeerError> {
        let raft = self.raft()?;
        // What ended the requests, if it was not the sender's will: told after the replies that are still due.
        let broken = Arc::new(Mutex::new(None));
        let (note, suspicion) = (broken.clone(), self.0.suspicion.clone());
        let quiet = Arc::new(Quiet::default());
        let asked = quiet.clone();
        let requests = requests.scan((), move |(), request| {
            let request = request.and_then(|request| {
                asked.asked(request.quiet);
                convert::from_append(request)
            });
            let request = request.map_err(|error| {
                suspicion.broken(from);
                *note.lock() = Some(error);
            });
            std::future::ready(request.ok())
        });
        let rollback = self.0.rollback.clone();
        let replies = raft.stream_append(requests).filter_map(move |reply| {
            let accepted = matches!(reply, Ok(Ok(_)));
            if matches!(reply, Ok(Err(StreamAppendError::Conflict(_)))) {
                rollback.refused(from);
            }
            let told = !(quiet.answered() && accepted);
            std::future::ready(told.then(|| reply.map(convert::append_reply).map_err(stopped)))
        });
        let end = futures::stream::once(async move { broken.lock().take() }).filter_map(|e| async move { e.map(Err) });
        Ok(replies.chain(end).boxed())
    }

    pub(super) async fn heartbeat(&self, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError> {
        let request = convert::from_append(request)?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|e| e.log_id).or(previous);
        let reply: AppendEntriesResponse<_> = self.raft()?.append_entries(request).await.map_err(stopped)?;
        if reply.is_conflict() && previous.is_none() {
            return Err(PeerError::Refused("a conflict without a previous entry".into()));
        }
        Ok(convert::append_reply(reply.into_stream_result(previous, last)))
    }

    pub(super) async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError> {
        let pre_vote = request.pre_vote;
        let mut request = convert::from_vote_request(request)?;
        let raft = self.raft()?;
        if mutant!("vote-for-the-behind") {
            request.last_log_id = request.last_log_id.max(raft.data_metrics().borrow_watched().last_log);
        }
        let (asked, forgets) = (request.vote, mutant!("vote-not-synced") && !pre_vote);
        let reply = if pre_vote || forgets { raft.pre_vote(request).await } else { raft.vote(request).await };
        let mut reply = reply.map_err(stopped)?;
        if forgets && reply.vote_granted {
            reply.vote = asked;
        }
        Ok(convert::vote_reply(&reply))
    }

    pub(super) async fn transfer_leader(&self, request: pb::TransferRequest) -> Result<pb::TransferReply, PeerError> {
        let request = convert::from_transfer(request)?;
        let reply = self.raft()?.handle_transfer_leader(request).await.map_err(stopped::<Fatal<_>>)?;
        Ok(convert::transfer_reply(reply))
    }

    pub(super) async fn snapshot(
        &self,
        parts: BoxStream<'static, Result<pb::SnapshotPart, PeerError>>,
    ) -> Result<pb::SnapshotReply, PeerError> {
        let raft = self.raft()?;
        let (vote, snapshot) = snapshot::receive(&self.0.state, parts).await?;
        let reply = raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(pb::SnapshotReply { vote: Some(convert::vote(&reply.vote)) })
    }

    pub(super) async fn forward(&self, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError> {
        // An entry that cannot be decoded would stop every member: it does not get that far.
        let mut commands = 0;
        for segment in &request.segments {
            let checked = conclave_storage::proposal::check_segment(segment);
            commands += checked.map_err(|e| PeerError::Refused(e.to_string()))?;
        }
        use pb::forward_reply::Outcome;
        let outcome = match self.0.proposer.propose_for(request.term, request.segments, commands).await {
            super::Forwarded::Applied => Outcome::Applied,
            super::Forwarded::NotLeader => Outcome::NotLeader,
            super::Forwarded::Unknown => Outcome::Unknown,
        };
        Ok(pb::ForwardReply { outcome: outcome.into() })
    }

    pub(super) async fn read_index(&self) -> Result<pb::ReadIndexReply, PeerError> {
        let index = self.0.reader.index_as_leader().await;
        Ok(pb::ReadIndexReply { leader: index.is_some(), index: index.unwrap_or(0) })
    }

    fn keeper(&self, kept: pb::Kept) -> &Keeper {
        match kept {
            pb::Kept::Leases => self.0.leases.keeper(),
            pb::Kept::Timers => self.0.timers.keeper(),
        }
    }

    pub(super) async fn keep_alive(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveReply, PeerError> {
        let keeper = self.keeper(request.kept());
        match keeper.renew_here(&convert::from_keep_alive(request)).await {
            Ok(spans) => {
                let ttl_millis = spans.into_iter().map(whole_millis).collect();
                Ok(pb::KeepAliveReply { leader: true, ttl_millis })
            }
            Err(error) => refused(error).map(|()| pb::KeepAliveReply::default()),
        }
    }

    pub(super) async fn remaining(&self, request: pb::RemainingRequest) -> Result<pb::RemainingReply, PeerError> {
        match self.keeper(request.kept()).remaining_here(request.id).await {
            Ok(left) => {
                let milliseconds = left.map_or(0, whole_millis);
                Ok(pb::RemainingReply { leader: true, found: left.is_some(), milliseconds })
            }
            Err(error) => refused(error).map(|()| pb::RemainingReply::default()),
        }
    }

    /// A member registers itself and nobody else, so the registry has no more rows than the cluster has members.
    pub(super) async fn register(
        &self,
        from: u64,
        request: pb::RegisterRequest,
    ) -> Result<pb::RegisterReply, PeerError> {
        if request.member != from {
            return Err(PeerError::Refused(format!("{from:x} registers another member, {:x}", request.member)));
        }
        let (registry, witness) = (self.0.registry.clone(), self.0.rollback.witness().clone());
        // Durable before it is answered, so it waits for the disk: not on the event loop.
        let recorded = tokio::task::spawn_blocking(move || {
            let accepted = registry.register(request.member, request.incarnation)?;
            let known = witness.acknowledged(request.member)?.unwrap_or_default();
            let (acknowledged_term, acknowledged_index) = (known.term, known.index);
            std::io::Result::Ok(pb::RegisterReply { accepted, acknowledged_term, acknowledged_index })
        });
        let recorded = recorded.await.map_err(|_| PeerError::Unknown)?;
        recorded.map_err(|e| PeerError::Refused(format!("cannot record that: {e}")))
    }
}

/// Which requests of a stream are quiet, of those that were not answered yet; consensus answers in order.
#[derive(Default)]
struct Quiet(Mutex<VecDeque<bool>>);

impl Quiet {
    fn asked(&self, quiet: bool) {
        self.0.lock().push_back(quiet);
    }

    /// Whether the next answer is to a quiet one.
    fn answered(&self) -> bool {
        self.0.lock().pop_front().unwrap_or(false)
    }
}

/// A read that failed here: the caller asks whoever leads now, unless this node is broken.
fn refused(error: ReadError) -> Result<(), PeerError> {
    match error {
        ReadError::NoLeader | ReadError::LeaderChanged => Ok(()),
        ReadError::TimedOut => Err(PeerError::Unknown),
        ReadError::Stopped | ReadError::Fault(_) => Err(PeerError::Refused(error.to_string())),
    }
}
