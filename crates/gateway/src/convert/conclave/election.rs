//! Messages of queue elections.

use super::{
    BadField, Caller, Expecting, LARGEST_LIST, Problem, Session, byte_value, caller, labels, millis, name,
    optional_text, reason, revision, text, text_or_empty,
};
use conclave_api::conclave::v1;
use conclave_api::conclave::v1::promote_request::To;
use conclave_state::coord::read::CandidateState;
use conclave_state::{
    Anoint, CoordBody, Demote, Enter, Evict, EvictEverywhere, Leave, Name, ProclaimTerm, Promote, PromoteTo,
    RequestTransfer, Standing, Term, Transfer,
};
use std::time::Duration;

/// An operation that is well formed.
pub type Operation = (Caller, CoordBody);

fn of_one(from: Option<v1::Caller>) -> Result<Caller, BadField> {
    caller(from, Session::Optional, Expecting::Allowed)
}

fn election(from: Option<v1::Name>) -> Result<Name, BadField> {
    name("election", from)
}

pub fn enter(request: v1::EnterRequest) -> Result<(Caller, Enter), BadField> {
    let caller = caller(request.caller, Session::Required, Expecting::Allowed)?;
    let candidate = match request.candidate {
        empty if empty.is_empty() => format!("{:x}", caller.session),
        candidate => text("candidate", candidate)?,
    };
    let enter = Enter {
        election: election(request.election)?,
        candidate,
        instance: text_or_empty("instance", request.instance)?,
        priority: request.priority,
        labels: labels("labels", request.labels)?,
        value: byte_value("value", request.value)?,
        try_only: request.try_only,
        takeover: request.takeover,
        preempt: request.preempt,
        lock_delay_ms: millis("lock_delay_ms", request.lock_delay_ms)?,
        max_hold_ms: millis("max_hold_ms", request.max_hold_ms)?,
        attempt: 0,
    };
    Ok((caller, enter))
}

/// Entering, and how long to wait then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    pub caller: Caller,
    pub enter: Enter,
    pub timeout: Option<Duration>,
    pub stay: bool,
}

pub fn campaign(request: v1::CampaignRequest) -> Result<Campaign, BadField> {
    let entered = request.enter.ok_or(Problem::Missing.of("enter"))?;
    let (caller, enter) = enter(entered).map_err(|bad| bad.within("enter"))?;
    if enter.try_only {
        return Err(Problem::Other("is set; who campaigns waits (Enter tries)").of("enter.try_only"));
    }
    let timeout = millis("timeout_ms", request.timeout_ms)?;
    let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
    Ok(Campaign { caller, enter, timeout, stay: request.stay })
}

pub fn leave(request: v1::LeaveRequest) -> Result<Operation, BadField> {
    let leave = Leave {
        election: election(request.election)?,
        candidate: text("candidate", request.candidate)?,
        instance: optional_text("instance", request.instance)?,
    };
    Ok((of_one(request.caller)?, CoordBody::Leave(leave)))
}

pub fn anoint(request: v1::AnointRequest) -> Result<Operation, BadField> {
    let anoint = Anoint {
        election: election(request.election)?,
        candidate: text("candidate", request.candidate)?,
        ignore_missing: request.ignore_missing,
    };
    Ok((of_one(request.caller)?, CoordBody::Anoint(anoint)))
}

pub fn promote(request: v1::PromoteRequest) -> Result<Operation, BadField> {
    let unset = |field| Err(Problem::Other("is false; leave it out").of(field));
    let to = match request.to {
        None => PromoteTo::Places(1),
        Some(To::Places(0)) => return Err(Problem::Other("is 0; leave it out for 1").of("places")),
        Some(To::Places(places)) => PromoteTo::Places(places),
        Some(To::FrontOfQueue(true)) => PromoteTo::Front,
        Some(To::Lead(true)) => PromoteTo::Lead,
        Some(To::FrontOfQueue(false)) => return unset("front_of_queue"),
        Some(To::Lead(false)) => return unset("lead"),
    };
    let promote = Promote {
        election: election(request.election)?,
        candidate: text("candidate", request.candidate)?,
        to,
        ignore_missing: request.ignore_missing,
    };
    Ok((of_one(request.caller)?, CoordBody::Promote(promote)))
}

pub fn demote(request: v1::DemoteRequest) -> Result<Operation, BadField> {
    let demote = Demote {
        election: election(request.election)?,
        candidate: text("candidate", request.candidate)?,
        places: request.places.max(1),
        ignore_missing: request.ignore_missing,
    };
    Ok((of_one(request.caller)?, CoordBody::Demote(demote)))
}

pub fn evict(request: v1::EvictRequest) -> Result<Operation, BadField> {
    let evict = Evict {
        election: election(request.election)?,
        candidate: text("candidate", request.candidate)?,
        cooldown_ms: millis("cooldown_ms", request.cooldown_ms)?,
        reason: reason("reason", request.reason)?,
        ignore_missing: request.ignore_missing,
    };
    Ok((of_one(request.caller)?, CoordBody::Evict(evict)))
}

pub fn evict_everywhere(request: v1::EvictEverywhereRequest) -> Result<Operation, BadField> {
    let namespace = text_or_empty("namespace", request.namespace)?;
    let evict = EvictEverywhere {
        namespace: (!namespace.is_empty()).then_some(namespace),
        candidate: text("candidate", request.candidate)?,
        cooldown_ms: millis("cooldown_ms", request.cooldown_ms)?,
        reason: reason("reason", request.reason)?,
    };
    let caller = caller(request.caller, Session::Optional, Expecting::Refused)?;
    Ok((caller, CoordBody::EvictEverywhere(evict)))
}

pub fn proclaim(request: v1::ProclaimRequest) -> Result<Operation, BadField> {
    let proclaim = ProclaimTerm {
        election: election(request.election)?,
        term_id: revision("term_id", request.term_id)?,
        value: byte_value("value", request.value)?,
    };
    Ok((of_one(request.caller)?, CoordBody::ProclaimTerm(proclaim)))
}

pub fn request_transfer(request: v1::RequestTransferRequest) -> Result<Operation, BadField> {
    if request.force && request.deadline_ms == 0 {
        return Err(Problem::Other("is 0; `force` is about what happens at the deadline").of("deadline_ms"));
    }
    let transfer = RequestTransfer {
        election: election(request.election)?,
        to: text("to", request.to)?,
        deadline_ms: millis("deadline_ms", request.deadline_ms)?,
        force: request.force,
    };
    Ok((of_one(request.caller)?, CoordBody::RequestTransfer(transfer)))
}

pub fn transfer(request: v1::TransferRequest) -> Result<Operation, BadField> {
    let transfer = Transfer {
        election: election(request.election)?,
        term_id: revision("term_id", request.term_id)?,
        to: text_or_empty("to", request.to)?,
        leave: request.leave,
    };
    Ok((of_one(request.caller)?, CoordBody::Transfer(transfer)))
}

pub fn delete(request: v1::DeleteElectionRequest) -> Result<Operation, BadField> {
    let name = election(request.election)?;
    Ok((of_one(request.caller)?, CoordBody::DeleteElection(name)))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetTerm {
    pub election: Name,
    pub serializable: bool,
    pub limit: usize,
    pub skip: usize,
}

pub fn get_term(request: v1::GetTermRequest) -> Result<GetTerm, BadField> {
    let v1::GetTermRequest { election: name, serializable, limit, skip } = request;
    if limit > LARGEST_LIST {
        return Err(Problem::TooLarge { value: limit.into(), most: LARGEST_LIST.into() }.of("limit"));
    }
    Ok(GetTerm { election: election(name)?, serializable, limit: limit as usize, skip: skip as usize })
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub election: Name,
    /// `None`: from now.
    pub resume: Option<i64>,
    pub snapshot: bool,
    pub leaders_only: bool,
    pub candidates: bool,
}

pub fn watch(request: v1::WatchElectionRequest) -> Result<Watch, BadField> {
    let v1::WatchElectionRequest { election: name, start_revision, no_snapshot, leaders_only, candidates } = request;
    let start = revision("start_revision", start_revision)?;
    let resume = (start > 0).then_some(start);
    let election = election(name)?;
    Ok(Watch { election, resume, snapshot: resume.is_none() && !no_snapshot, leaders_only, candidates })
}

#[must_use]
pub fn term(term: Term) -> v1::Term {
    let Term { id, seq, leader, waiting, revision } = term;
    v1::Term { id, seq, leader: leader.unwrap_or_default(), waiting, revision, ..v1::Term::default() }
}

#[must_use]
pub fn candidate(candidate: CandidateState) -> v1::Candidate {
    let CandidateState { id, instance, lease, priority, labels, value, joined } = candidate;
    v1::Candidate { id, instance, session: lease, priority, labels: labels.into_iter().collect(), value, joined }
}

#[must_use]
pub fn standing(standing: Standing) -> v1::election_response::Standing {
    match standing {
        Standing::Absent {} => v1::election_response::Standing::Absent,
        Standing::Waiting {} => v1::election_response::Standing::Waiting,
        Standing::Leads {} => v1::election_response::Standing::Leads,
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
