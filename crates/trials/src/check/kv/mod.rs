//! The store: registers, transactions, lists, sets; and what members hold.

pub(super) mod agreement;
pub(super) mod append;
pub(super) mod digests;
pub(super) mod durability;
pub(super) mod linearizable;
pub(super) mod log_matching;
pub(super) mod replay;
pub(super) mod serializable;
pub(super) mod set;
pub(super) mod wgl;
