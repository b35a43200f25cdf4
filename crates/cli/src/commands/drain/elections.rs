//! Elections: the leader hands over to the next in line that is not on the host.

use super::{
    super::{
        Context,
        election::line,
        names::{self, dedupe_id},
        wire,
    },
    DrainArgs,
    host::Host,
    report::{Outcome, Report, Row},
};
use crate::{failure::Result, output};
use conclave_client::api::conclave::v1::{
    Caller, Candidate, EvictRequest, Expect, GetTermRequest, Name, RequestTransferRequest, Term,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LOOK: Duration = Duration::from_millis(200);
/// The answer to a transfer at its deadline may come so much later.
const SLACK: Duration = Duration::from_secs(2);
/// Told to those who watch.
const REASON: &str = "drain";

/// A leadership on the host.
struct Led {
    name: Name,
    fence: i64,
    leader: String,
    /// The next in line elsewhere.
    next: Option<String>,
}

pub(super) async fn drain(context: &Context, args: &DrainArgs, host: &Host, report: &mut Report) -> Result<()> {
    let (_, found) = names::all_names(context, &args.list, wire::list_elections).await?;
    let mut asked = Vec::new();
    for name in found {
        let Some(led) = look(context, name, host).await? else { continue };
        match (&led.next, args.dry_run) {
            (Some(_), true) => report.rows.push(led.row(Outcome::Would, "")),
            (None, true) if args.evict => report.rows.push(led.row(Outcome::Would, "nobody else stands: evicted")),
            (None, true) => report.rows.push(led.row(Outcome::Stayed, "nobody else stands")),
            (Some(next), false) => match ask(context, args, &led, next.clone()).await {
                Ok(()) => asked.push(led),
                Err(failure) => report.rows.push(settled(context, led, host, failure.message()).await?),
            },
            (None, false) if args.evict => match evict(context, &led).await {
                Ok(()) => report.rows.push(led.row(Outcome::Evicted, "nobody else stands")),
                Err(failure) => report.rows.push(settled(context, led, host, failure.message()).await?),
            },
            (None, false) => report.rows.push(led.row(Outcome::Stayed, "nobody else stands")),
        }
    }
    let end = Instant::now() + args.wait + SLACK;
    for led in asked {
        report.rows.push(wait(context, led, host, end).await?);
    }
    Ok(())
}

async fn term(context: &Context, name: &Name) -> Result<Term> {
    let request = GetTermRequest { election: Some(name.clone()), ..GetTermRequest::default() };
    Ok(context.link.read(|channel| wire::get_term(channel, request.clone())).await?.term.unwrap_or_default())
}

/// The leadership, if it is on the host.
async fn look(context: &Context, name: Name, host: &Host) -> Result<Option<Led>> {
    let elsewhere = |one: &Candidate| !host.has_candidate(&one.id, &one.labels);
    let line = line::read(context, (Some(name.clone()), false), elsewhere).await?;
    let Term { id: fence, leader, .. } = line.response.term.clone().unwrap_or_default();
    let is_leader = line.find(|one| one.id == leader);
    let here = !leader.is_empty()
        && is_leader.map_or(host.has(&leader), |candidate| host.has_candidate(&candidate.id, &candidate.labels));
    let next = line.find(|one| one.id != leader && elsewhere(one)).map(|one| one.id.clone());
    Ok(here.then_some(Led { name, fence, leader, next }))
}

impl Led {
    fn row(&self, outcome: Outcome, why: &str) -> Row {
        Row {
            kind: "election",
            name: self.name.name.clone(),
            namespace: names::namespace(&self.name),
            from: self.leader.clone(),
            to: self.next.clone().unwrap_or_default(),
            outcome,
            why: why.to_owned(),
        }
    }

    /// Only as long as nothing changed.
    fn caller(&self) -> Option<Caller> {
        let expect = Expect { fence: Some(self.fence), holder: Some(self.leader.clone()), ..Expect::default() };
        Some(Caller { session: 0, dedupe_id: dedupe_id(), expect: Some(expect) })
    }
}

async fn ask(context: &Context, args: &DrainArgs, led: &Led, to: String) -> Result<()> {
    let request = RequestTransferRequest {
        caller: led.caller(),
        election: Some(led.name.clone()),
        to,
        deadline_ms: u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX).max(1),
        force: args.force,
    };
    context.link.repeat(|channel| wire::request_transfer(channel, request.clone())).await.map(drop)
}

async fn evict(context: &Context, led: &Led) -> Result<()> {
    let request = EvictRequest {
        caller: led.caller(),
        election: Some(led.name.clone()),
        candidate: led.leader.clone(),
        reason: REASON.into(),
        ..EvictRequest::default()
    };
    context.link.repeat(|channel| wire::evict(channel, request.clone())).await.map(drop)
}

/// What an order that was refused left: somebody may have handed over in between.
async fn settled(context: &Context, led: Led, host: &Host, why: &str) -> Result<Row> {
    match look(context, led.name.clone(), host).await? {
        Some(_) => Ok(led.row(Outcome::Stayed, why)),
        None => Ok(led.row(Outcome::Moved, "it had moved already")),
    }
}

/// Waits until somebody else leads.
async fn wait(context: &Context, led: Led, host: &Host, end: Instant) -> Result<Row> {
    output::note(&format!(
        "{}: waiting for {} to hand over to {}",
        names::full(&led.name),
        led.leader,
        led.next.as_deref().unwrap_or("-")
    ));
    loop {
        match look(context, led.name.clone(), host).await? {
            None => {
                let leader = term(context, &led.name).await?.leader;
                return Ok(Led { next: Some(leader), ..led }.row(Outcome::Moved, ""));
            }
            Some(_) if Instant::now() >= end => return Ok(led.row(Outcome::Stayed, "the leader did not hand over")),
            Some(_) => sleep(LOOK).await,
        }
    }
}
