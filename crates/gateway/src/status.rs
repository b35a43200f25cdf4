//! The one table from what can go wrong to what the wire says about it.
//!
//! Clients written in Go know an error by its *text* alone, all others by its code; both are part
//! of the contract. Each text exists once, in [`text`], beside its code; every error of the inner
//! layers reaches gRPC through a conversion in this file.
//!
//! Where etcd sends code `Unknown` because its own layering lost the code (Lock, Election,
//! `too many requests`), the text is etcd's and the code is the fitting one.
//!
//! Four kinds: *invalid* ([`Invalid`], never proposed), *rejection* ([`rejected`], decided by the
//! state machine), *not accepted* (`no leader`, `too many requests`, `server stopped`: surely
//! without effect), *outcome unknown* (the `request timed out` family).

use crate::convert::conclave::BadField;
use crate::follow::Ended;
use crate::limits::Exceeded;
use crate::pending::CallError;
use conclave_node::membership::ChangeError;
use conclave_node::proposer::ProposeError;
use conclave_node::reader::{ReadError, ReadFailure};
use conclave_state::{AuthRefusal, Fault, Rejection};
use tonic::{Code, Status};

/// A text of the wire with the code that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    pub code: Code,
    pub message: &'static str,
}

impl Text {
    const fn new(code: Code, message: &'static str) -> Text {
        Text { code, message }
    }

    #[must_use]
    pub fn status(self) -> Status {
        Status::new(self.code, self.message)
    }
}

impl From<Text> for Status {
    fn from(text: Text) -> Status {
        text.status()
    }
}

/// Every text that a client may match on.
pub mod text {
    use super::Text;
    use tonic::Code::{
        Aborted, DataLoss, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, OutOfRange,
        PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable, Unimplemented, Unknown,
    };

    pub const EMPTY_KEY: Text = Text::new(InvalidArgument, "etcdserver: key is not provided");
    pub const KEY_NOT_FOUND: Text = Text::new(InvalidArgument, "etcdserver: key not found");
    pub const VALUE_PROVIDED: Text = Text::new(InvalidArgument, "etcdserver: value is provided");
    pub const LEASE_PROVIDED: Text = Text::new(InvalidArgument, "etcdserver: lease is provided");
    pub const TOO_MANY_OPS: Text = Text::new(InvalidArgument, "etcdserver: too many operations in txn request");
    pub const DUPLICATE_KEY: Text = Text::new(InvalidArgument, "etcdserver: duplicate key given in txn request");
    pub const INVALID_SORT_OPTION: Text = Text::new(InvalidArgument, "etcdserver: invalid sort option");
    pub const REQUEST_TOO_LARGE: Text = Text::new(InvalidArgument, "etcdserver: request is too large");
    // etcd lets these pass and then compares something else than was asked for, so it has no texts
    // for them.
    pub const INVALID_COMPARE_RESULT: Text = Text::new(InvalidArgument, "etcdserver: invalid compare result");
    pub const INVALID_COMPARE_TARGET: Text = Text::new(InvalidArgument, "etcdserver: invalid compare target");
    pub const INVALID_ALARM: Text = Text::new(InvalidArgument, "etcdserver: invalid alarm request");

    pub const COMPACTED: Text = Text::new(OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    pub const FUTURE_REVISION: Text = Text::new(OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    pub const LEASE_TTL_TOO_LARGE: Text = Text::new(OutOfRange, "etcdserver: too large lease TTL");

    pub const NO_SPACE: Text = Text::new(ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    pub const TOO_MANY_REQUESTS: Text = Text::new(ResourceExhausted, "etcdserver: too many requests");

    pub const LEASE_NOT_FOUND: Text = Text::new(NotFound, "etcdserver: requested lease not found");
    pub const LEASE_EXISTS: Text = Text::new(FailedPrecondition, "etcdserver: lease already exists");
    pub const MEMBER_NOT_FOUND: Text = Text::new(NotFound, "etcdserver: member not found");

    // Changes of the membership.
    pub const PEER_URLS_EXIST: Text = Text::new(FailedPrecondition, "etcdserver: Peer URLs already exists");
    pub const MEMBER_ID_EXISTS: Text = Text::new(FailedPrecondition, "etcdserver: member ID already exist");
    pub const MEMBER_URLS_INVALID: Text = Text::new(InvalidArgument, "etcdserver: given member URLs are invalid");
    pub const MEMBER_NOT_LEARNER: Text = Text::new(FailedPrecondition, "etcdserver: can only promote a learner member");
    pub const LEARNER_NOT_READY: Text =
        Text::new(FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader");
    pub const TOO_MANY_LEARNERS: Text =
        Text::new(FailedPrecondition, "etcdserver: too many learner members in cluster");
    pub const NOT_ENOUGH_STARTED: Text =
        Text::new(Unknown, "etcdserver: re-configuration failed due to not enough started members");
    pub const ADDITION_AT_RISK: Text = Text::new(
        FailedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members: no write would succeed before the new member has \
         started; add it as a learner (--learner), start it, and promote it",
    );
    pub const UNHEALTHY: Text = Text::new(Unavailable, "etcdserver: unhealthy cluster");
    pub const NOT_FOR_LEARNERS: Text = Text::new(Unavailable, "etcdserver: rpc not supported for learner");

    pub const NOT_LEADER: Text = Text::new(FailedPrecondition, "etcdserver: not leader");
    pub const BAD_LEADER_TRANSFEREE: Text = Text::new(FailedPrecondition, "etcdserver: bad leader transferee");
    pub const AUTH_NOT_ENABLED: Text = Text::new(FailedPrecondition, "etcdserver: authentication is not enabled");

    pub const ROOT_USER_NOT_EXIST: Text = Text::new(FailedPrecondition, "etcdserver: root user does not exist");
    pub const ROOT_ROLE_NOT_EXIST: Text =
        Text::new(FailedPrecondition, "etcdserver: root user does not have root role");
    pub const USER_ALREADY_EXIST: Text = Text::new(FailedPrecondition, "etcdserver: user name already exists");
    pub const USER_EMPTY: Text = Text::new(InvalidArgument, "etcdserver: user name is empty");
    pub const USER_NOT_FOUND: Text = Text::new(FailedPrecondition, "etcdserver: user name not found");
    pub const ROLE_ALREADY_EXIST: Text = Text::new(FailedPrecondition, "etcdserver: role name already exists");
    pub const ROLE_NOT_FOUND: Text = Text::new(FailedPrecondition, "etcdserver: role name not found");
    pub const ROLE_EMPTY: Text = Text::new(InvalidArgument, "etcdserver: role name is empty");
    pub const AUTH_FAILED: Text =
        Text::new(InvalidArgument, "etcdserver: authentication failed, invalid user ID or password");
    pub const NO_PASSWORD: Text =
        Text::new(Unknown, "auth: authentication failed, password was given for no password user");
    pub const PERMISSION_NOT_GIVEN: Text = Text::new(InvalidArgument, "etcdserver: permission not given");
    pub const PERMISSION_DENIED: Text = Text::new(PermissionDenied, "etcdserver: permission denied");
    pub const ROLE_NOT_GRANTED: Text = Text::new(FailedPrecondition, "etcdserver: role is not granted to the user");
    pub const PERMISSION_NOT_GRANTED: Text =
        Text::new(FailedPrecondition, "etcdserver: permission is not granted to the role");
    pub const INVALID_AUTH_TOKEN: Text = Text::new(Unauthenticated, "etcdserver: invalid auth token");
    pub const INVALID_AUTH_MANAGEMENT: Text = Text::new(InvalidArgument, "etcdserver: invalid auth management");
    pub const AUTH_OLD_REVISION: Text = Text::new(InvalidArgument, "etcdserver: revision of auth store is old");
    // etcd takes these, and then has users that anybody is, or whose password is cut off.
    pub const PASSWORD_EMPTY: Text =
        Text::new(InvalidArgument, "conclave: the password is empty; a user without one is added with no_password");
    pub const PASSWORD_TOO_LONG: Text =
        Text::new(InvalidArgument, "conclave: the password has more than the 72 bytes that bcrypt looks at");
    pub const BAD_HASH: Text = Text::new(InvalidArgument, "conclave: hashed_password is not a bcrypt hash in base64");

    pub const NO_LEADER: Text = Text::new(Unavailable, "etcdserver: no leader");
    pub const LEADER_CHANGED: Text = Text::new(Unavailable, "etcdserver: leader changed");
    pub const STOPPED: Text = Text::new(Unavailable, "etcdserver: server stopped");
    pub const TIMED_OUT: Text = Text::new(Unavailable, "etcdserver: request timed out");
    // gRPC's own words in Go.
    pub const DEADLINE_EXCEEDED: Text = Text::new(DeadlineExceeded, "context deadline exceeded");
    pub const TIMED_OUT_LEADER_FAILED: Text =
        Text::new(Unavailable, "etcdserver: request timed out, possibly due to previous leader failure");
    pub const TIMED_OUT_CONNECTION_LOST: Text =
        Text::new(Unavailable, "etcdserver: request timed out, possibly due to connection lost");

    pub const CORRUPT: Text = Text::new(DataLoss, "etcdserver: corrupt cluster");

    // Lock and Election: texts without prefix, because etcd's come from its client library.
    pub const SESSION_EXPIRED: Text = Text::new(FailedPrecondition, "mutex: session is expired");
    pub const ELECTION_NOT_LEADER: Text = Text::new(FailedPrecondition, "election: not leader");
    pub const ELECTION_NO_LEADER: Text = Text::new(NotFound, "election: no leader");
    pub const LEADER_FIELD_MISSING: Text = Text::new(InvalidArgument, "\"leader\" field must be provided");

    // Locks of conclave.v1.
    pub const LOCK_WAIT_OVER: Text =
        Text::new(DeadlineExceeded, "conclave: not acquired within wait_ms; the place was given up");
    pub const LOCK_WITHDRAWN: Text = Text::new(
        Aborted,
        "conclave: the request neither holds nor waits any more: it was released, given up or evicted; a new one needs another dedupe id",
    );

    pub const SNAPSHOT_STALLED: Text =
        Text::new(Aborted, "conclave: the snapshot was ended: the client took nothing of it for a minute");

    // What this server does not do; the text says so and what to do instead.
    pub const STREAM_IS_PLAIN: Text = Text::new(
        Unimplemented,
        "conclave: RangeStream answers in ascending key order without revision filters only; use Range for sorting and filters",
    );

    // Placement of leadership.
    pub const PLACEMENT_TOO_NEW: Text = Text::new(
        FailedPrecondition,
        "conclave: the cluster has not decided on a version in which members have labels, maintenance and a policy of placement: a \
         member runs an older program, or has not started",
    );
    pub const IN_MAINTENANCE: Text = Text::new(
        FailedPrecondition,
        "conclave: the target is in maintenance, and is given no leadership; conclavectl member maintenance MEMBER off ends that",
    );

    // Downgrade.
    pub const DOWNGRADE_FORMAT: Text = Text::new(InvalidArgument, "etcdserver: wrong downgrade target version format");
    pub const DOWNGRADE_TARGET: Text = Text::new(InvalidArgument, "etcdserver: invalid downgrade target version");
    pub const DOWNGRADE_UNDER_WAY: Text =
        Text::new(FailedPrecondition, "etcdserver: cluster has a downgrade job in progress");
    pub const NO_CLUSTER_VERSION: Text =
        Text::new(FailedPrecondition, "etcdserver: cluster version not found during downgrade");
}

/// Why a request never became a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    EmptyKey,
    /// An operation of a transaction that is none ("key not found" is what etcd calls it).
    EmptyOperation,
    ValueProvided,
    LeaseProvided,
    TooManyOperations,
    DuplicateKey,
    SortOption,
    CompareResult,
    CompareTarget,
    Alarm,
    TooLarge,
    LeaseTtlTooLarge,
    LeaderMissing,
}

impl Invalid {
    #[must_use]
    pub fn text(self) -> Text {
        match self {
            Invalid::EmptyKey => text::EMPTY_KEY,
            Invalid::EmptyOperation => text::KEY_NOT_FOUND,
            Invalid::ValueProvided => text::VALUE_PROVIDED,
            Invalid::LeaseProvided => text::LEASE_PROVIDED,
            Invalid::TooManyOperations => text::TOO_MANY_OPS,
            Invalid::DuplicateKey => text::DUPLICATE_KEY,
            Invalid::SortOption => text::INVALID_SORT_OPTION,
            Invalid::CompareResult => text::INVALID_COMPARE_RESULT,
            Invalid::CompareTarget => text::INVALID_COMPARE_TARGET,
            Invalid::Alarm => text::INVALID_ALARM,
            Invalid::TooLarge => text::REQUEST_TOO_LARGE,
            Invalid::LeaseTtlTooLarge => text::LEASE_TTL_TOO_LARGE,
            Invalid::LeaderMissing => text::LEADER_FIELD_MISSING,
        }
    }
}

impl From<Invalid> for Status {
    #[cold]
    fn from(invalid: Invalid) -> Status {
        invalid.text().status()
    }
}

/// conclave.v1 says which field it is about.
impl From<BadField> for Status {
    #[cold]
    fn from(bad: BadField) -> Status {
        Status::invalid_argument(format!("conclave: {bad}"))
    }
}

/// Whether somebody was kept out: by its password, its token or its rights.
#[must_use]
pub fn is_denial(status: &Status) -> bool {
    let texts = [text::AUTH_FAILED, text::AUTH_OLD_REVISION, text::USER_EMPTY, text::NO_PASSWORD];
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || texts.iter().any(|text| text.code == status.code() && text.message == status.message())
}

/// The state machine said no.
#[cold]
#[must_use]
pub fn rejected(rejection: Rejection) -> Status {
    match rejection {
        Rejection::KeyNotFound => text::KEY_NOT_FOUND.status(),
        Rejection::LeaseNotFound => text::LEASE_NOT_FOUND.status(),
        Rejection::LeaseExists => text::LEASE_EXISTS.status(),
        Rejection::Compacted { .. } => text::COMPACTED.status(),
        Rejection::FutureRevision { .. } => text::FUTURE_REVISION.status(),
        Rejection::NotLeader => text::ELECTION_NOT_LEADER.status(),
        Rejection::NoSpace => text::NO_SPACE.status(),
        Rejection::Corrupt => text::CORRUPT.status(),
        Rejection::Reserved => coordination(Code::PermissionDenied, rejection),
        Rejection::NoElection => coordination(Code::NotFound, rejection),
        Rejection::AlreadyExists { .. } => coordination(Code::AlreadyExists, rejection),
        Rejection::Malformed | Rejection::DedupeReused => coordination(Code::InvalidArgument, rejection),
        Rejection::NotACandidate
        | Rejection::NotHolder
        | Rejection::CoolingDown
        | Rejection::OfOtherLease { .. }
        | Rejection::Unexpected { .. }
        | Rejection::CapacityDiffers { .. } => coordination(Code::FailedPrecondition, rejection),
        Rejection::TooManyPins { .. } | Rejection::TooManyKeys { .. } => {
            coordination(Code::ResourceExhausted, rejection)
        }
        // Only the expiry task proposes what this answers; no client can ask for it.
        Rejection::Cancelled => coordination(Code::Cancelled, rejection),
        Rejection::StaleTerm => Status::internal("conclave: expiry of another term"),
        Rejection::Auth(refusal) => auth_refused(refusal).status(),
    }
}

fn auth_refused(refusal: AuthRefusal) -> Text {
    match refusal {
        AuthRefusal::RootUserNotExist => text::ROOT_USER_NOT_EXIST,
        AuthRefusal::RootRoleNotExist => text::ROOT_ROLE_NOT_EXIST,
        AuthRefusal::UserAlreadyExist => text::USER_ALREADY_EXIST,
        AuthRefusal::UserEmpty => text::USER_EMPTY,
        AuthRefusal::UserNotFound => text::USER_NOT_FOUND,
        AuthRefusal::RoleAlreadyExist => text::ROLE_ALREADY_EXIST,
        AuthRefusal::RoleNotFound => text::ROLE_NOT_FOUND,
        AuthRefusal::RoleEmpty => text::ROLE_EMPTY,
        AuthRefusal::Failed => text::AUTH_FAILED,
        AuthRefusal::PermissionDenied => text::PERMISSION_DENIED,
        AuthRefusal::RoleNotGranted => text::ROLE_NOT_GRANTED,
        AuthRefusal::PermissionNotGranted => text::PERMISSION_NOT_GRANTED,
        AuthRefusal::NotEnabled => text::AUTH_NOT_ENABLED,
        AuthRefusal::InvalidManagement => text::INVALID_AUTH_MANAGEMENT,
        AuthRefusal::OldRevision => text::AUTH_OLD_REVISION,
    }
}

/// A session was not opened. etcd has another code for a lease that exists.
#[cold]
#[must_use]
pub fn opening_refused(rejection: Rejection) -> Status {
    match rejection {
        Rejection::LeaseExists => coordination(Code::AlreadyExists, rejection),
        rejection => rejected(rejection),
    }
}

/// Who was asked about does not hold the claim. The words are Juju's.
#[cold]
#[must_use]
pub fn not_holder(holder: &str, claim: &str) -> Status {
    Status::failed_precondition(format!("\"{holder}\" is not leader of \"{claim}\""))
}

/// The answer that is remembered under a dedupe id is another operation's.
#[cold]
#[must_use]
pub fn dedupe_id_reused() -> Status {
    rejected(Rejection::DedupeReused)
}

/// What etcd has no text for.
fn coordination(code: Code, rejection: Rejection) -> Status {
    Status::new(code, format!("conclave: {rejection}"))
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Status {
        match error {
            CallError::NotProposed(error) => not_proposed(error),
            CallError::Stopped => text::STOPPED.status(),
            CallError::Cancelled => Status::cancelled("conclave: the call was cancelled"),
            CallError::Limited(exceeded) => limited(exceeded),
        }
    }
}

/// A connection or a user is at a limit.
#[cold]
#[must_use]
pub fn limited(exceeded: Exceeded) -> Status {
    Status::resource_exhausted(format!("conclave: {exceeded}"))
}

/// A change of the membership was not made, or nobody knows.
#[cold]
#[must_use]
pub fn not_changed(error: ChangeError) -> Status {
    match error {
        ChangeError::NotLeader | ChangeError::NoLeader => text::NO_LEADER,
        ChangeError::TimedOut => text::TIMED_OUT,
        ChangeError::InvalidUrls => text::MEMBER_URLS_INVALID,
        ChangeError::UrlsExist => text::PEER_URLS_EXIST,
        ChangeError::IdExists => text::MEMBER_ID_EXISTS,
        ChangeError::NotFound => text::MEMBER_NOT_FOUND,
        ChangeError::NotLearner => text::MEMBER_NOT_LEARNER,
        ChangeError::NotInSync => text::LEARNER_NOT_READY,
        ChangeError::TooManyLearners => text::TOO_MANY_LEARNERS,
        ChangeError::NotEnoughStarted => text::NOT_ENOUGH_STARTED,
        ChangeError::AtRisk => text::ADDITION_AT_RISK,
        ChangeError::Unhealthy => text::UNHEALTHY,
    }
    .into()
}

/// A command was not decided, as far as this member knows.
#[cold]
#[must_use]
pub fn not_proposed(error: ProposeError) -> Status {
    match error {
        ProposeError::NoLeader => text::NO_LEADER,
        ProposeError::TooManyRequests => text::TOO_MANY_REQUESTS,
        ProposeError::TooLarge => text::REQUEST_TOO_LARGE,
        ProposeError::Stopped => text::STOPPED,
        ProposeError::LeaderFailed => text::TIMED_OUT_LEADER_FAILED,
        ProposeError::ConnectionLost => text::TIMED_OUT_CONNECTION_LOST,
        ProposeError::TimedOut => text::TIMED_OUT,
    }
    .status()
}

/// A command of conclave.v1 was not answered. `unknown`: it, or an earlier attempt, may have been
/// decided all the same.
#[cold]
#[must_use]
pub fn undecided(error: ProposeError, unknown: bool) -> Status {
    if !unknown {
        return not_proposed(error);
    }
    let what = "asked again with the same dedupe id it takes effect once";
    Status::unavailable(format!("conclave: the outcome is unknown ({error}); {what}"))
}

impl From<Ended> for Status {
    #[cold]
    fn from(ended: Ended) -> Status {
        match ended {
            Ended::Compacted(_) => text::COMPACTED.status(),
            Ended::Fault(reason) => internal(reason),
        }
    }
}

/// The state could not be read as of now.
#[cold]
#[must_use]
pub fn not_read(error: ReadError) -> Status {
    match error {
        ReadError::NoLeader => text::NO_LEADER.status(),
        ReadError::LeaderChanged => text::LEADER_CHANGED.status(),
        ReadError::TimedOut => text::TIMED_OUT.status(),
        ReadError::Stopped => text::STOPPED.status(),
        ReadError::Fault(reason) => internal(reason),
    }
}

/// A read was rejected, or could not be done.
#[cold]
#[must_use]
pub fn read_failed(failure: ReadFailure) -> Status {
    match failure {
        ReadFailure::Error(error) => not_read(error),
        ReadFailure::Rejected(rejection) => rejected(rejection),
    }
}

/// A message of a client has more bytes than may be. The words are those of gRPC in Go.
#[cold]
#[must_use]
pub fn received_too_large(bytes: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({bytes} vs. {limit})"))
}

/// What ends the stream of a client's messages. If it is that one is too large, tonic has other
/// words and another code for it.
#[cold]
#[must_use]
pub fn received(status: Status) -> Status {
    too_large(status.message()).map_or(status, |(bytes, limit)| received_too_large(bytes, limit))
}

fn too_large(message: &str) -> Option<(usize, usize)> {
    let numbers = message.strip_prefix("Error, decoded message length too large: found ")?;
    let (bytes, limit) = numbers.split_once(" bytes, the limit is: ")?;
    Some((bytes.parse().ok()?, limit.strip_suffix(" bytes")?.parse().ok()?))
}

/// An answer has more bytes than a message may have. The words are those of gRPC in Go.
#[cold]
#[must_use]
pub fn sent_too_large(bytes: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!("grpc: trying to send message larger than max ({bytes} vs. {limit})"))
}

/// A write was decided, but its answer cannot be given.
#[cold]
#[must_use]
pub fn written(why: &Status) -> Status {
    Status::unknown(format!("conclave: the write was decided, but its answer cannot be given: {}", why.message()))
}

/// The state could not be read.
#[cold]
#[must_use]
pub fn fault(fault: Fault) -> Status {
    internal(fault)
}

/// What must not happen, with what is known about it.
#[cold]
#[must_use]
pub fn internal(reason: impl std::fmt::Display) -> Status {
    Status::internal(format!("conclave: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::conclave::Problem;

    fn check(table: Vec<(Status, Code, &str)>) {
        for (status, code, message) in table {
            assert_eq!((status.code(), status.message()), (code, message));
        }
    }

    #[test]
    fn invalid_requests() {
        use Code::{InvalidArgument, OutOfRange};
        check(vec![
            (Invalid::EmptyKey.into(), InvalidArgument, "etcdserver: key is not provided"),
            (Invalid::EmptyOperation.into(), InvalidArgument, "etcdserver: key not found"),
            (Invalid::ValueProvided.into(), InvalidArgument, "etcdserver: value is provided"),
            (Invalid::LeaseProvided.into(), InvalidArgument, "etcdserver: lease is provided"),
            (Invalid::TooManyOperations.into(), InvalidArgument, "etcdserver: too many operations in txn request"),
            (Invalid::DuplicateKey.into(), InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Invalid::SortOption.into(), InvalidArgument, "etcdserver: invalid sort option"),
            (Invalid::CompareResult.into(), InvalidArgument, "etcdserver: invalid compare result"),
            (Invalid::CompareTarget.into(), InvalidArgument, "etcdserver: invalid compare target"),
            (Invalid::Alarm.into(), InvalidArgument, "etcdserver: invalid alarm request"),
            (Invalid::TooLarge.into(), InvalidArgument, "etcdserver: request is too large"),
            (Invalid::LeaseTtlTooLarge.into(), OutOfRange, "etcdserver: too large lease TTL"),
            (Invalid::LeaderMissing.into(), InvalidArgument, "\"leader\" field must be provided"),
        ]);
    }

    #[test]
    fn rejections() {
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let future = "etcdserver: mvcc: required revision is a future revision";
        check(vec![
            (rejected(Rejection::KeyNotFound), Code::InvalidArgument, "etcdserver: key not found"),
            (rejected(Rejection::LeaseNotFound), Code::NotFound, "etcdserver: requested lease not found"),
            (rejected(Rejection::LeaseExists), Code::FailedPrecondition, "etcdserver: lease already exists"),
            (rejected(Rejection::Compacted { compacted: 7 }), Code::OutOfRange, compacted),
            (rejected(Rejection::FutureRevision { current: 7 }), Code::OutOfRange, future),
            (rejected(Rejection::NotLeader), Code::FailedPrecondition, "election: not leader"),
            (rejected(Rejection::NoSpace), Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (rejected(Rejection::Corrupt), Code::DataLoss, "etcdserver: corrupt cluster"),
            (rejected(Rejection::StaleTerm), Code::Internal, "conclave: expiry of another term"),
        ]);
    }

    #[test]
    fn proposals_and_reads() {
        use Code::{Internal, InvalidArgument, ResourceExhausted, Unavailable};
        let leader_failed = "etcdserver: request timed out, possibly due to previous leader failure";
        let connection_lost = "etcdserver: request timed out, possibly due to connection lost";
        check(vec![
            (not_proposed(ProposeError::NoLeader), Unavailable, "etcdserver: no leader"),
            (not_proposed(ProposeError::TooManyRequests), ResourceExhausted, "etcdserver: too many requests"),
            (not_proposed(ProposeError::TooLarge), InvalidArgument, "etcdserver: request is too large"),
            (not_proposed(ProposeError::Stopped), Unavailable, "etcdserver: server stopped"),
            (not_proposed(ProposeError::LeaderFailed), Unavailable, leader_failed),
            (not_proposed(ProposeError::ConnectionLost), Unavailable, connection_lost),
            (not_proposed(ProposeError::TimedOut), Unavailable, "etcdserver: request timed out"),
            (not_read(ReadError::NoLeader), Unavailable, "etcdserver: no leader"),
            (not_read(ReadError::LeaderChanged), Unavailable, "etcdserver: leader changed"),
            (not_read(ReadError::TimedOut), Unavailable, "etcdserver: request timed out"),
            (not_read(ReadError::Stopped), Unavailable, "etcdserver: server stopped"),
            (not_read(ReadError::Fault("disk".into())), Internal, "conclave: disk"),
            (read_failed(ReadFailure::Error(ReadError::TimedOut)), Unavailable, "etcdserver: request timed out"),
            (read_failed(ReadFailure::Rejected(Rejection::KeyNotFound)), InvalidArgument, "etcdserver: key not found"),
        ]);
    }

    #[test]
    fn a_message_that_is_too_large() {
        let tonics = "Error, decoded message length too large: found 1006 bytes, the limit is: 1000 bytes";
        let text = "grpc: received message larger than max (1006 vs. 1000)";
        check(vec![
            (received(Status::out_of_range(tonics)), Code::ResourceExhausted, text),
            (received(Status::internal("another")), Code::Internal, "another"),
        ]);
        // Clients take the code as it is for a refusal, which a write that was decided is not.
        assert_eq!(written(&sent_too_large(9, 8)).code(), Code::Unknown);
    }

    #[test]
    fn refusals_of_coordination() {
        use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied};
        let unexpected = Rejection::Unexpected { fence: 3, revision: 4 };
        let too_many_keys = "conclave: the ranges of the request cover more than 7 keys; split it into several";
        let stands = "conclave: not as expected (fence 3, last changed at revision 4)";
        let reserved = "conclave: keys under /_conclave/ are written by elections, locks and claims alone";
        let second = "conclave: that id stands already, for session 2a; only with `takeover` does another session or instance replace it";
        let reused = "conclave: caller.dedupe_id was used for another operation before";
        check(vec![
            (rejected(unexpected), FailedPrecondition, stands),
            (rejected(Rejection::Reserved), PermissionDenied, reserved),
            (rejected(Rejection::TooManyKeys { limit: 7 }), Code::ResourceExhausted, too_many_keys),
            (rejected(Rejection::NoElection), NotFound, "conclave: no such election"),
            (rejected(Rejection::AlreadyExists { session: 42 }), AlreadyExists, second),
            (dedupe_id_reused(), InvalidArgument, reused),
            (
                rejected(Rejection::OfOtherLease { lease: 42 }),
                FailedPrecondition,
                "conclave: the key of this place is attached to another lease, 2a",
            ),
            (rejected(Rejection::NotACandidate), FailedPrecondition, "conclave: not a candidate"),
            (rejected(Rejection::Cancelled), Code::Cancelled, "conclave: the call was given up"),
            (Problem::Empty.of("election.name").into(), InvalidArgument, "conclave: election.name is empty"),
        ]);
    }

    #[test]
    fn what_may_have_been_decided_says_so() {
        let again = "asked again with the same dedupe id it takes effect once";
        let lost = "the connection to the leader was lost; the outcome is unknown";
        let unknown = format!("conclave: the outcome is unknown ({lost}); {again}");
        check(vec![
            (undecided(ProposeError::ConnectionLost, true), Code::Unavailable, &unknown),
            (undecided(ProposeError::NoLeader, false), Code::Unavailable, "etcdserver: no leader"),
            (undecided(ProposeError::TooLarge, false), Code::InvalidArgument, "etcdserver: request is too large"),
        ]);
        // An earlier attempt may have been the one.
        assert!(undecided(ProposeError::NoLeader, true).message().starts_with("conclave: the outcome is unknown"));
    }

    /// Texts that no error type leads to yet, or that services use directly.
    #[test]
    fn texts_used_directly() {
        use Code::{FailedPrecondition, NotFound, Unimplemented};
        check(vec![
            (text::NOT_LEADER.into(), FailedPrecondition, "etcdserver: not leader"),
            (text::BAD_LEADER_TRANSFEREE.into(), FailedPrecondition, "etcdserver: bad leader transferee"),
            (text::AUTH_NOT_ENABLED.into(), FailedPrecondition, "etcdserver: authentication is not enabled"),
            (text::MEMBER_NOT_FOUND.into(), NotFound, "etcdserver: member not found"),
            (text::SESSION_EXPIRED.into(), FailedPrecondition, "mutex: session is expired"),
            (text::ELECTION_NOT_LEADER.into(), FailedPrecondition, "election: not leader"),
            (text::ELECTION_NO_LEADER.into(), NotFound, "election: no leader"),
        ]);
        let said = text::STREAM_IS_PLAIN;
        assert_eq!(said.code, Unimplemented);
        assert!(said.message.starts_with("conclave: "));
    }
}
