//! Handles the calls of peers, independent of the transport.
//!
//! It exists before consensus runs, because a starting member already answers
//! [`Handler::register`]. Until then calls that need consensus are refused; to the caller that
//! looks like a member that does not listen yet.

use super::identity::Ids;
use super::snapshot::{self, Receiving};
use super::suspicion::Suspicion;
use super::traffic::Traffic;
use super::transport::{AppendReplies, AppendRequests, PeerError};
use super::validate::{At, Known, MAX_URLS, Refusal, Rules};
use super::{convert, pb};
use crate::announcing::{self, AnnounceError};
use crate::keeper::{Deadlines, Keeper, Leases, Timers, whole_millis};
use crate::leadership::RaftCell;
use crate::membership::{MembershipChanges, same_addresses};
use crate::proposer::Proposer;
use crate::reader::{ReadError, Reader};
use crate::rollback::Rollback;
use crate::versions::Versions;
use conclave_net::throttle::Throttle;
use conclave_state::{Admission, Command, Join, Response, read};
use conclave_storage::failpoint::failpoint;
use conclave_storage::types::{C, Raft};
use conclave_storage::{Identity, Registry, StateHandle};
use futures::stream::{BoxStream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Clone)]
pub struct Handler(Arc<Inner>);

struct Inner {
    parts: Parts,
    receiving: Receiving,
    refusals: Throttle,
}

/// The parts of a [`Handler`].
pub struct Parts {
    pub identity: Identity,
    /// The origin of this process's own segments.
    pub origin: u64,
    pub rules: Arc<Rules>,
    pub raft: RaftCell,
    pub registry: Registry,
    pub proposer: Proposer,
    pub reader: Reader,
    pub leases: Deadlines<Leases>,
    pub timers: Deadlines<Timers>,
    pub state: StateHandle,
    pub suspicion: Suspicion,
    pub rollback: Rollback,
    pub membership: MembershipChanges,
    pub versions: Versions,
    pub traffic: Traffic,
}

/// This member's own log says why it stopped.
fn stopped<E>(_: E) -> PeerError {
    PeerError::Refused("consensus has stopped here".to_owned())
}

impl Handler {
    pub fn new(parts: Parts) -> Handler {
        Handler(Arc::new(Inner { parts, receiving: Receiving::default(), refusals: Throttle::default() }))
    }

    /// Whether the sender is another member of this cluster and the call is for this member.
    pub(super) fn check(&self, ids: Ids) -> Result<(), PeerError> {
        let Identity { cluster_id, member_id, .. } = self.parts().identity;
        let checked = ids.check(cluster_id, member_id, |id| self.parts().rules.was_removed(id));
        checked.map_err(|refusal| self.refuse(ids.from, "ids", refusal))
    }

    /// Whether the call is for this member.
    pub(super) fn check_address(&self, ids: Ids) -> Result<(), PeerError> {
        let Identity { cluster_id, member_id, .. } = self.parts().identity;
        ids.check_address(cluster_id, member_id).map_err(|refusal| self.refuse(ids.from, "ids", refusal))
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn raft(&self) -> Result<&Raft, PeerError> {
        self.parts().raft.get().ok_or_else(|| PeerError::Refused("this member is starting".into()))
    }

    /// The knowledge that messages of peers are validated against.
    fn known(&self) -> Known {
        let Some(raft) = self.parts().raft.get() else { return Known::default() };
        // Read in this order, so that the committed entry is not of a later term than the vote.
        let committed = raft.data_metrics().borrow_watched().local_committed;
        let term = raft.server_metrics().borrow_watched().vote.leader_id.term;
        let committed = committed.map(|id| At { term: id.committed_leader_id().term, index: id.index() });
        Known { term, committed }
    }

    /// Logs a refusal, unless there were many.
    fn refuse(&self, from: u64, what: &'static str, refusal: Refusal) -> PeerError {
        if let Some(suppressed) = self.0.refusals.admit() {
            tracing::warn!(from = %format_args!("{from:x}"), what, %refusal, suppressed, "refused what a peer sent");
        }
        refusal.into()
    }

    /// Like [`Handler::append`], after a check of the ids.
    pub(crate) fn append_from(&self, ids: Ids, requests: AppendRequests) -> Result<AppendReplies, PeerError> {
        self.check(ids)?;
        self.append(ids.from, requests)
    }

    /// Validates and converts one append request for consensus.
    fn accept(&self, from: u64, request: pb::AppendRequest) -> Result<AppendEntriesRequest<C>, PeerError> {
        let checked = self.parts().rules.append(from, &request, self.known());
        checked.map_err(|refusal| self.refuse(from, "append", refusal))?;
        convert::from_append(request)
    }

    pub(super) fn append(&self, from: u64, requests: AppendRequests) -> Result<AppendReplies, PeerError> {
        let raft = self.raft()?;
        // The error that broke the request stream, reported after the replies that are still due.
        let broken = Arc::new(Mutex::new(None));
        let (note, handler) = (broken.clone(), self.clone());
        let quiet = Arc::new(Quiet::default());
        let asked = quiet.clone();
        let figures = self.parts().traffic.of(from);
        let requests = requests.scan((), move |(), request| {
            // A broken connection, and nothing else, suggests that the sender is gone.
            let request = request.inspect_err(|_| handler.parts().suspicion.broken(from));
            let request = request.and_then(|request| {
                asked.asked(request.quiet);
                figures.receives(&request);
                handler.accept(from, request)
            });
            std::future::ready(request.map_err(|error| *note.lock() = Some(error)).ok())
        });
        let rollback = self.parts().rollback.clone();
        let replies = raft.stream_append(requests).then(move |reply| {
            let rollback = rollback.clone();
            async move {
                if matches!(reply, Ok(Err(StreamAppendError::Conflict(_)))) {
                    rollback.refuses(from).await;
                }
                reply
            }
        });
        let replies = replies.filter_map(move |reply| {
            let accepted = matches!(reply, Ok(Ok(_)));
            let told = !(quiet.answered() && accepted);
            std::future::ready(told.then(|| reply.map(convert::append_reply).map_err(stopped)))
        });
        let end = futures::stream::once(async move { broken.lock().take() }).filter_map(|e| async move { e.map(Err) });
        Ok(replies.chain(end).boxed())
    }

    pub(super) async fn heartbeat(&self, from: u64, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError> {
        self.parts().traffic.of(from).is_heard();
        let checked = self.parts().rules.heartbeat(from, &request, self.known());
        checked.map_err(|refusal| self.refuse(from, "heartbeat", refusal))?;
        let request = convert::from_append(request)?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|e| e.log_id).or(previous);
        let reply: AppendEntriesResponse<_> = self.raft()?.append_entries(request).await.map_err(stopped)?;
        if reply.is_conflict() && previous.is_none() {
            return Err(PeerError::Refused("a conflict without a previous entry".into()));
        }
        if reply.is_conflict() {
            self.parts().rollback.refuses(from).await;
        }
        Ok(convert::append_reply(reply.into_stream_result(previous, last)))
    }

    pub(super) async fn vote(&self, from: u64, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError> {
        let checked = self.parts().rules.vote(from, &request, self.known());
        checked.map_err(|refusal| self.refuse(from, "vote", refusal))?;
        let pre_vote = request.pre_vote;
        let request = convert::from_vote_request(request)?;
        let raft = self.raft()?;
        let reply = if pre_vote { raft.pre_vote(request).await } else { raft.vote(request).await };
        Ok(convert::vote_reply(&reply.map_err(stopped)?))
    }

    pub(super) async fn transfer_leader(
        &self,
        from: u64,
        request: pb::TransferRequest,
    ) -> Result<pb::TransferReply, PeerError> {
        let checked = self.parts().rules.transfer(from, &request, self.known());
        checked.map_err(|refusal| self.refuse(from, "transfer", refusal))?;
        let request = convert::from_transfer(request)?;
        let reply = self.raft()?.handle_transfer_leader(request).await.map_err(stopped::<Fatal<_>>)?;
        Ok(convert::transfer_reply(reply))
    }

    pub(super) async fn snapshot(
        &self,
        from: u64,
        parts: BoxStream<'static, Result<pb::SnapshotPart, PeerError>>,
    ) -> Result<pb::SnapshotReply, PeerError> {
        let raft = self.raft()?;
        let check = |head: &pb::snapshot_part::Head| {
            let checked = self.parts().rules.snapshot(from, head, self.known());
            checked.map_err(|refusal| self.refuse(from, "snapshot", refusal))
        };
        let (vote, snapshot) = snapshot::receive(&self.parts().state, &self.0.receiving, check, parts).await?;
        let reply = raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(pb::SnapshotReply { vote: Some(convert::vote(&reply.vote)) })
    }

    pub(super) async fn forward(&self, from: u64, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError> {
        // Segments are checked first, because an entry that cannot be decoded would stop every
        // member.
        let checked = self.parts().rules.forward(&request, self.parts().origin);
        let commands = checked.map_err(|refusal| self.refuse(from, "forward", refusal))?;
        use pb::forward_reply::Outcome;
        let outcome = match self.parts().proposer.propose_for(request.term, request.segments, commands).await {
            super::Forwarded::Applied => Outcome::Applied,
            super::Forwarded::NotLeader => Outcome::NotLeader,
            super::Forwarded::Unknown => Outcome::Unknown,
        };
        Ok(pb::ForwardReply { outcome: outcome.into() })
    }

    pub(super) async fn read_index(&self) -> Result<pb::ReadIndexReply, PeerError> {
        let index = self.parts().reader.index_as_leader().await;
        Ok(pb::ReadIndexReply { leader: index.is_some(), index: index.unwrap_or(0) })
    }

    fn keeper(&self, kept: pb::Kept) -> &Keeper {
        match kept {
            pb::Kept::Leases => self.parts().leases.keeper(),
            pb::Kept::Timers => self.parts().timers.keeper(),
        }
    }

    pub(super) async fn keep_alive(
        &self,
        from: u64,
        request: pb::KeepAliveRequest,
    ) -> Result<pb::KeepAliveReply, PeerError> {
        let checked = self.parts().rules.keep_alive(&request);
        checked.map_err(|refusal| self.refuse(from, "keep-alive", refusal))?;
        let keeper = self.keeper(request.kept());
        match keeper.renew_here(&convert::from_keep_alive(request)).await {
            Ok(spans) => {
                let ttl_millis = spans.into_iter().map(whole_millis).collect();
                Ok(pb::KeepAliveReply { leader: true, ttl_millis })
            }
            Err(error) => refused(error).map(|()| pb::KeepAliveReply::default()),
        }
    }

    pub(super) async fn remaining(
        &self,
        from: u64,
        request: pb::RemainingRequest,
    ) -> Result<pb::RemainingReply, PeerError> {
        let checked = self.parts().rules.remaining(&request);
        checked.map_err(|refusal| self.refuse(from, "remaining", refusal))?;
        match self.keeper(request.kept()).remaining_here(request.id).await {
            Ok(left) => {
                let milliseconds = left.map_or(0, whole_millis);
                Ok(pb::RemainingReply { leader: true, found: left.is_some(), milliseconds })
            }
            Err(error) => refused(error).map(|()| pb::RemainingReply::default()),
        }
    }

    pub(super) async fn register(
        &self,
        from: u64,
        request: pb::RegisterRequest,
    ) -> Result<pb::RegisterReply, PeerError> {
        let checked = self.parts().rules.register(from, &request);
        checked.map_err(|refusal| self.refuse(from, "register", refusal))?;
        let view = self.parts().state.view();
        if read::was_removed(&view, from).map_err(|fault| PeerError::Refused(fault.to_string()))? {
            return Ok(pb::RegisterReply { removed: true, ..Default::default() });
        }
        let version = self.parts().versions.packed();
        let (registry, witness) = (self.parts().registry.clone(), self.parts().rollback.witness().clone());
        // It must be durable before the answer, so it waits for the disk, off the event loop.
        let recorded = tokio::task::spawn_blocking(move || {
            let accepted = registry.register(request.member, request.incarnation)?;
            let known = witness.acknowledged(request.member)?.unwrap_or_default();
            let (acknowledged_term, acknowledged_index) = (known.term, known.index);
            let removed = false;
            let reply = pb::RegisterReply { accepted, acknowledged_term, acknowledged_index, removed, version };
            std::io::Result::Ok(reply)
        });
        let recorded = recorded.await.map_err(|_| PeerError::Unknown)?;
        recorded.map_err(|e| PeerError::Refused(format!("cannot record that: {e}")))
    }

    /// Who the member at these URLs is, by a linearizable read: an outdated answer could name a
    /// member that was removed and had the same URLs. Who knows no member's URLs learns nothing.
    pub(super) async fn members(&self, request: pb::MembersRequest) -> Result<pb::MembersReply, PeerError> {
        self.raft()?;
        self.parts().reader.barrier().await.map_err(|error| PeerError::Refused(error.to_string()))?;
        let members = self.parts().membership.applied().await;
        let members = members.map_err(|error| PeerError::Refused(error.to_string()))?;
        let asked: Vec<String> = request.peer_urls.into_iter().take(MAX_URLS + 1).collect();
        let Some(own) = members.iter().find(|(_, node, _)| same_addresses(&node.peer_urls, &asked)) else {
            return Ok(pb::MembersReply::default());
        };
        let nodes = members.iter().map(|(id, node, _)| convert::node(*id, node)).collect();
        Ok(pb::MembersReply { found: true, cluster: self.parts().identity.cluster_id, member: own.0, nodes })
    }

    pub(super) async fn join(&self, from: u64, request: pb::JoinRequest) -> Result<pb::JoinReply, PeerError> {
        use pb::join_reply::Admission as Told;
        let checked = self.parts().rules.join(from, &request);
        checked.map_err(|refusal| self.refuse(from, "join", refusal))?;
        self.raft()?;
        let known = self.parts().membership.members().iter().any(|(id, ..)| *id == from);
        if known && let Err(told) = self.announce(from, request.supports).await {
            return Ok(told);
        }
        let join = Join { member: request.member, incarnation: request.incarnation };
        // A repetition has the same answer.
        failpoint!("join-before-proposal");
        let outcome = self.parts().proposer.propose(Command::Join(join)).await;
        failpoint!("join-after-proposal");
        let told = match outcome.map(|applied| applied.outcome.result) {
            Ok(Ok(Response::Join(Admission::Admitted))) => Told::Admitted,
            Ok(Ok(Response::Join(Admission::Taken))) => Told::Taken,
            Ok(Ok(Response::Join(Admission::Removed))) => Told::Removed,
            Ok(Ok(Response::Join(Admission::Unknown))) => Told::NotAdded,
            _ => Told::Later,
        };
        Ok(pb::JoinReply { admission: told.into(), version: 0 })
    }

    /// Before a member is admitted, the cluster knows what it supports; or the answer to the
    /// member.
    async fn announce(&self, member: u64, supports: Option<pb::Supports>) -> Result<(), pb::JoinReply> {
        use pb::join_reply::Admission as Told;
        let supports = convert::from_supports(supports);
        let told = |admission: Told, version| pb::JoinReply { admission: admission.into(), version };
        match announcing::announce(member, supports, &self.parts().proposer).await {
            Ok(()) => Ok(()),
            Err(AnnounceError::Unsupported(why)) => Err(told(Told::Unsupported, why.cluster.packed())),
            Err(_) => Err(told(Told::Later, 0)),
        }
    }

    pub(super) async fn change(&self, request: pb::ChangeRequest) -> Result<pb::ChangeReply, PeerError> {
        let change = convert::from_change(request)?;
        Ok(convert::change_reply(self.parts().membership.change_as_leader(change).await))
    }
}

/// Which unanswered requests of a stream are quiet. Consensus answers in order.
#[derive(Default)]
struct Quiet(Mutex<VecDeque<bool>>);

impl Quiet {
    fn asked(&self, quiet: bool) {
        self.0.lock().push_back(quiet);
    }

    /// Whether the next answer is to a quiet request.
    fn answered(&self) -> bool {
        self.0.lock().pop_front().unwrap_or(false)
    }
}

/// A read failed here. The caller asks the current leader, unless this node is broken.
fn refused(error: ReadError) -> Result<(), PeerError> {
    match error {
        ReadError::NoLeader | ReadError::LeaderChanged => Ok(()),
        ReadError::TimedOut => Err(PeerError::Unknown),
        ReadError::Stopped | ReadError::Fault(_) => Err(PeerError::Refused(error.to_string())),
    }
}
