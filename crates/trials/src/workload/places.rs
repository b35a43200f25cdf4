//! Locks of `conclave.v1`: exclusive, shared, semaphores; waited for and tried.

use super::{
    actor::Actor,
    fenced::{Proof, guarded},
    messages::revision,
    session::Session,
};
use crate::history::{Answer, Api, Call, Disbelief, Event, LockAnswer, LockCall, Mode};
use conclave_api::conclave::v1::{
    AcquireRequest, Caller, LockPart, Name, ReleaseRequest, ReleaseResponse, Token, lock_part,
    locks_client::LocksClient,
};
use std::time::Duration;

const CAPACITY: u32 = 3;

pub(super) fn caller(session: i64) -> Caller {
    Caller { session, ..Default::default() }
}

pub(super) fn called(name: &str) -> Name {
    Name { namespace: "default".into(), name: name.to_owned() }
}

pub(super) async fn locks(me: Actor) {
    run(me, false, |me| {
        let name = format!("cl{}", me.draw(2));
        // One lock is always held alone, the other now and then shared.
        let mode = if name == "cl1" && me.chance(70) { Mode::Shared } else { Mode::Exclusive };
        (name, mode)
    })
    .await;
}

/// A lock that is held for longer than a lease lasts: of those who wait for it, many lose their
/// lease meanwhile.
pub(super) async fn slow(me: Actor) {
    run(me, true, |_| ("cl-slow".to_owned(), Mode::Exclusive)).await;
}

pub(super) async fn semaphores(me: Actor) {
    run(me, false, |me| {
        let weight = 1 + me.draw(2) as u32;
        ("sem0".to_owned(), Mode::Permits { weight, capacity: CAPACITY })
    })
    .await;
}

async fn run(mut me: Actor, slow: bool, what: impl Fn(&mut Actor) -> (String, Mode)) {
    while me.goes_on() {
        let seconds = me.spec().ttl_s + me.draw(2) as u64;
        let Some(mut session) = Session::open(&mut me, seconds).await else {
            me.pace().await;
            continue;
        };
        // One for the session: of a request whose answer was lost its lease says what it asked for.
        let (name, mode) = what(&mut me);
        for _ in 0..3 + me.draw(12) {
            if !me.goes_on() || !session.lives() {
                break;
            }
            if !round(&mut me, &mut session, &name, mode, slow).await {
                break;
            }
            me.pace().await;
        }
        session.close(&mut me).await;
    }
}

/// False if the session is of no use any more.
async fn round(me: &mut Actor, session: &mut Session, name: &str, mode: Mode, slow: bool) -> bool {
    let lapses = me.chance(if slow { 50 } else { 2 });
    if lapses {
        session.abandon().await;
    }
    let try_only = !slow && me.chance(15);
    let number = me.number();
    let Some((fence, token)) = acquire(me, session, name, mode, try_only).await else {
        if lapses {
            session.outlast(me).await;
        } else if me.number() != number && me.chance(30) {
            me.linger().await;
        }
        // A place of which nothing is known may stand in the way of the session's next one.
        return !lapses && me.number() == number;
    };
    let proof = Proof { name: name.to_owned(), fence, guards: token.guards };
    if me.chance(50) {
        guarded(me, &proof).await;
    }
    let hold = if slow {
        me.millis(2500, 4000)
    } else if me.chance(2) {
        me.millis(300, 1500)
    } else {
        me.millis(1, 20)
    };
    me.sleep(hold).await;
    if lapses || (!slow && me.chance(2)) {
        session.outlast(me).await;
        guarded(me, &proof).await;
        return false;
    }
    if !session.lives() {
        let why = "its own deadline has passed".to_owned();
        me.event(Event::Disbelief(Disbelief { name: name.to_owned(), fence, why }));
        return false;
    }
    release(me, session.lease, name, fence).await
}

fn part(name: &str, mode: Mode) -> LockPart {
    let mode = match mode {
        Mode::Exclusive => lock_part::Mode::Exclusive(true),
        Mode::Shared => lock_part::Mode::Shared(true),
        Mode::Permits { weight, capacity } => lock_part::Mode::Permits(lock_part::Permits { weight, capacity }),
    };
    LockPart { lock: Some(called(name)), mode: Some(mode) }
}

async fn acquire(me: &mut Actor, session: &Session, name: &str, mode: Mode, try_only: bool) -> Option<(i64, Token)> {
    let lease = session.lease;
    let call = LockCall::Acquire { lock: name.to_owned(), lease, api: Api::Conclave, mode, try_only };
    me.invoke(Call::Lock(call));
    let gives_up = me.chance(8);
    let wait_ms = if gives_up { me.millis(50, 600).as_millis() as u64 } else { 0 };
    let request = AcquireRequest {
        caller: Some(caller(lease)),
        parts: vec![part(name, mode)],
        owner: format!("c{lease:x}"),
        try_only,
        wait_ms: if try_only { 0 } else { wait_ms },
        ..Default::default()
    };
    let mut client = LocksClient::new(me.link.channel());
    let request = client.acquire(request);
    let patience = if me.chance(6) { me.millis(5, 400) } else { Duration::from_secs(12) };
    let (response, received) = me.wait(patience, request).await?;
    let revision = revision(response.header.as_ref());
    me.has_seen(revision);
    if response.fence == 0 && try_only {
        me.ok_at(received, Answer::Lock(LockAnswer::NotGranted { revision }));
        return None;
    }
    let (fence, since) = (response.fence, response.held_since);
    me.ok_at(received, Answer::Lock(LockAnswer::Granted { revision, fence, key: String::new(), since }));
    Some((fence, response.token.unwrap_or_default()))
}

async fn release(me: &mut Actor, session: i64, name: &str, fence: i64) -> bool {
    let mut client = LocksClient::new(me.link.channel());
    let request = client.release(ReleaseRequest { caller: Some(caller(session)), fence, ..Default::default() });
    let answer = |response: &ReleaseResponse| {
        Some(Answer::Lock(LockAnswer::Released { revision: revision(response.header.as_ref()) }))
    };
    let call = LockCall::Release { lock: name.to_owned(), fence, key: String::new() };
    me.call(Call::Lock(call), request, answer).await.is_ok()
}
