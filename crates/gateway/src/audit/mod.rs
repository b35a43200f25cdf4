//! The audit log: who changed what, from where, when, with which result; and who was denied what.
//!
//! # The idea
//!
//! Without `--audit-log` nothing of this runs (but for limits, which need to know whose a call is).
//! With it, each call runs in the scope of its [`Origin`]: the client's address, its certificate,
//! the method, and the user once it is known. All commands of calls are proposed at one place,
//! which makes a [`Record`] of each when it is decided; the front makes one of each call that was
//! denied, and of the few methods that change something without a command ([`origin`] has their
//! list).
//!
//! 1. A record is handed to a thread of its own through a queue with a bound ([`queue`]). Nobody
//!    waits for that thread: what does not fit is counted, and the next line that is written says
//!    how many are missing.
//! 2. No record has a password, a hash or a token, and values only if that is wanted
//!    ([`describe`]).
//! 3. A command that may have had an effect has a record, also if nobody waits for its outcome any
//!    more. One that was not accepted has none.
//! 4. What the cluster does by itself (expiry, timers, versions) is not in the log of any member.
//!    What a member does for a call that went away is in it, without a user.

mod describe;
mod log;
mod origin;
mod proposed;
mod queue;
mod record;
mod rotating;

pub(crate) use describe::{describe, of_txn};
pub use log::Audit;
pub(crate) use origin::{Origin, about, identified, origin};
pub(crate) use record::Subject;
