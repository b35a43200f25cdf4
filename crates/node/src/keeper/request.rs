//! What is asked of a keeper, here or through a peer, and what it answers.

use std::time::Duration;

/// What a keeper keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leases,
    /// Of elections, locks and claims.
    Timers,
}

/// A lease id, or the id of a timer.
pub type Id = i64;

/// A renewal that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewRequest {
    pub id: Id,
    /// For how long; at most the full span, which it is if there is none.
    pub span: Option<Duration>,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// It lives so long at least from when it was asked for; zero: it is not there (any more).
    pub span: Duration,
    /// The store's revision before the renewal.
    pub revision: i64,
}

/// Spans are given in milliseconds or more, so nothing is lost.
#[must_use]
pub fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
