//! Of the store: registers, appends, sets, what members hold and log.

use super::changed;
use conclave_trials::history::*;

/// Writes of registers with their acknowledged revision.
pub(super) fn writes(run: &Run) -> impl Iterator<Item = (&Op, &str, &str, i64)> {
    run.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
        (
            Call::Kv(KvCall::Put { key, value, lease: 0, .. } | KvCall::Cas { key, value, lease: 0, .. }),
            Some(Answer::Kv(KvAnswer::Written { revision, .. })),
        ) => Some((op, key.as_str(), value.as_str(), *revision)),
        _ => None,
    })
}

pub(super) fn gets(run: &Run) -> impl Iterator<Item = (&Op, &str, &Vec<Kv>)> {
    run.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
        (Call::Kv(KvCall::Get { key, serializable: false, .. }), Some(Answer::Kv(KvAnswer::Read { kvs, .. }))) => {
            Some((op, key.as_str(), kvs))
        }
        _ => None,
    })
}

pub(super) fn overwritten_read(run: &Run) -> Option<Vec<Record>> {
    for (read, key, _) in gets(run) {
        let before: Vec<_> = writes(run).filter(|(op, of, ..)| *of == key && op.returned < read.invoked).collect();
        for (old, _, value, revision) in &before {
            if before.iter().any(|(new, ..)| new.invoked > old.returned) {
                let kv = Kv { key: key.into(), value: (*value).into(), modified: *revision, ..Kv::default() };
                return Some(changed(run, read.completed, |entry| {
                    if let Entry::Ok(Answer::Kv(KvAnswer::Read { kvs, .. })) = entry {
                        *kvs = vec![kv];
                    }
                }));
            }
        }
    }
    None
}

pub(super) fn past_read(run: &Run) -> Option<Vec<Record>> {
    let (read, ..) = gets(run).find(|(read, ..)| writes(run).any(|(op, ..)| op.returned < read.invoked))?;
    Some(changed(run, read.completed, |entry| {
        *entry = Entry::Ok(Answer::Kv(KvAnswer::Read { revision: 1, kvs: Vec::new() }));
    }))
}

pub(super) fn swapped_revisions(run: &Run) -> Option<Vec<Record>> {
    let mut all = writes(run);
    let ((first, .., a), (second, .., b)) = (all.next()?, all.next()?);
    let mut records = run.records.clone();
    records[first.completed].entry = Entry::Ok(Answer::Kv(KvAnswer::Written { revision: b, prev: None }));
    records[second.completed].entry = Entry::Ok(Answer::Kv(KvAnswer::Written { revision: a, prev: None }));
    Some(records)
}

pub(super) fn lost_write(run: &Run) -> Option<Vec<Record>> {
    let (_, key, _, lost) = writes(run).nth(5)?;
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry
            && told.revision == lost
        {
            told.changes.retain(|change| change.key != key);
        }
    }
    Some(records)
}

pub(super) fn lost_state(run: &Run) -> Option<Vec<Record>> {
    let state = |record: &Record| matches!(&record.entry, Entry::Fact(Fact::State(_)));
    let index = run.records.iter().position(state)?;
    // Only a key that no call can delete and whose newest acknowledged write is the newest.
    let (_, key, _, revision) = writes(run).last()?;
    let (key, revision) = (key.to_owned(), revision);
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::State(state)) = entry {
            for kv in state.kvs.iter_mut().filter(|kv| kv.key == key) {
                kv.modified = 1;
            }
            if !state.kvs.iter().any(|kv| kv.key == key) {
                state.kvs.push(Kv { key, value: "old".into(), modified: revision - 1, ..Kv::default() });
            }
        }
    }))
}

pub(super) fn wrong_cas(run: &Run) -> Option<Vec<Record>> {
    let cas = |op: &&Op| {
        matches!((&op.call, op.answer()), (Call::Kv(KvCall::Cas { .. }), Some(Answer::Kv(KvAnswer::Written { .. }))))
    };
    let op = run.ops.iter().find(cas)?;
    Some(changed(run, op.index, |entry| {
        if let Entry::Invoke(Call::Kv(KvCall::Cas { expected, .. })) = entry {
            *expected += 1000;
        }
    }))
}

pub(super) fn lost_append(run: &Run) -> Option<Vec<Record>> {
    let answers = || {
        run.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
            (Call::Append(call), Some(Answer::Append(answer))) => Some((op, call, answer)),
            _ => None,
        })
    };
    for (op, call, answer) in answers() {
        for (at, (step, list)) in call.ops.iter().zip(&answer.lists).enumerate() {
            let (ListOp::Read { key }, Some(last)) = (step, list.last()) else { continue };
            let append = ListOp::Append { key: key.clone(), element: *last };
            if answers().any(|(by, call, _)| call.ops.contains(&append) && by.returned < op.invoked) {
                return Some(changed(run, op.completed, |entry| {
                    if let Entry::Ok(Answer::Append(answer)) = entry {
                        answer.lists[at].pop();
                    }
                }));
            }
        }
    }
    None
}

pub(super) fn lost_element(run: &Run) -> Option<Vec<Record>> {
    for op in &run.ops {
        let Some(Answer::Set(SetAnswer::Read { elements, .. })) = op.answer() else { continue };
        let added = |element: &u64| {
            run.ops.iter().any(|add| {
                matches!(&add.call, Call::Set(SetCall::Add { element: this, .. }) if this == element)
                    && add.answer().is_some()
                    && add.returned < op.invoked
            })
        };
        let Some(lost) = elements.iter().position(added) else { continue };
        return Some(changed(run, op.completed, |entry| {
            if let Entry::Ok(Answer::Set(SetAnswer::Read { elements, .. })) = entry {
                elements.remove(lost);
            }
        }));
    }
    None
}

/// Where a source tells a revision that is neither its first nor its last.
pub(super) fn told(run: &Run, source: &str) -> Option<usize> {
    let of = |record: &&Record| matches!(&record.entry, Entry::Fact(Fact::Revision(told)) if told.source == source && told.revision == 50);
    run.records.iter().find(of).map(|record| record.index as usize)
}

pub(super) fn dropped_revision(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(told(run, "watch n2")?);
    Some(records)
}

pub(super) fn other_value(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, told(run, "watch n2")?, |entry| {
        if let Entry::Fact(Fact::Revision(told)) = entry {
            told.changes[0].value = Some("other".into());
        }
    }))
}

pub(super) fn other_digest(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Digest(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Digest(digest)) = entry {
            digest.digest.push('x');
        }
    }))
}

pub(super) fn other_mark(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Mark(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Mark(mark)) = entry {
            mark.digest.push('x');
        }
    }))
}

/// The places of one entry in the members' logs, from the middle.
pub(super) fn logged(run: &Run) -> Vec<usize> {
    let entry = |record: &Record| match &record.entry {
        Entry::Fact(Fact::Logged(entry)) => Some(entry.index),
        _ => None,
    };
    let all: Vec<u64> = run.records.iter().filter_map(entry).collect();
    let middle = all.get(all.len() / 6).copied();
    run.records.iter().enumerate().filter(|(_, record)| entry(record) == middle).map(|(index, _)| index).collect()
}

pub(super) fn other_entry(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, *logged(run).last()?, |entry| {
        if let Entry::Fact(Fact::Logged(entry)) = entry {
            entry.record.push('x');
        }
    }))
}

pub(super) fn missing_entry(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(*logged(run).last()?);
    Some(records)
}

/// An entry with a write of the store's own clients loses it in all logs.
pub(super) fn unlogged_write(run: &Run) -> Option<Vec<Record>> {
    let writes = |entry: &Logged| entry.puts.iter().chain(&entry.maybe).any(|(key, _)| key.starts_with("kv/"));
    let index = run.records.iter().rev().find_map(|record| match &record.entry {
        Entry::Fact(Fact::Logged(entry)) if writes(entry) => Some(entry.index),
        _ => None,
    })?;
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Logged(entry)) = &mut record.entry
            && entry.index == index
        {
            (entry.puts, entry.maybe) = (Vec::new(), Vec::new());
        }
    }
    Some(records)
}

pub(super) fn wrong_previous(run: &Run) -> Option<Vec<Record>> {
    let told = |op: &&Op| matches!(op.answer(), Some(Answer::Kv(KvAnswer::Written { prev: Some(_), .. })));
    let op = run.ops.iter().find(told)?;
    Some(changed(run, op.completed, |entry| {
        if let Entry::Ok(Answer::Kv(KvAnswer::Written { prev, .. })) = entry {
            *prev = None;
        }
    }))
}

pub(super) fn member_goes_back(run: &Run) -> Option<Vec<Record>> {
    let reads: Vec<_> = run
        .ops
        .iter()
        .filter_map(|op| match (&op.call, op.answer()) {
            (
                Call::Kv(KvCall::Get { serializable: true, .. }),
                Some(answer @ Answer::Kv(KvAnswer::Read { revision, .. })),
            ) => Some((op, answer.clone(), *revision)),
            _ => None,
        })
        .collect();
    // The third shows what the first showed: true once, and older than what the second showed.
    let three = reads.windows(3).find(|three| three[0].2 < three[1].2)?;
    Some(changed(run, three[2].0.completed, |entry| *entry = Entry::Ok(three[0].1.clone())))
}
