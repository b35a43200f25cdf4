//! Leases alone: granted, renewed for a while, then let lapse or given back, and asked about.

use super::{
    actor::Actor,
    messages::revision,
    session::{grant, keep_alive, revoke, sentinel},
};
use crate::history::{Answer, Call, LeaseAnswer, LeaseCall};
use conclave_api::etcdserverpb::{LeaseTimeToLiveRequest, lease_client::LeaseClient};
use std::time::{Duration, Instant};

pub(super) async fn run(mut me: Actor) {
    while me.goes_on() {
        one(&mut me).await;
        me.pace().await;
    }
}

async fn one(me: &mut Actor) {
    let shortest = me.spec().ttl_s;
    let seconds = shortest + me.draw(2) as u64;
    let bound = Duration::from_millis(me.spec().timeout_ms);
    let Some((lease, ttl_ms)) = grant(me, seconds).await else { return };
    if !sentinel(me, lease).await {
        return;
    }
    let renewals = if me.chance(50) { 0 } else { 1 + me.draw(4) };
    for _ in 0..renewals {
        let pause = me.millis(100, ttl_ms * 2 / 3);
        me.sleep(pause).await;
        if me.goes_on() && keep_alive(me, lease, bound).await == Some(0) {
            return;
        }
    }
    if me.chance(20) {
        revoke(me, lease).await;
        return;
    }
    // Its end is seen by who watches; now and then it is asked for, before and after.
    let until = Instant::now() + Duration::from_millis(ttl_ms + 400);
    while Instant::now() < until && me.goes_on() {
        let pause = me.millis(200, 900);
        me.sleep(pause).await;
        if me.chance(30) {
            time_to_live(me, lease).await;
        }
    }
    // A renewal of a lease that is gone must say so.
    if me.chance(25) && me.goes_on() {
        keep_alive(me, lease, bound).await;
    }
}

async fn time_to_live(me: &mut Actor, lease: i64) {
    let mut client = LeaseClient::new(me.link.channel());
    let request = client.lease_time_to_live(LeaseTimeToLiveRequest { id: lease, keys: false });
    let answer = |response: &conclave_api::etcdserverpb::LeaseTimeToLiveResponse| {
        let revision = revision(response.header.as_ref());
        let (granted_ms, remaining_ms) = (response.granted_ttl.max(0) as u64 * 1000, response.ttl * 1000);
        Some(Answer::Lease(LeaseAnswer::Remains { revision, granted_ms, remaining_ms }))
    };
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Lease(LeaseCall::TimeToLive { lease }), request, answer).await;
}
