//! Whether this program can serve in a cluster.

use conclave_state::{Supports, Version};
use conclave_storage::versions;
use thiserror::Error;

/// A version that this member's program does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the cluster is of version {cluster}, and this program serves in clusters of version {} to {}: {}",
    own.oldest, own.newest,
    if *cluster > own.newest {
        "it is too old: start the member with a program of the cluster's version, or lower that first (etcdctl downgrade)"
    } else {
        "it is too new: upgrade all members to a version between first"
    }
)]
pub struct Unsupported {
    pub cluster: Version,
    pub own: Supports,
}

/// Whether this program can serve in a cluster of that version, as messages of peers have it.
pub(crate) fn judge(packed: u32) -> Result<(), Unsupported> {
    let own = versions::supports();
    match Version::unpacked(packed) {
        Some(cluster) if !own.includes(cluster) => Err(Unsupported { cluster, own }),
        _ => Ok(()),
    }
}
