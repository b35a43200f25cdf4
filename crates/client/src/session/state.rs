//! What a session is worth, and why it is lost.

use crate::Cause;
use std::fmt;

/// Why something is no longer held.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::LostReason;
///
/// match session.lost().await {
///     LostReason::Expired => println!("no member could be reached in time"),
///     LostReason::LeaseGone => println!("somebody revoked the lease"),
///     reason => println!("{reason}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// No keep-alive was answered for the whole TTL: the cluster may give away what was held.
    Expired,
    /// The cluster says that the lease is gone.
    LeaseGone,
    /// The session was closed, or its last handle was dropped.
    Closed,
    /// The key that stood for it was deleted or taken by somebody else.
    KeyGone,
    /// The cluster took it away from a holder whose session lives: evicted, deposed, handed over,
    /// revoked.
    TakenAway(Cause),
    /// The election was deleted, and all its candidates with it.
    Deleted,
    /// It was given back by its holder.
    Released,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakenAway(cause) => return write!(f, "it was taken away: {cause}"),
            Self::Expired => "no keep-alive was answered in time",
            Self::LeaseGone => "the lease is gone",
            Self::Closed => "the session was closed",
            Self::KeyGone => "its key was deleted",
            Self::Deleted => "the election was deleted",
            Self::Released => "it was given back",
        })
    }
}

/// What a session is worth now. Decided by this process alone, from the time at which its
/// keep-alives were sent.
///
/// # Examples
/// ```no_run
/// # async fn example(session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::SessionState;
///
/// match session.state() {
///     SessionState::Safe => println!("begin"),
///     SessionState::Jeopardy => println!("better not begin anything"),
///     SessionState::Lost(reason) => println!("over: {reason}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// A keep-alive was answered recently.
    Safe,
    /// None was answered for two thirds of the TTL. What is held is still held, but work that
    /// cannot be interrupted should not begin.
    Jeopardy,
    /// Nothing is held any more. Final.
    Lost(LostReason),
}
