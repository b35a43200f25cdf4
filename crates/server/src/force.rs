//! `--force-new-cluster`: before it starts, a member becomes a new cluster of itself alone, of what
//! its own directory holds. What `conclave recover` does, in place.
//!
//! 1. It is done once for each time that the flag is set: a second start with it starts the member
//!    as it is, and a start without it makes room for another time.
//! 2. The old data is kept, and not overwritten by another time.
//! 3. A crash leaves the old data or the new, and the next start goes on (`storage::replaced`).

use crate::recover::{Survivor, make};
use anyhow::{Context, ensure};
use conclave_backup::DEFAULT_RAISE;
use conclave_node::config::{Config, InitialMember};
use conclave_storage::{read_identity, replaced};

/// To be called before anything reads the directory.
///
/// # Errors
/// The directory holds no member, or cannot be changed. The old data is still there.
pub fn prepare(config: &Config) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    if replaced::finish(dir)? {
        tracing::warn!("put in place the data of a new cluster, which an earlier start had made");
    }
    if !config.force_new_cluster {
        return Ok(replaced::forget(dir)?);
    }
    if replaced::was_done(dir)? {
        tracing::warn!("--force-new-cluster was done before and has no effect: leave it out");
        return Ok(());
    }
    ensure!(
        read_identity(dir)?.is_some(),
        "--force-new-cluster: the directory {} is empty: the flag makes a cluster of what a member has left",
        dir.display()
    );
    if !make_new(config)? {
        return Ok(());
    }
    replaced::finish(dir)?;
    let old = replaced::old_data(dir);
    tracing::warn!(old = %old.display(), "this member is a new cluster; its old data is kept");
    Ok(())
}

/// Makes the new data. `false`: the member is alone anyway.
fn make_new(config: &Config) -> anyhow::Result<bool> {
    let dir = &config.data_dir;
    let survivor = Survivor::open(dir)?;
    if survivor.members()? == 1 {
        tracing::warn!("--force-new-cluster has no effect: the cluster has this member alone; leave it out");
        return Ok(false);
    }
    let log = dir.join("log");
    let elsewhere = log.symlink_metadata().with_context(|| log.display().to_string())?.is_symlink();
    ensure!(!elsewhere, "--force-new-cluster: the log is on another disk (--wal-dir): use `conclave recover`");
    let old = replaced::old_data(dir);
    ensure!(
        !old.exists(),
        "--force-new-cluster: {} holds the data that an earlier use of the flag replaced: check whether it is needed, then remove it",
        old.display()
    );
    replaced::clear_drafts(dir)?;
    let peer_urls = config.initial_advertise_peer_urls.clone();
    let alone = InitialMember { name: config.name.clone(), peer_urls };
    let config = Config { initial_cluster: vec![alone], discovered_as: None, ..config.clone() };
    let told = make(&survivor, &config, &replaced::new_data(dir), DEFAULT_RAISE)?;
    for line in told.iter().flat_map(|text| text.lines()) {
        tracing::warn!("--force-new-cluster: {line}");
    }
    Ok(true)
}
