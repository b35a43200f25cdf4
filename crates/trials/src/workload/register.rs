//! Registers with compare-and-set, transactions over several, reads of now and of then.
//!
//! Keys change every few seconds, so that a search over one key's history stays small. Registers
//! and the keys of transactions are different ones: the search knows only single registers.

use super::{
    actor::Actor,
    messages::{delete, get, kv, kvs, put, range, revision, text, txn, txn_answer},
};
use crate::history::{Answer, Call, Guard, GuardTarget, KvAnswer, KvCall, TxnOp};
use conclave_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, kv_client::KvClient,
};
use std::collections::HashMap;

const REGISTERS: usize = 8;
const TRANSACTED: usize = 4;
const LIFE_S: u64 = 5;

pub(super) async fn run(mut me: Actor) {
    // What is known of each key's modification revision.
    let mut known: HashMap<String, i64> = HashMap::new();
    while me.goes_on() {
        step(&mut me, &mut known).await;
        if known.len() > 200 {
            known.clear();
        }
        if me.chance(1) {
            me.link.next();
        }
        me.pace().await;
    }
}

async fn step(me: &mut Actor, known: &mut HashMap<String, i64>) {
    let generation = me.generation(LIFE_S);
    let key = format!("kv/r{generation}-{}", me.draw(REGISTERS));
    match me.draw(100) {
        0..30 => read(me, known, KvCall::Get { key, serializable: false, revision: 0 }).await,
        30..35 => read(me, known, KvCall::Get { key, serializable: true, revision: 0 }).await,
        35..40 => {
            let back = me.draw(40) as i64;
            let old = (me.newest() - back).max(1);
            read(me, known, KvCall::Get { key, serializable: false, revision: old }).await;
        }
        40..44 => {
            let prefix = format!("kv/r{generation}-");
            read(me, known, KvCall::Range { prefix, serializable: false, revision: 0 }).await;
        }
        44..62 => {
            let value = me.unique_text();
            let prev = me.chance(30);
            let mut client = KvClient::new(me.link.channel());
            let call = KvCall::Put { key: key.clone(), value: value.clone(), lease: 0, prev };
            let answer = |response: &PutResponse| {
                let prev = response.prev_kv.as_ref().map(kv);
                Some(Answer::Kv(KvAnswer::Written { revision: revision(response.header.as_ref()), prev }))
            };
            let request = PutRequest { prev_kv: prev, ..put(&key, &value, 0) };
            if let Ok(response) = me.call(Call::Kv(call), client.put(request), answer).await {
                learn(me, known, key, revision(response.header.as_ref()));
            }
        }
        62..80 => cas(me, known, key).await,
        80..85 => {
            let prev = me.chance(30);
            let mut client = KvClient::new(me.link.channel());
            let answer = |response: &DeleteRangeResponse| {
                let revision = revision(response.header.as_ref());
                let prev = response.prev_kvs.iter().map(kv).collect();
                Some(Answer::Kv(KvAnswer::Deleted { revision, count: response.deleted, prev }))
            };
            let call = Call::Kv(KvCall::Delete { key: key.clone(), prev });
            let request = DeleteRangeRequest { prev_kv: prev, ..delete(&key) };
            if me.call(call, client.delete_range(request), answer).await.is_ok() {
                known.insert(key, 0);
            }
        }
        _ => transaction(me, known, generation).await,
    }
}

fn learn(me: &Actor, known: &mut HashMap<String, i64>, key: String, revision: i64) {
    known.insert(key, revision);
    me.has_seen(revision);
}

async fn read(me: &mut Actor, known: &mut HashMap<String, i64>, call: KvCall) {
    let request = match &call {
        KvCall::Get { key, serializable, revision } => {
            RangeRequest { serializable: *serializable, revision: *revision, ..get(key) }
        }
        KvCall::Range { prefix, serializable, revision } => {
            RangeRequest { serializable: *serializable, revision: *revision, ..range(prefix) }
        }
        _ => return,
    };
    let of_now = request.revision == 0;
    let single = matches!(call, KvCall::Get { .. });
    let mut kv = KvClient::new(me.link.channel());
    let answer = |response: &conclave_api::etcdserverpb::RangeResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Kv(KvAnswer::Read { revision, kvs: kvs(response) }))
    };
    let key = text(&request.key);
    if let Ok(response) = me.call(Call::Kv(call), kv.range(request), answer).await
        && of_now
    {
        if single && response.kvs.is_empty() {
            known.insert(key, 0);
        }
        for kv in &response.kvs {
            learn(me, known, text(&kv.key), kv.mod_revision);
        }
    }
}

async fn cas(me: &mut Actor, known: &mut HashMap<String, i64>, key: String) {
    let expected = known.get(&key).copied().unwrap_or(0);
    let value = me.unique_text();
    let guard = Guard { key: key.clone(), target: GuardTarget::Modified, equals: expected };
    let request =
        txn(&[guard], &[TxnOp::Put { key: key.clone(), value: value.clone() }], &[TxnOp::Get { key: key.clone() }]);
    let mut kv = KvClient::new(me.link.channel());
    let answer = |response: &conclave_api::etcdserverpb::TxnResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Kv(if response.succeeded {
            KvAnswer::Written { revision, prev: None }
        } else {
            KvAnswer::Read { revision, kvs: super::messages::reads(response).into_iter().flatten().collect() }
        }))
    };
    let call = Call::Kv(KvCall::Cas { key: key.clone(), expected, value, lease: 0 });
    if let Ok(response) = me.call(call, kv.txn(request), answer).await {
        let at = revision(response.header.as_ref());
        me.has_seen(at);
        let seen = super::messages::reads(&response).into_iter().flatten().next().map_or(0, |kv| kv.modified);
        known.insert(key, if response.succeeded { at } else { seen });
    }
}

async fn transaction(me: &mut Actor, known: &mut HashMap<String, i64>, generation: u64) {
    let name = |k: usize| format!("kv/t{generation}-{k}");
    let (first, second) = {
        let first = me.draw(TRANSACTED);
        (first, (first + 1 + me.draw(TRANSACTED - 1)) % TRANSACTED)
    };
    let mut guards = Vec::new();
    for key in [first, second] {
        if me.chance(60)
            && let Some(equals) = known.get(&name(key))
        {
            guards.push(Guard { key: name(key), target: GuardTarget::Modified, equals: *equals });
        }
    }
    let mut then = Vec::new();
    for key in [first, second] {
        then.push(match me.draw(10) {
            0..4 => TxnOp::Put { key: name(key), value: me.unique_text() },
            4 => TxnOp::Delete { key: name(key) },
            _ => TxnOp::Get { key: name(key) },
        });
    }
    let otherwise = vec![TxnOp::Get { key: name(first) }, TxnOp::Get { key: name(second) }];
    let request = txn(&guards, &then, &otherwise);
    let call = KvCall::Txn { compares: guards, then: then.clone(), otherwise };
    let mut kv = KvClient::new(me.link.channel());
    let answer = |response: &_| Some(Answer::Kv(txn_answer(response)));
    if let Ok(response) = me.call(Call::Kv(call), kv.txn(request), answer).await {
        let at = revision(response.header.as_ref());
        me.has_seen(at);
        if response.succeeded {
            for step in then {
                match step {
                    TxnOp::Put { key, .. } => known.insert(key, at),
                    TxnOp::Delete { key } => known.insert(key, 0),
                    TxnOp::Get { .. } => None,
                };
            }
        }
        for kv in super::messages::reads(&response).into_iter().flatten() {
            known.insert(kv.key, kv.modified);
        }
    }
}
