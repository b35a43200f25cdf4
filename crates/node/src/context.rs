//! The handles that the parts of a node share. Cheap to clone.

use crate::fatal::Fatal;
use crate::handover::Handover;
use crate::leadership::{Leadership, RaftCell};
use crate::peer::Peers;
use crate::versions::Versions;
use conclave_storage::StateHandle;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub struct NodeContext {
    /// Empty until consensus runs.
    pub raft: RaftCell,
    pub leadership: Leadership,
    pub peers: Peers,
    pub state: StateHandle,
    pub versions: Versions,
    pub fatal: Fatal,
    /// Leads to the runtime that serves clients.
    pub handover: Handover,
    /// Cancelled at the end, after running requests had time to finish. (`Node::stopping` comes
    /// before.)
    pub closing: CancellationToken,
}
