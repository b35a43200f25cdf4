//! Messages of claims.

use super::{
    BadField, Caller, Expecting, LARGEST_LIST, Problem, Session, caller, millis, name, namespace, optional_text,
    reason, revision, text, text_or_empty, token,
};
use conclave_api::conclave::v1;
use conclave_api::conclave::v1::claim_item::Twin as PbTwin;
use conclave_api::conclave::v1::claim_result::Outcome;
use conclave_api::conclave::v1::get_claim_response as got;
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::coord::read::{ClaimState, PinState, WaiterState};
use conclave_state::coord::token as tokens;
use conclave_state::{
    Claim, ClaimAnswer, CoordBody, LeaseId, Limits, Name, Pin, Revoke, SetLimits, Twin, Unclaim, Unpin,
};

/// Items of one request.
const MOST_ITEMS: usize = 10_000;

fn of_one(from: Option<v1::Caller>) -> Result<Caller, BadField> {
    caller(from, Session::Optional, Expecting::Allowed)
}

fn claim_name(from: Option<v1::Name>) -> Result<Name, BadField> {
    name("claim", from)
}

pub fn claim(request: v1::ClaimRequest) -> Result<(Caller, Vec<Claim>), BadField> {
    let v1::ClaimRequest { caller: from, items } = request;
    let expecting = if items.len() == 1 { Expecting::Allowed } else { Expecting::Refused };
    let caller = caller(from, Session::Optional, expecting)?;
    match items.len() {
        0 => return Err(Problem::Empty.of("items")),
        count if count > MOST_ITEMS => return Err(Problem::TooMany { count, most: MOST_ITEMS }.of("items")),
        _ => {}
    }
    let items = items.into_iter().enumerate();
    let session = caller.session;
    let checked = |one| item(one).and_then(|one| told_apart(session, one));
    let items = items.map(|(at, one)| checked(one).map_err(|bad| bad.within(format_args!("items[{at}]"))));
    Ok((caller, items.collect::<Result<_, _>>()?))
}

/// Two processes that leave out both their session and their instance would hold one tenure.
fn told_apart(session: LeaseId, item: Claim) -> Result<Claim, BadField> {
    if session == 0 && item.instance.is_empty() && item.twin != Twin::Share {
        let why = "is empty; without a session it must say which process claims, unless the tenure is shared (twin)";
        return Err(Problem::Other(why).of("instance"));
    }
    Ok(item)
}

fn item(item: v1::ClaimItem) -> Result<Claim, BadField> {
    let twin = match PbTwin::try_from(item.twin) {
        Ok(PbTwin::Deny) => Twin::Deny,
        Ok(PbTwin::TakeOver) => Twin::TakeOver,
        Ok(PbTwin::Share) => Twin::Share,
        Err(_) => return Err(Problem::Other("is none of DENY, TAKE_OVER and SHARE").of("twin")),
    };
    if item.duration_ms == 0 {
        return Err(Problem::Other("is 0; a claim is for a time").of("duration_ms"));
    }
    if item.wait_ms != 0 && !item.wait {
        return Err(Problem::Other("is set without wait").of("wait_ms"));
    }
    Ok(Claim {
        claim: claim_name(item.claim)?,
        holder: text("holder", item.holder)?,
        instance: text_or_empty("instance", item.instance)?,
        duration_ms: millis("duration_ms", item.duration_ms)?,
        twin,
        wait: item.wait,
        wait_ms: millis("wait_ms", item.wait_ms)?,
    })
}

/// The result of one item. `guaranteed_ms` counts from the call, if it was taken or extended.
#[must_use]
pub fn result(claim: &Name, answer: ClaimAnswer, guaranteed_ms: u64) -> v1::ClaimResult {
    let none = v1::ClaimResult::default();
    let tenure = |outcome: Outcome, fence| v1::ClaimResult {
        outcome: outcome.into(),
        guaranteed_ms,
        token: Some(token(tokens::tenure(claim, fence))),
        fence,
        ..v1::ClaimResult::default()
    };
    match answer {
        ClaimAnswer::Taken { fence, .. } => tenure(Outcome::Taken, fence),
        ClaimAnswer::Extended { fence, .. } => tenure(Outcome::Extended, fence),
        ClaimAnswer::Waiting { ticket } => v1::ClaimResult { outcome: Outcome::Waiting.into(), ticket, ..none },
        ClaimAnswer::Denied { holder, instance, fence } => {
            v1::ClaimResult { outcome: Outcome::Denied.into(), holder, instance, fence, ..none }
        }
        ClaimAnswer::BadDuration { min_ms, max_ms } => {
            v1::ClaimResult { outcome: Outcome::BadDuration.into(), min_ms, max_ms, ..none }
        }
        ClaimAnswer::TooManyWaiting {} => v1::ClaimResult { outcome: Outcome::TooManyWaiting.into(), ..none },
        ClaimAnswer::Repeated {} => v1::ClaimResult { outcome: Outcome::Repeated.into(), ..none },
    }
}

/// Whose token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub claim: Name,
    pub holder: String,
    pub instance: Option<String>,
    pub weak: bool,
}

pub fn check(request: v1::CheckRequest) -> Result<Check, BadField> {
    Ok(Check {
        claim: claim_name(request.claim)?,
        holder: text("holder", request.holder)?,
        instance: optional_text("instance", request.instance)?,
        weak: request.weak,
    })
}

/// The claim, and the revision to look from if one was given.
pub fn await_vacant(request: v1::AwaitVacantRequest) -> Result<(Name, Option<i64>), BadField> {
    let from = revision("min_revision", request.min_revision)?;
    Ok((claim_name(request.claim)?, (from != 0).then_some(from)))
}

pub fn unclaim(request: v1::UnclaimRequest) -> Result<(Caller, CoordBody), BadField> {
    let unclaim = Unclaim {
        claim: claim_name(request.claim)?,
        holder: text("holder", request.holder)?,
        instance: text_or_empty("instance", request.instance)?,
    };
    Ok((of_one(request.caller)?, CoordBody::Unclaim(unclaim)))
}

pub fn revoke(request: v1::RevokeRequest) -> Result<(Caller, CoordBody), BadField> {
    let revoke = Revoke {
        claim: claim_name(request.claim)?,
        holder: request.holder.map(|holder| text("holder", holder)).transpose()?,
        instance: optional_text("instance", request.instance)?,
    };
    Ok((of_one(request.caller)?, CoordBody::Revoke(revoke)))
}

pub fn pin(request: v1::PinRequest) -> Result<(Caller, CoordBody), BadField> {
    let caller = of_one(request.caller)?;
    if request.with_session && caller.session == 0 {
        return Err(Problem::Other("is set, but the caller has no session").of("with_session"));
    }
    let pin = Pin {
        claim: claim_name(request.claim)?,
        entity: text("entity", request.entity)?,
        reason: reason("reason", request.reason)?,
        with_session: request.with_session,
        max_ms: millis("max_duration_ms", request.max_duration_ms)?,
    };
    Ok((caller, CoordBody::Pin(pin)))
}

pub fn unpin(request: v1::UnpinRequest) -> Result<(Caller, CoordBody), BadField> {
    let unpin = Unpin { claim: claim_name(request.claim)?, entity: text("entity", request.entity)? };
    Ok((of_one(request.caller)?, CoordBody::Unpin(unpin)))
}

pub fn set_limits(request: v1::SetLimitsRequest) -> Result<(Caller, CoordBody), BadField> {
    let limits = |limits: v1::Limits| {
        let v1::Limits { min_ms, max_ms, max_waiting } = limits;
        if min_ms > max_ms {
            return Err(Problem::Other("is above max_ms").of("min_ms"));
        }
        Ok(Limits { min_ms: millis("min_ms", min_ms)?, max_ms: millis("max_ms", max_ms)?, max_waiting })
    };
    let set = SetLimits {
        namespace: namespace("namespace", request.namespace)?,
        limits: request.limits.map(limits).transpose().map_err(|bad: BadField| bad.within("limits"))?,
    };
    Ok((caller(request.caller, Session::Optional, Expecting::Refused)?, CoordBody::SetLimits(set)))
}

/// A claim that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    pub claim: Name,
    pub serializable: bool,
    /// Of those who wait; 0 for none.
    pub limit: usize,
    pub after: u64,
}

pub fn get(request: v1::GetClaimRequest) -> Result<Get, BadField> {
    let v1::GetClaimRequest { claim, serializable, limit, after } = request;
    if limit > LARGEST_LIST {
        return Err(Problem::TooLarge { value: limit.into(), most: LARGEST_LIST.into() }.of("limit"));
    }
    Ok(Get { claim: claim_name(claim)?, serializable, limit: limit as usize, after })
}

/// `remaining_ms`: as far as it is known.
#[must_use]
pub fn gotten(
    header: ResponseHeader,
    state: Option<ClaimState>,
    waiting: Vec<WaiterState>,
    pins: Vec<PinState>,
    remaining_ms: u64,
) -> v1::GetClaimResponse {
    let (holder, waiting_count) = state.map_or((None, 0), |state| (state.holder, state.waiting));
    let waiter = |waiter: WaiterState| {
        let WaiterState { ticket, holder, instance, duration_ms, lease } = waiter;
        got::Waiter { ticket, holder, instance, duration_ms, session: lease }
    };
    let pin = |pin: PinState| got::PinState { entity: pin.entity, reason: pin.reason, session: pin.lease };
    let mut response = v1::GetClaimResponse {
        header: Some(header),
        waiting_count,
        waiting: waiting.into_iter().map(waiter).collect(),
        pins: pins.into_iter().map(pin).collect(),
        ..v1::GetClaimResponse::default()
    };
    if let Some(holder) = holder {
        response.holder = holder.holder;
        response.instance = holder.instance;
        response.fence = holder.fence;
        response.longest_ms = holder.longest_ms;
        response.remaining_ms = remaining_ms;
    }
    response
}

/// What is watched, from which revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub claim: Name,
    /// `None`: from now.
    pub from: Option<i64>,
    /// Only of a watch from now.
    pub snapshot: bool,
}

pub fn watch(request: v1::WatchClaimRequest) -> Result<Watch, BadField> {
    let v1::WatchClaimRequest { claim, start_revision, no_snapshot } = request;
    let from = revision("start_revision", start_revision)?;
    Ok(Watch { claim: claim_name(claim)?, from: (from != 0).then_some(from), snapshot: from == 0 && !no_snapshot })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item_of(holder: &str) -> v1::ClaimItem {
        v1::ClaimItem {
            claim: Some(v1::Name { namespace: String::new(), name: "db".into() }),
            holder: holder.into(),
            instance: "1".into(),
            duration_ms: 5_000,
            ..v1::ClaimItem::default()
        }
    }

    fn refusal(caller: v1::Caller, items: Vec<v1::ClaimItem>) -> String {
        claim(v1::ClaimRequest { caller: Some(caller), items }).unwrap_err().to_string()
    }

    #[test]
    fn a_bulk_is_of_one_to_ten_thousand() {
        assert_eq!(refusal(v1::Caller::default(), vec![]), "items is empty");
        let many = refusal(v1::Caller::default(), vec![item_of("a"); 10_001]);
        assert_eq!(many, "items has 10001 entries; at most 10000 are allowed");
        let most = v1::ClaimRequest { caller: None, items: vec![item_of("a"); 10_000] };
        assert_eq!(claim(most).unwrap().1.len(), 10_000);
    }

    #[test]
    fn a_refusal_says_which_item_and_field() {
        type Spoil = fn(&mut v1::ClaimItem);
        let cases: [(Spoil, &str); 8] = [
            (|item| item.claim = None, "claim is missing"),
            (|item| item.claim.as_mut().unwrap().name.clear(), "claim.name is empty"),
            (|item| item.holder.clear(), "holder is empty"),
            (|item| item.holder = "x".repeat(257), "holder has 257 bytes; at most 256 are allowed"),
            (|item| item.instance = "\u{7}".into(), "instance has a control character"),
            (|item| item.duration_ms = 0, "duration_ms is 0; a claim is for a time"),
            (|item| item.twin = 9, "twin is none of DENY, TAKE_OVER and SHARE"),
            (|item| item.wait_ms = 1, "wait_ms is set without wait"),
        ];
        for (spoil, text) in cases {
            let mut bad = item_of("a");
            spoil(&mut bad);
            let refused = refusal(v1::Caller::default(), vec![item_of("a"), bad]);
            assert_eq!(refused, format!("items[1].{text}"));
        }
        let mut absurd = item_of("a");
        absurd.duration_ms = u64::MAX;
        let refused = refusal(v1::Caller::default(), vec![absurd]);
        assert!(refused.starts_with("items[0].duration_ms is 18446744073709551615"), "{refused}");
    }

    #[test]
    fn without_a_session_processes_are_told_apart_by_their_instance() {
        let unnamed = || v1::ClaimItem { instance: String::new(), ..item_of("a") };
        let refused = refusal(v1::Caller::default(), vec![item_of("a"), unnamed()]);
        assert!(refused.starts_with("items[1].instance is empty; without a session"), "{refused}");
        let taken_over = v1::ClaimItem { twin: PbTwin::TakeOver.into(), ..unnamed() };
        assert!(refusal(v1::Caller::default(), vec![taken_over]).starts_with("items[0].instance is empty"));
        let fine = |session, item| {
            let caller = Some(v1::Caller { session, ..v1::Caller::default() });
            claim(v1::ClaimRequest { caller, items: vec![item] }).is_ok()
        };
        assert!(fine(7, unnamed()) && fine(0, v1::ClaimItem { twin: PbTwin::Share.into(), ..unnamed() }));
    }

    #[test]
    fn only_one_claim_can_be_expected_to_be_so() {
        let expecting = v1::Caller { expect: Some(v1::Expect::default()), ..v1::Caller::default() };
        let one = v1::ClaimRequest { caller: Some(expecting.clone()), items: vec![item_of("a")] };
        assert!(claim(one).unwrap().0.expect.is_some());
        assert!(refusal(expecting, vec![item_of("a"), item_of("b")]).starts_with("caller.expect is set"));
    }

    #[test]
    fn limits_are_the_right_way_round() {
        let set = |min_ms, max_ms| {
            let limits = v1::Limits { min_ms, max_ms, max_waiting: 1 };
            set_limits(v1::SetLimitsRequest { limits: Some(limits), ..v1::SetLimitsRequest::default() })
        };
        assert_eq!(set(2, 1).unwrap_err().to_string(), "limits.min_ms is above max_ms");
        assert!(set(1, 1).is_ok());
        assert!(set(1, u64::MAX).is_err());
    }
}
