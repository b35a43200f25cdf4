//! Writes to a resource under a tenure: with the tenure's guard in the store's transaction, and
//! without any, the control.

use super::{
    actor::Actor,
    messages::{equals, get, kvs, op_put, put, revision},
    outside,
};
use crate::history::{Answer, Call, FenceGuard, FencedAnswer, FencedCall, GuardTarget};
use conclave_api::etcdserverpb::{Compare, TxnRequest, TxnResponse, kv_client::KvClient};
use std::time::Duration;

/// What proves a tenure.
pub(crate) struct Proof {
    /// The lock, election or claim.
    pub(crate) name: String,
    pub(crate) fence: i64,
    pub(crate) guards: Vec<Compare>,
}

impl Proof {
    /// Of a key of etcd's locks and elections: it exists with that create revision.
    pub(crate) fn of_key(name: &str, key: &str, fence: i64) -> Self {
        Self { name: name.to_owned(), fence, guards: vec![equals(key, GuardTarget::Create, fence)] }
    }
}

/// A write that succeeds exactly while the tenure lasts; now and then one to a resource outside of
/// the store as well.
pub(crate) async fn guarded(me: &mut Actor, proof: &Proof) {
    if !me.spec().has("fenced") {
        return;
    }
    if me.chance(25) {
        outside::write(me, &proof.name, proof.fence);
    }
    let (resource, value) = (format!("fenced/{}", proof.name.replace('/', "-")), me.unique_text());
    let request =
        TxnRequest { compare: proof.guards.clone(), success: vec![op_put(&resource, &value, 0)], failure: Vec::new() };
    let call = FencedCall {
        resource,
        name: proof.name.clone(),
        fence: proof.fence,
        value,
        guard: FenceGuard::Store,
        read: String::new(),
    };
    let answer = |response: &TxnResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Fenced(if response.succeeded {
            FencedAnswer::Accepted { revision }
        } else {
            FencedAnswer::Refused { revision, seen: 0 }
        }))
    };
    let mut kv = KvClient::new(me.link.channel());
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Fenced(call), kv.txn(request), answer).await;
}

/// Reads, waits, and writes what builds on it, without looking whether it still holds: only the
/// holder does that, unless somebody else holds by now.
pub(crate) async fn unguarded(me: &mut Actor, proof: &Proof, wait: Duration) {
    let resource = format!("loose/{}", proof.name.replace('/', "-"));
    let mut kv = KvClient::new(me.link.channel());
    let Some(response) = me.ask(kv.range(get(&resource))).await else { return };
    let read = kvs(&response).into_iter().next().map(|kv| kv.value).unwrap_or_default();
    me.sleep(wait).await;
    let value = me.unique_text();
    let request = put(&resource, &value, 0);
    let (name, fence) = (proof.name.clone(), proof.fence);
    let call = FencedCall { resource, name, fence, value, guard: FenceGuard::None, read };
    let answer = |response: &conclave_api::etcdserverpb::PutResponse| {
        Some(Answer::Fenced(FencedAnswer::Accepted { revision: revision(response.header.as_ref()) }))
    };
    let mut kv = KvClient::new(me.link.channel());
    // As above.
    let _ = me.call(Call::Fenced(call), kv.put(request), answer).await;
}
