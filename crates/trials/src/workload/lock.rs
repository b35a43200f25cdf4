//! etcd's locks: sessions that wait, hold for a moment, write under their fence, and unlock; some
//! give up waiting, some vanish.
//!
//! A fence is the create revision of the lock's key, which the answer does not tell: it is read
//! afterwards. Who cannot read it believes in its tenure until the lease ends, and lets it end.

use super::{
    actor::Actor,
    fenced::{Proof, guarded, unguarded},
    messages::{bytes, get, revision, text},
    session::Session,
};
use crate::history::{Answer, Api, Call, Disbelief, Event, LockAnswer, LockCall, Mode};
use conclave_api::{
    etcdserverpb::kv_client::KvClient,
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use std::time::Duration;

const LOCKS: usize = 2;

/// How many locks there are that are held for long.
pub(super) const SLOW: usize = 3;

pub(super) async fn run(me: Actor) {
    sessions(me, None).await;
}

/// A lock that is held for longer than a lease lasts: of those who wait for it, many lose their
/// lease meanwhile. There are several, so that whichever client is stopped is likely to hold one.
pub(super) async fn slow(me: Actor, number: usize) {
    sessions(me, Some(number)).await;
}

async fn sessions(mut me: Actor, slow: Option<usize>) {
    while me.goes_on() {
        let seconds = me.spec().ttl_s + me.draw(2) as u64;
        let Some(mut session) = Session::open(&mut me, seconds).await else {
            me.pace().await;
            continue;
        };
        for _ in 0..3 + me.draw(12) {
            if !me.goes_on() || !session.lives() || !round(&mut me, &mut session, slow).await {
                break;
            }
            me.pace().await;
        }
        session.close(&mut me).await;
    }
}

/// Once around a lock. False if the session was left to its end.
async fn round(me: &mut Actor, session: &mut Session, slow: Option<usize>) -> bool {
    let lock = slow.map_or_else(|| format!("lk/e{}", me.draw(LOCKS)), |number| format!("lk/slow{number}"));
    let slow = slow.is_some();
    // A lease may end while its owner waits: no grant may follow.
    let lapses = me.chance(if slow { 50 } else { 2 });
    if lapses {
        session.abandon().await;
    }
    let number = me.number();
    let Some((key, fence)) = acquire(me, session, &lock).await else {
        if lapses {
            session.outlast(me).await;
        } else if me.number() != number && me.chance(30) {
            me.linger().await;
        }
        // A place of which nothing is known may stand in the way of the session's next one.
        return !lapses && me.number() == number;
    };
    if fence == 0 || lapses {
        session.outlast(me).await;
        return false;
    }
    let proof = Proof::of_key(&lock, &key, fence);
    if me.chance(60) {
        guarded(me, &proof).await;
    }
    let hold = if slow {
        me.millis(2500, 4000)
    } else if me.chance(2) {
        me.millis(300, 1500)
    } else {
        me.millis(1, 20)
    };
    if me.spec().has("fenced") && (slow || me.chance(30)) {
        unguarded(me, &proof, hold).await;
    } else {
        me.sleep(hold).await;
    }
    if !slow && me.chance(2) {
        // Vanished; a late write must not go through.
        session.outlast(me).await;
        guarded(me, &proof).await;
        return false;
    }
    if !session.lives() {
        let why = "its own deadline has passed".to_owned();
        me.event(Event::Disbelief(Disbelief { name: lock, fence, why }));
        guarded(me, &proof).await;
        session.abandon().await;
        return false;
    }
    release(me, &lock, &key, fence).await
}

/// Waits for the lock: its key and fence, the fence 0 if it could not be read.
async fn acquire(me: &mut Actor, session: &Session, lock: &str) -> Option<(String, i64)> {
    let (api, mode) = (Api::Etcd, Mode::Exclusive);
    let (lock_name, lease) = (lock.to_owned(), session.lease);
    me.invoke(Call::Lock(LockCall::Acquire { lock: lock_name, lease, api, mode, try_only: false }));
    let mut client = LockClient::new(me.link.channel());
    let request = client.lock(LockRequest { name: bytes(lock), lease });
    let patience = if me.chance(8) { me.millis(5, 400) } else { Duration::from_secs(12) };
    let (response, received) = me.wait(patience, request).await?;
    let key = text(&response.key);
    let mut fence = 0;
    for _ in 0..3 {
        let mut kv = KvClient::new(me.link.channel());
        if let Some(found) = me.ask(kv.range(get(&key))).await {
            fence = found.kvs.first().map_or(0, |kv| kv.create_revision);
            break;
        }
    }
    let revision = revision(response.header.as_ref());
    me.has_seen(revision);
    me.ok_at(received, Answer::Lock(LockAnswer::Granted { revision, fence, key: key.clone(), since: 0 }));
    Some((key, fence))
}

/// True if the session can go on: after an unlock of unknown outcome the key may still be there.
async fn release(me: &mut Actor, lock: &str, key: &str, fence: i64) -> bool {
    let mut client = LockClient::new(me.link.channel());
    let request = client.unlock(UnlockRequest { key: bytes(key) });
    let answer = |response: &conclave_api::v3lockpb::UnlockResponse| {
        Some(Answer::Lock(LockAnswer::Released { revision: revision(response.header.as_ref()) }))
    };
    let call = LockCall::Release { lock: lock.to_owned(), fence, key: key.to_owned() };
    me.call(Call::Lock(call), request, answer).await.is_ok()
}
