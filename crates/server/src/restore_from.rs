//! `--restore-from`: the first start of a member restores a snapshot before it.
//!
//! Only a missing or empty data directory of a new cluster is filled. All that counts afterwards is
//! the directory: the setting may stay, and is ignored. A start that is interrupted leaves the
//! directory as it was. That each member restored the same file is seen by the ids, which come from
//! it; a member that lost its directory later is refused by the others like any that begins anew.

use crate::snapshot;
use conclave_backup::Raise;
use conclave_node::config::{Config, InitialClusterState};
use std::io;
use std::path::Path;

/// Restores what the settings name, if this is a first start. Blocks for as long as that takes.
///
/// # Errors
/// The snapshot is missing or damaged; nothing was written.
pub fn first_start(config: &Config) -> anyhow::Result<()> {
    let Some(file) = &config.restore_from else { return Ok(()) };
    if !is_unused(&config.data_dir)? {
        tracing::info!(dir = %config.data_dir.display(), "--restore-from is ignored: the data directory is in use");
        return Ok(());
    }
    if config.initial_cluster_state == InitialClusterState::Existing {
        tracing::warn!(
            "--restore-from is ignored: this member joins a cluster that runs (--initial-cluster-state existing)"
        );
        return Ok(());
    }
    tracing::info!(file = %file.display(), "the data directory is empty: restoring a snapshot first");
    let told = snapshot::restore_into(config, file, Raise::default(), false)
        .map_err(|error| error.context("--restore-from: nothing was restored"))?;
    told.lines().for_each(|line| tracing::info!("{line}"));
    Ok(())
}

fn is_unused(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
