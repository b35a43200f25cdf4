//! How a lock stands.

use super::{Mode, want::mode};
use crate::{Header, Name, api::conclave::v1 as pb};

/// Who holds a lock and who waits for it, at one moment. Made by [`Locks::get`](super::Locks::get).
///
/// [`Locks::get`](super::Locks::get) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockState {
    /// Of which moment.
    pub header: Header,
    /// Who holds it.
    pub holders: Line,
    /// Who waits for it, in order.
    pub waiting: Line,
    /// Of a semaphore: permits in use, and all there are.
    pub permits: (u64, u32),
    /// A lock-delay runs: nobody gets it before that is over.
    pub delayed: bool,
}

/// Requests that hold, or wait.
///
/// [`Locks::get`](super::Locks::get) has an example.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// How many there are.
    pub count: u32,
    /// The first of them.
    pub requests: Vec<Request>,
}

/// A request that holds locks or waits for them.
///
/// [`Locks::get`](super::Locks::get) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// Its fence, by which it can be [evicted](super::Locks::evict).
    pub fence: i64,
    /// What it said of itself.
    pub owner: String,
    /// The session that holds it.
    pub session: i64,
    /// All that it wants.
    pub parts: Vec<(Name, Mode)>,
    /// The revision of the grant; `None`: it waits.
    pub held_since: Option<i64>,
}

impl From<pb::GetLockResponse> for LockState {
    fn from(answer: pb::GetLockResponse) -> Self {
        let line = |count, requests: Vec<pb::LockRequestState>| Line {
            count,
            requests: requests.into_iter().map(Request::from).collect(),
        };
        Self {
            header: answer.header.unwrap_or_default(),
            holders: line(answer.holder_count, answer.holders),
            waiting: line(answer.waiting_count, answer.waiting),
            permits: (answer.used, answer.capacity),
            delayed: answer.delayed,
        }
    }
}

impl From<pb::LockRequestState> for Request {
    fn from(request: pb::LockRequestState) -> Self {
        let name = |part: &pb::LockPart| part.lock.clone().unwrap_or_default().into();
        Self {
            fence: request.fence,
            owner: request.owner,
            session: request.session,
            parts: request.parts.iter().map(|part| (name(part), mode(part))).collect(),
            held_since: (request.held_since != 0).then_some(request.held_since),
        }
    }
}
