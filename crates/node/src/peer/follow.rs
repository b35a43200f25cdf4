//! Keeps the links to the peers, and who is refused, as the membership says.

use super::Peers;
use super::validate::Rules;
use conclave_state::read;
use conclave_storage::StateHandle;
use conclave_storage::types::{MemberNode, Raft};
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Until consensus ends. The links follow the membership in effect, which may not be committed yet;
/// only a removal that was applied here counts against anybody.
pub(crate) async fn members(raft: Raft, peers: Peers, rules: Arc<Rules>, state: StateHandle) {
    let mut metrics = raft.server_metrics();
    let mut applied = state.applied();
    let mut followed = None;
    let mut counted = None;
    loop {
        let membership = metrics.borrow_and_update().membership_config.clone();
        let at = *membership.log_id();
        let members: BTreeMap<u64, MemberNode> = membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        if at != followed && !members.is_empty() {
            peers.follow(&members);
            followed = at;
        }
        let index = at.as_ref().map_or(0, |id| id.index());
        if at != counted && *applied.borrow_and_update() >= index {
            match read::removed(&state.view()) {
                Ok(removed) => {
                    rules.are_removed(removed);
                    counted = at;
                }
                Err(fault) => tracing::error!(%fault, "the removed members cannot be read"),
            }
        }
        let waiting = at != counted;
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            _ = applied.changed(), if waiting => {}
        }
    }
}
