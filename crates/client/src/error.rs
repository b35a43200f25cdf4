//! Why a call failed, and what a caller may do about it.
//!
//! Every error is exactly one of three, whatever its [kind](ErrorKind):
//!
//! 1. *retryable*: it had surely no effect, and may succeed later ([`Error::is_retryable`]);
//! 2. *outcome unknown*: a write that may have happened, or may yet happen
//!    ([`Error::outcome_unknown`]);
//! 3. *final*: it had no effect, and will not succeed as it stands ([`Error::is_final`]).
//!
//! etcd's message texts are part of its wire, and they are more reliable than its codes: its lock
//! and election services send `Unknown` with most of them. So the text decides where there is one,
//! then the code.

use tonic::{Code, Status};

/// What went wrong, as far as a program would branch on it.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{ErrorKind, Put};
///
/// match client.put_with(Put::new("here", "").lease(0x1234)).await {
///     Err(error) if error.kind() == ErrorKind::LeaseNotFound => println!("too late"),
///     result => drop(result?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No member could take the request: none was reached, or the cluster has no leader. It had no
    /// effect.
    Unavailable,
    /// The answer was lost. The request may have happened, or may yet happen; reading tells.
    OutcomeUnknown,
    /// The time that the caller allowed for waiting has passed. Nothing was taken.
    Deadline,
    /// The request contradicts itself or exceeds a limit.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// What it would create exists.
    AlreadyExists,
    /// The history it needs has been compacted ([`Error::compacted`] says up to where), or its
    /// revision lies in the future.
    OutOfRange,
    /// The lease is gone.
    LeaseNotFound,
    /// The session ended before or while the call was under way.
    SessionLost,
    /// The caller does not lead this election, or no longer.
    NotLeader,
    /// Nobody leads this election.
    NoLeader,
    /// The caller does not hold this lock, or no longer; or its place in the queue was deleted.
    NotHeld,
    /// Somebody else holds this claim; the message says who, and under which fence.
    ClaimDenied,
    /// What the caller expected ([`Expect`](crate::Expect)) is not so; the message says how things
    /// stand.
    NotAsExpected,
    /// The cluster takes no more data (its no-space alarm is raised).
    NoSpace,
    /// The caller may not do this, or the cluster does not know it.
    Denied,
    /// The member does not offer this call.
    Unsupported,
    /// Refused for another reason; the message says which.
    Refused,
}

/// A failed call: its [`kind`](Error::kind), the server's own words, and the status it came with.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// match client.put("greeting", "hello").await {
///     Ok(written) => println!("at revision {}", written.header.revision),
///     Err(error) if error.is_retryable() => println!("not now: {error}"),
///     Err(error) if error.outcome_unknown() => println!("read first, it may be there: {error}"),
///     Err(error) => println!("never, as it stands: {:?} ({:?}), {}", error.kind(), error.code(), error.message()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct Error {
    kind: ErrorKind,
    /// Boxed because a status is large and most calls succeed.
    status: Box<Status>,
    compacted: Option<i64>,
}

/// etcd's texts that mean the same whatever code they come with; the first match decides.
const BY_TEXT: [(&str, ErrorKind); 14] = [
    // Given only before anything was proposed. ("server stopped" is not among them: etcd also says
    // it to requests already proposed.)
    ("etcdserver: no leader", ErrorKind::Unavailable),
    ("etcdserver: too many requests", ErrorKind::Unavailable),
    ("etcdserver: rpc not supported for learner", ErrorKind::Unavailable),
    ("etcdserver: not leader", ErrorKind::Refused),
    ("etcdserver: requested lease not found", ErrorKind::LeaseNotFound),
    ("etcdserver: lease already exists", ErrorKind::AlreadyExists),
    ("etcdserver: mvcc: required revision has been compacted", ErrorKind::OutOfRange),
    ("etcdserver: mvcc: required revision is a future revision", ErrorKind::OutOfRange),
    ("etcdserver: mvcc: database space exceeded", ErrorKind::NoSpace),
    ("election: not leader", ErrorKind::NotLeader),
    ("election: no leader", ErrorKind::NoLeader),
    ("mutex: session is expired", ErrorKind::NotHeld),
    ("etcdserver: corrupt cluster", ErrorKind::Refused),
    ("etcdserver: too large lease TTL", ErrorKind::Invalid),
];

/// Texts of `conclave.v1` that go on with particulars; the first match decides.
const BY_BEGINNING: [(&str, ErrorKind); 6] = [
    ("conclave: not as expected", ErrorKind::NotAsExpected),
    ("conclave: held by another", ErrorKind::NotHeld),
    ("conclave: the request neither holds nor waits", ErrorKind::NotHeld),
    ("conclave: no longer a candidate", ErrorKind::NotLeader),
    ("conclave: not acquired within", ErrorKind::Deadline),
    ("conclave: the election was not won in time", ErrorKind::Deadline),
];

/// What it is, as in the [example](Error#examples).
impl Error {
    /// An error of this client's own.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let code = match kind {
            ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => Code::Unavailable,
            ErrorKind::Deadline => Code::DeadlineExceeded,
            ErrorKind::Invalid => Code::InvalidArgument,
            ErrorKind::NotFound | ErrorKind::NoLeader | ErrorKind::LeaseNotFound => Code::NotFound,
            ErrorKind::AlreadyExists => Code::AlreadyExists,
            ErrorKind::OutOfRange => Code::OutOfRange,
            ErrorKind::NoSpace => Code::ResourceExhausted,
            ErrorKind::Denied => Code::PermissionDenied,
            ErrorKind::Unsupported => Code::Unimplemented,
            ErrorKind::ClaimDenied => Code::Aborted,
            ErrorKind::SessionLost
            | ErrorKind::NotLeader
            | ErrorKind::NotHeld
            | ErrorKind::NotAsExpected
            | ErrorKind::Refused => Code::FailedPrecondition,
        };
        Self { kind, status: Box::new(Status::new(code, message)), compacted: None }
    }

    /// Nothing left this process.
    pub(crate) fn unsent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// The history up to `revision` is gone.
    pub(crate) fn compacted_at(revision: i64) -> Self {
        let text = "etcdserver: mvcc: required revision has been compacted";
        Self { compacted: Some(revision), ..Self::new(ErrorKind::OutOfRange, text) }
    }

    /// The same error of a call that changes nothing: it may always be repeated.
    pub(crate) fn of_read(mut self) -> Self {
        if self.kind == ErrorKind::OutcomeUnknown {
            self.kind = ErrorKind::Unavailable;
        }
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
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

    /// The revision up to which history is gone, if that is why a watch ended.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Watch;
    /// use futures::TryStreamExt;
    ///
    /// let mut changes = client.watch(Watch::new("config").from_revision(7)).await?;
    /// if let Err(error) = changes.try_next().await
    ///     && let Some(revision) = error.compacted()
    /// {
    ///     println!("read it again: history up to {revision} is gone");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn compacted(&self) -> Option<i64> {
        self.compacted
    }

    /// Whether the call had surely no effect and may succeed if repeated.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// Whether the request may have taken effect although it failed.
    ///
    /// `false` is a promise: it was refused, before or by the state machine. A caller that must
    /// know otherwise has to read.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        self.kind == ErrorKind::OutcomeUnknown
    }

    /// Whether the call had no effect and will not succeed as it stands.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.is_retryable() && !self.outcome_unknown()
    }

    /// Whether another endpoint may do better.
    pub(crate) fn of_endpoint(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown)
            && self.message() != "etcdserver: too many requests"
    }

    fn text(&self) -> String {
        let unknown = if self.outcome_unknown() { "; the outcome is unknown" } else { "" };
        match self.message() {
            "" => format!("{:?}{unknown}", self.code()),
            message => format!("{message}{unknown}"),
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let kind = kind(&status);
        Self { kind, status: Box::new(status), compacted: None }
    }
}

fn kind(status: &Status) -> ErrorKind {
    if let Some((_, kind)) = BY_TEXT.iter().find(|(text, _)| *text == status.message()) {
        return *kind;
    }
    if let Some((_, kind)) = BY_BEGINNING.iter().find(|(text, _)| status.message().starts_with(text)) {
        return *kind;
    }
    if never_connected(status) {
        return ErrorKind::Unavailable;
    }
    match status.code() {
        Code::InvalidArgument => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::Unimplemented => ErrorKind::Unsupported,
        // What the transport and a busy member say; none of it tells how far the request came.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::DataLoss => ErrorKind::OutcomeUnknown,
        Code::Ok | Code::FailedPrecondition | Code::Aborted | Code::ResourceExhausted => ErrorKind::Refused,
    }
}

/// No connection came about, so nobody heard the request.
fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let refused = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if error.is::<tonic::ConnectError>() || refused == Some(std::io::ErrorKind::ConnectionRefused) {
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
        assert!(of(Status::unavailable("etcdserver: server stopped")));
        assert!(of(Status::deadline_exceeded("late")));
        assert!(of(Status::unknown("h2 protocol error")));
        assert!(!Error::unsent("bad address").outcome_unknown());
    }

    #[test]
    fn each_error_is_one_of_three() {
        let errors = [
            Error::unsent("nobody"),
            Status::unavailable("etcdserver: request timed out").into(),
            Status::unknown("election: not leader").into(),
        ];
        let of = |e: &Error| [e.is_retryable(), e.outcome_unknown(), e.is_final()];
        assert_eq!(errors.each_ref().map(of), [[true, false, false], [false, true, false], [false, false, true]]);
    }

    #[test]
    fn the_text_decides_before_the_code() {
        let kind = |status: Status| Error::from(status).kind();
        assert_eq!(kind(Status::unknown("etcdserver: requested lease not found")), ErrorKind::LeaseNotFound);
        assert_eq!(kind(Status::unknown("election: no leader")), ErrorKind::NoLeader);
        assert_eq!(kind(Status::failed_precondition("mutex: session is expired")), ErrorKind::NotHeld);
        assert_eq!(kind(Status::unknown("etcdserver: too many requests")), ErrorKind::Unavailable);
        assert_eq!(Error::compacted_at(7).compacted(), Some(7));
    }

    #[test]
    fn a_read_has_no_unknown_outcome() {
        let lost = Error::from(Status::unavailable("connection reset"));
        assert!(lost.outcome_unknown() && lost.to_string().contains("outcome is unknown"));
        assert!(lost.of_read().is_retryable());
    }
}
