//! List-append transactions: every operation of one transaction reads or appends to a list that is
//! a key's value.
//!
//! The lists are read first, and the transaction is guarded on their modification revisions: it
//! does what was recorded or nothing.

use super::{
    actor::Actor,
    messages::{get, kvs, revision, txn},
};
use crate::history::{Answer, AppendAnswer, AppendCall, Call, Guard, GuardTarget, ListOp, TxnOp};
use conclave_api::etcdserverpb::kv_client::KvClient;
use std::collections::BTreeMap;

const LISTS: usize = 4;
const LIFE_S: u64 = 4;

pub(super) async fn run(mut me: Actor) {
    while me.goes_on() {
        transaction(&mut me).await;
        me.pace().await;
    }
}

async fn transaction(me: &mut Actor) {
    let generation = me.generation(LIFE_S);
    let ops: Vec<ListOp> = (0..=me.draw(3))
        .map(|_| {
            let key = format!("append/l{generation}-{}", me.draw(LISTS));
            if me.chance(50) { ListOp::Append { key, element: me.unique() } } else { ListOp::Read { key } }
        })
        .collect();
    let mut lists: BTreeMap<String, (i64, Vec<u64>)> = BTreeMap::new();
    for op in &ops {
        let (ListOp::Append { key, .. } | ListOp::Read { key }) = op;
        if lists.contains_key(key) {
            continue;
        }
        let mut kv = KvClient::new(me.link.channel());
        let Some(response) = me.ask(kv.range(get(key))).await else { return };
        let found = kvs(&response).into_iter().next();
        let (modified, value) = found.map_or((0, String::new()), |kv| (kv.modified, kv.value));
        lists.insert(key.clone(), (modified, numbers(&value)));
    }
    let guards: Vec<Guard> = lists
        .iter()
        .map(|(key, (equals, _))| Guard { key: key.clone(), target: GuardTarget::Modified, equals: *equals })
        .collect();
    let mut shown = Vec::new();
    let mut touched = BTreeMap::new();
    for op in &ops {
        match op {
            ListOp::Append { key, element } => {
                if let Some((_, list)) = lists.get_mut(key) {
                    list.push(*element);
                    touched.insert(key.clone(), list.clone());
                }
                shown.push(Vec::new());
            }
            ListOp::Read { key } => shown.push(lists.get(key).map(|(_, list)| list.clone()).unwrap_or_default()),
        }
    }
    let mut then: Vec<TxnOp> =
        touched.iter().map(|(key, list)| TxnOp::Put { key: key.clone(), value: words(list) }).collect();
    if then.is_empty() {
        then = lists.keys().map(|key| TxnOp::Get { key: key.clone() }).collect();
    }
    let mut kv = KvClient::new(me.link.channel());
    let answer = |response: &conclave_api::etcdserverpb::TxnResponse| {
        let revision = revision(response.header.as_ref());
        response.succeeded.then_some(Answer::Append(AppendAnswer { revision, lists: shown }))
    };
    // A refusal is in the history as a failure.
    let _ = me.call(Call::Append(AppendCall { ops }), kv.txn(txn(&guards, &then, &[])), answer).await;
}

pub(super) fn numbers(value: &str) -> Vec<u64> {
    value.split(' ').filter_map(|word| word.parse().ok()).collect()
}

pub(super) fn words(list: &[u64]) -> String {
    list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}
