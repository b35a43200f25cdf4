//! Until when something is held, apart from the guard: for tasks that work under it.
//!
//! Whatever keeps a tenure (a session's keep-alives, a claim's extensions), its time runs the same
//! way:
//!
//! ```text
//! answered                      ⅔ unanswered          ⅚ unanswered        end
//!  ├── all is well ────────────────┼── in jeopardy ──────┼── running out ───┤ lost
//! ```

use crate::{Session, claims::Kept, clock::Moment};
use futures::future::BoxFuture;
use std::time::Duration;

/// Until when something is surely held; made by [`Held::validity`](crate::Held::validity). Looks at
/// the clock, asks nobody.
///
/// It tells of time alone: that a key was deleted or a claim revoked is told by
/// [`Held::lost`](crate::Held::lost).
///
/// # Examples
/// ```no_run
/// # async fn example(guard: conclave_client::LockGuard) {
/// use conclave_client::Held;
/// use std::time::Duration;
///
/// let validity = guard.validity();
/// // In a task of its own that need not have the guard:
/// let work = tokio::spawn(async move {
///     while validity.remaining() > Duration::from_secs(2) {
///         // … the next part, which takes a second at most …
///     }
/// });
/// # drop(work.await);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Validity(Of);

#[derive(Clone, Debug)]
enum Of {
    Session(Session),
    Claim(Kept),
}

/// Of a session's TTL, so much is left when work under it is stopped.
const LAST_PART: u32 = 6;
/// Of a claim's duration, so much is left when it is in jeopardy; for a session the same.
const JEOPARDY: u32 = 3;

/// All that is held by a session is held as long as the session lives.
impl From<&Session> for Validity {
    fn from(session: &Session) -> Self {
        Self(Of::Session(session.clone()))
    }
}

impl From<Kept> for Validity {
    fn from(claim: Kept) -> Self {
        Self(Of::Claim(claim))
    }
}

/// All of it as in the [example](Validity#examples).
impl Validity {
    /// Until when it is surely held, on the client's clock. Moves on with each answer.
    #[must_use]
    pub fn until(&self) -> Moment {
        match &self.0 {
            Of::Session(session) => session.valid_until(),
            Of::Claim(claim) => claim.until(),
        }
    }

    /// How long it is surely held from now on; zero if that is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        match &self.0 {
            Of::Session(session) => session.remaining(),
            Of::Claim(claim) => claim.remaining(),
        }
    }

    /// Ends when nothing was answered for two thirds of the TTL, or of the claim's duration: time
    /// to come to an end in good order.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn in_jeopardy(&self) -> BoxFuture<'static, ()> {
        match self.0.clone() {
            Of::Session(session) => session.in_jeopardy(),
            Of::Claim(claim) => Box::pin(async move { claim.down_to(JEOPARDY).await }),
        }
    }

    /// Ends when nothing was answered for five sixths: nobody else can hold it yet, but whatever
    /// works under it must end now.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    #[must_use]
    pub fn running_out(&self) -> BoxFuture<'static, ()> {
        match self.0.clone() {
            Of::Session(session) => Box::pin(async move { session.running_out(session.ttl() / LAST_PART).await }),
            Of::Claim(claim) => Box::pin(async move { claim.down_to(LAST_PART).await }),
        }
    }
}
