//! What one connection, or one user, may use of this member.
//!
//! Without `--connection-limits` and `--user-limits` nothing is counted. With them, each connection
//! and each user has a [`Budget`]: requests and bytes of the last second in a bucket each, and
//! numbers of what is held: watchers, leases, waiting calls. Who is beyond a limit gets
//! `ResourceExhausted` at once, with the limit's name and number; nothing waits, and nothing was
//! done.
//!
//! Budgets are this member's alone: a client that speaks to three members has three.

mod bucket;
mod budget;
mod leases;

pub use budget::Exceeded;
pub(crate) use budget::{Budget, Held, Kind, Limits};
pub(crate) use leases::{Granting, Leases};
