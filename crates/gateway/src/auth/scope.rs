//! The caller of the current call.

use super::tokens::Fingerprint;
use crate::audit;
use conclave_state::auth::Login;
use conclave_state::{Caller, Command};
use std::sync::Arc;

/// How the caller proved who it is.
pub(super) enum Identity {
    Token {
        fingerprint: Fingerprint,
    },
    /// A user as of some users and roles, by a token or a password.
    Known(Arc<Login>),
    /// The user that a token of another issuer names.
    Issued(String),
    /// The common name of a verified certificate.
    Certificate(String),
}

/// An identity, and the caller that it was when the call began.
#[derive(Clone)]
pub(super) struct Who {
    pub(super) identity: Arc<Identity>,
    pub(super) caller: Caller,
}

tokio::task_local! {
    pub(super) static WHO: Who;
}

pub(super) fn who() -> Option<Who> {
    WHO.try_with(Clone::clone).ok()
}

/// Who makes this call. `None`: nobody who is known.
pub(crate) fn current() -> Option<Caller> {
    WHO.try_with(|who| who.caller.clone()).ok()
}

/// The command in the name of who makes this call.
pub(crate) fn sign(command: Command) -> Command {
    match current() {
        Some(caller) => command.by(caller),
        None => command,
    }
}

/// The same work in another task, in the name of who makes this call.
pub(crate) fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let (who, origin) = (who(), audit::origin());
    async move {
        let work = async move {
            match who {
                Some(who) => WHO.scope(who, work).await,
                None => work.await,
            }
        };
        match origin {
            Some(origin) => origin.scope(work).await,
            None => work.await,
        }
    }
}
