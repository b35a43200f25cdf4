//! What clients do, a file for each kind.

pub(super) mod coordination;
pub(super) mod expire;
pub(super) mod kv;
pub(super) mod leases;
pub(super) mod queue;
pub(super) mod ready;
pub(super) mod watch;

use super::{
    drive::{Operate, drive},
    lab::Lab,
    options::LoadArgs,
    verdict::Verdict,
};
use conclave_cli::{failure::Result, settings::Settings};
use std::sync::Arc;

/// Runs a workload whose clients are all there is to it: `clients` of them unless told otherwise,
/// made by `client`.
async fn simply<C, F>(
    settings: &Settings,
    load: &LoadArgs,
    workload: &'static str,
    clients: usize,
    client: impl AsyncFnOnce(&Arc<Lab>) -> Result<F>,
) -> Result<Verdict>
where
    C: Operate,
    F: FnMut(usize) -> C,
{
    let lab = Lab::new(settings, load.options(clients)?).await?;
    let run = async {
        let clients = client(&lab).await?;
        drive(&lab, workload, (0..lab.options.clients).map(clients).collect()).await
    };
    finished(&lab, run).await
}

/// Runs to the end, or to an interruption, and cleans up in any case.
async fn finished(lab: &Lab, run: impl Future<Output = Result<Verdict>>) -> Result<Verdict> {
    let verdict = tokio::select! {
        verdict = run => verdict,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(conclave_cli::failure::Failure::interrupted(2)),
            Err(error) => Err(error.into()),
        },
    };
    lab.clean_up().await;
    verdict
}
