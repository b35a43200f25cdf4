//! `downgrade`: back to the version before.

use super::{Context, wire};
use crate::{failure::Result, output};
use clap::Subcommand;
use conclave_client::api::etcdserverpb::{DowngradeRequest, downgrade_request::DowngradeAction};

/// Take the cluster back to the version before, so that its members can be
#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
Versions are Conclave's, as /version and the metric conclave_cluster_version show the
cluster's. After `enable` restart the members one by one with the older program: the
downgrade ends by itself when all have it. Until then it can be cancelled, and members
that have the older program already keep the cluster at its version.")]
pub(crate) enum DowngradeCommand {
    /// Whether the cluster can go back to this version
    #[command(after_long_help = "Example:\n  conclavectl downgrade validate 0.1")]
    Validate {
        /// The version before the cluster's, such as 0.1
        version: String,
    },
    /// Go back: from now on nothing is written that this version cannot read
    #[command(after_long_help = "Example:\n  conclavectl downgrade enable 0.1")]
    Enable {
        /// The version before the cluster's, such as 0.1
        version: String,
    },
    /// Let the cluster's version rise again
    #[command(after_long_help = "Example:\n  conclavectl downgrade cancel")]
    Cancel,
}

impl DowngradeCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let (action, word, version) = match self {
            Self::Validate { version } => (DowngradeAction::Validate, "validate", version),
            Self::Enable { version } => (DowngradeAction::Enable, "enable", version),
            Self::Cancel => (DowngradeAction::Cancel, "cancel", String::new()),
        };
        let request = DowngradeRequest { action: action.into(), version };
        let ask = |channel| wire::downgrade(channel, request.clone());
        let answer = match action {
            DowngradeAction::Validate => context.link.read(ask).await?,
            DowngradeAction::Enable | DowngradeAction::Cancel => context.link.write(ask).await?,
        };
        output::raw(&format!("Downgrade {word} success, cluster version {}\n", answer.version))
    }
}
