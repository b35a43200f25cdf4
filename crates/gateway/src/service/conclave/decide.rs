//! How a command of conclave.v1 is decided: what its services have in common.
//!
//! 1. A command whose outcome is unknown is proposed again only if it carries a dedupe id: it takes
//!    effect once, however often it is in the log. Without one the answer says that the outcome is
//!    unknown.
//! 2. An answer may be a remembered one, of a time that is past. What is promised of the present is
//!    read after it.

use crate::audit::{self, Subject};
use crate::auth::current;
use crate::convert::conclave::Caller;
use crate::gateway::Gateway;
use crate::service::{response, unexpected};
use crate::status::{dedupe_id_reused, fault, internal, not_read, rejected, undecided};
use conclave_state::{AuthRefusal, CoordBody, CoordResponse, Fault, KeyRange, Rejection, Response as Answer};
use conclave_storage::StateView;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

const PAUSE: Duration = Duration::from_millis(20);

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Of the store, right after it; of a remembered answer, when it was first given.
    pub(crate) revision: i64,
    pub(crate) answer: CoordResponse,
}

/// Has an operation decided, for as long as requests may take.
pub(crate) async fn decide(gateway: &Gateway, caller: Caller, body: CoordBody) -> Result<Decided, Status> {
    let repeatable = caller.dedupe.is_some();
    let command = caller.command(body);
    let end = Instant::now() + gateway.node.config.request_timeout();
    let mut unknown = false;
    loop {
        let error = match gateway.propose(command.clone()).await {
            Ok(applied) => {
                // The answer's: a client that watches from there on misses nothing of what
                // followed.
                let revision = applied.outcome.repeats.unwrap_or(applied.outcome.revision);
                return match response(applied.outcome)? {
                    Answer::Coord(answer) => Ok(Decided { revision, answer }),
                    other => Err(unexpected(&other)),
                };
            }
            Err(error) => error,
        };
        unknown |= error.outcome_unknown();
        if !(repeatable && error.outcome_unknown()) || Instant::now() + PAUSE >= end {
            return Err(undecided(error, unknown));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The answer is that of another operation: a remembered one, under a dedupe id that was used
/// before.
#[cold]
pub(crate) fn not_of_it(answer: &CoordResponse) -> Status {
    tracing::debug!(?answer, "a dedupe id was used for two operations");
    dedupe_id_reused()
}

/// The same, if who makes this call may read that range.
pub(crate) async fn look_at<T: Send + 'static>(
    gateway: &Gateway,
    serializable: bool,
    long: bool,
    range: impl FnOnce() -> KeyRange,
    read: impl FnOnce(&StateView) -> Result<T, Fault> + Send + 'static,
) -> Result<(T, i64), Status> {
    let checked = gateway.access.is_on().then(|| (range(), current()));
    if let Some((range, _)) = &checked {
        audit::about(|| Subject::keys("get", &range.key, &range.end));
    }
    let read = move |view: &StateView| match (view.auth(), &checked) {
        (None, _) => read(view).map(Ok),
        (Some(auth), Some((range, caller))) => match auth.check_read(caller.as_ref(), range) {
            Ok(()) => read(view).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        },
        // Checks began between the call and its view.
        (Some(_), None) => Ok(Err(AuthRefusal::UserEmpty)),
    };
    let (found, revision) = look(gateway, serializable, long, read).await?;
    Ok((found.map_err(|refusal| rejected(Rejection::Auth(refusal)))?, revision))
}

/// Reads the present, or what this member has of it, off the event loop if it could be `long`.
pub(crate) async fn look<T: Send + 'static>(
    gateway: &Gateway,
    serializable: bool,
    long: bool,
    read: impl FnOnce(&StateView) -> Result<T, Fault> + Send + 'static,
) -> Result<(T, i64), Status> {
    if !serializable {
        gateway.node.reader.barrier().await.map_err(not_read)?;
    }
    let (view, revision) = crate::follow::snapshot(&gateway.node.state).map_err(fault)?;
    let found = if long { gateway.node.reader.long(move || read(&view)).await.map_err(internal)? } else { read(&view) };
    Ok((found.map_err(fault)?, revision))
}
