//! Reads of elections, locks and claims for services, on any [`View`].
//!
//! Lists come in pages: `after` is the last item of the previous page. Only [`position`],
//! [`lock_position`] and [`claim_position`] walk further than a page, because they count.

use super::election;
use super::row::{self, Candidate, ClaimHead, ClaimWaiter, LockHead, LockRequest, PinRow, TimerRow, must};
use super::{Cause, Kind, Limits, LockMode, LockPart, Name, Purpose, Term, Token, keys, token};
use crate::LeaseId;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionState {
    pub term: Term,
    /// The last change, its subject, and the previous leader if the leader changed.
    pub cause: Cause,
    pub subject: String,
    pub previous: Option<String>,
    pub reason: String,
    pub transfer_to: Option<String>,
    /// No leader is installed until a lock-delay is over.
    pub delayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateState {
    pub id: String,
    pub instance: String,
    pub lease: LeaseId,
    pub priority: i64,
    pub labels: Vec<(String, String)>,
    pub value: Bytes,
    pub joined: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// The mode of its holders.
    pub mode: Option<LockMode>,
    pub used: u64,
    pub capacity: u32,
    pub holders: u32,
    pub waiting: u32,
    pub delayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestState {
    pub fence: i64,
    pub lease: LeaseId,
    pub owner: String,
    pub parts: Vec<LockPart>,
    /// 0 while it waits.
    pub held_since: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimState {
    pub holder: Option<HolderState>,
    pub waiting: u32,
    pub pins: u32,
    /// The revision of the last change of holder, line or pins.
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderState {
    pub holder: String,
    pub instance: String,
    pub fence: i64,
    pub longest_ms: u64,
    /// 0 if the time ran out while the claim was pinned.
    pub timer: u64,
    /// 0 if taken without a session.
    pub session: LeaseId,
    /// The holder allows other instances to share it.
    pub shared: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterState {
    pub ticket: u64,
    pub holder: String,
    pub instance: String,
    pub duration_ms: u64,
    pub lease: LeaseId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinState {
    pub entity: String,
    pub reason: String,
    pub lease: LeaseId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerState {
    pub id: u64,
    pub millis: u64,
    pub purpose: Purpose,
}

/// Which names to list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// `None`: of all namespaces.
    pub namespace: Option<String>,
    /// What the names begin with, in one namespace.
    pub prefix: String,
    pub after: Option<Name>,
    pub limit: usize,
}

pub fn election<V: View>(view: &V, name: &Name) -> Result<Option<ElectionState>, Fault> {
    Ok(election::head_of(view, name)?.map(|head| ElectionState {
        term: election::term(&head),
        cause: head.cause,
        subject: head.subject,
        previous: head.previous,
        reason: head.reason,
        transfer_to: head.transfer.map(|pending| pending.to),
        delayed: head.delay_timer != 0,
    }))
}

pub fn candidate<V: View>(view: &V, name: &Name, id: &str) -> Result<Option<CandidateState>, Fault> {
    let row: Option<Candidate> = row::get(view, &keys::candidate(name, id))?;
    Ok(row.map(|row| {
        let Candidate { instance, lease, priority, labels, value, joined, .. } = row;
        CandidateState { id: id.to_owned(), instance, lease, priority, labels, value, joined }
    }))
}

/// The timer of an eviction's cool-down, if one runs for this id.
pub fn election_cooldown<V: View>(view: &V, name: &Name, id: &str) -> Result<Option<u64>, Fault> {
    row::get(view, &keys::cooldown(Kind::Election, name, id))
}

/// The candidates in order, the leader first, from number `skip` on.
pub fn candidates<V: View>(view: &V, name: &Name, skip: usize, limit: usize) -> Result<Vec<CandidateState>, Fault> {
    let Some(head) = election::head_of(view, name)? else { return Ok(Vec::new()) };
    let mut ids: Vec<String> = Vec::new();
    let mut number = 0;
    let mut add = |id: String| {
        if number >= skip && ids.len() < limit {
            ids.push(id);
        }
        number += 1;
        number < skip.saturating_add(limit)
    };
    if head.leader.is_none_or(&mut add) && head.waiting > 0 {
        row::each(view, keys::line_from(name, head.first.class, head.first.rank), |_, id| {
            Ok(if add(id) { Step::Next } else { Step::Stop })
        })?;
    }
    let missing = || view.contradiction("a candidate in line has no row".into());
    ids.into_iter().map(|id| candidate(view, name, &id)?.ok_or_else(missing)).collect()
}

/// All waiting candidates, in order.
pub fn line<V: View>(view: &V, name: &Name) -> Result<Vec<String>, Fault> {
    Ok(line_within(view, name, usize::MAX)?.unwrap_or_default())
}

/// The same, or `None`, after a look at one row, if more than `most` wait.
pub fn line_within<V: View>(view: &V, name: &Name, most: usize) -> Result<Option<Vec<String>>, Fault> {
    let mut ids = Vec::new();
    let Some(head) = election::head_of(view, name)?.filter(|head| head.waiting > 0) else { return Ok(Some(ids)) };
    if head.waiting as usize > most {
        return Ok(None);
    }
    row::each(view, keys::line_from(name, head.first.class, head.first.rank), |_, id| {
        ids.push(id);
        Ok(Step::Next)
    })?;
    Ok(Some(ids))
}

/// The number of candidates before this one. 0 leads, or is next if there is no leader.
pub fn position<V: View>(view: &V, name: &Name, id: &str) -> Result<Option<u64>, Fault> {
    let Some(head) = election::head_of(view, name)? else { return Ok(None) };
    let mut before = u64::from(head.leader.is_some());
    let mut found = head.leader.as_deref() == Some(id);
    if found {
        return Ok(Some(0));
    }
    row::each(view, keys::line_from(name, head.first.class, head.first.rank), |_, other: String| {
        found = other == id;
        before += u64::from(!found);
        Ok(if found { Step::Stop } else { Step::Next })
    })?;
    Ok(found.then_some(before))
}

pub fn elections<V: View>(view: &V, listing: &Listing) -> Result<Vec<Name>, Fault> {
    names(view, Kind::Election, listing)
}

pub fn locks<V: View>(view: &V, listing: &Listing) -> Result<Vec<Name>, Fault> {
    names(view, Kind::Lock, listing)
}

pub fn claims<V: View>(view: &V, listing: &Listing) -> Result<Vec<Name>, Fault> {
    names(view, Kind::Claim, listing)
}

fn names<V: View>(view: &V, kind: Kind, listing: &Listing) -> Result<Vec<Name>, Fault> {
    let (mut from, below) = match &listing.namespace {
        Some(namespace) => keys::heads_beginning(kind, namespace, &listing.prefix).all(),
        None => keys::heads(kind).all(),
    };
    if let Some(after) = &listing.after {
        // The first row after that name's rows.
        from = from.max([keys::head(kind, after), vec![0]].concat());
    }
    let mut found = Vec::new();
    view.scan(Table::Coord, &from, &below, &mut |key, _| {
        if found.len() >= listing.limit {
            return Ok(Step::Stop);
        }
        found.push(must(keys::split_head(key), "a head")?);
        Ok(Step::Next)
    })?;
    Ok(found)
}

pub fn lock<V: View>(view: &V, name: &Name) -> Result<Option<LockState>, Fault> {
    let head: Option<LockHead> = row::get(view, &keys::head(Kind::Lock, name))?;
    Ok(head.map(|head| {
        let LockHead { mode, used, holders, waiting, delay_timer, capacity, .. } = head;
        LockState { mode, used, capacity, holders, waiting, delayed: delay_timer != 0 }
    }))
}

/// The timer of an eviction's cool-down, if one runs for this owner: of the first of these locks.
pub fn lock_cooldown<V: View>(view: &V, names: &[Name], owner: &str) -> Result<Option<u64>, Fault> {
    for name in names {
        if let Some(timer) = row::get(view, &keys::cooldown(Kind::Lock, name, owner))? {
            return Ok(Some(timer));
        }
    }
    Ok(None)
}

pub fn request<V: View>(view: &V, fence: i64) -> Result<Option<RequestState>, Fault> {
    let row: Option<LockRequest> = row::get(view, &keys::request(fence))?;
    Ok(row.map(|row| {
        let LockRequest { lease, owner, parts, held_since, .. } = row;
        RequestState { fence, lease, owner, parts, held_since }
    }))
}

/// The holders of a lock, by fence.
pub fn lock_holders<V: View>(view: &V, name: &Name, after: i64, limit: usize) -> Result<Vec<RequestState>, Fault> {
    requests(view, (keys::grant(name, after.saturating_add(1)), keys::grants(name).all().1), limit)
}

/// The waiters of a lock, by fence, which is the order of the line.
pub fn lock_waiting<V: View>(view: &V, name: &Name, after: i64, limit: usize) -> Result<Vec<RequestState>, Fault> {
    let from = keys::turn(Kind::Lock, name, after.saturating_add(1).cast_unsigned());
    requests(view, (from, keys::line(Kind::Lock, name).all().1), limit)
}

fn requests<V: View>(view: &V, bounds: (Vec<u8>, Vec<u8>), limit: usize) -> Result<Vec<RequestState>, Fault> {
    let mut fences = Vec::new();
    row::each(view, bounds, |key, ()| {
        if fences.len() >= limit {
            return Ok(Step::Stop);
        }
        fences.push(must(keys::split_id(key), "a fence")?.cast_signed());
        Ok(Step::Next)
    })?;
    let missing = || view.contradiction("a request in line has no row".into());
    fences.into_iter().map(|fence| request(view, fence)?.ok_or_else(missing)).collect()
}

/// The number of waiters before a fence; `None` if the fence does not wait for the lock.
pub fn lock_position<V: View>(view: &V, name: &Name, fence: i64) -> Result<Option<u64>, Fault> {
    Ok(lock_position_within(view, name, fence, usize::MAX)?.flatten())
}

/// The same, or `None` if more than `most` had to be counted.
pub fn lock_position_within<V: View>(
    view: &V,
    name: &Name,
    fence: i64,
    most: usize,
) -> Result<Option<Option<u64>>, Fault> {
    let (mut before, mut found, mut within) = (0, false, true);
    let Some(head) = row::get::<_, LockHead>(view, &keys::head(Kind::Lock, name))? else { return Ok(Some(None)) };
    let from = keys::turn(Kind::Lock, name, head.first.cast_unsigned());
    row::each(view, (from, keys::line(Kind::Lock, name).all().1), |key, ()| {
        found = keys::split_id(key) == Some(fence.cast_unsigned());
        within = found || before < most as u64;
        before += u64::from(!found);
        Ok(if found || !within { Step::Stop } else { Step::Next })
    })?;
    Ok(within.then(|| found.then_some(before)))
}

pub fn claim<V: View>(view: &V, name: &Name) -> Result<Option<ClaimState>, Fault> {
    let head: Option<ClaimHead> = row::get(view, &keys::head(Kind::Claim, name))?;
    Ok(head.map(|head| {
        let ClaimHead { tenure, waiting, pins, changed, .. } = head;
        let holder = tenure.map(|tenure| {
            let row::Tenure { holder, instance, fence, longest_ms, timer, session, shared } = tenure;
            HolderState { holder, instance, fence, longest_ms, timer, session, shared }
        });
        ClaimState { holder, waiting, pins, revision: changed }
    }))
}

pub fn claim_waiting<V: View>(view: &V, name: &Name, after: u64, limit: usize) -> Result<Vec<WaiterState>, Fault> {
    let bounds = (keys::turn(Kind::Claim, name, after.saturating_add(1)), keys::line(Kind::Claim, name).all().1);
    let mut found = Vec::new();
    row::each(view, bounds, |key, waiter: ClaimWaiter| {
        if found.len() >= limit {
            return Ok(Step::Stop);
        }
        let ticket = must(keys::split_id(key), "a ticket")?;
        let ClaimWaiter { holder, instance, duration_ms, lease, .. } = waiter;
        found.push(WaiterState { ticket, holder, instance, duration_ms, lease });
        Ok(Step::Next)
    })?;
    Ok(found)
}

/// The number of waiters before a ticket; `None` if the ticket does not wait for the claim.
pub fn claim_position<V: View>(view: &V, name: &Name, ticket: u64) -> Result<Option<u64>, Fault> {
    let (mut before, mut found) = (0, false);
    let Some(head) = row::get::<_, ClaimHead>(view, &keys::head(Kind::Claim, name))? else { return Ok(None) };
    let from = keys::turn(Kind::Claim, name, head.first);
    row::each(view, (from, keys::line(Kind::Claim, name).all().1), |key, _: ClaimWaiter| {
        found = keys::split_id(key) == Some(ticket);
        before += u64::from(!found);
        Ok(if found { Step::Stop } else { Step::Next })
    })?;
    Ok(found.then_some(before))
}

pub fn pins<V: View>(view: &V, name: &Name) -> Result<Vec<PinState>, Fault> {
    let skip = keys::pins(name).done().len();
    let mut found = Vec::new();
    row::each(view, keys::pins(name).all(), |key, pin: PinRow| {
        let mut rest = key.get(skip..).unwrap_or_default();
        let entity = must(keys::take_text(&mut rest), "a pin")?;
        found.push(PinState { entity, reason: pin.reason, lease: pin.lease });
        Ok(Step::Next)
    })?;
    Ok(found)
}

pub fn limits<V: View>(view: &V, namespace: &str) -> Result<Limits, Fault> {
    Ok(row::get(view, &keys::limits(namespace))?.unwrap_or_default())
}

/// All timers, by id. A new leader arms each for its whole time.
pub fn timers<V: View>(view: &V) -> Result<Vec<TimerState>, Fault> {
    let mut found = Vec::new();
    row::each(view, keys::timers().all(), |key, timer: TimerRow| {
        let TimerRow { purpose, millis } = timer;
        found.push(TimerState { id: must(keys::split_id(key), "a timer")?, millis, purpose });
        Ok(Step::Next)
    })?;
    Ok(found)
}

/// The token of a candidate that leads.
pub fn leadership_token<V: View>(view: &V, name: &Name, candidate: &str) -> Result<Option<Token>, Fault> {
    let head = election::head_of(view, name)?.filter(|head| head.leader.as_deref() == Some(candidate));
    Ok(head.map(|head| token::leadership(name, head.term_id)))
}

/// The token of a request that holds its locks.
pub fn lock_token<V: View>(view: &V, fence: i64) -> Result<Option<Token>, Fault> {
    let held = request(view, fence)?.filter(|request| request.held_since != 0);
    Ok(held.map(|request| token::locks(&request.parts, fence, request.held_since)))
}

/// The token of a holder; of one instance if it is given.
pub fn claim_token<V: View>(
    view: &V,
    name: &Name,
    holder: &str,
    instance: Option<&str>,
) -> Result<Option<Token>, Fault> {
    let tenure = claim(view, name)?.and_then(|claim| claim.holder);
    let tenure =
        tenure.filter(|tenure| tenure.holder == holder && instance.is_none_or(|instance| tenure.instance == instance));
    Ok(tenure.map(|tenure| token::tenure(name, tenure.fence)))
}
