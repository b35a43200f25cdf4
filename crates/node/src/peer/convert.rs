//! Converts between openraft's messages and the peer protocol without loss. A message that lacks a
//! required field is an error.

use super::pb;
use super::transport::PeerError;
use crate::keeper::{Kind, RenewRequest, whole_millis};
use crate::membership_change::{Change, ChangeError, Changed};
use conclave_state::{Supports, Version};
use conclave_storage::failpoint::failpoint;
use conclave_storage::proposal::Pack;
use conclave_storage::types::{self, C, Entry, LogId, MemberNode, Membership, Payload, Vote};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn missing(what: &str) -> PeerError {
    PeerError::Refused(format!("a peer message without {what}"))
}

pub(super) fn log_id(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(super) fn from_log_id(id: pb::LogId) -> LogId {
    types::log_id(id.term, id.index)
}

pub(super) fn vote(vote: &Vote) -> pb::BallotVote {
    pb::BallotVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn from_vote(vote: Option<pb::BallotVote>) -> Result<Vote, PeerError> {
    let vote = vote.ok_or_else(|| missing("a vote"))?;
    Ok(types::vote(vote.term, vote.node, vote.committed))
}

// ---- versions ----

pub(super) fn supports(supports: &Supports) -> pb::Supports {
    let Supports { oldest, newest, peer_protocol, command_form, disk_format } = *supports;
    pb::Supports { oldest: oldest.packed(), newest: newest.packed(), peer_protocol, command_form, disk_format }
}

/// What a member does not say is as in the first version.
pub(super) fn from_supports(supports: Option<pb::Supports>) -> Supports {
    let pb::Supports { oldest, newest, peer_protocol, command_form, disk_format } = supports.unwrap_or_default();
    let version = |packed| Version::unpacked(packed).unwrap_or(Version::FIRST);
    Supports { oldest: version(oldest), newest: version(newest), peer_protocol, command_form, disk_format }
}

// ---- entries ----

pub(super) fn membership(membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter();
    let configs = configs.map(|ids| pb::membership::Voters { ids: ids.iter().copied().collect() }).collect();
    let nodes = membership.nodes().map(|(id, node)| pb::membership::Node {
        id: *id,
        name: node.name.clone(),
        peer_urls: node.peer_urls.clone(),
    });
    pb::Membership { configs, nodes: nodes.collect() }
}

pub(super) fn from_membership(membership: pb::Membership) -> Result<Membership, PeerError> {
    let configs: Vec<BTreeSet<u64>> = membership.configs.into_iter().map(|c| c.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, MemberNode> = membership.nodes.into_iter().map(from_node).collect();
    Membership::new(configs, nodes).map_err(|e| PeerError::Refused(format!("an impossible membership: {e}")))
}

pub(super) fn node(id: u64, node: &MemberNode) -> pb::membership::Node {
    pb::membership::Node { id, name: node.name.clone(), peer_urls: node.peer_urls.clone() }
}

pub(super) fn from_node(node: pb::membership::Node) -> (u64, MemberNode) {
    (node.id, MemberNode { name: node.name, peer_urls: node.peer_urls })
}

pub(super) fn change(change: &Change) -> pb::ChangeRequest {
    use pb::change_request::{Add, Change as Sent, Update};
    let change = match change.clone() {
        Change::Add { peer_urls, learner } => Sent::Add(Add { peer_urls, learner }),
        Change::Remove { id } => Sent::Remove(id),
        Change::Update { id, peer_urls } => Sent::Update(Update { id, peer_urls }),
        Change::Promote { id } => Sent::Promote(id),
    };
    pb::ChangeRequest { change: Some(change) }
}

pub(super) fn from_change(request: pb::ChangeRequest) -> Result<Change, PeerError> {
    use pb::change_request::Change as Sent;
    Ok(match request.change.ok_or_else(|| missing("a change"))? {
        Sent::Add(add) => Change::Add { peer_urls: add.peer_urls, learner: add.learner },
        Sent::Remove(id) => Change::Remove { id },
        Sent::Update(update) => Change::Update { id: update.id, peer_urls: update.peer_urls },
        Sent::Promote(id) => Change::Promote { id },
    })
}

/// The outcomes and the errors that they are.
const OUTCOMES: [(pb::change_reply::Outcome, ChangeError); 12] = {
    use pb::change_reply::Outcome;
    [
        (Outcome::Unknown, ChangeError::TimedOut),
        (Outcome::NotLeader, ChangeError::NotLeader),
        (Outcome::UrlsExist, ChangeError::UrlsExist),
        (Outcome::NotFound, ChangeError::NotFound),
        (Outcome::NotLearner, ChangeError::NotLearner),
        (Outcome::NotInSync, ChangeError::NotInSync),
        (Outcome::TooManyLearners, ChangeError::TooManyLearners),
        (Outcome::NotEnoughStarted, ChangeError::NotEnoughStarted),
        (Outcome::AtRisk, ChangeError::AtRisk),
        (Outcome::Unhealthy, ChangeError::Unhealthy),
        (Outcome::InvalidUrls, ChangeError::InvalidUrls),
        (Outcome::IdExists, ChangeError::IdExists),
    ]
};

pub(super) fn change_reply(done: Result<Changed, ChangeError>) -> pb::ChangeReply {
    use pb::change_reply::Outcome;
    match done {
        Ok(Changed { id, index, membership: members }) => {
            pb::ChangeReply { outcome: Outcome::Done.into(), id, index, membership: Some(membership(&members)) }
        }
        Err(error) => {
            let outcome =
                OUTCOMES.iter().find(|(_, known)| *known == error).map_or(Outcome::NotLeader, |(told, _)| *told);
            pb::ChangeReply { outcome: outcome.into(), ..Default::default() }
        }
    }
}

pub(super) fn from_change_reply(reply: Result<pb::ChangeReply, PeerError>) -> Result<Changed, ChangeError> {
    let reply = reply.map_err(|error| match error {
        PeerError::Unknown => ChangeError::TimedOut,
        PeerError::Unreachable | PeerError::NotLeader | PeerError::Refused(_) => ChangeError::NotLeader,
    })?;
    if let Some((_, error)) = OUTCOMES.iter().find(|(told, _)| *told == reply.outcome()) {
        return Err(*error);
    }
    let membership = from_membership(reply.membership.unwrap_or_default()).map_err(|_| ChangeError::TimedOut)?;
    Ok(Changed { id: reply.id, index: reply.index, membership })
}

fn entry(entry: Entry) -> pb::Entry {
    let payload = match entry.payload {
        Payload::Blank => None,
        Payload::Normal(pack) => Some(pb::entry::Payload::Pack(pack.0)),
        Payload::Membership(m) => {
            failpoint!("change-before-send");
            Some(pb::entry::Payload::Membership(membership(&m)))
        }
    };
    pb::Entry { term: entry.log_id.committed_leader_id().term, index: entry.log_id.index(), payload }
}

fn from_entry(entry: pb::Entry) -> Result<Entry, PeerError> {
    let payload = match entry.payload {
        None => Payload::Blank,
        Some(pb::entry::Payload::Pack(bytes)) => Payload::Normal(Pack(bytes)),
        Some(pb::entry::Payload::Membership(m)) => Payload::Membership(from_membership(m)?),
    };
    Ok(Entry { log_id: types::log_id(entry.term, entry.index), payload })
}

// ---- append ----

/// `version` is the cluster's, as this member has applied it.
pub(super) fn append(request: AppendEntriesRequest<C>, version: u32) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        commit: request.leader_commit.as_ref().map(log_id),
        entries: request.entries.into_iter().map(entry).collect(),
        quiet: false,
        version,
    }
}

pub(super) fn from_append(request: pb::AppendRequest) -> Result<AppendEntriesRequest<C>, PeerError> {
    Ok(AppendEntriesRequest {
        vote: from_vote(request.vote)?,
        prev_log_id: request.previous.map(from_log_id),
        leader_commit: request.commit.map(from_log_id),
        entries: request.entries.into_iter().map(from_entry).collect::<Result<_, _>>()?,
    })
}

pub(super) fn append_reply(result: StreamAppendResult<C>) -> pb::AppendReply {
    match result {
        Ok(matched) => pb::AppendReply { matched: matched.as_ref().map(log_id), ..Default::default() },
        Err(StreamAppendError::Conflict(id)) => pb::AppendReply { conflict: Some(log_id(&id)), ..Default::default() },
        Err(StreamAppendError::HigherVote(v)) => pb::AppendReply { higher: Some(vote(&v)), ..Default::default() },
    }
}

pub(super) fn from_append_reply(reply: pb::AppendReply) -> Result<StreamAppendResult<C>, PeerError> {
    Ok(match (reply.higher, reply.conflict) {
        (Some(higher), _) => Err(StreamAppendError::HigherVote(from_vote(Some(higher))?)),
        (_, Some(id)) => Err(StreamAppendError::Conflict(from_log_id(id))),
        _ => Ok(reply.matched.map(from_log_id)),
    })
}

// ---- votes and transfer ----

pub(super) fn vote_request(request: &VoteRequest<C>, pre_vote: bool) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(super) fn from_vote_request(request: pb::VoteRequest) -> Result<VoteRequest<C>, PeerError> {
    let mut vote_request = VoteRequest::new(from_vote(request.vote)?, request.last.map(from_log_id));
    vote_request.leadership_transfer = request.leadership_transfer;
    Ok(vote_request)
}

pub(super) fn vote_reply(reply: &VoteResponse<C>) -> pb::VoteReply {
    let last = reply.last_log_id.as_ref().map(log_id);
    pb::VoteReply { vote: Some(vote(&reply.vote)), last, granted: reply.vote_granted }
}

pub(super) fn from_vote_reply(reply: pb::VoteReply) -> Result<VoteResponse<C>, PeerError> {
    let vote = from_vote(reply.vote)?;
    Ok(VoteResponse { vote, vote_granted: reply.granted, last_log_id: reply.last.map(from_log_id) })
}

pub(super) fn transfer(request: &TransferLeaderRequest<C>) -> pb::TransferRequest {
    pb::TransferRequest {
        from: Some(vote(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id),
    }
}

pub(super) fn from_transfer(request: pb::TransferRequest) -> Result<TransferLeaderRequest<C>, PeerError> {
    Ok(TransferLeaderRequest::new(from_vote(request.from)?, request.to, request.last.map(from_log_id)))
}

pub(super) fn transfer_reply(reply: TransferLeaderResponse<C>) -> pb::TransferReply {
    use pb::transfer_reply::{NotFlushed, Rejected, VoteChanged};
    let rejected = match reply {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Some(Rejected::VoteChanged(VoteChanged { expected: Some(vote(&expected)), actual: Some(vote(&actual)) }))
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Some(Rejected::NotFlushed(NotFlushed {
            expected: expected.as_ref().map(log_id),
            actual: actual.as_ref().map(log_id),
        })),
    };
    pb::TransferReply { rejected }
}

pub(super) fn from_transfer_reply(reply: pb::TransferReply) -> Result<TransferLeaderResponse<C>, PeerError> {
    use pb::transfer_reply::Rejected;
    Ok(match reply.rejected {
        None => Ok(()),
        Some(Rejected::VoteChanged(v)) => {
            Err(TransferLeaderError::VoteChanged { expected: from_vote(v.expected)?, actual: from_vote(v.actual)? })
        }
        Some(Rejected::NotFlushed(l)) => Err(TransferLeaderError::LogNotFlushed {
            expected: l.expected.map(from_log_id),
            actual: l.actual.map(from_log_id),
        }),
    })
}

// ---- renewals ----

pub(super) fn kept(kind: Kind) -> pb::Kept {
    match kind {
        Kind::Leases => pb::Kept::Leases,
        Kind::Timers => pb::Kept::Timers,
    }
}

/// Spans are omitted if every renewal is for the full span, as for leases.
pub(super) fn keep_alive(kind: Kind, requests: &[RenewRequest]) -> pb::KeepAliveRequest {
    let millis = |request: &RenewRequest| request.span.map_or(u64::MAX, whole_millis);
    let partial = requests.iter().any(|request| request.span.is_some());
    pb::KeepAliveRequest {
        ids: requests.iter().map(|request| request.id).collect(),
        kept: kept(kind).into(),
        span_millis: if partial { requests.iter().map(millis).collect() } else { vec![] },
    }
}

pub(super) fn from_keep_alive(request: pb::KeepAliveRequest) -> Vec<RenewRequest> {
    let spans = request.span_millis.into_iter().map(|millis| Some(Duration::from_millis(millis)));
    let spans = spans.chain(std::iter::repeat(None));
    request.ids.into_iter().zip(spans).map(|(id, span)| RenewRequest { id, span }).collect()
}
