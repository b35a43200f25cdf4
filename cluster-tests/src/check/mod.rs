//! Judges histories and states of a cluster. A violation is an error whose text names what
//! contradicts what.

mod digest;
mod history;

pub use digest::digests_equal;
pub use history::{acknowledged, linearizable};

use crate::{client, cluster::Cluster, history::History, timeline};
use anyhow::{Context, Result, ensure};

/// Everything that must hold once the faults are over: all nodes serve, nothing acknowledged is
/// missing on any of them, the history is linearizable, and all nodes hold the same.
///
/// Returns how many operations were acknowledged and how many are unknown.
///
/// # Errors
/// Something does not hold, or the history is too thin to say.
pub async fn everything(cluster: &Cluster, history: &History, prefix: &str) -> Result<(usize, usize)> {
    cluster.serves_everywhere().await?;
    let revision = client::present(&cluster.client(0)?).await?;
    for i in 0..cluster.size() {
        let keys = client::list(&cluster.client(i)?, prefix).await?;
        acknowledged(history, prefix, &keys).with_context(|| format!("read through n{}", i + 1))?;
        let changes = timeline::read(&cluster.client(i)?, prefix, revision).await?;
        linearizable(history, &changes, revision).with_context(|| format!("as watched through n{}", i + 1))?;
    }
    digests_equal(cluster).await?;
    let counts = history.counts();
    ensure!(counts.0 > 0, "no operation was acknowledged: nothing has been tested");
    Ok(counts)
}
