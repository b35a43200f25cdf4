//! Each of these changes one thing in a good history, as a fault of the system would, and the checker meant for it must say so. The change is
//! made where it is certainly wrong (a value that was overwritten and acknowledged before the read began, not just any value).

use crate::simulator::{self, MS};
use cluster_tests::trials::{
    check::{Case, Grant, Kind, PROPERTIES, Verdict, beliefs, judge_all},
    history::*,
};

type Mutate = fn(&Run) -> Option<Vec<Record>>;

const MUTATIONS: &[(&str, &str, Mutate)] = &[
    ("a read of an overwritten value", "linearizable", |run| overwritten_read(run)),
    ("a read of an overwritten value", "wgl", |run| overwritten_read(run)),
    ("a whole read of the past", "linearizable", |run| past_read(run)),
    ("two writes with each other's revision", "linearizable", |run| swapped_revisions(run)),
    ("an acknowledged write that is not there", "linearizable", |run| lost_write(run)),
    ("an acknowledged write that no member has", "durability", |run| lost_state(run)),
    ("a write that replaced something else", "linearizable", |run| wrong_previous(run)),
    ("a member whose reads go back", "serializable", |run| member_goes_back(run)),
    ("a cas over something else", "linearizable", |run| wrong_cas(run)),
    ("an append that is lost", "append", |run| lost_append(run)),
    ("an element that is lost", "set", |run| lost_element(run)),
    ("a revision that a member leaves out", "agreement", |run| dropped_revision(run)),
    ("a value that a member has otherwise", "agreement", |run| other_value(run)),
    ("a digest", "digests", |run| other_digest(run)),
    ("a digest after an entry", "digests", |run| other_mark(run)),
    ("an entry that a member has otherwise", "log-matching", |run| other_entry(run)),
    ("an entry that is missing", "log-matching", |run| missing_entry(run)),
    ("a write that no log has", "log-matching", |run| unlogged_write(run)),
    ("a second leader", "one-leader", |run| second_leader(run)),
    ("a dropped watch event", "watch-reliable", |run| dropped_event(run)),
    ("a duplicated watch event", "watch-unique", |run| duplicated_event(run)),
    ("swapped watch events", "watch-ordered", |run| swapped_events(run)),
    ("a split revision", "watch-atomic", |run| split_event(run)),
    ("a late resumption", "watch-resumable", |run| late_resumption(run)),
    ("early progress", "watch-bookmarkable", |run| early_progress(run)),
    ("an early expiry", "lease-early", |run| moved_expiry(run, true)),
    ("a late expiry", "lease-late", |run| moved_expiry(run, false)),
    ("a renewal after the end", "lease-renewal", |run| late_renewal(run)),
    ("a phantom grant", "grants", |run| phantom(run)),
    ("a smaller fence", "fences", |run| smaller_fence(run)),
    ("two overlapping beliefs", "exclusion", |run| overlapping_beliefs(run)),
    ("a leadership of a queue that ends before its leader's belief", "exclusion", |run| early_end_of_a_queue(run)),
    ("a deposed holder's write", "fenced-writes", |run| deposed_write(run)),
    ("too many permits", "capacity", |run| heavier_permits(run)),
    ("a second leader of a queue", "capacity", |run| second_leader_of_a_queue(run)),
    ("a waiter that is passed", "fifo", |run| passed_waiter(run)),
    ("a lost wake-up", "wakeups", |run| late_answer(run, true)),
    ("a zombie", "zombies", |run| late_answer(run, false)),
    ("a winner of a queue that is told late", "wakeups", |run| late_campaign(run, true)),
    ("a candidate that waits for nothing", "zombies", |run| late_campaign(run, false)),
    ("a place that nobody waits at", "abandoned", |run| kept_place(run)),
    ("a leader who led before", "leader-reads", |run| former_leader(run)),
    ("swapped observations", "observe", |run| swapped_observations(run)),
    ("a line in another order", "queue-order", |run| other_line(run)),
    ("a term that falls", "queue-terms", |run| falling_term(run)),
    ("a change that a queue's watch leaves out", "queue-watch", |run| dropped_queue_event(run)),
    ("a change that a queue's watch tells otherwise", "queue-watch", |run| other_queue_event(run)),
    ("a claim that ends early", "claim-early", |run| longer_promise(run)),
    ("a missed vacancy", "claim-vacancy", |run| missed_vacancy(run)),
    ("a store that takes no writes any more", "liveness", |run| no_more_writes(run)),
];

#[test]
fn every_mutation_is_rejected() {
    let many = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8);
    let seeds = 1..=many;
    let runs: Vec<Run> = seeds.map(|seed: u64| Run::new(simulator::history(seed * 7919))).collect();
    let mut wrong = Vec::new();
    for (what, property, mutate) in MUTATIONS {
        let mutants: Vec<Run> = runs.iter().filter_map(|run| mutate(run).map(Run::new)).collect();
        if mutants.is_empty() {
            wrong.push(format!("{property}: {what} fits none of the histories"));
        }
        for mutant in &mutants {
            let findings = judge_all(&Case::new(mutant));
            let finding = findings.iter().find(|finding| finding.property == *property).expect("it is judged");
            match &finding.verdict {
                Verdict::Violation(violation) => assert!(!violation.window.is_empty() && violation.window.len() <= 50),
                other => wrong.push(format!("{property}: {what} was accepted: {other:?}")),
            }
        }
        cluster_tests::report(&format!("{property}: {what}, rejected in {} histories", mutants.len()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for property in PROPERTIES.iter().filter(|property| property.name != "coverage") {
        assert!(MUTATIONS.iter().any(|(_, name, _)| *name == property.name), "{} has no mutation", property.name);
    }
}

#[test]
fn a_history_without_faults_of_effect_or_answers_is_unknown() {
    let mut records = simulator::history(1);
    let fault = FaultEvent {
        id: 1,
        fault: "partition".into(),
        stage: Stage::Installed,
        targets: vec!["n1>n2".into()],
        detail: String::new(),
        effect: std::iter::once(("dropped packets".to_owned(), 0.0)).collect(),
    };
    let mut nemesis = records[9].clone();
    (nemesis.process, nemesis.entry) = (Process::Harness("nemesis".into()), Entry::Fault(fault));
    records.push(nemesis);
    assert!(matches!(verdict(&Run::new(records), "coverage"), Verdict::Unknown { .. }));
    assert!(matches!(verdict(&Run::new(Vec::new()), "linearizable"), Verdict::Unknown { .. }));
    let mut records = simulator::history(1);
    for record in &mut records {
        if let Entry::Fact(Fact::Bounds(bounds)) = &mut record.entry {
            bounds.floors.insert("fifo".into(), 1_000_000);
        }
    }
    assert!(matches!(verdict(&Run::new(records), "fifo"), Verdict::Unknown { .. }));
}

#[test]
fn a_history_in_which_a_broken_minority_stops_everything_is_unknown() {
    let mut records = simulator::history(1);
    let span = Run::new(records.clone()).span();
    for record in &mut records {
        match &mut record.entry {
            Entry::Fact(Fact::Bounds(bounds)) => bounds.max_unknown = 1.0,
            Entry::Ok(Answer::Kv(_) | Answer::Append(_) | Answer::Set(_)) => {
                record.entry = Entry::Info(Failure { code: "timeout".into(), error: "no answer".into() });
            }
            _ => {}
        }
    }
    let paused = |targets: &[&str]| {
        let event = |stage| FaultEvent {
            id: 1,
            fault: "pause".into(),
            stage,
            targets: targets.iter().map(|one| (*one).to_owned()).collect(),
            detail: String::new(),
            effect: std::iter::once(("milliseconds stopped".to_owned(), 9.0)).collect(),
        };
        let line = |time, stage| Record {
            index: 0,
            process: Process::Harness("nemesis".into()),
            time,
            clock: None,
            node: None,
            entry: Entry::Fault(event(stage)),
        };
        let mut records = records.clone();
        records.extend([line(span.0, Stage::Installed), line(span.1, Stage::Healed)]);
        verdict(&Run::new(records), "coverage")
    };
    let Verdict::Unknown { why } = paused(&["n1"]) else { panic!("a minority may not stop everything") };
    assert!(why.contains("only a minority was broken"), "{why}");
    assert!(paused(&["n1", "n2"]).is_valid(), "a majority may");
}

fn verdict(run: &Run, property: &str) -> Verdict {
    let findings = judge_all(&Case::new(run));
    findings.into_iter().find(|finding| finding.property == property).expect("it is judged").verdict
}

/// A copy with one record changed.
fn changed(run: &Run, index: usize, change: impl FnOnce(&mut Entry)) -> Vec<Record> {
    let mut records = run.records.clone();
    change(&mut records[index].entry);
    records
}

/// Writes of registers with their acknowledged revision.
fn writes(run: &Run) -> impl Iterator<Item = (&Op, &str, &str, i64)> {
    run.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
        (
            Call::Kv(KvCall::Put { key, value, lease: 0, .. } | KvCall::Cas { key, value, lease: 0, .. }),
            Some(Answer::Kv(KvAnswer::Written { revision, .. })),
        ) => Some((op, key.as_str(), value.as_str(), *revision)),
        _ => None,
    })
}

fn gets(run: &Run) -> impl Iterator<Item = (&Op, &str, &Vec<Kv>)> {
    run.ops.iter().filter_map(|op| match (&op.call, op.answer()) {
        (Call::Kv(KvCall::Get { key, serializable: false, .. }), Some(Answer::Kv(KvAnswer::Read { kvs, .. }))) => {
            Some((op, key.as_str(), kvs))
        }
        _ => None,
    })
}

fn overwritten_read(run: &Run) -> Option<Vec<Record>> {
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

fn past_read(run: &Run) -> Option<Vec<Record>> {
    let (read, ..) = gets(run).find(|(read, ..)| writes(run).any(|(op, ..)| op.returned < read.invoked))?;
    Some(changed(run, read.completed, |entry| {
        *entry = Entry::Ok(Answer::Kv(KvAnswer::Read { revision: 1, kvs: Vec::new() }));
    }))
}

fn swapped_revisions(run: &Run) -> Option<Vec<Record>> {
    let mut all = writes(run);
    let ((first, .., a), (second, .., b)) = (all.next()?, all.next()?);
    let mut records = run.records.clone();
    records[first.completed].entry = Entry::Ok(Answer::Kv(KvAnswer::Written { revision: b, prev: None }));
    records[second.completed].entry = Entry::Ok(Answer::Kv(KvAnswer::Written { revision: a, prev: None }));
    Some(records)
}

fn lost_write(run: &Run) -> Option<Vec<Record>> {
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

fn lost_state(run: &Run) -> Option<Vec<Record>> {
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

fn wrong_cas(run: &Run) -> Option<Vec<Record>> {
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

fn lost_append(run: &Run) -> Option<Vec<Record>> {
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

fn lost_element(run: &Run) -> Option<Vec<Record>> {
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
fn told(run: &Run, source: &str) -> Option<usize> {
    let of = |record: &&Record| matches!(&record.entry, Entry::Fact(Fact::Revision(told)) if told.source == source && told.revision == 50);
    run.records.iter().find(of).map(|record| record.index as usize)
}

fn dropped_revision(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(told(run, "watch n2")?);
    Some(records)
}

fn other_value(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, told(run, "watch n2")?, |entry| {
        if let Entry::Fact(Fact::Revision(told)) = entry {
            told.changes[0].value = Some("other".into());
        }
    }))
}

fn other_digest(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Digest(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Digest(digest)) = entry {
            digest.digest.push('x');
        }
    }))
}

fn other_mark(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().rposition(|record| matches!(record.entry, Entry::Fact(Fact::Mark(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Mark(mark)) = entry {
            mark.digest.push('x');
        }
    }))
}

/// The places of one entry in the members' logs, from the middle.
fn logged(run: &Run) -> Vec<usize> {
    let entry = |record: &Record| match &record.entry {
        Entry::Fact(Fact::Logged(entry)) => Some(entry.index),
        _ => None,
    };
    let all: Vec<u64> = run.records.iter().filter_map(entry).collect();
    let middle = all.get(all.len() / 6).copied();
    run.records.iter().enumerate().filter(|(_, record)| entry(record) == middle).map(|(index, _)| index).collect()
}

fn other_entry(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, *logged(run).last()?, |entry| {
        if let Entry::Fact(Fact::Logged(entry)) = entry {
            entry.record.push('x');
        }
    }))
}

fn missing_entry(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(*logged(run).last()?);
    Some(records)
}

/// An entry with a write of the store's own clients loses it in all logs.
fn unlogged_write(run: &Run) -> Option<Vec<Record>> {
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

fn second_leader(run: &Run) -> Option<Vec<Record>> {
    let index = run.records.iter().position(|record| matches!(record.entry, Entry::Fact(Fact::Leader(_))))?;
    Some(changed(run, index, |entry| {
        if let Entry::Fact(Fact::Leader(leader)) = entry {
            leader.leader += 1;
        }
    }))
}

/// Messages of watches that bring something: index, revisions.
fn messages(run: &Run) -> Vec<(usize, &str, &Vec<Change>)> {
    let found = run.events().filter_map(|streamed| match streamed.event {
        Event::Watch(WatchEvent { stream, what: WatchMessage::Changes { changes, .. }, .. }) => {
            Some((streamed.index, stream.as_str(), changes))
        }
        _ => None,
    });
    found.collect()
}

fn with_changes(run: &Run, index: usize, change: impl FnOnce(&mut Vec<Change>)) -> Vec<Record> {
    changed(run, index, |entry| {
        if let Entry::Event(Event::Watch(WatchEvent { what: WatchMessage::Changes { changes, .. }, .. })) = entry {
            change(changes);
        }
    })
}

/// A message that brings at least three revisions.
fn long_message(run: &Run) -> Option<usize> {
    let long =
        |changes: &[Change]| changes.len() >= 3 && changes.windows(2).all(|pair| pair[0].modified < pair[1].modified);
    messages(run).into_iter().find(|(_, _, changes)| long(changes)).map(|(index, ..)| index)
}

fn dropped_event(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| drop(changes.remove(1))))
}

fn duplicated_event(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| changes.insert(1, changes[0].clone())))
}

fn swapped_events(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| changes.swap(0, 1)))
}

fn split_event(run: &Run) -> Option<Vec<Record>> {
    for (index, _, changes) in messages(run) {
        let Some(at) = changes.windows(2).position(|pair| pair[0].modified == pair[1].modified) else { continue };
        let mut records = with_changes(run, index, |changes| changes.truncate(at + 1));
        let mut rest = run.records[index].clone();
        if let Entry::Event(Event::Watch(WatchEvent { what: WatchMessage::Changes { changes, .. }, .. })) =
            &mut rest.entry
        {
            changes.drain(..=at);
        }
        records.insert(index + 1, rest);
        return Some(records);
    }
    None
}

fn late_resumption(run: &Run) -> Option<Vec<Record>> {
    for (index, stream, changes) in messages(run) {
        // The first message after a resumption that brings more than one revision.
        let opened = run.ops.iter().rfind(|op| {
            op.index < index && matches!(&op.call, Call::Watch(call) if call.stream == stream && call.resumes)
        });
        let Some(opened) = opened else { continue };
        let between =
            messages(run).iter().any(|(other, of, _)| *of == stream && *other > opened.index && *other < index);
        if !between && changes.first()?.modified < changes.last()?.modified {
            let first = changes[0].modified;
            return Some(with_changes(run, index, |changes| changes.retain(|change| change.modified > first)));
        }
    }
    None
}

fn early_progress(run: &Run) -> Option<Vec<Record>> {
    let all = messages(run);
    let (index, stream, changes) = all.iter().find(|(_, _, changes)| !changes.is_empty())?;
    let mut records = run.records.clone();
    let mut progress = run.records[*index].clone();
    let revision = changes.last()?.modified;
    let stream = (*stream).to_owned();
    progress.entry = Entry::Event(Event::Watch(WatchEvent { stream, revision, what: WatchMessage::Progress }));
    records.insert(*index, progress);
    Some(records)
}

/// The records that tell of a sentinel's end, with the last acknowledged renewal of its lease.
fn moved_expiry(run: &Run, early: bool) -> Option<Vec<Record>> {
    for lease in (0x100..0x108).filter(|lease| lease % 4 != 0) {
        let renewals = run.ops.iter().filter(|op| match (&op.call, op.answer()) {
            (Call::Lease(LeaseCall::Grant { lease: of, .. }), Some(_)) => *of == lease,
            (
                Call::Lease(LeaseCall::Keepalive { lease: of }),
                Some(Answer::Lease(LeaseAnswer::Kept { ttl_ms, .. })),
            ) => *of == lease && *ttl_ms > 0,
            _ => false,
        });
        let Some(last) = renewals.max_by_key(|op| op.invoked) else { continue };
        let refused = |op: &Op| {
            matches!(&op.call, Call::Lease(LeaseCall::Keepalive { lease: of }) if *of == lease)
                && matches!(op.answer(), Some(Answer::Lease(LeaseAnswer::Kept { ttl_ms: 0, .. })))
        };
        if run.ops.iter().any(refused) {
            continue;
        }
        let key = format!("sentinel/{lease:x}");
        let mut records = run.records.clone();
        let mut moved = false;
        for record in &mut records {
            let gone = match &record.entry {
                Entry::Fact(Fact::Revision(told)) => {
                    told.changes.iter().any(|change| change.key == key && change.value.is_none())
                }
                _ => false,
            };
            if gone {
                record.time = if early { last.invoked + 200 * MS } else { last.returned + 9_000 * MS };
                moved = true;
            }
        }
        if !early {
            // Nor does any answer tell of its end before.
            let asks = |op: &&Op| matches!(&op.call, Call::Lease(LeaseCall::TimeToLive { lease: of }) if *of == lease);
            let mut asked: Vec<_> = run.ops.iter().filter(asks).flat_map(|op| [op.index, op.completed]).collect();
            asked.sort_unstable();
            for index in asked.into_iter().rev() {
                records.remove(index);
            }
        }
        if moved {
            return Some(records);
        }
    }
    None
}

fn late_renewal(run: &Run) -> Option<Vec<Record>> {
    let grant = run.ops.iter().find(|op| matches!(&op.call, Call::Lease(LeaseCall::Grant { lease: 0x101, .. })))?;
    let time = run.span().1;
    let mut records = run.records.clone();
    let kept = LeaseAnswer::Kept { revision: 2, lease: 0x101, ttl_ms: 400 };
    for (later, entry) in
        [(1, Entry::Invoke(Call::Lease(LeaseCall::Keepalive { lease: 0x101 }))), (2, Entry::Ok(Answer::Lease(kept)))]
    {
        records.push(Record {
            index: 0,
            process: grant.process.clone(),
            time: time + later,
            clock: None,
            node: None,
            entry,
        });
    }
    Some(records)
}

fn phantom(run: &Run) -> Option<Vec<Record>> {
    let last = Case::new(run).timeline.last();
    let index =
        run.ops.iter().find(|op| matches!(op.answer(), Some(Answer::Lock(LockAnswer::Granted { .. }))))?.completed;
    Some(changed(run, index, |entry| {
        if let Entry::Ok(Answer::Lock(LockAnswer::Granted { revision, .. })) = entry {
            *revision = last;
        }
    }))
}

fn smaller_fence(run: &Run) -> Option<Vec<Record>> {
    let grants = Case::new(run).grants;
    let last = grants.iter().rfind(|grant| grant.name == "cl")?.op.completed;
    Some(changed(run, last, |entry| {
        if let Entry::Ok(Answer::Lock(LockAnswer::Granted { fence, .. })) = entry {
            *fence = 2;
        }
    }))
}

fn overlapping_beliefs(run: &Run) -> Option<Vec<Record>> {
    let case = Case::new(run);
    let beliefs = beliefs(&case);
    let mut of_lock: Vec<_> = beliefs.iter().filter(|belief| belief.grant.name == "lock/a").collect();
    of_lock.sort_by_key(|belief| belief.from);
    for pair in of_lock.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        let inside = first.from + (first.until - first.from) / 2;
        if inside > second.grant.op.invoked && second.until > first.until && first.until - inside > 2 * MS {
            let mut records = run.records.clone();
            records[second.grant.op.completed].time = inside;
            return Some(records);
        }
    }
    None
}

fn deposed_write(run: &Run) -> Option<Vec<Record>> {
    let refused = |op: &&Op| {
        matches!((&op.call, op.answer()), (Call::Fenced(call), Some(Answer::Fenced(FencedAnswer::Refused { .. })))
            if call.guard == FenceGuard::Store)
    };
    let op = run.ops.iter().find(refused)?;
    Some(changed(run, op.completed, |entry| {
        if let Entry::Ok(Answer::Fenced(answer)) = entry
            && let FencedAnswer::Refused { revision, .. } = *answer
        {
            *answer = FencedAnswer::Accepted { revision: revision + 1 };
        }
    }))
}

fn heavier_permits(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Invoke(Call::Lock(LockCall::Acquire { mode: Mode::Permits { weight, .. }, .. })) =
            &mut record.entry
        {
            *weight = 3;
        }
    }
    Some(records)
}

fn passed_waiter(run: &Run) -> Option<Vec<Record>> {
    // Nobody leaves the line any more when it is granted: whoever comes later passes.
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry
            && told.changes.iter().any(|change| change.key.contains("/l/default/cl/holder/") && change.value.is_some())
        {
            told.changes.retain(|change| !change.key.contains("/l/default/cl/q/") || change.value.is_some());
        }
    }
    Some(records)
}

fn late_answer(run: &Run, granted: bool) -> Option<Vec<Record>> {
    let waits = |op: &&Op| {
        matches!(&op.call, Call::Lock(LockCall::Acquire { api: Api::Etcd, .. }))
            && match &op.outcome {
                // It held for a while: its turn did not pass before anybody would miss the answer.
                Outcome::Ok(_) => granted && releases(run, op).is_some_and(|time| time > op.returned + 60 * MS),
                // Its key was there, and went.
                Outcome::Fail(failure) => !granted && failure.error == "session expired",
                Outcome::Unknown(_) => false,
            }
    };
    // Its last: what it asked for later would leave keys behind.
    let last = |op: &&Op| {
        !run.ops.iter().any(|other| {
            other.process == op.process
                && other.index > op.index
                && matches!(other.call, Call::Lock(LockCall::Acquire { .. }))
        })
    };
    let op = run.ops.iter().filter(waits).find(last)?;
    let mut records = run.records.clone();
    records[op.completed].time += 15_000 * MS;
    // The client asks for nothing else meanwhile.
    let process = &op.process;
    let mut at = 0;
    records.retain(|record| {
        at += 1;
        at - 1 <= op.completed || record.process != *process
    });
    Some(records)
}

/// When the client that was granted something releases it.
fn releases(run: &Run, granted: &Op) -> Option<u64> {
    let release = |op: &&Op| op.process == granted.process && matches!(op.call, Call::Lock(LockCall::Release { .. }));
    run.ops.iter().filter(|op| op.index > granted.completed).find(release).map(|op| op.invoked)
}

fn former_leader(run: &Run) -> Option<Vec<Record>> {
    let reads: Vec<_> = run
        .ops
        .iter()
        .filter_map(|op| match op.answer() {
            Some(Answer::Election(ElectionAnswer::Leader { leader, .. })) => Some((op, leader)),
            _ => None,
        })
        .collect();
    let pair = reads.windows(2).find(|pair| pair[0].1 != pair[1].1 && pair[0].1.is_some())?;
    let old = pair[0].1.clone();
    Some(changed(run, pair[1].0.completed, |entry| {
        if let Entry::Ok(Answer::Election(ElectionAnswer::Leader { leader, .. })) = entry {
            *leader = old;
        }
    }))
}

fn swapped_observations(run: &Run) -> Option<Vec<Record>> {
    let observed: Vec<_> = run
        .events()
        .filter_map(|streamed| match streamed.event {
            Event::Observed(Observed { leader: Some(leader), .. }) => Some((streamed.index, leader)),
            _ => None,
        })
        .collect();
    let pair = observed.windows(2).find(|pair| pair[0].1.modified != pair[1].1.modified)?;
    let mut records = run.records.clone();
    let (a, b) = (pair[0].0, pair[1].0);
    let first = records[a].entry.clone();
    records[a].entry = records[b].entry.clone();
    records[b].entry = first;
    Some(records)
}

fn queue_event(run: &Run, wanted: impl Fn(&QueueEvent) -> bool) -> Option<usize> {
    let found = run.events().filter_map(|streamed| match streamed.event {
        // What the first watch tells counts; that the others tell the same is a property of its own.
        Event::Queue(event) if event.stream == "q1" && wanted(event) => Some(streamed.index),
        _ => None,
    });
    found.last()
}

fn other_line(run: &Run) -> Option<Vec<Record>> {
    // Of two who were there before, since the place of one who enters is free once the line was changed by hand.
    let index = queue_event(run, |event| event.cause == "entered" && event.term.candidates.len() >= 4)?;
    Some(changed(run, index, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            let stood = |at: &usize| event.term.candidates[*at].id != event.subject;
            let mut stood = (1..event.term.candidates.len()).rev().filter(stood);
            if let (Some(last), Some(before)) = (stood.next(), stood.next()) {
                event.term.candidates.swap(last, before);
            }
        }
    }))
}

fn falling_term(run: &Run) -> Option<Vec<Record>> {
    let index = queue_event(run, |event| event.term.id == event.revision && event.term.seq > 2)?;
    Some(changed(run, index, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            event.term.id = 1;
        }
    }))
}

fn longer_promise(run: &Run) -> Option<Vec<Record>> {
    let ended = |fence: i64| {
        let key = format!("/_conclave/c/default/c/tenure/{fence:016x}");
        let case = Case::new(run);
        let gone = case.timeline.keys.get(key.as_str())?.last().filter(|version| version.value.is_none())?.revision;
        case.timeline.seen(gone).map(|(time, _)| time)
    };
    for op in &run.ops {
        let Some(Answer::Claim(ClaimAnswer::Taken { fence, .. })) = op.answer() else { continue };
        let Call::Claim(ClaimCall::Claim { holder, .. }) = &op.call else { continue };
        let revoked = run.ops.iter().any(|by| {
            matches!(&by.call, Call::Claim(ClaimCall::Revoke { holder: Some(of), .. }) if of == holder)
                && by.returned >= op.invoked
                && ended(*fence).is_some_and(|end| by.invoked <= end)
        });
        if revoked || ended(*fence).is_none() {
            continue;
        }
        return Some(changed(run, op.completed, |entry| {
            if let Entry::Ok(Answer::Claim(ClaimAnswer::Taken { guaranteed_ms, .. })) = entry {
                *guaranteed_ms *= 50;
            }
        }));
    }
    None
}

fn missed_vacancy(run: &Run) -> Option<Vec<Record>> {
    let case = Case::new(run);
    for op in &run.ops {
        let (Call::Claim(ClaimCall::AwaitVacant { .. }), Some(Answer::Claim(ClaimAnswer::Vacant { at, .. }))) =
            (&op.call, op.answer())
        else {
            continue;
        };
        // A revision at which it was held, after the one that was told.
        let prefix = "/_conclave/c/default/c/tenure/";
        let held = |revision: &i64| case.timeline.under(prefix, *revision).next().is_some();
        let ends = |revision: &i64| {
            case.timeline.revisions[revision]
                .what
                .changes
                .iter()
                .any(|change| change.key.starts_with(prefix) && change.value.is_none())
        };
        let Some(wrong) = (at + 1..case.timeline.last()).find(|revision| held(revision) && !ends(revision)) else {
            continue;
        };
        return Some(changed(run, op.completed, |entry| {
            if let Entry::Ok(Answer::Claim(ClaimAnswer::Vacant { at, .. })) = entry {
                *at = wrong;
            }
        }));
    }
    None
}

fn wrong_previous(run: &Run) -> Option<Vec<Record>> {
    let told = |op: &&Op| matches!(op.answer(), Some(Answer::Kv(KvAnswer::Written { prev: Some(_), .. })));
    let op = run.ops.iter().find(told)?;
    Some(changed(run, op.completed, |entry| {
        if let Entry::Ok(Answer::Kv(KvAnswer::Written { prev, .. })) = entry {
            *prev = None;
        }
    }))
}

fn member_goes_back(run: &Run) -> Option<Vec<Record>> {
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

/// Moves the end of a leadership that its session's end brought into the time in which the leader believes in it.
fn early_end_of_a_queue(run: &Run) -> Option<Vec<Record>> {
    let case = Case::new(run);
    let beliefs = beliefs(&case);
    let sure = beliefs.iter().find(|belief| {
        belief.grant.kind == Kind::Queue
            && belief.why == "lease ran out"
            && belief.until > belief.from + 20 * MS
            && belief.tenure.as_ref().is_some_and(|tenure| case.timeline.seen(tenure.until).is_some())
    })?;
    let (end, time) = (sure.tenure.as_ref()?.until, sure.from + (sure.until - sure.from) / 2);
    let mut records = run.records.clone();
    for record in &mut records {
        if matches!(&record.entry, Entry::Fact(Fact::Revision(told)) if told.revision == end) {
            record.time = time;
        }
    }
    Some(records)
}

/// Who led before leads on beside the next.
fn second_leader_of_a_queue(run: &Run) -> Option<Vec<Record>> {
    let leads = |change: &Change| change.key.contains("/e/default/q/leader/");
    let hand_over = |told: &Revision| {
        told.changes.iter().any(|change| leads(change) && change.value.is_some())
            && told.changes.iter().any(|change| leads(change) && change.value.is_none())
    };
    let revision = run.facts().find_map(|(_, fact)| match fact {
        Fact::Revision(told) if hand_over(told) => Some(told.revision),
        _ => None,
    })?;
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry
            && told.revision == revision
        {
            told.changes.retain(|change| !leads(change) || change.value.is_some());
        }
    }
    Some(records)
}

/// A campaign in a queue election, answered long after its win, or after its candidate was put out.
fn late_campaign(run: &Run, won: bool) -> Option<Vec<Record>> {
    let case = Case::new(run);
    // Its last: later ones would leave keys behind.
    let last = |op: &Op| !run.ops.iter().any(|other| other.call == op.call && other.index > op.index);
    let op = run.ops.iter().find(|op| {
        let Call::Queue(QueueCall { what: QueueOp::Campaign { candidate, .. }, .. }) = &op.call else { return false };
        last(op)
            && match &op.outcome {
                Outcome::Ok(_) => {
                    let grant = case.grants.iter().find(|grant| grant.op.index == op.index);
                    let lasts = |grant: &Grant<'_>| {
                        let ended = case.timeline.keys[grant.key.as_str()].last().filter(|last| last.value.is_none());
                        let gone = ended.and_then(|last| case.timeline.seen(last.revision));
                        gone.is_none_or(|(time, _)| time > op.returned + 60 * MS)
                    };
                    won && grant.is_some_and(lasts)
                }
                // It stood in the line.
                Outcome::Fail(_) => {
                    let place = format!("/_conclave/e/default/q/q/{candidate}");
                    let lives = case.timeline.keys.get(place.as_str());
                    !won && lives.is_some_and(|all| {
                        let during = |revision| {
                            let seen = case.timeline.seen(revision).map(|(time, _)| time);
                            seen.is_some_and(|time| time > op.invoked && time < op.returned)
                        };
                        all.iter().any(|version| version.value.is_none() && during(version.revision))
                    })
                }
                Outcome::Unknown(_) => false,
            }
    })?;
    let mut records = run.records.clone();
    records[op.completed].time += 15_000 * MS;
    let mut at = 0;
    records.retain(|record| {
        at += 1;
        at - 1 <= op.completed || record.process != op.process
    });
    Some(records)
}

/// The key of who gave up stays.
fn kept_place(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    for record in &mut records {
        if let Entry::Fact(Fact::Revision(told)) = &mut record.entry {
            told.changes.retain(|change| change.key != "lock/q/701" || change.value.is_some());
        }
    }
    Some(records)
}

/// An event of the second watch that is neither its first nor its last.
fn second_watch(run: &Run) -> Option<usize> {
    let told = run.events().filter(|streamed| matches!(streamed.event, Event::Queue(event) if event.stream == "q2"));
    let all: Vec<_> = told.map(|streamed| streamed.index).collect();
    (all.len() > 2).then(|| all[all.len() / 2])
}

fn dropped_queue_event(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    records.remove(second_watch(run)?);
    Some(records)
}

fn other_queue_event(run: &Run) -> Option<Vec<Record>> {
    Some(changed(run, second_watch(run)?, |entry| {
        if let Entry::Event(Event::Queue(event)) = entry {
            event.term.candidates.push(Candidate { id: "nobody".into(), ..Candidate::default() });
        }
    }))
}

/// From some moment on no write has an answer.
fn no_more_writes(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    for op in &run.ops {
        let written = matches!(
            op.answer(),
            Some(
                Answer::Kv(KvAnswer::Written { .. } | KvAnswer::Deleted { .. })
                    | Answer::Set(SetAnswer::Added { .. })
                    | Answer::Lease(LeaseAnswer::Granted { .. })
                    | Answer::Fenced(FencedAnswer::Accepted { .. })
            )
        );
        if written && op.returned > run.span().0 + 150 * MS {
            let failure = Failure { code: "timeout".into(), error: "no answer".into() };
            records[op.completed].entry = Entry::Info(failure);
        }
    }
    Some(records)
}
