//! One election, lock, claim or queue: for who may read the keys that show it, as with `GetTerm`,
//! `GetLock` and `GetClaim`.

use super::PAGE;
use super::coordination::{USUAL, mode, of};
use super::ends::{Ends, asked, left};
use super::found::{Found, empty};
use super::history::{self, Turns};
use super::query::Query;
use super::queue;
use super::times::Times;
use crate::gateway::Gateway;
use crate::service::conclave::decide::look_at;
use conclave_console::coordination::Waiting;
use conclave_console::name::{self as shown, Holder, Waiter};
use conclave_console::{Frame, Kind, Left};
use conclave_state::auth::prefix_range;
use conclave_state::coord::read::{self, RequestState};
use conclave_state::coord::{claim_prefix, claim_waiter_key, election_prefix, leader_key, lock_prefix};
use conclave_state::{Fault, LockMode, LockPart, Name, read as store};
use conclave_storage::StateView;
use tonic::Status;

/// Candidates of an election that are passed over to get to a page of its queue.
const MOST_PASSED: usize = 100_000;

/// A page of a queue ends beyond so many bytes of values, which candidates may have.
const MOST_BYTES: usize = 2 << 20;

/// Candidates that are read at a time.
const PART: usize = 10;

pub(super) async fn page(gateway: &Gateway, times: &Times, frame: &Frame, query: &Query) -> Result<String, Status> {
    let kind =
        Kind::from_word(&query.text("kind")?).ok_or_else(|| Status::invalid_argument("there is no such kind"))?;
    let found = match kind {
        Kind::Queue => queue::one(gateway, query).await?,
        _ => conclave(gateway, kind, query).await?,
    };
    let Found { mut page, ends } = found
        .ok_or_else(|| Status::not_found(format!("There is no {} of this name, or nobody is in it.", kind.word())))?;
    let of_holders = page.holders.iter_mut().filter_map(|holder| holder.since.as_mut());
    let of_waiters = page.queue.iter_mut().filter_map(|waiter| waiter.since.as_mut());
    let of_changes = page.history.changes.iter_mut().map(|change| &mut change.at);
    for since in of_holders.chain(of_waiters).chain(of_changes) {
        *since = times.since(since.revision);
    }
    // One question to the leader, however many hold it.
    for (at, (holder, ends)) in page.holders.iter_mut().zip(&ends).enumerate() {
        holder.left = if at == 0 { asked(gateway, *ends).await } else { left(gateway, *ends) };
    }
    Ok(shown::name(frame, &page))
}

async fn conclave(gateway: &Gateway, kind: Kind, query: &Query) -> Result<Option<Found>, Status> {
    let mut name = Name { namespace: query.text("namespace")?, name: query.text("name")? };
    if name.namespace.is_empty() {
        USUAL.clone_into(&mut name.namespace);
    }
    let (after, position) = (query.number("after")?.unwrap_or(0), query.number("position")?.unwrap_or(0));
    let from = Begin { after, position };
    let prefix = match kind {
        Kind::Election => election_prefix(&name),
        Kind::Lock => lock_prefix(&name),
        Kind::Claim | Kind::Queue => claim_prefix(&name),
    };
    if kind == Kind::Election && position > MOST_PASSED as u64 {
        return Err(Status::invalid_argument(format!("only the first {MOST_PASSED} candidates can be shown")));
    }
    let read = move |view: &StateView| match kind {
        Kind::Election => election(view, &name, from),
        Kind::Lock => lock(view, &name, from),
        Kind::Claim | Kind::Queue => claim(view, &name, from),
    };
    Ok(look_at(gateway, true, true, move || prefix_range(&prefix), read).await?.0)
}

/// Where a page of a queue begins: behind whom, and how many are before it.
#[derive(Clone, Copy)]
struct Begin {
    after: u64,
    position: u64,
}

impl Begin {
    fn next(self, after: u64, shown: usize) -> Vec<(&'static str, Vec<u8>)> {
        let position = self.position.saturating_add(shown as u64);
        vec![("after", after.to_string().into_bytes()), ("position", position.to_string().into_bytes())]
    }
}

fn election(view: &StateView, name: &Name, from: Begin) -> Result<Option<Found>, Fault> {
    let Some(state) = read::election(view, name)? else { return Ok(None) };
    let term = state.term;
    let mut page = empty(Kind::Election, of(name), Waiting::Exactly(term.waiting.into()));
    let mut ends = Vec::new();
    if let Some(leader) = &term.leader {
        let candidate = read::candidate(view, name, leader)?;
        let (instance, lease) = candidate.map_or_else(Default::default, |found| (found.instance, found.lease));
        let value = store::version_at(view, &leader_key(name, term.id), view.bounds().current)?;
        let value = value.map(|kv| conclave_console::shown(&kv.value, 120)).filter(|value| !value.is_empty());
        let (fence, since) = (term.id, Some(Times::at(term.id)));
        let (who, part) = (leader.clone(), String::new());
        page.holders.push(Holder { who, instance, part, fence, since, left: Left::Unlimited, lease, value });
        ends.push(Ends::Lease(lease));
    }
    page.facts.push(("Leaders so far", term.seq.to_string()));
    if let Some(to) = state.transfer_to {
        page.facts.push(("Transfer asked for, to", to));
    }
    if !state.reason.is_empty() {
        page.facts.push(("Reason of the last change", state.reason));
    }
    if state.delayed {
        page.notes.push("Nobody is installed until a lock-delay is over.");
    }
    let leading = usize::from(term.leader.is_some());
    let passed = usize::try_from(from.position).unwrap_or(usize::MAX).min(MOST_PASSED);
    let (mut bytes, mut more) = (0, true);
    while more && page.queue.len() < PAGE && bytes < MOST_BYTES {
        let found = read::candidates(view, name, leading + passed + page.queue.len(), PART)?;
        more = found.len() == PART;
        for candidate in found {
            bytes += candidate.value.len();
            let position = (passed + page.queue.len() + 1) as u64;
            let since = Some(Times::at(candidate.joined));
            let part = if candidate.priority == 0 { String::new() } else { format!("priority {}", candidate.priority) };
            let (who, instance, lease) = (candidate.id, candidate.instance, candidate.lease);
            page.queue.push(Waiter { position, who, instance, part, since, lease });
        }
    }
    if more {
        page.next = Some(Begin { position: passed as u64, ..from }.next(0, page.queue.len()));
    }
    page.goes_on = passed > 0;
    page.history = history::turns(view, name, Turns::Election)?;
    Ok(Some(Found { page, ends }))
}

/// As what somebody holds a lock or waits for it.
fn part(name: &Name, parts: &[LockPart]) -> String {
    let own = parts.iter().find(|part| part.lock == *name);
    let mut words = match own.map(|part| part.mode) {
        Some(LockMode::Shared) => "shared".to_owned(),
        Some(LockMode::Permits { weight, .. }) => format!("{weight} permits"),
        Some(LockMode::Exclusive) | None => String::new(),
    };
    if parts.len() > 1 {
        let more = format!("with {} other locks", parts.len() - 1);
        words = if words.is_empty() { more } else { format!("{words}, {more}") };
    }
    words
}

fn lock(view: &StateView, name: &Name, from: Begin) -> Result<Option<Found>, Fault> {
    let Some(state) = read::lock(view, name)? else { return Ok(None) };
    let mut page = empty(Kind::Lock, of(name), Waiting::Exactly(state.waiting.into()));
    let mut holders = read::lock_holders(view, name, 0, PAGE + 1)?;
    page.more_holders = holders.len() > PAGE;
    holders.truncate(PAGE);
    let ends = holders.iter().map(|holder| Ends::Lease(holder.lease)).collect();
    page.holders = holders
        .into_iter()
        .map(|RequestState { fence, lease, owner, parts, held_since }| Holder {
            who: owner,
            instance: String::new(),
            part: part(name, &parts),
            fence,
            since: Some(Times::at(held_since)),
            left: Left::Unlimited,
            lease,
            value: None,
        })
        .collect();
    if let Some(mode) = mode(&state) {
        page.facts.push(("At present", mode));
    }
    if state.delayed {
        page.notes.push("Nobody gets it until a lock-delay is over.");
    }
    let mut waiting = read::lock_waiting(view, name, from.after.cast_signed(), PAGE + 1)?;
    let more = waiting.len() > PAGE;
    waiting.truncate(PAGE);
    if let Some(last) = waiting.last().filter(|_| more) {
        page.next = Some(from.next(last.fence.cast_unsigned(), waiting.len()));
    }
    page.queue = (from.position.saturating_add(1)..)
        .zip(waiting)
        .map(|(position, RequestState { fence, lease, owner, parts, .. })| Waiter {
            position,
            who: owner,
            instance: String::new(),
            part: part(name, &parts),
            // A request is named by the revision that made it.
            since: Some(Times::at(fence)),
            lease,
        })
        .collect();
    page.goes_on = from.after > 0;
    page.history = history::turns(view, name, Turns::Lock)?;
    Ok(Some(Found { page, ends }))
}

fn claim(view: &StateView, name: &Name, from: Begin) -> Result<Option<Found>, Fault> {
    let Some(state) = read::claim(view, name)? else { return Ok(None) };
    let mut page = empty(Kind::Claim, of(name), Waiting::Exactly(state.waiting.into()));
    let mut ends = Vec::new();
    if let Some(holder) = state.holder {
        ends.push(if state.pins > 0 { Ends::Pinned } else { Ends::Timer(holder.timer) });
        page.holders.push(Holder {
            who: holder.holder,
            instance: holder.instance,
            part: if holder.shared { "shared with other instances".to_owned() } else { String::new() },
            fence: holder.fence,
            since: Some(Times::at(holder.fence)),
            left: Left::Unlimited,
            lease: holder.session,
            value: None,
        });
    }
    if state.pins > 0 {
        page.facts.push(("Pins", state.pins.to_string()));
    }
    let mut waiting = read::claim_waiting(view, name, from.after, PAGE + 1)?;
    let more = waiting.len() > PAGE;
    waiting.truncate(PAGE);
    if let Some(last) = waiting.last().filter(|_| more) {
        page.next = Some(from.next(last.ticket, waiting.len()));
    }
    for (position, waiter) in (from.position.saturating_add(1)..).zip(waiting) {
        let key = store::version_at(view, &claim_waiter_key(name, waiter.ticket), view.bounds().current)?;
        page.queue.push(Waiter {
            position,
            who: waiter.holder,
            instance: waiter.instance,
            part: String::new(),
            since: key.map(|key| Times::at(key.create_revision)),
            lease: waiter.lease,
        });
    }
    page.goes_on = from.after > 0;
    page.history = history::turns(view, name, Turns::Claim)?;
    Ok(Some(Found { page, ends }))
}
