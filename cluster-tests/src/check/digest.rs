//! All nodes hold the same: equal hashes at one revision.

use crate::{
    client::present,
    cluster::Cluster,
    wait::{LONG, eventually},
};
use anyhow::{Context, Result, ensure};
use conclave_client::api::etcdserverpb::HashKvRequest;

/// Asks every node for its hash at the present revision, as soon as it has come there. Returns that
/// revision.
///
/// # Errors
/// Two nodes differ, or one does not get there.
pub async fn digests_equal(cluster: &Cluster) -> Result<i64> {
    let revision = present(&cluster.client_of_all()?).await?;
    let mut first = None;
    for i in 0..cluster.size() {
        let client = cluster.client(i)?;
        // A node that has not come to the revision yet calls it a future one.
        let ask = async || Ok(client.maintenance().hash_kv(HashKvRequest { revision }).await?);
        let hash = eventually(&format!("n{} at revision {revision}", i + 1), LONG, ask).await?;
        let header = hash.header.context("a hash without header")?;
        ensure!(header.revision >= revision, "n{} answered a hash at {} for {revision}", i + 1, header.revision);
        let found = (hash.hash, hash.compact_revision);
        let (hash, compacted) = *first.get_or_insert(found);
        ensure!(
            found == (hash, compacted),
            "at revision {revision} n{} has hash {:x} (compacted {}), n1 has {hash:x} (compacted {compacted})",
            i + 1,
            found.0,
            found.1
        );
    }
    Ok(revision)
}
