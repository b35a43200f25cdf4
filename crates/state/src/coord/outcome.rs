//! Outcomes of operations on elections, locks and claims.
//!
//! These answers are also remembered for retries, so each has an encoding.

use super::field::{choices, fields};
use crate::Compare;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordResponse {
    Election { term: Term, changed: bool, standing: Standing },
    EvictedEverywhere { evicted: u64 },
    ElectionDeleted {},
    Lock { fence: i64, held_since: i64 },
    Released { released: bool },
    Claims { items: Vec<ClaimAnswer> },
    Unclaimed { changed: bool },
    Revoked { changed: bool },
    Pinned { changed: bool },
    Unpinned { changed: bool },
    Limits { changed: bool },
}

/// An election after an operation. Waiting candidates can be read from the state at this revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// The revision that installed the leader; kept when the leader goes, 0 before the first. The
    /// fencing token.
    pub id: i64,
    /// Number of leaders since the election was created.
    pub seq: u64,
    pub leader: Option<String>,
    pub waiting: u32,
    /// The revision that last changed leader or queue.
    pub revision: i64,
}

/// The status of the operation's candidate afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Absent {},
    Waiting {},
    Leads {},
}

/// The outcome of one of the claims of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// `timer` ends the tenure. Only the member that extends it needs the id, not its holder.
    Taken {
        fence: i64,
        timer: u64,
    },
    /// The existing tenure. It can be extended by up to `longest_ms` without a command.
    Extended {
        fence: i64,
        timer: u64,
        longest_ms: u64,
    },
    Waiting {
        ticket: u64,
    },
    Denied {
        holder: String,
        instance: String,
        fence: i64,
    },
    /// The duration is not within the namespace's limits.
    BadDuration {
        min_ms: u64,
        max_ms: u64,
    },
    TooManyWaiting {},
    /// The command names the claim twice.
    Repeated {},
}

/// The proof of a leadership, a lock or a claim: a number that rises with every grant, and compares
/// that hold while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub fence: i64,
    pub guards: Vec<Compare>,
}

choices!(CoordResponse {
    1 => Election { term, changed, standing },
    2 => EvictedEverywhere { evicted },
    3 => ElectionDeleted {},
    4 => Lock { fence, held_since },
    5 => Released { released },
    6 => Claims { items },
    7 => Unclaimed { changed },
    8 => Revoked { changed },
    9 => Pinned { changed },
    10 => Unpinned { changed },
    11 => Limits { changed },
});
fields!(Term { id, seq, leader, waiting, revision });
choices!(Standing { 0 => Absent {}, 1 => Waiting {}, 2 => Leads {} });
choices!(ClaimAnswer {
    1 => Taken { fence, timer },
    2 => Extended { fence, timer, longest_ms },
    3 => Waiting { ticket },
    4 => Denied { holder, instance, fence },
    5 => BadDuration { min_ms, max_ms },
    6 => TooManyWaiting {},
    7 => Repeated {},
});
