//! Where the commands of all calls are proposed, and recorded if that is wanted.

use crate::audit::Audit;
use crate::auth::sign;
use crate::pending::Log;
use async_trait::async_trait;
use conclave_node::proposer::{Applied, ProposeError, Proposer};
use conclave_state::{Caller, Command};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposals {
    proposer: Proposer,
    audit: Audit,
}

impl Proposals {
    pub(crate) fn new(proposer: Proposer, audit: Audit) -> Proposals {
        Proposals { proposer, audit }
    }

    /// As it is.
    async fn send(&self, command: Command) -> Result<Applied, ProposeError> {
        let Some(recorded) = self.audit.begin(&command) else { return self.proposer.propose(command).await };
        let decided = self.proposer.propose(command).await;
        recorded.ended(&decided);
        decided
    }

    /// In the name of who makes this call.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        self.send(sign(command)).await
    }

    /// The member's own: no user has to be there any more.
    pub(crate) async fn propose_own(&self, command: Command) -> Result<Applied, ProposeError> {
        self.send(command.by(Caller::Server)).await
    }
}

#[async_trait]
impl Log for Proposals {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        Proposals::propose(self, command).await
    }

    async fn propose_own(&self, command: Command) -> Result<Applied, ProposeError> {
        Proposals::propose_own(self, command).await
    }
}
