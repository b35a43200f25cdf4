//! A member tells the cluster its labels, once every member can read that.

use crate::node::Node;
use conclave_state::placement::Labels;
use conclave_state::{Command, PlacementChange, read};
use std::sync::Arc;
use std::time::Duration;

/// Until the cluster knows this member's labels, or that it has none any more.
pub(crate) async fn announce(node: Arc<Node>) {
    let mut version = node.versions.follow();
    let mut pause = Duration::from_millis(50);
    loop {
        // An older member could not read it.
        if version.wait_for(|_| node.versions.has_placement()).await.is_err() {
            return;
        }
        if node.reader.barrier().await.is_ok() && announced(&node).await {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn announced(node: &Node) -> bool {
    let (me, own) = (node.identity.member_id, &node.config.member_labels);
    let known = match read::labels(&node.state.view()) {
        Ok(known) => known.into_iter().find(|(member, _)| *member == me).map(|(_, labels)| labels),
        Err(fault) => {
            tracing::error!(%fault, "the members' labels cannot be read");
            return false;
        }
    };
    if known.unwrap_or_default() == *own {
        return true;
    }
    let labels: Labels = own.clone();
    let change = PlacementChange::Labels { member: me, labels };
    match node.proposer.propose(Command::Placement(Box::new(change))).await {
        Ok(_) => true,
        // To announce twice is harmless.
        Err(error) => {
            tracing::debug!(%error, "announcing this member's labels: again");
            false
        }
    }
}
