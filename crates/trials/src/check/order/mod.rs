//! Order: one leader a term, lines that are kept, waiters that are woken, observers that see what
//! was.

pub(super) mod abandoned;
pub(super) mod coverage;
pub(super) mod fifo;
pub(super) mod leader_reads;
pub(super) mod liveness;
pub(super) mod membership;
pub(super) mod observe;
pub(super) mod one_leader;
mod queue;
pub(super) mod queue_order;
pub(super) mod queue_terms;
pub(super) mod queue_watch;
pub(super) mod removed;
mod waiting;
pub(super) mod wakeups;
pub(super) mod zombies;
