//! `election ls`, `election show`.

use super::{
    super::{
        Context,
        names::{self, ListArgs, Listing, NameArgs, Page},
        wire,
    },
    line::{self, Line},
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{
        self, Json, Show, Table, Text,
        election::{cause, cause_json, line_table, term_json, term_text},
        header_json, human,
    },
};
use clap::Args;
use conclave_client::api::conclave::v1::{GetTermRequest, GetTermResponse, ListElectionsResponse};

impl From<ListElectionsResponse> for Page {
    fn from(response: ListElectionsResponse) -> Self {
        Self { header: response.header, names: response.names, more: response.more }
    }
}

pub(super) async fn list(context: &Context, args: &ListArgs) -> Result<()> {
    let (header, found) = names::all_names(context, args, wire::list_elections).await?;
    let mut table = Table::new(["NAME", "NAMESPACE", "LEADER", "FENCE", "WAITING", "TRANSFER TO"]);
    let mut rows = Vec::new();
    for name in found {
        let request = GetTermRequest {
            election: Some(name.clone()),
            serializable: args.serializable,
            ..GetTermRequest::default()
        };
        let term =
            context.link.read(|channel| wire::get_term(channel, request.clone())).await?.term.unwrap_or_default();
        table.row([
            name.name.clone(),
            names::namespace(&name),
            human::or_dash(&term.leader),
            human::number(term.id),
            term.waiting.to_string(),
            human::or_dash(&term.transfer_to),
        ]);
        let place = Json::object().with("namespace", names::namespace(&name)).with("name", &name.name);
        rows.push(place.with("term", term_json(&term)).done());
    }
    let json = Json::object().with("header", header_json(header.as_ref())).with("elections", rows).done();
    context.out.show(&Listing { table, json, none: "no elections" })?;
    Ok(())
}

pub(super) fn missing(name: &NameArgs) -> Failure {
    Failure::new(Exit::Otherwise, format!("there is no election {:?}", name.name))
        .hint("`conclavectl election ls` lists those that there are; for those of `elect` see `elect -l`")
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election show printing
  conclavectl election show printing --serializable   as this member knows it, without a majority")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    name: NameArgs,
    /// As this member knows it, at once, also without a majority
    #[arg(long)]
    serializable: bool,
}

struct Shown<'a>(&'a GetTermResponse);

impl Show for Shown<'_> {
    fn simple(&self, text: &mut Text) {
        let term = self.0.term.clone().unwrap_or_default();
        let last = cause(self.0.cause());
        text.line(format!("{}; last change at revision {}: {last}", term_text(&term), term.revision));
        if !term.candidates.is_empty() {
            text.line("");
            text.table(&line_table(&term));
        }
    }

    fn json(&self) -> Json {
        Json::object()
            .with("header", header_json(self.0.header.as_ref()))
            .some("term", self.0.term.as_ref().map(term_json))
            .with("cause", cause_json(self.0.cause()))
            .done()
    }

    fn table(&self) -> Option<Table> {
        self.0.term.as_ref().map(line_table)
    }
}

impl ShowArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let Line { response, moved } = line::read(context, (self.name.name(), self.serializable), |_| false).await?;
        if moved {
            output::note(
                "the line changed each time it was read: who moved meanwhile may be missing, or not in its place",
            );
        }
        if response.term.as_ref().is_none_or(|term| term.revision == 0) {
            return Err(missing(&self.name));
        }
        context.out.show(&Shown(&response))?;
        Ok(())
    }
}
