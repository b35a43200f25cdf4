//! `election enter`: stand for election, and run a command while leading.

use super::{
    super::{
        Context,
        elect::own_name,
        names::{CallerArgs, NameArgs, SessionArg},
        wire,
    },
    orders::millis,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::{self, HandOver, Job, Schedule, Tenure, signals::Signals},
    output::{self, election::Ordered},
    parse,
};
use clap::Args;
use conclave_client::{
    Session,
    api::conclave::v1::{
        CampaignRequest, ElectionResponse, EnterRequest, LeaveRequest, Token, TransferRequest, WatchElectionRequest,
        campaign_response::Now, election_response::Standing, elections_client::ElectionsClient,
    },
};
use futures::FutureExt as _;
use std::{cell::Cell, ffi::OsString, time::Duration};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// Between attempts to stand again after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);

/// Stand for election; run a command while leading
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election enter printing -- ./spooler
  conclavectl election enter printing --candidate host-7 --priority 10 --preempt -- ./spooler
  conclavectl election enter printing              stand, and lead until Ctrl-C
  conclavectl election enter printing --candidate a --session 694d77aa9e38260f
      only enter; the session is somebody else's to keep
  conclavectl election enter printing --candidate host-7 --takeover -- ./spooler
      replace the process that stands as host-7, and stop what it runs

The command finds CONCLAVE_FENCE (the term), CONCLAVE_LEASE, CONCLAVE_NAME and
CONCLAVE_CANDIDATE in its environment, and is stopped when the leadership is lost, as with
`conclavectl lock --help`. When it ends, the candidate leaves. Asked for a transfer, it stops
the command, then hands over.")]
pub(crate) struct EnterArgs {
    #[command(flatten)]
    name: NameArgs,
    /// What to run while it leads
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "session")]
    command: Vec<OsString>,
    /// As whom; unique in the election, so refused while another process stands so [default: host name and process id]
    #[arg(long)]
    candidate: Option<String>,
    /// Which process in the session this is [default: the session]
    #[arg(long, default_value = "", hide_default_value = true)]
    instance: String,
    /// Higher stands further ahead among those who wait
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// NAME=VALUE, shown to who looks; may be repeated
    #[arg(long = "label", value_parser = label, value_name = "NAME=VALUE")]
    labels: Vec<(String, String)>,
    /// What the leader's key holds
    #[arg(long, default_value = "", hide_default_value = true)]
    value: String,
    /// Enter only if that means to lead at once
    #[arg(long = "try")]
    try_only: bool,
    /// Replace the candidate that stands under this id, at its place; it is fenced out and told so
    #[arg(long)]
    takeover: bool,
    /// With a priority above the leader's, lead at once
    #[arg(long)]
    preempt: bool,
    /// For so long nobody leads after this candidate was lost as the leader
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    lock_delay: Option<Duration>,
    /// Lead no longer than this in one term
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    max_hold: Option<Duration>,
    /// Wait no longer than this for the leadership
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    wait: Option<Duration>,
    /// How long the candidacy stands if this machine vanishes; seconds, or a time with its unit
    #[arg(long, default_value = "10", value_parser = parse::ttl, allow_hyphen_values = true, value_name = "TIME")]
    ttl: Duration,
    /// From SIGTERM to SIGKILL when the leadership is lost; at most a third of --ttl
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    grace: Option<Duration>,
    #[command(flatten)]
    session: SessionArg,
    #[command(flatten)]
    caller: CallerArgs,
}

/// A refusal because of the candidate's id says which one, since the id may be a default.
fn named(candidate: &str, failure: Failure) -> Failure {
    if failure.message().contains("that id stands already") {
        failure.about(format!("candidate {candidate:?}"))
    } else {
        failure
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EnterArgs {
    fn request(&self, candidate: &str, session: i64) -> EnterRequest {
        EnterRequest {
            caller: self.caller.caller_of(session),
            election: self.name.name(),
            candidate: candidate.to_owned(),
            instance: self.instance.clone(),
            priority: self.priority,
            labels: self.labels.iter().cloned().collect(),
            value: self.value.clone().into(),
            try_only: self.try_only,
            takeover: self.takeover,
            preempt: self.preempt,
            lock_delay_ms: millis(self.lock_delay),
            max_hold_ms: millis(self.max_hold),
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let candidate = self.candidate.clone().unwrap_or_else(own_name);
        if let Some(session) = self.session.session {
            let request = self.request(&candidate, session);
            let entered = context.link.repeat(|channel| wire::enter(channel, request.clone())).await;
            let response = entered.map_err(|failure| named(&candidate, failure))?;
            context.out.show(&Ordered { response: &response, subject: &candidate });
            return if response.standing() == Standing::Absent { Err(self.taken()) } else { Ok(Exit::Done) };
        }
        let with_command = !self.command.is_empty();
        let outcome = self.stand(context, &candidate).await;
        if with_command { outcome.map_err(Failure::before_command) } else { outcome }
    }

    fn taken(&self) -> Failure {
        Failure::new(Exit::Busy, format!("somebody else leads {:?}", self.name.name))
            .hint(format!("`conclavectl election show {}` shows who, and who waits", self.name.name))
    }

    async fn stand(&self, context: &Context, candidate: &str) -> Result<Exit> {
        Schedule::new(self.ttl, self.grace).map_err(Failure::usage)?;
        if let Some(command) = self.command.first() {
            hold::find(command)?;
        }
        let mut signals = Signals::new()?;
        let client = context.link.client().await?;
        let session = Session::open(&client, self.ttl).await.map_err(Failure::of_client)?;
        let late = || self.taken().about("not in time");
        let bounded = async {
            let campaign = self.campaign(context, candidate, &session);
            match self.wait {
                None => campaign.await,
                Some(bound) => timeout(bound, campaign).await.unwrap_or_else(|_| Err(late())),
            }
        };
        let won = tokio::select! {
            biased;
            _ = signals.next() => Err(Failure::interrupted()),
            reason = session.lost() => Err(Failure::new(Exit::Lost, format!("lost the session: {}", hold::words(reason)))),
            won = bounded => won,
        };
        let won = match won.map_err(|failure| named(candidate, failure)) {
            Ok(won) => won,
            Err(failure) => {
                // Its place in the line goes with it.
                let _ = timeout(context.link.settings().command_timeout, session.close()).await;
                return Err(failure);
            }
        };
        let token = won.token.clone().ok_or_else(|| Failure::odd_answer("token"))?;
        let channel = context.link.node().await?.channel;
        let mut tenure =
            Tenure::new(&client, &session, token.clone(), self.leaving(channel, candidate, session.lease()));
        let what = format!("the leadership of {:?}", self.name.name);
        let asked = Cell::new(false);
        let hand_over = self.asked_to_hand_over(context, token.fence, &asked).boxed_local();
        let outcome = self.lead(context, &tenure, &what, candidate, &won, &token, &mut signals, hand_over).await;
        if asked.get() {
            self.hand_over(context, session.lease(), token.fence).await;
        }
        hold::give_back(&mut tenure, &what, context.link.settings().command_timeout).await;
        outcome
    }

    fn leaving(
        &self,
        channel: Channel,
        candidate: &str,
        session: i64,
    ) -> Box<dyn Fn() -> futures::future::BoxFuture<'static, Result<()>>> {
        let request = LeaveRequest {
            caller: CallerArgs::default().caller_of(session),
            election: self.name.name(),
            candidate: candidate.to_owned(),
            instance: None,
        };
        Box::new(move || {
            let left = wire::leave(channel.clone(), request.clone());
            left.map(|left| left.map(drop).map_err(|status| Failure::of(&status, Effect::Writes))).boxed()
        })
    }

    /// Stands until it leads; again with another member if a connection is lost, at the same place.
    async fn campaign(&self, context: &Context, candidate: &str, session: &Session) -> Result<ElectionResponse> {
        let enter = self.request(candidate, session.lease());
        if self.try_only {
            let response = context.link.repeat(|channel| wire::enter(channel, enter.clone())).await?;
            return if response.standing() == Standing::Leads { Ok(response) } else { Err(self.taken()) };
        }
        let mut told = None;
        loop {
            let request = CampaignRequest { enter: Some(enter.clone()), timeout_ms: 0, stay: true };
            let once = async {
                let channel = context.link.node().await?.channel;
                let failed = |status| Failure::of(&status, Effect::Reads);
                let mut stream = ElectionsClient::new(channel).campaign(request).await.map_err(failed)?.into_inner();
                while let Some(message) = stream.message().await.map_err(failed)? {
                    match message.now {
                        Some(Now::Won(won)) => return Ok(won),
                        Some(Now::Before(before)) if told.replace(before) != Some(before) => {
                            output::note(&format!("waiting for {:?}: {before} before", self.name.name));
                        }
                        _ => {}
                    }
                }
                Err(Failure::new(Exit::NoConnection, "the member ended the stream"))
            };
            match once.await {
                Err(failure) if failure.exit == Exit::NoConnection => {
                    context.link.settings().debug(|| format!("{}; standing again", failure.message()));
                    context.link.forget();
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Ends when an operator has asked for a transfer in this term; notes that it was.
    async fn asked_to_hand_over(&self, context: &Context, term: i64, asked: &Cell<bool>) -> String {
        loop {
            if let Ok(to) = self.transfer_in(context, term).await {
                asked.set(true);
                return to;
            }
            context.link.forget();
            sleep(PAUSE).await;
        }
    }

    async fn transfer_in(&self, context: &Context, term: i64) -> Result<String> {
        let channel = context.link.node().await?.channel;
        let request = WatchElectionRequest { election: self.name.name(), ..WatchElectionRequest::default() };
        let failed = |status| Failure::of(&status, Effect::Reads);
        let mut stream = ElectionsClient::new(channel).watch(request).await.map_err(failed)?.into_inner();
        while let Some(event) = stream.message().await.map_err(failed)? {
            if let Some(now) = event.term.filter(|now| now.id == term && !now.transfer_to.is_empty()) {
                return Ok(now.transfer_to);
            }
        }
        Err(Failure::new(Exit::NoConnection, "the member ended the stream"))
    }

    /// To whom the request names, and out. If that fails, leaving gives it to the first in line.
    async fn hand_over(&self, context: &Context, session: i64, term: i64) {
        let caller = CallerArgs::default().caller_of(session);
        let request =
            TransferRequest { caller, election: self.name.name(), term_id: term, to: String::new(), leave: true };
        if let Err(failure) = context.link.repeat(|channel| wire::transfer(channel, request.clone())).await {
            output::note(&format!("could not hand over: {}", failure.message()));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are what leading is made of")]
    async fn lead(
        &self,
        context: &Context,
        tenure: &Tenure,
        what: &str,
        candidate: &str,
        won: &ElectionResponse,
        token: &Token,
        signals: &mut Signals,
        hand_over: HandOver<'_>,
    ) -> Result<Exit> {
        if self.command.is_empty() {
            context.out.show(&Ordered { response: won, subject: candidate });
            return tokio::select! {
                asked = hold::until_asked(tenure, what, signals) => asked.map(|()| Exit::Done),
                to = hand_over => {
                    output::note(&format!("asked to hand over {what} to {to}"));
                    Ok(Exit::Done)
                }
            };
        }
        let schedule = Schedule::new(self.ttl, self.grace).map_err(Failure::usage)?;
        let mut environment = vec![
            ("CONCLAVE_NAME".to_owned(), self.name.name.clone().into()),
            ("CONCLAVE_CANDIDATE".to_owned(), candidate.into()),
        ];
        if let Some(guard) = token.guards.first() {
            environment.push(("CONCLAVE_KEY".to_owned(), String::from_utf8_lossy(&guard.key).into_owned().into()));
        }
        let job = Job { command: self.command.clone(), environment, schedule };
        hold::run(tenure, what, &job, signals, hand_over).await
    }
}
