//! `claim check`, `await`, `revoke`, `pin`, `unpin`.

use super::super::{
    Context,
    names::{CallerArgs, Done, NameArgs, SessionArg},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::signals::Signals,
    output::{
        Json, Show, Text,
        election::{guard_text, token_json},
        header_json,
    },
    parse,
};
use clap::Args;
use conclave_client::api::conclave::v1::{
    AwaitVacantRequest, AwaitVacantResponse, CheckRequest, CheckResponse, GetClaimRequest, PinRequest, RevokeRequest,
    UnpinRequest,
};
use std::{pin::pin, time::Duration};
use tokio::time::{sleep, timeout};

/// Between attempts after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);

/// Whether somebody still holds a claim; prints the proof
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Prints the fence, then the compares that hold exactly while this tenure lasts, in the form
that `conclavectl txn` reads: put them before your own, and what you write is written only by
the holder. Exit code 8 if it is not the holder.

Examples:
  conclavectl claim check app app/0
  conclavectl claim check app --holder app/0         the same")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Who should hold it
    #[arg(required_unless_present = "holder_flag", conflicts_with = "holder_flag")]
    holder: Option<String>,
    /// The same, as with the other commands
    #[arg(id = "holder_flag", long = "holder", value_name = "HOLDER")]
    holder_flag: Option<String>,
    /// Only that instance
    #[arg(long)]
    instance: Option<String>,
}

struct Checked<'a>(&'a CheckResponse);

impl Show for Checked<'_> {
    fn simple(&self, text: &mut Text) {
        let token = self.0.token.clone().unwrap_or_default();
        text.line(token.fence.to_string());
        token.guards.iter().for_each(|guard| text.line(guard_text(guard)));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .some("token", self.0.token.as_ref().map(token_json))
            .done()
    }
}

impl CheckArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let holder = self.holder.or(self.holder_flag).unwrap_or_default();
        let request = CheckRequest { claim: self.name.name(), holder, instance: self.instance, weak: false };
        let response = context.link.read(|channel| wire::check(channel, request.clone())).await?;
        context.out.show(&Checked(&response))?;
        Ok(())
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim await app                  until nobody holds it
  conclavectl claim await app --wait 1m        no longer than that (exit code 8)")]
pub(crate) struct AwaitArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Look from this revision on, such as that of a denial
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    rev: i64,
    /// Wait no longer than this
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    wait: Option<Duration>,
}

struct Vacant<'a>(&'a AwaitVacantResponse);

impl Show for Vacant<'_> {
    fn simple(&self, text: &mut Text) {
        let next = if self.0.handed_over { "; the next in line has it" } else { "" };
        text.line(format!("free at revision {}{next}", self.0.revision));
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .with("revision", self.0.revision)
            .with("handed_over", self.0.handed_over)
            .done()
    }
}

impl AwaitArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let mut signals = Signals::new()?;
        let late = || Failure::new(Exit::Busy, format!("not in time: {:?} is still held", self.name.name));
        let bounded = async {
            match self.wait {
                None => self.vacant(context).await,
                Some(bound) => {
                    let mut vacant = pin!(self.vacant(context));
                    if let Ok(vacant) = timeout(bound, &mut vacant).await {
                        return vacant;
                    }
                    if let Some(cause) = context.link.leaderless().await {
                        return Err(Failure::leaderless(cause));
                    }
                    // The first answer is awaited, however short the wait.
                    let request = GetClaimRequest { claim: self.name.name(), ..GetClaimRequest::default() };
                    let claim = context.link.read(|channel| wire::get_claim(channel, request.clone())).await?;
                    if !claim.holder.is_empty() || self.rev > 0 {
                        return Err(late());
                    }
                    timeout(context.link.settings().command_timeout, vacant).await.unwrap_or_else(|_| Err(late()))
                }
            }
        };
        let response = tokio::select! {
            biased;
            interrupted = signals.interrupt() => return Err(interrupted),
            vacant = bounded => vacant?,
            never = context.link.tell_of_leader() => match never {},
        };
        context.out.show(&Vacant(&response))?;
        Ok(())
    }

    /// Asks again when a connection is lost, from the revision that the first question was asked
    /// at: no release is missed.
    async fn vacant(&self, context: &Context) -> Result<AwaitVacantResponse> {
        let (mut from, mut began) = (self.rev, None);
        loop {
            let node = context.link.node().await?;
            let known = node.status.as_ref().and_then(|status| status.header).map(|header| header.revision + 1);
            let began = *began.get_or_insert(known.unwrap_or(0));
            let request = AwaitVacantRequest { claim: self.name.name(), min_revision: from };
            match wire::await_vacant(node.channel, request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => {
                    let failure = Failure::of(&status, Effect::Reads);
                    if failure.exit != Exit::NoConnection {
                        return Err(failure);
                    }
                    from = from.max(began);
                    context.link.forget();
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim revoke app
  conclavectl claim revoke app --holder app/0  only if that one holds it")]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Only if this one holds it
    #[arg(long)]
    holder: Option<String>,
    /// Only that instance
    #[arg(long, requires = "holder")]
    instance: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
}

impl RevokeArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let request = RevokeRequest {
            caller: self.caller.caller(),
            claim: self.name.name(),
            holder: self.holder,
            instance: self.instance,
        };
        let response = context.link.repeat(|channel| wire::revoke_claim(channel, request.clone())).await?;
        let what = if response.changed { "revoked" } else { "was held by nobody" };
        let text = format!("{} {what}", self.name.name);
        context.out.show(&Done { header: response.header, changed: response.changed, text })?;
        Ok(())
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim pin app upgrade-42 --reason 'database migration'
  conclavectl claim pin app upgrade-42 --for 1h")]
pub(crate) struct PinArgs {
    #[command(flatten)]
    name: NameArgs,
    /// For whom; the same one twice is one pin
    entity: String,
    /// Shown to those who look
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// After this the pin goes
    #[arg(long = "for", value_parser = parse::duration, value_name = "TIME")]
    duration: Option<Duration>,
    #[command(flatten)]
    session: SessionArg,
    #[command(flatten)]
    caller: CallerArgs,
}

impl PinArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let request = PinRequest {
            caller: self.caller.caller_of(self.session.session.unwrap_or(0)),
            claim: self.name.name(),
            entity: self.entity.clone(),
            reason: self.reason,
            with_session: self.session.session.is_some(),
            max_duration_ms: self.duration.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        };
        let response = context.link.repeat(|channel| wire::pin(channel, request.clone())).await?;
        let before = if response.changed { "" } else { " (as before)" };
        let text = format!("{} pinned by {}{before}", self.name.name, self.entity);
        context.out.show(&Done { header: response.header, changed: response.changed, text })?;
        Ok(())
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim unpin app upgrade-42")]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Whose pin
    entity: String,
    #[command(flatten)]
    caller: CallerArgs,
}

impl UnpinArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let request =
            UnpinRequest { caller: self.caller.caller(), claim: self.name.name(), entity: self.entity.clone() };
        let response = context.link.repeat(|channel| wire::unpin(channel, request.clone())).await?;
        let what = if response.changed { "unpinned by" } else { "was not pinned by" };
        let text = format!("{} {what} {}", self.name.name, self.entity);
        context.out.show(&Done { header: response.header, changed: response.changed, text })?;
        Ok(())
    }
}
