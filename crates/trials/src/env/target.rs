//! Which nodes a fault or a change concerns, as a value.

use serde::{Deserialize, Serialize};

/// Which nodes, said before it is known who they will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Node(usize),
    Leader,
    /// The k-th of those that do not lead, counted round.
    Follower(usize),
    /// As many as a quorum can spare, drawn with the seed.
    Minority {
        seed: u64,
    },
    /// As many as a quorum can spare, the leader among them.
    MinorityWithLeader {
        seed: u64,
    },
    /// The smallest quorum, drawn with the seed.
    Majority {
        seed: u64,
    },
    All,
}
