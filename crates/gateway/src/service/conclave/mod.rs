//! Conclave's own services: elections, locks, claims, and the sessions that hold them.

pub mod claims;
pub mod cluster;
mod cooldown;
pub(crate) mod decide;
pub mod elections;
pub mod locks;
pub mod sessions;
pub(crate) mod values;
