//! Orders to an election: `leave`, `promote`, `demote`, `anoint`, `evict`, `transfer`, `delete`.
//!
//! Each carries a dedupe id, so that an order whose answer was lost is not carried out twice.

use super::{
    super::{
        Context,
        names::{CallerArgs, Done, NameArgs},
        wire,
    },
    show::missing,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{
        self,
        election::{Ordered, term_text},
    },
    parse,
};
use clap::{Args, builder::NonEmptyStringValueParser};
use conclave_client::api::conclave::v1::{
    AnointRequest, DeleteElectionRequest, DemoteRequest, ElectionResponse, EvictEverywhereRequest, EvictRequest,
    GetTermRequest, LeaveRequest, PromoteRequest, RequestTransferRequest, promote_request::To,
};
use std::time::Duration;

/// Milliseconds.
pub(crate) fn millis(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Which candidate of which election.
#[derive(Args, Clone, Debug)]
pub(crate) struct Subject {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    candidate: CandidateArgs,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Which candidate: after the election's name, or by the flag that `enter` has.
#[derive(Args, Clone, Debug)]
struct CandidateArgs {
    /// Which candidate
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    #[arg(required_unless_present = "candidate_flag", conflicts_with = "candidate_flag")]
    candidate: Option<String>,
    /// The same, as `enter` has it
    #[arg(id = "candidate_flag", long = "candidate", value_name = "CANDIDATE")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    flag: Option<String>,
}

impl Subject {
    fn parts(self) -> (NameArgs, String, CallerArgs) {
        (self.name, self.candidate.candidate.or(self.candidate.flag).unwrap_or_default(), self.caller)
    }
}

/// Shows what an order did, or why it did nothing.
async fn show(context: &Context, name: &NameArgs, subject: &str, outcome: Result<ElectionResponse>) -> Result<()> {
    match outcome {
        Ok(response) => context.out.show(&Ordered { response: &response, subject }),
        Err(failure) => Err(explained(context, name, subject, failure).await),
    }
}

/// A refusal with how things stand: whether there is such an election, and who leads it.
async fn explained(context: &Context, name: &NameArgs, subject: &str, failure: Failure) -> Failure {
    let nobody_leads = failure.message() == "election: not leader";
    if failure.exit != Exit::Otherwise && !nobody_leads {
        return failure;
    }
    let request = GetTermRequest { election: name.name(), ..GetTermRequest::default() };
    let Ok(answer) = context.link.read(|channel| wire::get_term(channel, request.clone())).await else {
        return failure;
    };
    let term = answer.term.unwrap_or_default();
    if term.revision == 0 {
        return missing(name);
    }
    let (stands, name) = (term_text(&term), &name.name);
    let what = match failure.message() {
        text if text.contains("not as expected") => {
            format!("not as expected: {stands}; last change at revision {}", term.revision)
        }
        _ if nobody_leads => format!("nobody leads {name:?}, so nobody can hand over"),
        _ => format!("{subject:?} is not a candidate of {name:?}: {stands}"),
    };
    Failure::new(Exit::Otherwise, what).hint(format!("`conclavectl election show {name}` shows the line"))
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election leave printing host-7/4711
  conclavectl election leave printing --candidate host-7            the same flag as `enter`
  conclavectl election leave printing host-7 --instance 4711        only that process of it")]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    subject: Subject,
    /// Only this instance of it
    #[arg(long)]
    instance: Option<String>,
}

impl LeaveArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (name, candidate, caller) = self.subject.parts();
        let request = LeaveRequest {
            caller: caller.caller(),
            election: name.name(),
            candidate: candidate.clone(),
            instance: self.instance,
        };
        let outcome = context.link.repeat(|channel| wire::leave(channel, request.clone())).await;
        // Not to be a candidate is what was asked for; a name that is written wrong is worth a
        // word.
        let none = |response: &ElectionResponse| response.term.as_ref().is_none_or(|term| term.revision == 0);
        if outcome.as_ref().is_ok_and(none) {
            output::note(&format!("there is no election {:?}", name.name));
        }
        show(context, &name, &candidate, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election promote printing b             one place ahead
  conclavectl election promote printing b --front     first of those who wait
  conclavectl election promote printing b --lead      to the leadership")]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    subject: Subject,
    /// So many places
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    places: u32,
    /// To the first place in line; the leader stays
    #[arg(long, conflicts_with_all = ["places", "lead"])]
    front: bool,
    /// To the leadership
    #[arg(long, conflicts_with = "places")]
    lead: bool,
    /// An unknown candidate is no error
    #[arg(long)]
    ignore_missing: bool,
}

impl PromoteArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (name, candidate, caller) = self.subject.parts();
        let to = match (self.front, self.lead) {
            (true, _) => To::FrontOfQueue(true),
            (_, true) => To::Lead(true),
            _ => To::Places(self.places),
        };
        let request = PromoteRequest {
            caller: caller.caller(),
            election: name.name(),
            candidate: candidate.clone(),
            to: Some(to),
            ignore_missing: self.ignore_missing,
        };
        let outcome = context.link.repeat(|channel| wire::promote(channel, request.clone())).await;
        show(context, &name, &candidate, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election demote printing b              one place back
  conclavectl election demote printing a --last       to the end of the line")]
pub(crate) struct DemoteArgs {
    #[command(flatten)]
    subject: Subject,
    /// So many places
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    places: u32,
    /// To the end of the line
    #[arg(long, conflicts_with = "places")]
    last: bool,
    /// An unknown candidate is no error
    #[arg(long)]
    ignore_missing: bool,
}

impl DemoteArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (name, candidate, caller) = self.subject.parts();
        let request = DemoteRequest {
            caller: caller.caller(),
            election: name.name(),
            candidate: candidate.clone(),
            places: if self.last { u32::MAX } else { self.places },
            ignore_missing: self.ignore_missing,
        };
        let outcome = context.link.repeat(|channel| wire::demote(channel, request.clone())).await;
        show(context, &name, &candidate, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election anoint printing b
  conclavectl election anoint printing b --expect-holder a          only if a leads")]
pub(crate) struct AnointArgs {
    #[command(flatten)]
    subject: Subject,
    /// An unknown candidate is no error
    #[arg(long)]
    ignore_missing: bool,
}

impl AnointArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (name, candidate, caller) = self.subject.parts();
        let request = AnointRequest {
            caller: caller.caller(),
            election: name.name(),
            candidate: candidate.clone(),
            ignore_missing: self.ignore_missing,
        };
        let outcome = context.link.repeat(|channel| wire::anoint(channel, request.clone())).await;
        show(context, &name, &candidate, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election evict printing host-7/4711 --cooldown 1m --reason 'disk is full'
  conclavectl election evict --everywhere host-7       out of every election, to drain a machine")]
pub(crate) struct EvictArgs {
    /// Which election; with --everywhere: which candidate
    name: String,
    /// Which candidate
    #[arg(required_unless_present_any = ["everywhere", "candidate_flag"])]
    #[arg(conflicts_with_all = ["everywhere", "candidate_flag"])]
    candidate: Option<String>,
    /// The same, as `enter` has it
    #[arg(id = "candidate_flag", long = "candidate", value_name = "CANDIDATE", conflicts_with = "everywhere")]
    candidate_flag: Option<String>,
    /// The namespace of the name [default: "default"; with --everywhere: all]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Out of every election in which it stands, at once
    #[arg(long)]
    everywhere: bool,
    /// For how long it may not enter again
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    cooldown: Option<Duration>,
    /// Told to those who watch
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// An unknown candidate is no error
    #[arg(long)]
    ignore_missing: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

impl EvictArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let cooldown_ms = millis(self.cooldown);
        let Some(candidate) = self.candidate.or(self.candidate_flag) else {
            let request = EvictEverywhereRequest {
                caller: self.caller.caller(),
                namespace: self.namespace,
                candidate: self.name.clone(),
                cooldown_ms,
                reason: self.reason,
            };
            let response = context.link.repeat(|channel| wire::evict_everywhere(channel, request.clone())).await?;
            let elections = if response.evicted == 1 { "election" } else { "elections" };
            let text = format!("{} evicted from {} {elections}", self.name, response.evicted);
            context.out.show(&Done { header: response.header, changed: response.evicted > 0, text })?;
            return Ok(());
        };
        let name = NameArgs { name: self.name, namespace: self.namespace };
        let request = EvictRequest {
            caller: self.caller.caller(),
            election: name.name(),
            candidate: candidate.clone(),
            cooldown_ms,
            reason: self.reason,
            ignore_missing: self.ignore_missing,
        };
        let outcome = context.link.repeat(|channel| wire::evict(channel, request.clone())).await;
        show(context, &name, &candidate, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
The leader sees the request in its term and hands over when it is ready; there is never a
moment with two leaders, or with none. With --force the hand-over is made at the deadline,
ready or not.

Examples:
  conclavectl election transfer printing b
  conclavectl election transfer printing b --deadline 1m            the request lapses then
  conclavectl election transfer printing b --deadline 1m --force    or is forced")]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    name: NameArgs,
    /// To whom: a candidate that waits
    to: String,
    /// After this the request lapses, or is forced
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    deadline: Option<Duration>,
    /// At the deadline, hand over without the leader
    #[arg(long, requires = "deadline")]
    force: bool,
    #[command(flatten)]
    caller: CallerArgs,
}

impl TransferArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let request = RequestTransferRequest {
            caller: self.caller.caller(),
            election: self.name.name(),
            to: self.to.clone(),
            deadline_ms: millis(self.deadline),
            force: self.force,
        };
        let outcome = context.link.repeat(|channel| wire::request_transfer(channel, request.clone())).await;
        show(context, &self.name, &self.to, outcome).await
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election delete printing")]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    caller: CallerArgs,
}

impl DeleteArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let request = DeleteElectionRequest { caller: self.caller.caller(), election: self.name.name() };
        let outcome = context.link.repeat(|channel| wire::delete_election(channel, request.clone())).await;
        let response = match outcome {
            Ok(response) => response,
            Err(failure) => return Err(explained(context, &self.name, "", failure).await),
        };
        let text = format!("election {} deleted", self.name.name);
        context.out.show(&Done { header: response.header, changed: true, text })?;
        Ok(())
    }
}
