//! `election watch`.

use super::super::{Context, follow::follow, names::NameArgs};
use crate::{
    exit::Exit,
    failure::Result,
    output::{
        Json, Show, Text,
        election::{cause, cause_json, term_json, term_text},
        header_json,
    },
};
use clap::Args;
use conclave_client::api::conclave::v1::{
    ElectionEvent, WatchElectionRequest, election_event::Type, elections_client::ElectionsClient,
};

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Begins with how things stand. Each line has the revision of the change, who leads in which
term, how many wait, and why. A lost connection is made again, and no change is left out.

Examples:
  conclavectl election watch printing
  conclavectl election watch printing --leaders-only
  conclavectl election watch printing --rev 4711 -w json")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Only changes of the leader
    #[arg(long)]
    leaders_only: bool,
    /// With the whole line each time (json)
    #[arg(long)]
    candidates: bool,
    /// The changes from this revision on
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    rev: i64,
}

struct Happened<'a>(&'a ElectionEvent);

impl Show for Happened<'_> {
    fn simple(&self, text: &mut Text) {
        let event = self.0;
        let revision = event.header.unwrap_or_default().revision;
        if event.r#type() == Type::Deleted {
            return text.line(format!("{revision}  the election was deleted"));
        }
        let term = event.term.clone().unwrap_or_default();
        let subject = if event.subject.is_empty() { "" } else { &event.subject };
        let why = match event.r#type() {
            Type::Snapshot => "as it stands".to_owned(),
            _ => format!("{subject} {}", cause(event.cause())).trim().to_owned(),
        };
        let before = match event.previous_leader.as_str() {
            "" => String::new(),
            before => format!("; {before} led before"),
        };
        let reason = if event.reason.is_empty() { String::new() } else { format!(" ({})", event.reason) };
        text.line(format!("{revision}  {}{before}; {why}{reason}", term_text(&term)));
    }

    fn json(&self) -> Json {
        let event = self.0;
        Json::object()
            .with("header", header_json(event.header.as_ref()))
            .with("type", event.r#type().as_str_name())
            .some("term", event.term.as_ref().map(term_json))
            .with("cause", cause_json(event.cause()))
            .some("subject", &event.subject)
            .some("previous_leader", &event.previous_leader)
            .some("reason", &event.reason)
            .done()
    }
}

impl WatchArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit> {
        let request = WatchElectionRequest {
            election: self.name.name(),
            start_revision: 0,
            no_snapshot: false,
            leaders_only: self.leaders_only,
            candidates: self.candidates,
        };
        let open = |channel, start_revision| {
            let request = WatchElectionRequest { start_revision, ..request.clone() };
            async move { ElectionsClient::new(channel).watch(request).await }
        };
        let each = |event: &ElectionEvent| {
            context.out.show(&Happened(event))?;
            Ok(event.header.unwrap_or_default().revision)
        };
        follow(context, self.rev, open, each).await
    }
}
