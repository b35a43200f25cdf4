//! What proposer, reader and their like need of the node alike. Cheap to clone.

use crate::fatal::Fatal;
use crate::leadership::{Leadership, RaftCell};
use crate::peer::Peers;
use conclave_storage::StateHandle;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub struct Wiring {
    /// Empty until consensus runs.
    pub raft: RaftCell,
    pub leadership: Leadership,
    pub peers: Peers,
    pub state: StateHandle,
    pub fatal: Fatal,
    /// The end, after requests under way had their time. (`Node::stopping` comes before.)
    pub closing: CancellationToken,
}
