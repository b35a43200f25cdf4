//! A change of the membership, as members ask each other for it.

use conclave_storage::types::{MemberNode, Membership};
use std::collections::BTreeSet;
use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Add { peer_urls: Vec<String>, learner: bool },
    Remove { id: u64 },
    Update { id: u64, peer_urls: Vec<String> },
    Promote { id: u64 },
}

/// Why a change was not made. After [`ChangeError::TimedOut`] it may have been made, or still be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    #[error("this member does not lead")]
    NotLeader,
    #[error("no leader")]
    NoLeader,
    #[error("timed out; the outcome is unknown")]
    TimedOut,
    #[error("the peer URLs are invalid")]
    InvalidUrls,
    #[error("another member has one of these peer URLs")]
    UrlsExist,
    #[error("another member was added with the same peer URLs just now")]
    IdExists,
    #[error("no such member")]
    NotFound,
    #[error("the member is no learner")]
    NotLearner,
    #[error("the learner is not in sync with the leader")]
    NotInSync,
    #[error("there are as many learners as --max-learners allows")]
    TooManyLearners,
    #[error("too few members would have started")]
    NotEnoughStarted,
    #[error("the new member would be needed for every write before it has started")]
    AtRisk,
    #[error("too few members can be reached, or another change is under way")]
    Unhealthy,
}

/// What a change did.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The member that was changed.
    pub id: u64,
    /// Its entry.
    pub index: u64,
    pub membership: Membership,
}

/// Each member of a membership: id, name and URLs, and whether it votes.
pub type Members = Vec<(u64, MemberNode, bool)>;

impl Changed {
    pub fn members(&self) -> Members {
        listed(&self.membership)
    }
}

fn listed(membership: &Membership) -> Members {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    membership.nodes().map(|(id, node)| (*id, node.clone(), voters.contains(id))).collect()
}
