//! What was acknowledged is there afterwards, on every member: coarser than `linearizable`, and
//! independent of the timeline. It believes only in reads of whole states, taken from each member
//! after recoveries and at the end.
//!
//! For each state read at a revision and each key under its prefix: the newest write that was
//! acknowledged at or before that revision is what the key holds, or the key holds something newer.
//! A key may be absent only if something that can delete it was asked for or it has a lease. A
//! state read after an acknowledgement was received has a revision no smaller.

use super::super::{
    Property,
    case::Case,
    verdict::{Judged, violation},
};
use crate::history::{Answer, Call, Fact, KvAnswer, KvCall, Op, TxnOp};
use std::collections::{BTreeMap, HashSet};

pub(crate) const PROPERTY: Property = Property {
    name: "durability",
    workloads: &["kv"],
    says: "No acknowledged write is missing from any member after a recovery or at the end.",
    judge,
};

fn judge(case: &Case<'_>) -> Judged {
    let mut writes: BTreeMap<&str, Vec<(i64, &str, &Op)>> = BTreeMap::new();
    let mut deletable: HashSet<&str> = HashSet::new();
    for op in &case.run.ops {
        match (&op.call, op.answer()) {
            (Call::Kv(KvCall::Delete { key, .. }), _) => {
                deletable.insert(key);
            }
            (Call::Kv(KvCall::Put { key, value, lease, .. } | KvCall::Cas { key, value, lease, .. }), answer) => {
                if *lease != 0 {
                    deletable.insert(key);
                }
                if let Some(Answer::Kv(KvAnswer::Written { revision, .. })) = answer {
                    writes.entry(key).or_default().push((*revision, value, op));
                }
            }
            (Call::Kv(KvCall::Txn { then, otherwise, .. }), _) => {
                for step in then.iter().chain(otherwise) {
                    if let TxnOp::Delete { key } = step {
                        deletable.insert(key);
                    }
                }
            }
            _ => {}
        }
    }
    for writes in writes.values_mut() {
        writes.sort_by_key(|(revision, ..)| *revision);
    }
    let mut judged = 0;
    for (record, fact) in case.run.facts() {
        let Fact::State(state) = fact else { continue };
        let held: BTreeMap<_, _> = state.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
        let node = record.node.map_or_else(|| "a member".into(), |node| format!("n{node}"));
        for (key, writes) in writes.range(state.prefix.as_str()..).take_while(|(key, _)| key.starts_with(&state.prefix))
        {
            // A write that was acknowledged before the state was asked for must be in it, at
            // whatever revision.
            let due =
                writes.iter().rev().find(|(revision, _, op)| *revision <= state.revision || op.returned < state.asked);
            let Some((revision, value, op)) = due else { continue };
            let sentence = match held.get(key) {
                None if deletable.contains(key) => continue,
                None => format!("{node} has no {key}, where {value} was acknowledged at revision {revision}"),
                Some(kv) if kv.modified < *revision => {
                    format!("{node} has {key} of revision {}, but {value} was acknowledged at {revision}", kv.modified)
                }
                Some(kv) if kv.modified == *revision && kv.value != *value => {
                    format!("{node} has {key} = {} at revision {revision}, where {value} was acknowledged", kv.value)
                }
                Some(_) => {
                    judged += 1;
                    continue;
                }
            };
            return Err(violation(&[op.index, op.completed, record.index as usize], sentence));
        }
    }
    Ok(judged)
}
