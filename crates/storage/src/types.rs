//! openraft's type parameters, and the names that the rest of Conclave uses for them.
//!
//! `D` is a [`Pack`]: a batch of commands that is already encoded. The log, the peers and `apply`
//! share its bytes, so nothing is encoded twice and the copy of an entry is a reference count. `R`
//! is empty: answers travel with [`crate::ApplySink`], because the node that waits for one is often
//! not the leader.
//!
//! The standard leader id (one leader a term) keeps log ids at (term, index), which is also what
//! etcd's response header means by `raft_term`.

use crate::proposal::Pack;
use openraft::type_config::alias;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use crate::snapshot::Snapshot;
pub use crate::state::Raft;

/// The membership's record of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberNode {
    pub name: String,
    pub peer_urls: Vec<String>,
}

impl fmt::Display for MemberNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.peer_urls.join(", "))
    }
}

/// A responder that runs a closure, so openraft wakes the waiting task directly, without a task in
/// between.
pub struct Callback<T>(pub Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    pub fn new(run: impl FnOnce(T) + Send + 'static) -> Self {
        Callback(Box::new(run))
    }
}

impl<T: Send + 'static> openraft::raft::responder::Responder<C, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// The type configuration. Written by hand: `declare_raft_types!` does not accept a generic
/// `Responder<T>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct C;

impl openraft::RaftTypeConfig for C {
    type D = Pack;
    type R = ();
    type NodeId = u64;
    type Node = MemberNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = Payload;
    type Entry = openraft::Entry<<LeaderId as openraft::vote::RaftLeaderId>::Committed, Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
pub type LogId = alias::LogIdOf<C>;
pub type Vote = alias::VoteOf<C>;
pub type Entry = alias::EntryOf<C>;
pub type Payload = openraft::EntryPayload<Pack, u64, MemberNode>;
pub type Membership = openraft::Membership<u64, MemberNode>;
pub type StoredMembership = alias::StoredMembershipOf<C>;
pub type SnapshotMeta = alias::SnapshotMetaOf<C>;

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

pub fn vote(term: u64, voted_for: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term, voted_for }, committed }
}

/// For messages: `term-index`, or `nothing`.
pub(crate) fn shown(id: Option<&LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("index {} of term {}", id.index, id.leader_id.term))
}
