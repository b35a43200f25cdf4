//! What ends the tenure of a holder, and when.

use crate::gateway::Gateway;
use conclave_console::Left;
use conclave_state::LeaseId;
use std::time::Duration;

/// How long the leader is asked what is left.
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(super) enum Ends {
    Lease(LeaseId),
    Timer(u64),
    Never,
    /// Not as long as it is pinned.
    Pinned,
}

/// What is left as far as this member knows.
pub(super) fn left(gateway: &Gateway, ends: Ends) -> Left {
    let known = match ends {
        Ends::Never | Ends::Lease(0) | Ends::Timer(0) => return Left::Unlimited,
        Ends::Pinned => return Left::Pinned,
        Ends::Lease(id) => gateway.node.leases.known(&[id]),
        Ends::Timer(id) => gateway.node.timers.known(&[id]),
    };
    known.into_iter().flatten().next().map_or(Left::AtLeader, Left::Time)
}

/// The same; the leader is asked if this member does not know.
pub(super) async fn asked(gateway: &Gateway, ends: Ends) -> Left {
    let known = left(gateway, ends);
    if known != Left::AtLeader {
        return known;
    }
    let asked = async {
        match ends {
            Ends::Lease(id) => gateway.node.leases.remaining(id).await,
            Ends::Timer(id) => gateway.node.timers.remaining(id).await,
            Ends::Never | Ends::Pinned => Ok(None),
        }
    };
    let answer = tokio::time::timeout(ANSWER, asked).await;
    answer.ok().and_then(Result::ok).flatten().map_or(known, Left::Time)
}
