//! Terms, candidates and what an order did, as all election commands show them.

use super::{Json, Show, Table, Text, header_json, human, quote};
use conclave_client::api::{
    conclave::v1::{Candidate, Cause, ElectionResponse, Term, Token, election_response::Standing},
    etcdserverpb::{Compare, compare::TargetUnion},
};

/// A cause as people read it.
pub(crate) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Unspecified => "-",
        Cause::Entered => "entered",
        Cause::Left => "left",
        Cause::Expired => "session expired",
        Cause::SessionClosed => "session closed",
        Cause::Evicted => "evicted",
        Cause::Anointed => "anointed",
        Cause::Promoted => "promoted",
        Cause::Demoted => "demoted",
        Cause::Preempted => "preempted",
        Cause::TakenOver => "taken over",
        Cause::Transferred => "handed over",
        Cause::TransferRequested => "transfer requested",
        Cause::TransferLapsed => "transfer lapsed",
        Cause::HoldEnded => "held too long",
        Cause::DelayOver => "lock-delay over",
        Cause::Acquired => "acquired",
        Cause::Released => "released",
        Cause::Withdrawn => "gave up",
        Cause::Claimed => "claimed",
        Cause::Revoked => "revoked",
    }
}

pub(crate) fn cause_json(cause: Cause) -> Json {
    Json::from(cause.as_str_name().trim_start_matches("CAUSE_"))
}

pub(crate) fn term_json(term: &Term) -> Json {
    Json::object()
        .with("id", term.id)
        .with("seq", term.seq)
        .with("leader", &term.leader)
        .some("candidates", Json::list(&term.candidates, candidate_json))
        .with("waiting", term.waiting)
        .with("revision", term.revision)
        .some("transfer_to", &term.transfer_to)
        .some("delayed", term.delayed)
        .done()
}

fn candidate_json(candidate: &Candidate) -> Json {
    let mut labels: Vec<(&String, &String)> = candidate.labels.iter().collect();
    labels.sort();
    let labels = labels.into_iter().map(|(name, value)| (name.clone(), Json::from(value))).collect();
    Json::object()
        .with("id", &candidate.id)
        .some("instance", &candidate.instance)
        .with("session", human::lease(candidate.session))
        .some("priority", candidate.priority)
        .some("labels", Json::Map(labels))
        .some("value", Json::bytes(&candidate.value))
        .with("joined", candidate.joined)
        .done()
}

/// The fence, and the compares to put before one's own.
pub(crate) fn token_json(token: &Token) -> Json {
    Json::object().with("fence", token.fence).with("guards", Json::list(&token.guards, guard_json)).done()
}

fn guard_json(guard: &Compare) -> Json {
    let operand = match &guard.target_union {
        Some(TargetUnion::Version(n)) => Json::Int(*n),
        Some(TargetUnion::CreateRevision(n)) => Json::Int(*n),
        Some(TargetUnion::ModRevision(n)) => Json::Int(*n),
        Some(TargetUnion::Lease(n)) => Json::Int(*n),
        Some(TargetUnion::Value(value)) => Json::bytes(value),
        None => Json::Null,
    };
    Json::object()
        .with("key", Json::bytes(&guard.key))
        .with("target", guard.target().as_str_name())
        .with("result", guard.result().as_str_name())
        .with("operand", operand)
        .done()
}

/// A compare as `txn` reads it.
pub(crate) fn guard_text(guard: &Compare) -> String {
    use conclave_client::api::etcdserverpb::compare::CompareResult;
    let relation = match guard.result() {
        CompareResult::Equal => "=",
        CompareResult::NotEqual => "!=",
        CompareResult::Greater => ">",
        CompareResult::Less => "<",
    };
    let (target, operand) = match &guard.target_union {
        Some(TargetUnion::Version(n)) => ("version", n.to_string()),
        Some(TargetUnion::CreateRevision(n)) => ("create", n.to_string()),
        Some(TargetUnion::ModRevision(n)) => ("mod", n.to_string()),
        Some(TargetUnion::Lease(n)) => ("lease", format!("{n:x}")),
        Some(TargetUnion::Value(value)) => {
            return format!("value({}) {relation} {}", quote::go(&guard.key), quote::go(value));
        }
        None => ("version", "0".to_owned()),
    };
    format!("{target}({}) {relation} \"{operand}\"", quote::go(&guard.key))
}

/// The instance of a candidate; that of its session alone as sessions are written.
fn instance(candidate: &Candidate) -> String {
    match i64::from_str_radix(&candidate.instance, 16) {
        Ok(own) if own == candidate.session && own != 0 => human::lease(own),
        _ => human::or_dash(&candidate.instance),
    }
}

/// The line of an election.
pub(crate) fn line_table(term: &Term) -> Table {
    let mut table = Table::new(["PLACE", "CANDIDATE", "INSTANCE", "PRIORITY", "SESSION", "JOINED", "VALUE"]);
    let led = usize::from(!term.leader.is_empty());
    for (i, candidate) in term.candidates.iter().enumerate() {
        let place = if i < led { "leads".to_owned() } else { format!("waits ({})", i + 1 - led) };
        let value = if candidate.value.is_empty() { "-".to_owned() } else { quote::readable(&candidate.value) };
        table.row([
            place,
            candidate.id.clone(),
            instance(candidate),
            candidate.priority.to_string(),
            human::lease_or_dash(candidate.session),
            candidate.joined.to_string(),
            value,
        ]);
    }
    table
}

/// Who leads, on one line.
pub(crate) fn term_text(term: &Term) -> String {
    let leader = match term.leader.as_str() {
        "" if term.delayed => "nobody leads (a lock-delay runs)".to_owned(),
        "" => "nobody leads".to_owned(),
        leader => format!("{leader} leads with fence {}", term.id),
    };
    let transfer = match term.transfer_to.as_str() {
        "" => String::new(),
        to => format!("; asked to hand over to {to}"),
    };
    format!("{leader}; {} waiting{transfer}", term.waiting)
}

/// What an order did.
pub(crate) struct Ordered<'a> {
    pub(crate) response: &'a ElectionResponse,
    pub(crate) subject: &'a str,
}

impl Ordered<'_> {
    fn standing(&self) -> &'static str {
        match self.response.standing() {
            Standing::Absent => "is not a candidate",
            Standing::Waiting => "waits",
            Standing::Leads => "leads",
        }
    }
}

impl Show for Ordered<'_> {
    fn simple(&self, text: &mut Text) {
        let term = self.response.term.clone().unwrap_or_default();
        let changed = if self.response.changed { "" } else { " (as before)" };
        let standing = match self.response.standing() {
            // Who leads is said anyway.
            Standing::Leads if term.leader == self.subject => String::new(),
            _ => format!("{} {}; ", self.subject, self.standing()),
        };
        text.line(format!("{standing}{}{changed}", term_text(&term)));
    }

    fn json(&self) -> Json {
        let response = self.response;
        Json::object()
            .with("header", header_json(response.header.as_ref()))
            .some("term", response.term.as_ref().map(term_json))
            .with("changed", response.changed)
            .with("standing", response.standing().as_str_name())
            .some("token", response.token.as_ref().map(token_json))
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_of_a_session_is_written_as_the_session_is() {
        let of =
            |named: &str, session| instance(&Candidate { instance: named.to_owned(), session, ..Candidate::default() });
        assert_eq!(of("1f2e", 0x1f2e), "0000000000001f2e");
        assert_eq!([of("1f2e", 7), of("boot-17", 7), of("", 7)], ["1f2e", "boot-17", "-"]);
    }
}
