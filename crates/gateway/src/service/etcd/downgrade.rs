//! The cluster's way back to the version before, as etcd's Downgrade has it.

use crate::gateway::Gateway;
use crate::service::{response, unexpected};
use crate::status::{fault, not_proposed, not_read, text};
use conclave_state::{Command, Response as Answer, Version, VersionAnswer, VersionChange, read};
use tonic::Status;

impl Gateway {
    /// Whether the cluster can go back to this version. Returns the one that it is of.
    pub(super) async fn judge_downgrade(&self, to: &str) -> Result<Version, Status> {
        let to = target(to)?;
        self.node.reader.barrier().await.map_err(not_read)?;
        let view = self.node.state.view();
        judged(read::judge_downgrade(&view, to).map_err(fault)?)?;
        Ok(read::cluster_version(&view).map_err(fault)?.version())
    }

    /// Lowers the version, from an entry of the log on. Returns the one that it was before.
    pub(super) async fn begin_downgrade(&self, to: &str) -> Result<Version, Status> {
        let version = self.judge_downgrade(to).await?;
        self.change_version(VersionChange::Downgrade { to: target(to)? }).await?;
        Ok(version)
    }

    /// Lets the version rise again. Without a downgrade there is nothing to do.
    pub(super) async fn cancel_downgrade(&self) -> Result<Version, Status> {
        self.change_version(VersionChange::CancelDowngrade).await?;
        Ok(self.node.versions.now().version())
    }

    async fn change_version(&self, change: VersionChange) -> Result<(), Status> {
        let outcome = self.propose(Command::Version(change)).await.map_err(not_proposed)?.outcome;
        match response(outcome)? {
            Answer::Version(answer) => judged(answer),
            other => Err(unexpected(&other)),
        }
    }
}

fn target(text: &str) -> Result<Version, Status> {
    text.parse().map_err(|_| text::DOWNGRADE_FORMAT.into())
}

fn judged(answer: VersionAnswer) -> Result<(), Status> {
    match answer {
        VersionAnswer::Done => Ok(()),
        VersionAnswer::UnderWay => Err(text::DOWNGRADE_UNDER_WAY.into()),
        VersionAnswer::Undecided => Err(text::NO_CLUSTER_VERSION.into()),
        VersionAnswer::InvalidTarget | VersionAnswer::TooOld { .. } | VersionAnswer::TooNew { .. } => {
            Err(text::DOWNGRADE_TARGET.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn refusals_have_etcds_words() {
        let said = |result: Result<(), Status>| result.map_err(|status| (status.code(), status.message().to_owned()));
        assert_eq!(said(judged(VersionAnswer::Done)), Ok(()));
        for (answer, code, message) in [
            (VersionAnswer::InvalidTarget, Code::InvalidArgument, "etcdserver: invalid downgrade target version"),
            (VersionAnswer::UnderWay, Code::FailedPrecondition, "etcdserver: cluster has a downgrade job in progress"),
            (
                VersionAnswer::Undecided,
                Code::FailedPrecondition,
                "etcdserver: cluster version not found during downgrade",
            ),
        ] {
            assert_eq!(said(judged(answer)), Err((code, message.to_owned())));
        }
        let wrong = (Code::InvalidArgument, "etcdserver: wrong downgrade target version format".to_owned());
        assert_eq!(said(target("x").map(drop)), Err(wrong));
    }
}
