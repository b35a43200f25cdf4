//! The lists of elections, locks, claims and queues: for who may read the keys that show them, as
//! with `List` of conclave.v1.

use super::PAGE;
use super::ends::{Ends, left};
use super::found::Listed;
use super::query::Query;
use super::queue;
use super::times::Times;
use crate::gateway::Gateway;
use crate::service::conclave::decide::look_at;
use conclave_console::coordination::{self as shown, Row, Search, Waiting};
use conclave_console::{Frame, Kind, Left, Name as Shown};
use conclave_state::auth::listed;
use conclave_state::coord::read::{self, ClaimState, ElectionState, Listing, LockState};
use conclave_state::{Fault, LockMode, Name};
use conclave_storage::StateView;
use tonic::Status;

/// The namespace in which is searched if none is given.
pub(super) const USUAL: &str = "default";

pub(super) async fn page(gateway: &Gateway, times: &Times, frame: &Frame, query: &Query) -> Result<String, Status> {
    let kind = Kind::from_word(&query.text("kind")?).unwrap_or(Kind::Election);
    let prefix = query.bytes("prefix").to_vec();
    let mut namespace = query.text("namespace")?;
    if namespace.is_empty() && !prefix.is_empty() && kind != Kind::Queue {
        USUAL.clone_into(&mut namespace);
    }
    let after = query.bytes("after").to_vec();
    let (found, next) = match kind {
        Kind::Queue => queue::list(gateway, prefix.clone(), after.clone()).await?,
        _ => list(gateway, kind, &namespace, query).await?,
    };
    let rows = found.into_iter().map(|Listed { mut row, ends }| {
        row.left = left(gateway, ends);
        row.since = row.since.map(|since| times.since(since.revision));
        row
    });
    let search = Search { kind, namespace, prefix, goes_on: !after.is_empty() };
    Ok(shown::coordination(frame, &search, &rows.collect::<Vec<_>>(), next.as_ref()))
}

async fn list(
    gateway: &Gateway,
    kind: Kind,
    namespace: &str,
    query: &Query,
) -> Result<(Vec<Listed>, Option<Shown>), Status> {
    let after = match query.has("after") {
        true => Some(Name { namespace: query.text("after-namespace")?, name: query.text("after")? }),
        false => None,
    };
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    let prefix = query.text("prefix")?;
    let sort = match kind {
        Kind::Election => "e",
        Kind::Lock => "l",
        Kind::Claim | Kind::Queue => "c",
    };
    let range = listed(sort, namespace.as_deref());
    let listing = Listing { namespace, prefix, after, limit: PAGE + 1 };
    let read = move |view: &StateView| {
        let mut names = match kind {
            Kind::Election => read::elections(view, &listing),
            Kind::Lock => read::locks(view, &listing),
            Kind::Claim | Kind::Queue => read::claims(view, &listing),
        }?;
        let more = names.len() > PAGE;
        names.truncate(PAGE);
        let next = names.last().filter(|_| more).map(of);
        let one = |name: &Name| match kind {
            Kind::Election => election(view, name),
            Kind::Lock => lock(view, name),
            Kind::Claim | Kind::Queue => claim(view, name),
        };
        let found = names.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        Ok((found.into_iter().flatten().collect(), next))
    };
    Ok(look_at(gateway, true, true, move || range, read).await?.0)
}

/// A name as it is shown.
pub(super) fn of(name: &Name) -> Shown {
    Shown { namespace: name.namespace.clone(), name: name.name.clone().into_bytes() }
}

fn row(name: &Name, waiting: u32) -> Row {
    Row {
        name: of(name),
        holder: None,
        others: 0,
        fence: None,
        since: None,
        left: Left::Unlimited,
        waiting: Waiting::Exactly(waiting.into()),
        notes: Vec::new(),
    }
}

fn election(view: &StateView, name: &Name) -> Result<Option<Listed>, Fault> {
    let Some(ElectionState { term, delayed, transfer_to, .. }) = read::election(view, name)? else { return Ok(None) };
    let mut row = row(name, term.waiting);
    let mut ends = Ends::Never;
    if let Some(leader) = &term.leader {
        ends = Ends::Lease(read::candidate(view, name, leader)?.map_or(0, |candidate| candidate.lease));
        row.fence = Some(term.id);
        row.since = Some(Times::at(term.id));
    }
    row.holder = term.leader;
    if delayed {
        row.notes.push("lock-delay".to_owned());
    }
    if transfer_to.is_some() {
        row.notes.push("transfer asked for".to_owned());
    }
    Ok(Some(Listed { row, ends }))
}

fn lock(view: &StateView, name: &Name) -> Result<Option<Listed>, Fault> {
    let Some(state) = read::lock(view, name)? else { return Ok(None) };
    let mut row = row(name, state.waiting);
    let mut ends = Ends::Never;
    if let Some(first) = read::lock_holders(view, name, 0, 1)?.into_iter().next() {
        row.others = state.holders.saturating_sub(1);
        row.fence = Some(first.fence);
        row.since = Some(Times::at(first.held_since));
        row.holder = Some(first.owner);
        ends = Ends::Lease(first.lease);
    }
    row.notes.extend(mode(&state));
    if state.delayed {
        row.notes.push("lock-delay".to_owned());
    }
    Ok(Some(Listed { row, ends }))
}

/// What sort of lock it is at present; nothing for the usual one.
pub(super) fn mode(state: &LockState) -> Option<String> {
    match state.mode? {
        LockMode::Exclusive => None,
        LockMode::Shared => Some("shared".to_owned()),
        LockMode::Permits { .. } => Some(format!("{} of {} permits", state.used, state.capacity)),
    }
}

fn claim(view: &StateView, name: &Name) -> Result<Option<Listed>, Fault> {
    let Some(ClaimState { holder, waiting, pins, .. }) = read::claim(view, name)? else { return Ok(None) };
    let mut row = row(name, waiting);
    let mut ends = Ends::Never;
    if let Some(holder) = holder {
        ends = if pins > 0 { Ends::Pinned } else { Ends::Timer(holder.timer) };
        row.fence = Some(holder.fence);
        row.since = Some(Times::at(holder.fence));
        row.holder = Some(holder.holder);
    }
    Ok(Some(Listed { row, ends }))
}
