//! Registers, lists and sets.

use super::{MS, Sim};
use conclave_trials::history::{
    Answer, AppendAnswer, AppendCall, Call, Entry, Guard, GuardTarget, KvAnswer, KvCall, ListOp, Process, SetAnswer,
    SetCall, TxnOp, TxnResult,
};

pub(super) fn start(sim: &mut Sim) {
    let reader = sim.process();
    read_one_member(sim, reader, 20);
    for _ in 0..4 {
        let process = sim.process();
        step(sim, process, 40, 0);
    }
    for _ in 0..3 {
        let (lists, sets) = (sim.process(), sim.process());
        append(sim, lists, 20);
        set(sim, sets, 15);
    }
}

/// Reads from what one member has, again and again.
fn read_one_member(sim: &mut Sim, process: u64, left: u32) {
    if left == 0 {
        return;
    }
    let key = "kept/1".to_owned();
    let call = KvCall::Get { key: key.clone(), serializable: true, revision: 0 };
    sim.record(Process::Client(process), Some(1), Entry::Invoke(Call::Kv(call)));
    let (there, back) = (sim.delay(), sim.delay());
    sim.after(there, move |sim| {
        let answer = KvAnswer::Read { revision: sim.store.revision, kvs: sim.store.get(&key) };
        sim.after(back, move |sim| {
            sim.record(Process::Client(process), Some(1), Entry::Ok(Answer::Kv(answer)));
            sim.after(10 * MS, move |sim| read_one_member(sim, process, left - 1));
        });
    });
}

/// One client's next operation; `known` is a revision that it saw.
fn step(sim: &mut Sim, process: u64, left: u32, known: i64) {
    if left == 0 {
        return;
    }
    let call = choose(sim, known);
    let effect = call.clone();
    sim.call(
        process,
        Call::Kv(call),
        40,
        Box::new(move |sim| Ok(Answer::Kv(perform(sim, &effect)))),
        Box::new(move |sim, process, answer| {
            let seen = match answer {
                Some(Answer::Kv(KvAnswer::Read { kvs, .. })) => kvs.first().map_or(0, |kv| kv.modified),
                Some(Answer::Kv(KvAnswer::Written { revision, .. })) => revision,
                _ => known,
            };
            let rest = sim.random(5 * MS);
            sim.after(rest, move |sim| step(sim, process, left - 1, seen));
        }),
    );
}

fn choose(sim: &mut Sim, known: i64) -> KvCall {
    let key = format!("kv/{}", sim.random(4));
    let value = format!("v{}", sim.value());
    match sim.random(12) {
        0..=3 => KvCall::Get { key, serializable: false, revision: 0 },
        // One that nobody deletes.
        4 => KvCall::Put { key: "kept/1".into(), value, lease: 0, prev: false },
        5 | 6 => KvCall::Put { key, value, lease: 0, prev: true },
        7 | 8 => KvCall::Cas { key, expected: known, value, lease: 0 },
        9 => KvCall::Delete { key, prev: true },
        10 => KvCall::Range { prefix: "kv/".into(), serializable: false, revision: 0 },
        _ => {
            let key = "kvt/1".to_owned();
            let compares =
                vec![Guard { key: key.clone(), target: GuardTarget::Modified, equals: sim.store.modified(&key) }];
            let other = "kvt/2".to_owned();
            let then = vec![
                TxnOp::Get { key: other.clone() },
                TxnOp::Put { key: key.clone(), value: value.clone() },
                TxnOp::Put { key: other.clone(), value },
                TxnOp::Get { key: other },
            ];
            KvCall::Txn { compares, then, otherwise: vec![TxnOp::Get { key }] }
        }
    }
}

fn perform(sim: &mut Sim, call: &KvCall) -> KvAnswer {
    let read = |sim: &Sim, kvs| KvAnswer::Read { revision: sim.store.revision, kvs };
    match call {
        KvCall::Get { key, .. } => read(sim, sim.store.get(key)),
        KvCall::Range { prefix, .. } => read(sim, sim.store.under(prefix)),
        KvCall::Put { key, value, lease, prev } => {
            let prev = sim.store.get(key).pop().filter(|_| *prev);
            KvAnswer::Written { revision: sim.commit(vec![(key.clone(), Some(value.clone()), *lease)]), prev }
        }
        KvCall::Cas { key, expected, value, lease } if sim.store.modified(key) == *expected => {
            KvAnswer::Written { revision: sim.commit(vec![(key.clone(), Some(value.clone()), *lease)]), prev: None }
        }
        KvCall::Cas { key, .. } => read(sim, sim.store.get(key)),
        KvCall::Delete { key, .. } => {
            let prev = sim.store.get(key);
            if prev.is_empty() {
                KvAnswer::Deleted { revision: sim.store.revision, count: 0, prev }
            } else {
                KvAnswer::Deleted { revision: sim.commit(vec![(key.clone(), None, 0)]), count: 1, prev }
            }
        }
        KvCall::Txn { compares, .. } => {
            let guard = &compares[0];
            let succeeded = sim.store.modified(&guard.key) == guard.equals;
            if !succeeded {
                let kvs = sim.store.get(&guard.key);
                let results = vec![TxnResult::Read { kvs }];
                return KvAnswer::Txn { revision: sim.store.revision, succeeded, results };
            }
            let KvCall::Txn { then, .. } = call else { unreachable!("matched above") };
            let puts = then.iter().filter_map(|op| match op {
                TxnOp::Put { key, value } => Some((key.clone(), Some(value.clone()), 0)),
                _ => None,
            });
            let puts = puts.collect();
            let before = sim.store.get("kvt/2");
            let revision = sim.commit(puts);
            let after = sim.store.get("kvt/2");
            let results = vec![
                TxnResult::Read { kvs: before },
                TxnResult::Written,
                TxnResult::Written,
                TxnResult::Read { kvs: after },
            ];
            KvAnswer::Txn { revision, succeeded, results }
        }
    }
}

fn elements(sim: &Sim, key: &str) -> Vec<u64> {
    let kv = sim.store.get(key);
    let text = kv.first().map_or("", |kv| kv.value.as_str());
    text.split_whitespace().map(|element| element.parse().expect("only numbers are written")).collect()
}

fn joined(elements: &[u64]) -> String {
    elements.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn append(sim: &mut Sim, process: u64, left: u32) {
    if left == 0 {
        return;
    }
    let mut ops = Vec::new();
    for _ in 0..=sim.random(3) {
        let key = format!("list/{}", sim.random(3));
        let element = sim.value();
        ops.push(if sim.random(2) == 0 { ListOp::Read { key } } else { ListOp::Append { key, element } });
    }
    let call = AppendCall { ops };
    let effect = call.clone();
    sim.call(
        process,
        Call::Append(call),
        40,
        Box::new(move |sim| Ok(Answer::Append(transact(sim, &effect)))),
        Box::new(move |sim, process, _| append(sim, process, left - 1)),
    );
}

fn transact(sim: &mut Sim, call: &AppendCall) -> AppendAnswer {
    let mut lists: std::collections::BTreeMap<String, Vec<u64>> = std::collections::BTreeMap::new();
    let (mut shown, mut edited) = (Vec::new(), std::collections::BTreeSet::new());
    for op in &call.ops {
        let (ListOp::Append { key, .. } | ListOp::Read { key }) = op;
        let now = elements(sim, key);
        let list = lists.entry(key.clone()).or_insert(now);
        match op {
            ListOp::Append { element, .. } => {
                list.push(*element);
                edited.insert(key.clone());
                shown.push(Vec::new());
            }
            ListOp::Read { .. } => shown.push(list.clone()),
        }
    }
    let edits: Vec<_> = edited.into_iter().map(|key| (key.clone(), Some(joined(&lists[&key])), 0)).collect();
    let revision = if edits.is_empty() { sim.store.revision } else { sim.commit(edits) };
    AppendAnswer { revision, lists: shown }
}

fn set(sim: &mut Sim, process: u64, left: u32) {
    if left == 0 {
        return;
    }
    let name = "set/1".to_owned();
    let element = sim.value();
    let call = if sim.random(2) == 0 { SetCall::Read { set: name } } else { SetCall::Add { set: name, element } };
    let effect = call.clone();
    sim.call(
        process,
        Call::Set(call),
        40,
        Box::new(move |sim| {
            let mut elements = elements(sim, "set/1");
            Ok(Answer::Set(match effect {
                SetCall::Read { .. } => SetAnswer::Read { revision: sim.store.revision, elements },
                SetCall::Add { element, .. } => {
                    elements.push(element);
                    SetAnswer::Added { revision: sim.commit(vec![("set/1".into(), Some(joined(&elements)), 0)]) }
                }
            }))
        }),
        Box::new(move |sim, process, _| set(sim, process, left - 1)),
    );
}
