//! What went wrong, and what to do about it.
//!
//! 1. A failure says what happened in the words of the part that noticed it (the server's text is
//!    kept), then what to do next.
//! 2. A write whose outcome is not known is never reported as a plain failure.

use crate::{exit::Exit, output::human};
use std::fmt;
use tonic::{Code, Status};

/// A failure with an exit code.
#[derive(Clone, Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

/// Advice where the cluster has no leader.
const NO_LEADER: &str = "nothing can be read or written until a majority of the members is up and connected; `conclavectl status` shows \
     them";

/// The usual result.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Whether the call that failed would have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Writes,
    /// Writes with an id of their own, which take effect once, however often they are sent.
    Repeats,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// One of which nobody is told: there is nobody left to read it.
    pub(crate) fn quiet(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// With advice; the first advice stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// With advice in place of that on unknown outcomes, if this is one.
    #[must_use]
    pub(crate) fn in_doubt_hint(mut self, hint: impl Into<String>) -> Self {
        if self.exit == Exit::Unknown {
            self.hint = Some(hint.into());
        }
        self
    }

    /// With what was being done.
    #[must_use]
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The cluster has no leader. The advice on an unknown outcome stays.
    #[must_use]
    pub(crate) fn because(mut self, cause: &str) -> Self {
        self.message = format!("{cause} ({})", self.message);
        if !matches!(self.exit, Exit::Unknown | Exit::Lost) {
            self.hint = Some(NO_LEADER.to_owned());
        }
        self
    }

    /// Nothing was done, because the cluster has no leader: `cause` says so.
    pub(crate) fn leaderless(cause: String) -> Self {
        Self::new(Exit::NoConnection, cause).hint(NO_LEADER)
    }

    /// With another exit code.
    #[must_use]
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// As the failure of a command that never started.
    #[must_use]
    pub(crate) fn before_command(mut self) -> Self {
        self.exit = self.exit.before_command();
        self
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A member's answer without something that every member sends.
    pub(crate) fn odd_answer(what: &str) -> Self {
        Self::new(Exit::Failed, format!("the member's answer has no {what}"))
            .hint("is the endpoint a member of this cluster, and of a version that this conclavectl knows?")
    }

    /// By this signal.
    #[must_use]
    pub fn interrupted(signal: u8) -> Self {
        Self::new(Exit::Interrupted(signal), "interrupted")
    }

    /// The server's words; for what the transport says, words that tell something.
    fn words(status: &Status) -> &str {
        match status.message() {
            "" => status.code().description(),
            broken if broken.starts_with("h2 protocol error") || broken.starts_with("transport error") => {
                "the connection to the member was lost"
            }
            "Timeout expired" | "no answer within the deadline" => "no member answered in time",
            words => words,
        }
    }

    /// A write of which nobody knows whether it has taken effect, or will.
    pub(crate) fn in_doubt(status: &Status) -> Self {
        Self::new(Exit::Unknown, Self::words(status)).hint(
            "the outcome is unknown: it may have taken effect. Read what it would have changed before doing it again",
        )
    }

    /// What a call came to.
    #[must_use]
    pub fn of(status: &Status, effect: Effect) -> Self {
        if let Some(wrong) = of_field(status) {
            return Self::usage(wrong);
        }
        let message = Self::words(status);
        let failure = |exit| Self::new(exit, message);
        if effect != Effect::Reads && outcome_unknown(status) {
            return Self::in_doubt(status);
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => failure(Exit::NoConnection)
                .hint("`conclavectl status` shows which members answer and whether they have a leader"),
            // A connection that breaks in the middle of an answer has other codes.
            _ if outcome_unknown(status) => failure(Exit::NoConnection)
                .hint("`conclavectl status` shows which members answer and whether they have a leader"),
            Code::Unimplemented => failure(Exit::Unsupported)
                .hint("this server does not have it: a stock etcd has no elections with an order, claims or modes of locks, nor has an older member what \
                 is newer; `conclavectl endpoint status` tells its version"),
            _ => hinted(failure(exit_of(message)), message),
        }
    }
}

/// The exit code for a refusal. `Busy` tells a script to try again later. Only what is held *now*
/// passes by itself; a wrong capacity, a second process of the same name or a cool-down does not,
/// and must not look as if it did.
fn exit_of(message: &str) -> Exit {
    const HELD: [&str; 1] = ["conclave: held by another"];
    const OTHERWISE: [&str; 4] =
        ["conclave: not as expected", "conclave: not a candidate", "conclave: no such election", "election: no leader"];
    let begins = |text: &&str| message.starts_with(*text);
    match message {
        _ if HELD.iter().any(begins) => Exit::Busy,
        _ if OTHERWISE.iter().any(begins) => Exit::Otherwise,
        // Juju's words: `"a" is not leader of "app"`.
        juju if juju.starts_with('"') && juju.contains("\" is not leader of \"") => Exit::Otherwise,
        _ => Exit::Failed,
    }
}

/// Advice on the refusals that people meet.
fn hinted(failure: Failure, message: &str) -> Failure {
    let advice = [
        (
            "requested lease not found",
            "the lease has run out or was revoked; `conclavectl lease list` shows those that live",
        ),
        (
            "has been compacted",
            "history before the last compaction is gone; leave out --rev, or ask for a newer revision",
        ),
        (
            "is a future revision",
            "the store is not that far; `conclavectl status` shows the revision in its first line",
        ),
        (
            "database space exceeded",
            "`conclavectl alarm list` shows the alarm; free space, then `conclavectl alarm disarm`",
        ),
        (
            "authentication failed, invalid user ID or password",
            "check --user and --password (or CONCLAVECTL_USER and CONCLAVECTL_PASSWORD)",
        ),
        (
            "user name is empty",
            "this cluster asks for a login: --user NAME[:PASSWORD] (or CONCLAVECTL_USER and CONCLAVECTL_PASSWORD)",
        ),
        ("too large lease TTL", "the longest is 9000000000 seconds"),
        ("duplicate key given", "one transaction may write a key once"),
        ("key is not provided", "an empty key cannot be written"),
        ("conclave: not a candidate", "`conclavectl election show` shows who stands in the line"),
        (
            "that id stands already",
            "two processes cannot stand under one id: choose another --candidate, or replace the one that stands with --takeover, which \
             fences it out; `conclavectl election show` shows it",
        ),
        ("conclave: held by another", "`conclavectl claim show` shows who holds it"),
        (
            "evicted, and not to come back yet",
            "the cool-down of its eviction is not over; enter again later, or under another id",
        ),
        (
            "the semaphore is in use with the capacity",
            "all who use a semaphore at the same time give the same capacity: --permits COUNT/CAPACITY",
        ),
        (
            "keys under /_conclave/",
            "choose another key; leave them out of the range of a deletion: two ranges, below and above /_conclave/; `conclavectl election \
             delete` removes an election",
        ),
        (
            "bad leader transferee",
            "`conclavectl status` shows the members by name, `conclavectl member list` with their ids",
        ),
    ];
    match advice.into_iter().find(|(text, _)| message.contains(text)) {
        Some((_, advice)) => failure.hint(advice),
        None => failure,
    }
}

/// A field of a message that a member finds wrong, in the words of the command line, where that is
/// what it came from.
fn of_field(status: &Status) -> Option<String> {
    let text = status.message().strip_prefix("conclave: ").filter(|_| status.code() == Code::InvalidArgument)?;
    let (path, problem) = text.split_once(' ')?;
    let option = match path.trim_end_matches(']').rsplit('.').next()? {
        "name" => "the name",
        "namespace" => "--namespace",
        "candidate" => "--candidate",
        "holder" => "--holder",
        "instance" => "--instance",
        "entity" => "the ENTITY",
        "owner" => "--owner",
        "value" => "--value",
        "labels" => "--label",
        "reason" => "--reason",
        "to" => "the candidate",
        "duration_ms" => "--for",
        "lock_delay_ms" => "--lock-delay",
        "max_hold_ms" => "--max-hold",
        "cooldown_ms" => "--cooldown",
        "deadline_ms" => "--deadline",
        _ => return None,
    };
    // What follows is about the message, or a number of milliseconds.
    let problem = problem.split(';').next().filter(|_| option == "--instance").unwrap_or(problem);
    Some(match path.strip_suffix("_ms").and_then(|_| problem.strip_prefix("is ")?.split_once("; at most ")) {
        Some((_, most)) => {
            let most = most.split(' ').next().and_then(|most| most.parse().ok()).map(human::millis);
            format!("{option} is too long: at most {} is allowed", most.unwrap_or_default())
        }
        None => format!("{option} {problem}"),
    })
}

/// Whether a write may have taken effect although the call failed.
fn outcome_unknown(status: &Status) -> bool {
    let error = conclave_client::Error::from(status.clone());
    error.outcome_unknown()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error: {}", self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Io, error.to_string())
    }
}

impl Failure {
    /// What the client library says.
    pub(crate) fn of_client(error: conclave_client::Error) -> Self {
        use conclave_client::ErrorKind;
        let status = Status::new(error.code(), error.message());
        let exit = match error.kind() {
            ErrorKind::OutcomeUnknown => return Self::of(&Status::unavailable(error.message()), Effect::Writes),
            ErrorKind::Unavailable => Exit::NoConnection,
            ErrorKind::Deadline => Exit::Busy,
            ErrorKind::SessionLost | ErrorKind::NotHeld | ErrorKind::NotLeader => Exit::Lost,
            ErrorKind::NoLeader => Exit::Otherwise,
            ErrorKind::Unsupported => Exit::Unsupported,
            _ => return Self::of(&status, Effect::Reads),
        };
        Self::of(&status, Effect::Reads).exit(exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_named_as_the_command_line_has_them() {
        let of = |text: &str| {
            let failure = Failure::of(&Status::invalid_argument(format!("conclave: {text}")), Effect::Repeats);
            (failure.exit.code(), failure.message().to_owned())
        };
        let wrong = |text: &str| (128, text.to_owned());
        assert_eq!(of("items[0].holder is empty"), wrong("--holder is empty"));
        let long = "has 300 bytes; at most 255 are allowed";
        assert_eq!(of(&format!("parts[0].lock.name {long}")), wrong(&format!("the name {long}")));
        assert_eq!(of(&format!("enter.candidate {long}")), wrong(&format!("--candidate {long}")));
        assert_eq!(
            of("enter.max_hold_ms is 700000; at most 600000 is allowed"),
            wrong("--max-hold is too long: at most 10m0s is allowed")
        );
        // Not the command line's.
        assert_eq!(of("caller.dedupe_id was used for another operation before").0, 1);
    }

    #[test]
    fn advice_is_about_what_was_asked_for() {
        let login = Failure::of(&Status::invalid_argument("etcdserver: user name is empty"), Effect::Reads);
        assert!(login.to_string().contains("asks for a login: --user"), "{login}");
        let reserved = "conclave: keys under /_conclave/ are written by elections, locks and claims alone";
        let reserved = Failure::of(&Status::permission_denied(reserved), Effect::Writes);
        assert!(reserved.to_string().contains("choose another key; leave them out of the range"), "{reserved}");
        let doubt = Failure::of(&Status::unavailable("etcdserver: request timed out"), Effect::Writes);
        assert!(doubt.clone().in_doubt_hint("it ends by itself").to_string().ends_with("\n  it ends by itself"));
        assert!(!Failure::usage("x").in_doubt_hint("y").to_string().contains('y'), "nothing is in doubt");
    }
}
