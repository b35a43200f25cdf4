//! `election enter`: campaign, and run a command while leading. What it then does is `candidate`.

use super::{
    super::{Context, names::own_name, wire},
    candidate::Candidate,
    enter_args::EnterArgs,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::{self, Schedule, signals::Signals},
    output::election::Ordered,
};
use conclave_client::{Session, api::conclave::v1::election_response::Standing};
use tokio::time::timeout;

pub(super) async fn run(args: EnterArgs, context: &Context) -> Result<Exit> {
    let candidate = args.candidate.clone().unwrap_or_else(own_name);
    if let Some(session) = args.session.session {
        let request = args.request(&candidate, session, true);
        let entered = context.link.repeat(|channel| wire::enter(channel, request.clone())).await;
        let response = entered.map_err(|failure| named(&candidate, failure))?;
        context.out.show(&Ordered { response: &response, subject: &candidate })?;
        return if response.standing() == Standing::Absent { Err(args.taken()) } else { Ok(Exit::Done) };
    }
    let with_command = !args.command.is_empty();
    let outcome = stand(&args, context, &candidate).await;
    if with_command { outcome.map_err(Failure::before_command) } else { outcome }
}

async fn stand(args: &EnterArgs, context: &Context, id: &str) -> Result<Exit> {
    Schedule::new(args.ttl, args.grace).map_err(Failure::usage)?;
    if let Some(command) = args.command.first() {
        hold::find(command)?;
    }
    let what = &format!("the leadership of {:?}", args.name.name);
    let mut signals = Signals::new()?;
    let client = &context.link.client().await?;
    let session = &match Session::open(client, args.ttl).await {
        Ok(session) => session,
        Err(error) => return Err(context.link.not_taken(Failure::of_client(error), what, args.ttl).await),
    };
    let candidate = Candidate { args, context, client, session, id, what };
    let bound = context.link.settings().command_timeout;
    let won = match candidate.win(&mut signals, true).await.map_err(|failure| named(id, failure)) {
        Ok(won) => won,
        Err(failure) => {
            // Its place in the line goes with it.
            let _ = timeout(bound, session.close()).await;
            return Err(context.link.not_taken(failure, what, args.ttl).await);
        }
    };
    let outcome = hold::caught(candidate.rounds(won, &mut signals)).await;
    hold::give_back(session, candidate.leave(), (what, session.is_lost()), bound).await;
    outcome.go_on()
}

/// A refusal because of the candidate's id says which one, since the id may be a default.
fn named(candidate: &str, failure: Failure) -> Failure {
    if failure.message().contains("that id stands already") {
        failure.about(format!("candidate {candidate:?}"))
    } else {
        failure
    }
}
