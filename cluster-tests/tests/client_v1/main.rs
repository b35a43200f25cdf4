//! The client library's elections, locks, claims and sessions of `conclave.v1`, on real clusters.

mod claims;
mod elections;
mod faults;
mod locks;
mod mute;
mod sessions;
