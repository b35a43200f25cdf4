//! A refusal because of an eviction's cool-down says how much of that is left, as the leader knows:
//! the state has no clock.

use crate::gateway::Gateway;
use crate::status::rejected;
use conclave_state::{Fault, Rejection};
use conclave_storage::StateView;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// The refusal does not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a call failed with, with the time that is left if that is a cool-down. `timer`: of that
/// cool-down.
pub(super) async fn timed(
    gateway: &Gateway,
    status: Status,
    timer: impl FnOnce(&StateView) -> Result<Option<u64>, Fault>,
) -> Status {
    if !is_it(&status) {
        return status;
    }
    // It may be over by now, or not be found out; the refusal stands.
    let found = crate::follow::snapshot(&gateway.node.state).and_then(|(view, _)| timer(&view));
    let Ok(Some(timer)) = found else { return status };
    match timeout(PATIENCE, gateway.node.timers.remaining(timer)).await {
        Ok(Ok(Some(left))) => with(&status, left),
        _ => status,
    }
}

fn is_it(status: &Status) -> bool {
    let refusal = rejected(Rejection::CoolingDown);
    (status.code(), status.message()) == (refusal.code(), refusal.message())
}

/// In whole seconds, rounded up.
fn with(status: &Status, left: Duration) -> Status {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Status::new(status.code(), format!("{}: {seconds}s left", status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cool_down_names_the_time_left_and_nothing_else_does() {
        let status = rejected(Rejection::CoolingDown);
        assert!(is_it(&status) && !is_it(&rejected(Rejection::NotACandidate)));
        let said = with(&status, Duration::from_millis(59_001));
        assert_eq!(said.message(), "conclave: evicted, and not to come back yet: 60s left");
        assert_eq!(said.code(), tonic::Code::FailedPrecondition);
        assert!(!is_it(&said), "once");
    }
}
