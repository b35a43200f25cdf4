//! `claim watch`.

use super::super::{Context, follow::follow, names::NameArgs};
use crate::{
    exit::Exit,
    failure::Result,
    output::{
        Json, Show, Text,
        election::{cause, cause_json},
        header_json,
    },
};
use clap::Args;
use conclave_client::api::conclave::v1::{
    ClaimEvent, WatchClaimRequest, claim_event::Type, claims_client::ClaimsClient,
};

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim watch app
  conclavectl claim watch app --rev 4711 -w json")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    name: NameArgs,
    /// The changes from this revision on
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    rev: i64,
}

struct Happened<'a>(&'a ClaimEvent);

impl Show for Happened<'_> {
    fn simple(&self, text: &mut Text) {
        let event = self.0;
        let revision = event.header.unwrap_or_default().revision;
        let holder = match event.holder.as_str() {
            "" => "nobody holds it".to_owned(),
            holder => format!("{holder} holds it with fence {}", event.fence),
        };
        let before = match event.previous_holder.as_str() {
            "" => String::new(),
            before => format!(", after {before}"),
        };
        let why = if event.r#type() == Type::Snapshot { "as it stands" } else { cause(event.cause()) };
        text.line(format!("{revision}  {holder}{before}; {why}"));
    }

    fn json(&self) -> Json {
        let event = self.0;
        Json::object()
            .with("header", header_json(event.header.as_ref()))
            .with("type", event.r#type().as_str_name())
            .with("holder", &event.holder)
            .some("instance", &event.instance)
            .some("fence", event.fence)
            .with("cause", cause_json(event.cause()))
            .some("previous_holder", &event.previous_holder)
            .done()
    }
}

impl WatchArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let claim = self.name.name();
        let open = |channel, start_revision| {
            let request = WatchClaimRequest { claim: claim.clone(), start_revision, no_snapshot: false };
            async move { ClaimsClient::new(channel).watch(request).await }
        };
        let each = |event: &ClaimEvent| {
            context.out.show(&Happened(event))?;
            Ok(event.header.unwrap_or_default().revision)
        };
        follow(context, self.rev, open, each).await
    }
}
