//! What the call that runs here uses of its connection's and its user's budgets. Without limits, it
//! uses nothing.

use crate::audit::{Origin, origin};
use crate::limits::{Exceeded, Held, Kind};
use crate::status::limited;
use tonic::Status;

/// The message of a call was read.
pub(crate) fn bytes(size: impl FnOnce() -> usize) -> Result<(), Status> {
    let Some(origin) = origin() else { return Ok(()) };
    let budgets = origin.budgets();
    if !budgets.iter().any(|budget| budget.counts_bytes()) {
        return Ok(());
    }
    let size = size() as u64;
    budgets.iter().try_for_each(|budget| budget.bytes(size)).map_err(limited)
}

/// What a call may hold more of; `None`: as much as it wants.
pub(crate) fn holding(origin: Option<&Origin>, kind: Kind) -> Option<Held> {
    let budgets = origin?.budgets();
    (!budgets.is_empty()).then(|| Held::new(budgets, kind))
}

/// One of something, for as long as the result lives.
pub(crate) fn hold(kind: Kind) -> Result<Option<Held>, Exceeded> {
    let origin = origin();
    let Some(mut held) = holding(origin.as_deref(), kind) else { return Ok(None) };
    held.add()?;
    Ok(Some(held))
}
