//! `election enter`: campaign, and run a command while leading. What it then does is `candidate`.

use super::{
    super::{
        Context,
        names::{CallerArgs, own_name},
        wire,
    },
    candidate::Candidate,
    enter_args::EnterArgs,
    line,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::{self, Schedule, signals::Signals},
    output::{self, election::Ordered},
};
use conclave_client::api::conclave::v1::{self, LeaveRequest, election_response::Standing};

pub(super) async fn run(args: EnterArgs, context: &Context) -> Result<Exit> {
    let candidate = args.candidate.clone().unwrap_or_else(own_name);
    if let Some(session) = args.session.session {
        return enter_only(&args, context, &candidate, session).await;
    }
    let with_command = !args.command.is_empty();
    let outcome = stand(&args, context, &candidate).await;
    if with_command { outcome.map_err(Failure::before_command) } else { outcome }
}

/// Enters with a session that its caller keeps alive.
async fn enter_only(args: &EnterArgs, context: &Context, candidate: &str, session: i64) -> Result<Exit> {
    let request = args.request(candidate, session, true);
    let entering = context.link.repeat(|channel| wire::enter(channel, request.clone()));
    let response = match context.link.while_led(args.patience(), entering).await {
        Ok(response) => response,
        Err(failure) => return Err(own_instance(args, context, candidate, session, failure).await),
    };
    let stands = response.standing() != Standing::Absent;
    let shown = context.out.show(&Ordered { response: &response, subject: candidate });
    if shown.is_err() && stands && response.changed {
        take_back(args, context, candidate, session).await;
    }
    shown?;
    if stands { Ok(Exit::Done) } else { Err(args.taken()) }
}

/// Leaves what was just entered: nobody could be told of it.
async fn take_back(args: &EnterArgs, context: &Context, candidate: &str, session: i64) {
    let request = LeaveRequest {
        caller: CallerArgs::default().caller_of(session),
        election: args.name.name(),
        candidate: candidate.to_owned(),
        instance: Some(args.instance(session)),
    };
    if let Err(failure) = context.link.repeat(|channel| wire::leave(channel, request.clone())).await {
        output::note(&format!("could not leave {:?} again: {}", args.name.name, failure.message()));
    }
}

/// In the text of a refusal: another session or instance stands under the id.
const STANDS: &str = "that id stands already";

/// A refusal because of the candidate's id says which one, since the id may be a default.
fn named(candidate: &str, failure: Failure) -> Failure {
    if failure.message().contains(STANDS) { failure.about(format!("candidate {candidate:?}")) } else { failure }
}

/// A refusal because of the candidate's id. If the caller's own session stands under it, the text
/// says as which instance.
async fn own_instance(args: &EnterArgs, context: &Context, candidate: &str, session: i64, failure: Failure) -> Failure {
    if !failure.message().contains(STANDS) {
        return failure;
    }
    let own = |one: &v1::Candidate| one.id == candidate && one.session == session;
    let line = line::read(context, (args.name.name(), false), own).await.unwrap_or_default();
    match line.find(own) {
        Some(own) => Failure::new(
            failure.exit,
            format!("candidate {candidate:?}: this session stands under it already, as instance {:?}", own.instance),
        )
        .hint("that --instance finds its place again; --takeover replaces it"),
        None => named(candidate, failure),
    }
}

async fn stand(args: &EnterArgs, context: &Context, id: &str) -> Result<Exit> {
    Schedule::new(args.ttl, args.grace).map_err(Failure::usage)?;
    if let Some(command) = args.command.first() {
        hold::find(command)?;
    }
    let what = &format!("the leadership of {:?}", args.name.name);
    let mut signals = Signals::new()?;
    let client = &context.link.client().await?;
    let session = &match hold::open(&context.link, client, (args.ttl, args.patience()), &mut signals).await {
        Ok(session) => session,
        Err(failure) => return Err(context.link.not_taken(failure, what, args.ttl).await),
    };
    let candidate = Candidate { args, context, client, session, id, what };
    let won = match candidate.win(&mut signals, true).await.map_err(|failure| named(id, failure)) {
        Ok(won) => won,
        Err(failure) => {
            hold::give_up(&context.link, session, &failure).await;
            return Err(context.link.not_taken(failure, what, args.ttl).await);
        }
    };
    let outcome = hold::caught(candidate.rounds(won, &mut signals)).await;
    hold::give_back(&context.link, session, candidate.leave(), (what, session.is_lost())).await;
    match outcome.go_on() {
        Err(failure) => Err(context.link.explained(failure).await),
        led => led,
    }
}
