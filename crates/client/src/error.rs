//! Why a call failed, and whether it may have happened all the same.

use tonic::{Code, Status};

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({:?})", .status.message(), .status.code())]
pub struct Error {
    /// Boxed because a status is large and most calls succeed.
    status: Box<Status>,
    /// The request did not leave this process.
    unsent: bool,
}

/// Answers that a member gives only when it has proposed nothing.
const NEVER_PROPOSED: [&str; 4] =
    ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: server stopped", "etcdserver: not leader"];

impl Error {
    /// An error about an endpoint that could not be used at all.
    pub(crate) fn unsent(message: String) -> Self {
        Self { status: Box::new(Status::unavailable(message)), unsent: true }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// The server's own words, or the transport's.
    #[must_use]
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// Whether the request may have taken effect although it failed.
    ///
    /// `false` is a promise: it was refused before or by the state machine. A caller that must know otherwise has to read.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        if self.unsent || NEVER_PROPOSED.contains(&self.message()) {
            return false;
        }
        matches!(
            self.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
                | Code::Aborted
                | Code::DataLoss
        )
    }

    /// Whether another endpoint may do better.
    pub(crate) fn of_endpoint(&self) -> bool {
        self.unsent
            || matches!(self.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let unsent = refused(&status);
        Self { status: Box::new(status), unsent }
    }
}

/// The connection was refused: nobody listened, so nobody heard.
fn refused(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_and_lost_connections_are_not() {
        let of = |status: Status| Error::from(status).outcome_unknown();
        assert!(!of(Status::invalid_argument("etcdserver: key is not provided")));
        assert!(!of(Status::not_found("etcdserver: requested lease not found")));
        assert!(!of(Status::unavailable("etcdserver: no leader")));
        assert!(of(Status::unavailable("etcdserver: request timed out")));
        assert!(of(Status::deadline_exceeded("late")));
        assert!(of(Status::unknown("h2 protocol error")));
        assert!(!Error::unsent("bad address".into()).outcome_unknown());
    }
}
