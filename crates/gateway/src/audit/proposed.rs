//! A command on its way through the log.

use super::describe::describe;
use super::log::Audit;
use super::origin::{Origin, gone, made, origin};
use crate::status::{not_proposed, rejected};
use conclave_node::proposer::{Applied, ProposeError};
use conclave_state::{Command, Outcome};
use std::sync::Arc;
use tonic::Status;

impl Audit {
    /// To be called where a call's command is proposed, in the scope of the call.
    pub(crate) fn begin(&self, command: &Command) -> Option<Proposed> {
        self.is_on().then(|| Proposed { audit: self.clone(), origin: origin(), command: Some(command.clone()) })
    }
}

/// Records the command when its outcome is known, or when nobody waits for that any more.
pub(crate) struct Proposed {
    audit: Audit,
    /// `None`: the member's own, for a call that went away.
    origin: Option<Arc<Origin>>,
    command: Option<Command>,
}

impl Proposed {
    pub(crate) fn ended(mut self, result: &Result<Applied, ProposeError>) {
        let Some(command) = self.command.take() else { return };
        match result {
            Ok(applied) => {
                let failure = applied.outcome.result.as_ref().err().map(|rejection| rejected(*rejection));
                self.record(&command, Some(&applied.outcome), failure.as_ref());
            }
            // Nothing was done.
            Err(error) if !error.outcome_unknown() => {}
            Err(error) => self.record(&command, None, Some(&not_proposed(*error))),
        }
    }

    fn record(&self, command: &Command, outcome: Option<&Outcome>, failure: Option<&Status>) {
        let Some(subject) = describe(command, outcome, self.audit.values()) else { return };
        let revision = outcome.map(|outcome| outcome.revision);
        match &self.origin {
            Some(origin) => origin.record(subject, failure, revision),
            None => self.audit.push(|member| made(member, "member.release".to_owned(), subject, failure, revision)),
        }
    }
}

impl Drop for Proposed {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            self.record(&command, None, Some(&gone()));
        }
    }
}
