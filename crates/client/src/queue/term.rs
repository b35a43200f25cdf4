//! How an election stands.

use crate::{Cause, Header, Token, api::conclave::v1 as pb, coord::token};
use bytes::Bytes;
use std::collections::BTreeMap;

/// An election at one moment.
///
/// [`QueueElection::term`](super::QueueElection::term) has an example.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Term {
    /// The revision that installed the leader: its fence. Rises over all elections, also after a
    /// deletion; kept when the leader goes; 0 before the first.
    pub id: i64,
    /// Counts the leaders of this election from 1; begins again after a deletion. What Atomix calls
    /// the term's id.
    pub seq: u64,
    /// Who leads.
    pub leader: Option<String>,
    /// The leader first, then who waits, in order; empty unless asked for.
    pub candidates: Vec<Candidate>,
    /// How many wait beside the leader.
    pub waiting: u32,
    /// The revision that last changed leader or line.
    pub revision: i64,
    /// Whom the leader is asked to hand over to.
    pub transfer_to: Option<String>,
    /// A lock-delay runs: nobody is installed before it is over.
    pub delayed: bool,
    /// What changed last, where that is told.
    pub cause: Option<Cause>,
    /// The leader's proof, for transactions that are to take place only under it; where that is
    /// told.
    pub token: Option<Token>,
}

/// One who stands for election.
///
/// [`QueueElection::candidates`](super::QueueElection::candidates) has an example.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Candidate {
    /// Unique in the election.
    pub id: String,
    /// Which process this is.
    pub instance: String,
    /// What it goes with.
    pub session: i64,
    /// Higher stands further ahead among those who wait.
    pub priority: i64,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// What the leader's key holds when it leads.
    pub value: Bytes,
    /// The revision that it entered at.
    pub joined: i64,
}

/// Where a candidate stands.
///
/// [`Candidacy::enter`](super::Candidacy::enter) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is none.
    Absent,
    /// It waits in line.
    Waiting,
    /// It leads.
    Leads,
}

/// What an operation came to.
///
/// [`QueueElection::promote`](super::QueueElection::promote) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// Of which moment.
    pub header: Header,
    /// After the operation.
    pub term: Term,
    /// Whether it changed leader or line. `false` for what was so already.
    pub changed: bool,
    /// Where the candidate that was named stands afterwards.
    pub standing: Standing,
    /// The proof of its tenure, if that candidate leads.
    pub token: Option<Token>,
}

impl Term {
    pub(super) fn of_now(answer: pb::GetTermResponse) -> Self {
        let term = Term::from(answer.term.unwrap_or_default());
        Self { cause: Some(Cause::of(answer.cause)), token: answer.token.map(|proof| token(Some(proof))), ..term }
    }
}

impl From<pb::Term> for Term {
    fn from(term: pb::Term) -> Self {
        let named = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: term.id,
            seq: term.seq,
            leader: named(term.leader),
            candidates: term.candidates.into_iter().map(Candidate::from).collect(),
            waiting: term.waiting,
            revision: term.revision,
            transfer_to: named(term.transfer_to),
            delayed: term.delayed,
            cause: None,
            token: None,
        }
    }
}

impl From<pb::Candidate> for Candidate {
    fn from(candidate: pb::Candidate) -> Self {
        let pb::Candidate { id, instance, session, priority, labels, value, joined } = candidate;
        Self { id, instance, session, priority, labels: labels.into_iter().collect(), value, joined }
    }
}

impl From<pb::ElectionResponse> for Answer {
    fn from(answer: pb::ElectionResponse) -> Self {
        let standing = match answer.standing() {
            pb::election_response::Standing::Absent => Standing::Absent,
            pb::election_response::Standing::Waiting => Standing::Waiting,
            pb::election_response::Standing::Leads => Standing::Leads,
        };
        Self {
            header: answer.header.unwrap_or_default(),
            term: answer.term.unwrap_or_default().into(),
            changed: answer.changed,
            standing,
            token: answer.token.map(|proof| token(Some(proof))),
        }
    }
}
