//! Why a call ended.

use crate::limits::Exceeded;
use conclave_node::proposer::ProposeError;

/// Why a call ended before its command was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    NotProposed(ProposeError),
    /// The node is stopping.
    Stopped,
    /// The caller is gone.
    Cancelled,
    /// Too many calls of its connection or its user wait.
    Limited(Exceeded),
}
