//! `claim ls`, `claim show`.

use super::super::{
    Context,
    names::{self, ListArgs, Listing, NameArgs, Page},
    wire,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{Json, Show, Table, Text, header_json, human},
};
use clap::Args;
use conclave_client::api::conclave::v1::{
    GetClaimRequest, GetClaimResponse, ListClaimsResponse,
    get_claim_response::{PinState, Waiter},
};

/// Of those who wait.
const PAGE: u32 = 1000;

impl From<ListClaimsResponse> for Page {
    fn from(response: ListClaimsResponse) -> Self {
        Self { header: response.header, names: response.names, more: response.more }
    }
}

/// How long it stands still.
fn left(claim: &GetClaimResponse) -> String {
    match claim {
        _ if claim.holder.is_empty() => "-".into(),
        _ if !claim.pins.is_empty() => "pinned".into(),
        _ => human::millis(claim.remaining_ms),
    }
}

fn json(claim: &GetClaimResponse) -> Json {
    let waiter = |waiter: &Waiter| {
        Json::object()
            .with("ticket", waiter.ticket)
            .with("holder", &waiter.holder)
            .some("instance", &waiter.instance)
            .with("duration_ms", waiter.duration_ms)
            .some("session", human_session(waiter.session))
            .done()
    };
    let pin = |pin: &PinState| {
        Json::object()
            .with("entity", &pin.entity)
            .some("reason", &pin.reason)
            .some("session", human_session(pin.session))
            .done()
    };
    Json::object()
        .with("holder", &claim.holder)
        .some("instance", &claim.instance)
        .with("fence", claim.fence)
        .with("longest_ms", claim.longest_ms)
        .with("remaining_ms", claim.remaining_ms)
        .with("waiting_count", claim.waiting_count)
        .some("waiting", Json::list(&claim.waiting, waiter))
        .some("pins", Json::list(&claim.pins, pin))
        .done()
}

fn human_session(id: i64) -> String {
    if id == 0 { String::new() } else { human::lease(id) }
}

pub(super) async fn list(context: &Context, args: &ListArgs) -> Result<()> {
    let (header, found) = names::all_names(context, args, wire::list_claims).await?;
    let mut table = Table::new(["NAME", "NAMESPACE", "HOLDER", "INSTANCE", "FENCE", "LEFT", "WAITING"]);
    let mut rows = Vec::new();
    for name in found {
        let request = GetClaimRequest {
            claim: Some(name.clone()),
            serializable: args.serializable,
            ..GetClaimRequest::default()
        };
        let claim = context.link.read(|channel| wire::get_claim(channel, request.clone())).await?;
        table.row([
            name.name.clone(),
            names::namespace(&name),
            human::or_dash(&claim.holder),
            human::or_dash(&claim.instance),
            human::number(claim.fence),
            left(&claim),
            claim.waiting_count.to_string(),
        ]);
        let place = Json::object().with("namespace", names::namespace(&name)).with("name", &name.name);
        rows.push(place.merge(json(&claim)).done());
    }
    let json = Json::object().with("header", header_json(header.as_ref())).with("claims", rows).done();
    context.out.show(&Listing { table, json, none: "no claims" })?;
    Ok(())
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl claim show app")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    name: NameArgs,
    /// As this member knows it, at once, also without a majority
    #[arg(long)]
    serializable: bool,
}

struct Shown<'a>(&'a GetClaimResponse);

impl Show for Shown<'_> {
    fn simple(&self, text: &mut Text) {
        let claim = self.0;
        let instance = if claim.instance.is_empty() { String::new() } else { format!(" ({})", claim.instance) };
        text.line(match claim.holder.as_str() {
            "" => "nobody holds it".to_owned(),
            holder => format!("{holder}{instance} holds it with fence {}; left: {}", claim.fence, left(claim)),
        });
        claim
            .pins
            .iter()
            .map(|pin| match pin.reason.as_str() {
                "" => format!("pinned by {}", pin.entity),
                reason => format!("pinned by {}: {reason}", pin.entity),
            })
            .for_each(|line| text.line(line));
        if !claim.waiting.is_empty() {
            text.line("");
            text.table(&line(claim));
        }
    }

    fn json(&self) -> Json {
        Json::object().with("header", header_json(self.0.header.as_ref())).merge(json(self.0)).done()
    }

    fn table(&self) -> Option<Table> {
        Some(line(self.0))
    }
}

fn line(claim: &GetClaimResponse) -> Table {
    let mut table = Table::new(["PLACE", "HOLDER", "INSTANCE", "FOR", "SESSION"]);
    let mut row = |place: String, holder: &str, instance: &str, millis, session: i64| {
        let (holder, instance) = (holder.to_owned(), human::or_dash(instance));
        table.row([place, holder, instance, human::millis(millis), human::lease_or_dash(session)]);
    };
    if !claim.holder.is_empty() {
        row("holds".into(), &claim.holder, &claim.instance, claim.longest_ms, 0);
    }
    for (i, waiter) in claim.waiting.iter().enumerate() {
        let place = format!("waits ({})", i + 1);
        row(place, &waiter.holder, &waiter.instance, waiter.duration_ms, waiter.session);
    }
    table
}

/// After which ticket those begin that a page leaves out. Tickets rise, so nobody comes twice.
fn goes_on(claim: &GetClaimResponse) -> Option<u64> {
    let last = claim.waiting.last().map(|last| last.ticket);
    last.filter(|_| claim.waiting.len() < claim.waiting_count as usize)
}

impl ShowArgs {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let mut request = GetClaimRequest {
            claim: self.name.name(),
            serializable: self.serializable,
            limit: PAGE,
            ..GetClaimRequest::default()
        };
        let mut claim = context.link.read(|channel| wire::get_claim(channel, request.clone())).await?;
        while let Some(after) = goes_on(&claim) {
            request.after = after;
            let next = context.link.read(|channel| wire::get_claim(channel, request.clone())).await?.waiting;
            if next.is_empty() {
                break;
            }
            claim.waiting.extend(next);
        }
        if claim.holder.is_empty() && claim.waiting_count == 0 && claim.pins.is_empty() {
            return Err(Failure::new(Exit::Otherwise, format!("nobody holds the claim {:?}", self.name.name))
                .hint("`conclavectl claim ls` lists those that are held"));
        }
        context.out.show(&Shown(&claim))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_longer_than_a_page_goes_on_after_the_last_ticket() {
        let waiter = |ticket| Waiter { ticket, ..Waiter::default() };
        let claim = |waiting_count, tickets: &[u64]| {
            let waiting = tickets.iter().copied().map(waiter).collect();
            GetClaimResponse { waiting_count, waiting, ..GetClaimResponse::default() }
        };
        assert_eq!(goes_on(&claim(3, &[4, 7])), Some(7));
        assert_eq!((goes_on(&claim(2, &[4, 7])), goes_on(&claim(0, &[])), goes_on(&claim(1, &[]))), (None, None, None));
    }
}
