//! What the tests of elections, locks, claims and waiting calls share: bounds, requests, and a
//! member's services.

pub mod claims;
pub mod client;
pub mod elections;
pub mod locks;
mod node;
mod streams;

pub use node::{Node, start};
pub use streams::{ending, next, silent};

use conclave_api::conclave::v1::{Caller, Name};
use std::time::Duration;

/// Seconds of a lease or session that outlives any test.
pub const LASTING: i64 = 300;
/// "At once", with room for a busy machine.
pub const AT_ONCE: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
pub const A_WHILE: Duration = Duration::from_millis(400);
/// Room for a busy machine beyond a promised time.
pub const LATE: Duration = Duration::from_secs(3);

/// A name outside all namespaces.
#[must_use]
pub fn named(name: &str) -> Option<Name> {
    Some(Name { namespace: String::new(), name: name.into() })
}

/// A request of this session.
#[must_use]
pub fn by(session: i64) -> Option<Caller> {
    Some(Caller { session, ..Default::default() })
}
