//! Sets of numbers, each the value of a key: added to by a guarded transaction, and read.

use super::{
    actor::Actor,
    append::{numbers, words},
    messages::{get, kvs, revision, txn},
};
use crate::history::{Answer, Call, Guard, GuardTarget, SetAnswer, SetCall, TxnOp};
use conclave_api::etcdserverpb::kv_client::KvClient;

const LIFE_S: u64 = 3;

pub(super) async fn run(mut me: Actor) {
    while me.goes_on() {
        let set = format!("set/s{}", me.generation(LIFE_S));
        if me.chance(50) {
            read(&mut me, set).await;
        } else {
            add(&mut me, set).await;
        }
        me.pace().await;
    }
}

async fn read(me: &mut Actor, set: String) {
    let mut kv = KvClient::new(me.link.channel());
    let answer = |response: &conclave_api::etcdserverpb::RangeResponse| {
        let elements = kvs(response).first().map(|kv| numbers(&kv.value)).unwrap_or_default();
        Some(Answer::Set(SetAnswer::Read { revision: revision(response.header.as_ref()), elements }))
    };
    let request = get(&set);
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Set(SetCall::Read { set }), kv.range(request), answer).await;
}

async fn add(me: &mut Actor, set: String) {
    let mut kv = KvClient::new(me.link.channel());
    let Some(response) = me.ask(kv.range(get(&set))).await else { return };
    let (equals, mut elements) = kvs(&response).first().map_or((0, Vec::new()), |kv| (kv.modified, numbers(&kv.value)));
    let element = me.unique();
    elements.push(element);
    let guard = Guard { key: set.clone(), target: GuardTarget::Modified, equals };
    let request = txn(&[guard], &[TxnOp::Put { key: set.clone(), value: words(&elements) }], &[]);
    let answer = |response: &conclave_api::etcdserverpb::TxnResponse| {
        let revision = revision(response.header.as_ref());
        response.succeeded.then_some(Answer::Set(SetAnswer::Added { revision }))
    };
    // As above.
    let _ = me.call(Call::Set(SetCall::Add { set, element }), kv.txn(request), answer).await;
}
