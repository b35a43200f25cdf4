//! Claims: taken, extended, waited for, let lapse, revoked; checked, and waited out.

use super::{
    actor::Actor,
    fenced::{Proof, guarded},
    messages::revision,
    places::{called, caller},
};
use crate::history::{Answer, Call, ClaimAnswer, ClaimCall, now};
use conclave_api::conclave::v1::{
    AwaitVacantRequest, AwaitVacantResponse, CheckRequest, CheckResponse, ClaimItem, ClaimRequest, ClaimResponse,
    ClaimResult, RevokeRequest, RevokeResponse, Token, claim_result::Outcome, claims_client::ClaimsClient,
};
use std::time::Duration;

const CLAIMS: usize = 4;
/// Each holder is one process here.
const INSTANCE: &str = "1";

pub(super) async fn holder(mut me: Actor, number: usize) {
    let holder = format!("h{number}");
    // The fence under which it was last denied, by claim, tells from when on to wait.
    let mut denied = [0_i64; CLAIMS];
    while me.goes_on() {
        let at = me.draw(CLAIMS);
        let name = format!("claim{at}");
        match me.draw(100) {
            0..55 => {
                if let Some(revision) = claim(&mut me, &name, &holder).await {
                    denied[at] = revision;
                }
            }
            55..75 => check(&mut me, &name, &holder).await,
            75..92 => await_vacant(&mut me, &name, if at.is_multiple_of(2) { denied[at] } else { 0 }).await,
            _ => revoke(&mut me, &name).await,
        }
        let pause = me.millis(10, 120);
        me.sleep(pause).await;
    }
}

/// Takes or extends a claim. Returns the revision at which it was denied.
async fn claim(me: &mut Actor, name: &str, holder: &str) -> Option<i64> {
    let (duration_ms, wait) = (me.millis(600, 2500).as_millis() as u64, me.chance(30));
    let item = ClaimItem {
        claim: Some(called(name)),
        holder: holder.to_owned(),
        instance: INSTANCE.to_owned(),
        duration_ms,
        wait,
        wait_ms: if wait { 3000 } else { 0 },
        ..Default::default()
    };
    let call =
        ClaimCall::Claim { claim: name.into(), holder: holder.into(), instance: INSTANCE.into(), duration_ms, wait };
    me.invoke(Call::Claim(call));
    let mut client = ClaimsClient::new(me.link.channel());
    let request = client.claim(ClaimRequest { caller: Some(caller(0)), items: vec![item] });
    let bound = Duration::from_millis(me.spec().timeout_ms + if wait { 3500 } else { 0 });
    let outcome = tokio::time::timeout(bound, request).await;
    let received = now();
    let response = match outcome {
        Err(_) => {
            me.unknown("no answer within the client's time");
            return None;
        }
        Ok(Err(status)) => {
            me.refused(&status, false);
            return None;
        }
        Ok(Ok(response)) => response.into_inner(),
    };
    let (at, result) = (revision(response.header.as_ref()), first(&response));
    me.has_seen(at);
    let token = result.token.clone().unwrap_or_default();
    let (fence, guaranteed_ms) = (token.fence, result.guaranteed_ms);
    let answer = match result.outcome() {
        Outcome::Taken => ClaimAnswer::Taken { revision: at, fence, guaranteed_ms },
        Outcome::Extended => ClaimAnswer::Extended { revision: at, fence, guaranteed_ms },
        Outcome::Waiting => ClaimAnswer::Waiting { revision: at, ticket: result.ticket },
        Outcome::Denied => ClaimAnswer::Denied { revision: at, holder: result.holder.clone(), fence: result.fence },
        _ => {
            me.failed(result.outcome().as_str_name());
            return None;
        }
    };
    me.ok_at(received, Answer::Claim(answer));
    match result.outcome() {
        Outcome::Denied => return Some(at),
        Outcome::Taken | Outcome::Extended if me.chance(50) => prove(me, name, token).await,
        _ => {}
    }
    None
}

async fn prove(me: &mut Actor, name: &str, token: Token) {
    guarded(me, &Proof { name: name.to_owned(), fence: token.fence, guards: token.guards }).await;
}

fn first(response: &ClaimResponse) -> ClaimResult {
    response.results.first().cloned().unwrap_or_default()
}

async fn check(me: &mut Actor, name: &str, holder: &str) {
    let mut client = ClaimsClient::new(me.link.channel());
    let request = CheckRequest { claim: Some(called(name)), holder: holder.to_owned(), ..Default::default() };
    let answer = |response: &CheckResponse| {
        let fence = response.token.as_ref().map_or(0, |token| token.fence);
        Some(Answer::Claim(ClaimAnswer::Holds { revision: revision(response.header.as_ref()), fence }))
    };
    let call = ClaimCall::Check { claim: name.into(), holder: holder.into() };
    // That it does not hold it is a failure in this protocol.
    if let Ok(response) = me.call(Call::Claim(call), client.check(request), answer).await
        && me.chance(30)
    {
        prove(me, name, response.token.unwrap_or_default()).await;
    }
}

async fn await_vacant(me: &mut Actor, name: &str, min_revision: i64) {
    let mut client = ClaimsClient::new(me.link.channel());
    let request = client.await_vacant(AwaitVacantRequest { claim: Some(called(name)), min_revision });
    let answer = |response: &AwaitVacantResponse| {
        let (revision, at) = (revision(response.header.as_ref()), response.revision);
        Some(Answer::Claim(ClaimAnswer::Vacant { revision, at, handed_over: response.handed_over }))
    };
    let call = Call::Claim(ClaimCall::AwaitVacant { claim: name.into(), min_revision });
    // Who is not told in time has a failure in the history.
    let _ = me.call_within(Duration::from_secs(4), call, request, answer).await;
}

async fn revoke(me: &mut Actor, name: &str) {
    let mut client = ClaimsClient::new(me.link.channel());
    let request = RevokeRequest { caller: Some(caller(0)), claim: Some(called(name)), ..Default::default() };
    let answer = |response: &RevokeResponse| {
        let (revision, changed) = (revision(response.header.as_ref()), response.changed);
        Some(Answer::Claim(ClaimAnswer::Done { revision, changed }))
    };
    let call = ClaimCall::Revoke { claim: name.into(), holder: None };
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Claim(call), client.revoke(request), answer).await;
}
