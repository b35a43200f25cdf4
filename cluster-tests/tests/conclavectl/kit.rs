//! What these tests share.

use anyhow::Result;
use cluster_tests::{cluster::Cluster, conclavectl::Ctl};

pub(crate) async fn three() -> Result<(Cluster, Ctl)> {
    let cluster = Cluster::start(3).await?;
    let ctl = Ctl::new(&cluster.endpoints());
    Ok((cluster, ctl))
}
