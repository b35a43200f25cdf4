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
#[cfg(test)]
mod fuzz;
pub mod grpc;
pub mod handler;
pub mod identity;
pub mod listen;
pub(crate) mod log;
pub mod memory;
mod pace;
pub mod sending;
pub mod service;
mod session;
mod snapshot;
pub mod suspicion;
pub mod target;
mod terms;
pub mod transport;
pub mod validate;

pub use conclave_peer_api as pb;

use crate::keeper::{Id, Kind, Wish};
use conclave_storage::Acknowledged;
use conclave_storage::types::MemberNode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
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

/// Calls to the peers, by member id.
#[derive(Clone)]
pub struct Peers(Arc<BTreeMap<u64, Arc<dyn Link>>>);

impl Peers {
    /// Creates links to every member but `me`, without connecting.
    pub fn new(me: u64, members: &BTreeMap<u64, MemberNode>, transport: &dyn Transport) -> Peers {
        let others = members.iter().filter(|(id, _)| **id != me);
        Peers(Arc::new(others.map(|(id, node)| (*id, transport.link(*id, node))).collect()))
    }

    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.keys().copied()
    }

    pub(crate) fn link(&self, to: u64) -> Result<&Arc<dyn Link>, PeerError> {
        self.0.get(&to).ok_or(PeerError::Unreachable)
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
    pub async fn renew(&self, to: u64, kind: Kind, wishes: &[Wish]) -> Result<Vec<Duration>, PeerError> {
        let reply = timed(CALL, self.link(to)?.keep_alive(convert::keep_alive(kind, wishes))).await?;
        match reply.leader && reply.ttl_millis.len() == wishes.len() {
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

    /// What the member has acknowledged to the peer; `None` if the peer has recorded another
    /// incarnation.
    pub async fn register(&self, to: u64, member: u64, incarnation: u64) -> Result<Option<Acknowledged>, PeerError> {
        let reply = timed(CALL, self.link(to)?.register(pb::RegisterRequest { member, incarnation })).await?;
        let known = Acknowledged { term: reply.acknowledged_term, index: reply.acknowledged_index };
        Ok(reply.accepted.then_some(known))
    }
}

/// A duration sent by a peer, capped at the longest lease so that sums do not overflow.
fn span(millis: u64) -> Duration {
    const LONGEST: u64 = 9_000_000_000_000;
    Duration::from_millis(millis.min(LONGEST))
}

/// Timeout of calls that need at most a quorum round or a disk write at the other end.
const CALL: Duration = Duration::from_secs(2);

async fn timed<T>(within: Duration, call: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    tokio::time::timeout(within, call).await.unwrap_or(Err(PeerError::Unknown))
}
