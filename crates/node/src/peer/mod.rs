//! Communication between the members of the cluster.
//!
//! ```text
//! openraft ─ client ─┐                          ┌─ grpc, log ─ service ─┐
//! proposer, reader ──┴─ Peers ─ Transport/Link ─┤                       ├─ Handler ─ openraft, proposer, reader, leases, registry
//!                                               └─ memory ──────────────┘
//! ```
//!
//! 1. Both transports carry the same messages ([`pb`]). A test cluster in one process runs
//!    everything except the sockets.
//! 2. Every call has a deadline. A stream has one while a reply is due.
//! 3. The error of a call says whether the call may have had an effect: [`PeerError`].
//! 4. Requests and replies of peers are validated before they are used: [`validate`].

mod acknowledged;
pub mod client;
mod convert;
pub(crate) mod follow;
#[cfg(test)]
mod fuzz;
pub mod grpc;
pub mod handler;
pub mod identity;
pub mod listen;
pub(crate) mod log;
pub mod memory;
mod names;
mod pace;
pub mod proof;
mod refusal;
pub(crate) mod schemes;
pub mod sending;
pub mod service;
mod session;
mod snapshot;
mod stream;
pub mod suspicion;
pub mod target;
mod terms;
pub mod traffic;
pub mod transport;
pub mod validate;

pub use conclave_peer_api as pb;

use crate::keeper::{Id, Kind, RenewRequest};
use crate::membership_change::{Change, ChangeError, Changed};
use crate::supported::{Unsupported, judge};
use conclave_state::Admission;
use conclave_storage::Acknowledged;
use conclave_storage::types::MemberNode;
use conclave_storage::versions;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use traffic::{Counted, Traffic};
use transport::{Link, Transport};

pub use transport::PeerError;

/// The result of a forwarded batch of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The leader has applied them. This member receives them with the log.
    Applied,
    /// Nothing was proposed.
    NotLeader,
    /// They may be in the log.
    Unknown,
}

/// Calls to the peers, by member id. Who they are follows the membership.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    me: u64,
    transport: Box<dyn Transport>,
    traffic: Traffic,
    links: RwLock<BTreeMap<u64, Peer>>,
}

struct Peer {
    node: MemberNode,
    link: Arc<dyn Link>,
}

impl Peers {
    /// Creates links to every member but `me`, without connecting.
    pub fn new(me: u64, members: &BTreeMap<u64, MemberNode>, transport: Box<dyn Transport>) -> Peers {
        let peers = Peers(Arc::new(Inner { me, transport, traffic: Traffic::default(), links: RwLock::default() }));
        members.iter().for_each(|(id, node)| peers.learn(*id, node));
        peers
    }

    pub fn ids(&self) -> Vec<u64> {
        self.0.links.read().keys().copied().collect()
    }

    /// What passes between this member and the others, for metrics.
    pub fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    pub(crate) fn link(&self, to: u64) -> Result<Arc<dyn Link>, PeerError> {
        self.0.links.read().get(&to).map(|peer| peer.link.clone()).ok_or(PeerError::Unreachable)
    }

    /// Name and URLs, for messages.
    pub(crate) fn name_of(&self, id: u64) -> String {
        self.0.links.read().get(&id).map_or_else(|| format!("{id:x}"), |peer| peer.node.to_string())
    }

    /// There is a link to this member at these URLs from now on.
    pub(crate) fn learn(&self, id: u64, node: &MemberNode) {
        if id == self.0.me || self.0.links.read().get(&id).is_some_and(|peer| peer.node.peer_urls == node.peer_urls) {
            return;
        }
        let link = Arc::new(Counted::new(self.0.transport.link(id, node), self.0.traffic.of(id)));
        self.0.links.write().insert(id, Peer { node: node.clone(), link });
    }

    /// Exactly these are the members from now on.
    pub(crate) fn follow(&self, members: &BTreeMap<u64, MemberNode>) {
        self.0.links.write().retain(|id, _| members.contains_key(id));
        members.iter().for_each(|(id, node)| self.learn(*id, node));
    }

    /// Forwards segments to the leader of `term`. It has no deadline: the caller gives up when the
    /// term is over.
    pub async fn forward(&self, to: u64, term: u64, segments: Vec<bytes::Bytes>) -> Result<Forwarded, PeerError> {
        let reply = self.link(to)?.forward(pb::ForwardRequest { term, segments }).await?;
        Ok(match reply.outcome() {
            pb::forward_reply::Outcome::Applied => Forwarded::Applied,
            pb::forward_reply::Outcome::NotLeader => Forwarded::NotLeader,
            pb::forward_reply::Outcome::Unknown => Forwarded::Unknown,
        })
    }

    /// The leader's read index, confirmed by a quorum round that began after this call.
    pub async fn read_index(&self, to: u64, within: Duration) -> Result<u64, PeerError> {
        let reply = timed(within, self.link(to)?.read_index(pb::ReadIndexRequest {})).await?;
        validate::read_index(&reply)?;
        reply.leader.then_some(reply.index).ok_or(PeerError::NotLeader)
    }

    /// The remaining life of each after this renewal, in order; zero if it is gone.
    pub async fn renew(&self, to: u64, kind: Kind, requests: &[RenewRequest]) -> Result<Vec<Duration>, PeerError> {
        let reply = timed(CALL, self.link(to)?.keep_alive(convert::keep_alive(kind, requests))).await?;
        match reply.leader && reply.ttl_millis.len() == requests.len() {
            true => Ok(reply.ttl_millis.into_iter().map(span).collect()),
            false => Err(PeerError::NotLeader),
        }
    }

    /// The remaining life; `None` if there is no such id.
    pub async fn remaining(&self, to: u64, kind: Kind, id: Id) -> Result<Option<Duration>, PeerError> {
        let kept = convert::kept(kind).into();
        let reply = timed(CALL, self.link(to)?.remaining(pb::RemainingRequest { id, kept })).await?;
        let left = reply.found.then(|| span(reply.milliseconds));
        reply.leader.then_some(left).ok_or(PeerError::NotLeader)
    }

    /// Registers a member's incarnation with the peer.
    pub async fn register(&self, to: u64, member: u64, incarnation: u64) -> Result<Registered, PeerError> {
        let reply = timed(CALL, self.link(to)?.register(pb::RegisterRequest { member, incarnation })).await?;
        let known = Acknowledged { term: reply.acknowledged_term, index: reply.acknowledged_index };
        if let Err(why) = judge(reply.version) {
            return Ok(Registered::Unsupported(why));
        }
        Ok(match (reply.removed, reply.accepted) {
            (true, _) => Registered::Removed,
            (false, true) => Registered::Accepted(known),
            (false, false) => Registered::Other,
        })
    }

    /// Asks through the peer to be admitted as an added member.
    pub async fn join(&self, to: u64, member: u64, incarnation: u64) -> Result<Joined, PeerError> {
        use pb::join_reply::Admission as Told;
        let supports = Some(convert::supports(&versions::supports()));
        let reply = timed(CHANGE, self.link(to)?.join(pb::JoinRequest { member, incarnation, supports })).await?;
        Ok(match reply.admission() {
            Told::Later => Joined::Later,
            Told::Admitted => Joined::Answer(Admission::Admitted),
            Told::Taken => Joined::Answer(Admission::Taken),
            Told::Removed => Joined::Answer(Admission::Removed),
            Told::NotAdded => Joined::Answer(Admission::Unknown),
            // It says so of a version that this program does support: what it knows may have
            // changed.
            Told::Unsupported => judge(reply.version).map_or_else(Joined::Unsupported, |()| Joined::Later),
        })
    }

    /// Has the leader change the membership.
    pub(crate) async fn change(&self, to: u64, change: &Change) -> Result<Changed, ChangeError> {
        let call = async { timed(CHANGE, self.link(to)?.change(convert::change(change))).await };
        convert::from_change_reply(call.await)
    }
}

/// What a peer knows of a member that registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is this incarnation, which has acknowledged so much to the peer.
    Accepted(Acknowledged),
    /// The peer has another incarnation on record.
    Other,
    /// The member was removed from the cluster.
    Removed,
    /// This member's program does not support the cluster's version.
    Unsupported(Unsupported),
}

/// The answer to an added member that wants to take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It could not be asked for now.
    Later,
    Answer(Admission),
    /// This member's program does not support the cluster's version.
    Unsupported(Unsupported),
}

/// The member of a running cluster that a new process is, and all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub cluster: u64,
    pub member: u64,
    pub nodes: BTreeMap<u64, MemberNode>,
}

/// Asks a member of a cluster that is not known yet who the member at these URLs is; `None` if no
/// member is.
pub(crate) async fn expected(link: &dyn Link, peer_urls: Vec<String>) -> Result<Option<Expected>, PeerError> {
    let reply = timed(CALL, link.members(pb::MembersRequest { peer_urls })).await?;
    let nodes: BTreeMap<u64, MemberNode> = reply.nodes.into_iter().map(convert::from_node).collect();
    let sound = reply.cluster != 0 && nodes.contains_key(&reply.member);
    match reply.found {
        false => Ok(None),
        true if sound => Ok(Some(Expected { cluster: reply.cluster, member: reply.member, nodes })),
        true => Err(PeerError::Refused("it does not say who this member is".into())),
    }
}

/// A duration sent by a peer, capped at the longest lease so that sums do not overflow.
fn span(millis: u64) -> Duration {
    const LONGEST: u64 = 9_000_000_000_000;
    Duration::from_millis(millis.min(LONGEST))
}

/// Timeout of calls that need at most a quorum round or a disk write at the other end.
const CALL: Duration = Duration::from_secs(2);

/// Timeout of calls that wait for an entry of the log.
const CHANGE: Duration = Duration::from_secs(8);

async fn timed<T>(within: Duration, call: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    tokio::time::timeout(within, call).await.unwrap_or(Err(PeerError::Unknown))
}
