//! `claim take`: take a claim, or extend it.

use super::super::{
    Context,
    names::{CallerArgs, NameArgs, SessionArg},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::signals::Signals,
    output::{self, Json, Show, Text, election::token_json, header_json, human},
    parse,
};
use clap::{Args, ValueEnum};
use conclave_client::api::{
    conclave::v1::{
        ClaimItem, ClaimRequest, ClaimResponse, ClaimResult, GetClaimRequest, RevokeRequest, UnclaimRequest,
        claim_item::Twin as WireTwin, claim_result::Outcome,
    },
    etcdserverpb::ResponseHeader,
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between attempts after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);
/// To give up a place where no member answers.
const BRIEFLY: Duration = Duration::from_millis(500);
/// How long a place without a session is kept for a process that may have died.
const KEPT: Duration = Duration::from_secs(60);

/// Take a claim, or extend it; never shortens it
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Prints the fence and for how long the claim is guaranteed, counted from when the command was
started. Take it again before that is over, with the same holder and with the instance that was
printed (or with the same --instance or --session each time): without it another process of that
holder would share the fence unseen. Exit code 8 if another holds it, or another instance.

Examples:
  conclavectl claim take app/leader --holder app/0 --for 30s
  conclavectl claim take app/leader --holder app/0 --instance boot-17 --for 30s    take or extend
  conclavectl claim take app/leader --holder app/1 --for 30s --wait      in line, until it is free
  conclavectl claim take app/leader --holder app/1 --for 30s --wait 2m   no longer than that")]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Who takes it
    #[arg(long)]
    holder: String,
    /// Which process of that name this is; the same one extends
    /// [default: the session, or drawn at random and printed]
    #[arg(long, default_value = "", hide_default_value = true)]
    instance: String,
    /// For how long at least
    #[arg(long = "for", value_parser = parse::duration, value_name = "TIME")]
    duration: Duration,
    /// If the holder has it, but another session or instance of it
    #[arg(long, default_value = "deny")]
    twin: Twin,
    /// If another holds it, stand in line and wait; no longer than TIME
    #[arg(long, value_parser = parse::duration, value_name = "TIME", num_args = 0..=1)]
    wait: Option<Option<Duration>>,
    #[command(flatten)]
    session: SessionArg,
    #[command(flatten)]
    caller: CallerArgs,
}

/// In line still, or it was free for a moment only.
fn waits(result: &ClaimResult) -> bool {
    matches!(result.outcome(), Outcome::Waiting | Outcome::Denied)
}

fn extended(result: &ClaimResult) -> bool {
    result.outcome() == Outcome::Extended
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Twin {
    /// As if another held it
    Deny,
    /// A new tenure with a new fence
    TakeOver,
    /// The same tenure for both, if both say so
    Share,
}

struct Taken {
    header: Option<ResponseHeader>,
    result: ClaimResult,
    name: String,
    instance: String,
    /// The instance was not given on the command line.
    drawn: bool,
}

impl Show for Taken {
    fn simple(&self, text: &mut Text) {
        let fence = self.result.token.as_ref().map_or(0, |token| token.fence);
        let what = if self.result.outcome() == Outcome::Extended { "extended" } else { "taken" };
        let time = human::millis(self.result.guaranteed_ms);
        text.line(format!("{} {what} with fence {fence}, guaranteed for {time} from when it was asked for", self.name));
        if self.drawn {
            text.line(format!("extend it with --instance {}", self.instance));
        }
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.header.as_ref()))
            .with("outcome", self.result.outcome().as_str_name())
            .with("guaranteed_ms", self.result.guaranteed_ms)
            .some("instance", &self.instance)
            .some("token", self.result.token.as_ref().map(token_json))
            .done()
    }
}

impl TakeArgs {
    pub(super) async fn run(mut self, context: &Context) -> Result<()> {
        let drawn = self.instance.is_empty() && self.session.session.is_none() && !matches!(self.twin, Twin::Share);
        if drawn {
            self.instance = format!("{:016x}", rand::random::<u64>());
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let item = ClaimItem {
            claim: self.name.name(),
            holder: self.holder.clone(),
            instance: self.instance.clone(),
            duration_ms: millis(self.duration),
            twin: match self.twin {
                Twin::Deny => WireTwin::Deny,
                Twin::TakeOver => WireTwin::TakeOver,
                Twin::Share => WireTwin::Share,
            }
            .into(),
            wait: self.wait.is_some(),
            // With a session the place goes with that.
            wait_ms: if self.wait.is_none() || self.session.session.is_some() { 0 } else { millis(KEPT) },
        };
        let caller = self.caller.caller_of(self.session.session.unwrap_or(0));
        let request = ClaimRequest { caller, items: vec![item] };
        let response = if self.wait.is_some() {
            self.wait_for(context, request).await?
        } else {
            context.link.repeat(|channel| wire::claim(channel, request.clone())).await?
        };
        let result = response.results.into_iter().next().ok_or_else(|| Failure::odd_answer("result"))?;
        match self.refusal(&result) {
            Some(failure) => Err(failure),
            None => {
                let (header, name, instance) = (response.header, self.name.name.clone(), self.instance.clone());
                self.tell(context, Taken { header, result, name, instance, drawn }).await
            }
        }
    }

    /// Tells the fence. If nobody can be told, nobody is to hold it either.
    async fn tell(&self, context: &Context, taken: Taken) -> Result<()> {
        let shown = context.out.show(&taken);
        if shown.is_err() && !extended(&taken.result) {
            let request = RevokeRequest {
                caller: CallerArgs::default().caller_of(self.session.session.unwrap_or(0)),
                claim: self.name.name(),
                holder: Some(self.holder.clone()),
                instance: Some(self.instance.clone()),
            };
            if let Err(failure) = context.link.repeat(|channel| wire::revoke_claim(channel, request.clone())).await {
                output::note(&format!("could not give {:?} back: {}", self.name.name, failure.message()));
            }
        }
        shown
    }

    /// Waits in line, and gives the place up if nothing comes of it.
    async fn wait_for(&self, context: &Context, request: ClaimRequest) -> Result<ClaimResponse> {
        let mut signals = Signals::new()?;
        // Without a time, as long as it takes.
        let wait = self.wait.flatten();
        let late = async {
            match wait {
                None => std::future::pending().await,
                Some(wait) => sleep(wait).await,
            }
            self.late(context).await
        };
        let bounded = context.link.while_led(wait, async {
            tokio::select! {
                biased;
                taken = self.in_line(context, request) => taken,
                failure = late => Err(failure),
            }
        });
        let outcome = tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            outcome = bounded => outcome,
            never = context.link.tell_of_leader() => match never {},
        };
        if let Err(failure) = &outcome {
            let bound = context.link.settings().command_timeout;
            let bound = match failure.exit {
                Exit::NoConnection => bound.min(BRIEFLY),
                // Somebody waits for the end of this process.
                Exit::Interrupted(_) => bound.min(BRIEFLY * 2),
                _ => bound,
            };
            let unclaim = UnclaimRequest {
                caller: CallerArgs::default().caller_of(self.session.session.unwrap_or(0)),
                claim: self.name.name(),
                holder: self.holder.clone(),
                instance: self.instance.clone(),
            };
            // A place that cannot be given up has a time of its own, or its session's.
            let given_up = context.link.repeat(|channel| wire::unclaim(channel, unclaim.clone()));
            if let Ok(Err(failure)) = timeout(bound, given_up).await {
                context.link.settings().debug(|| format!("the place in line: {}", failure.message()));
            }
        }
        match outcome {
            Err(failure) => Err(context.link.explained(failure).await),
            taken => taken,
        }
    }

    /// Why a wait fails, as soon as that is known: another holds it, or the cluster does
    /// not answer.
    async fn late(&self, context: &Context) -> Failure {
        let request = GetClaimRequest { claim: self.name.name(), ..GetClaimRequest::default() };
        let looking = async {
            loop {
                match context.link.read(|channel| wire::get_claim(channel, request.clone())).await {
                    Ok(claim) if !claim.holder.is_empty() => {
                        let held =
                            format!("{:?} is held by {} with fence {}", self.name.name, claim.holder, claim.fence);
                        return Failure::new(Exit::Busy, held).about("not in time");
                    }
                    Ok(_) => sleep(PAUSE).await,
                    Err(failure) => return failure,
                }
            }
        };
        let silent = || Failure::new(Exit::NoConnection, "no member answered in time");
        timeout(context.link.settings().command_timeout, looking).await.unwrap_or_else(|_| silent())
    }

    /// Asks again, of another member too: a place in line belongs to the holder, so it is found
    /// there.
    async fn in_line(&self, context: &Context, mut request: ClaimRequest) -> Result<ClaimResponse> {
        // With an id the answer to an earlier attempt would be given again.
        request.caller.iter_mut().for_each(|caller| caller.dedupe_id.clear());
        let (mut reached, mut again) = (false, false);
        loop {
            let once = async {
                let channel = context.link.node().await?.channel;
                reached = true;
                let call = wire::claim(channel, request.clone());
                // Before the place's own time is over.
                match timeout(KEPT / 3, call).await {
                    Ok(Ok(answer)) => Ok(Some(answer.into_inner())),
                    Ok(Err(status)) => Err(Failure::of(&status, Effect::Reads)),
                    Err(_) => Ok(None),
                }
            };
            match once.await {
                Ok(Some(mut answer)) if !answer.results.iter().any(waits) => {
                    // Taken by what was asked before, whose answer did not come.
                    answer
                        .results
                        .iter_mut()
                        .filter(|result| again && extended(result))
                        .for_each(|result| result.set_outcome(Outcome::Taken));
                    return Ok(answer);
                }
                Ok(_) => again = true,
                Err(failure) if failure.exit == Exit::NoConnection && reached => {
                    context.link.settings().debug(|| format!("{}; asking again", failure.message()));
                    again = true;
                    context.link.forget();
                    sleep(PAUSE).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn refusal(&self, result: &ClaimResult) -> Option<Failure> {
        let name = &self.name.name;
        let show = format!("`conclavectl claim show {name}` shows the claim; --wait stands in line for it");
        let busy = |text: String| Some(Failure::new(Exit::Busy, text).hint(show.clone()));
        match result.outcome() {
            Outcome::Taken | Outcome::Extended => None,
            Outcome::Denied if result.holder == self.holder => {
                let held =
                    format!("{name:?} is held by another instance of {}, with fence {}", self.holder, result.fence);
                Some(Failure::new(Exit::Busy, held).hint(match self.twin {
                    Twin::Share => {
                        "that one did not ask to share it: both must say --twin share, from when it is taken on; --twin take-over \
                         fences it out"
                    }
                    _ => "its own --instance (or --session) extends it; --twin take-over fences it out",
                }))
            }
            Outcome::Denied => busy(format!("{name:?} is held by {} with fence {}", result.holder, result.fence)),
            Outcome::Waiting => busy(format!("{name:?} is held by another; waiting with ticket {}", result.ticket)),
            Outcome::TooManyWaiting => busy(format!("too many wait for {name:?}")),
            Outcome::Repeated => busy(format!("{name:?} was named twice")),
            Outcome::BadDuration => {
                Some(Failure::usage(format!("--for {} is not allowed for {name:?}", human::time(self.duration))).hint(
                    format!(
                        "this namespace allows {} to {}",
                        human::millis(result.min_ms),
                        human::millis(result.max_ms)
                    ),
                ))
            }
        }
    }
}
