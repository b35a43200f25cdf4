//! The Rust client of Conclave.
//!
//! A [`Client`] is a cheap handle on one or several members; each service of the etcd v3 wire is a thin typed handle on it that
//! takes the request message and gives the response message. What a caller needs to know beyond the messages:
//!
//! 1. **One attempt a call.** Nothing is retried, least of all a write: a call that failed may have happened, and
//!    [`Error::outcome_unknown`] says when. The next call after a failed connection goes to the next endpoint.
//! 2. **A deadline a call.** Unary calls end after [`Client::with_timeout`]'s bound. Calls whose nature is to wait (`lock`,
//!    `campaign`, streams) have none: drop the future to give up.
//!
//! This is the part that the cluster tests stand on. Built on it later: watches that resume, kept-alive sessions, mutexes,
//! elections and software transactions that retry what may be retried.

mod answers;
mod connection;
mod coordination;
mod error;
mod lease;
mod services;
mod watch;

pub use conclave_api as api;
pub use connection::Client;
pub use coordination::{Election, Lock};
pub use error::Error;
pub use lease::{KeepAlives, Lease};
pub use services::{Cluster, Kv, Maintenance};
pub use watch::{Watch, WatchStream};
