//! Leases, and what is held: grants, fences, beliefs, claims, semaphores.

pub(super) mod capacity;
pub(super) mod claim_early;
pub(super) mod claim_vacancy;
pub(super) mod exclusion;
pub(super) mod fenced_writes;
pub(super) mod fences;
pub(super) mod grants;
mod lease;
pub(super) mod lease_early;
pub(super) mod lease_late;
pub(super) mod lease_renewal;
pub(super) mod one_holder;
