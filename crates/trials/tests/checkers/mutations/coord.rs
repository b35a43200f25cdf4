//! Of leases, locks, elections and claims: who holds what, and for how long.

use super::changed;
use crate::simulator::MS;
use conclave_trials::check::{Case, Kind, beliefs};
use conclave_trials::history::*;

/// The records that tell of a sentinel's end, with the last acknowledged renewal of its lease.
pub(super) fn moved_expiry(run: &Run, early: bool) -> Option<Vec<Record>> {
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

pub(super) fn late_renewal(run: &Run) -> Option<Vec<Record>> {
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

pub(super) fn phantom(run: &Run) -> Option<Vec<Record>> {
    let last = Case::new(run).timeline.last();
    let index =
        run.ops.iter().find(|op| matches!(op.answer(), Some(Answer::Lock(LockAnswer::Granted { .. }))))?.completed;
    Some(changed(run, index, |entry| {
        if let Entry::Ok(Answer::Lock(LockAnswer::Granted { revision, .. })) = entry {
            *revision = last;
        }
    }))
}

pub(super) fn smaller_fence(run: &Run) -> Option<Vec<Record>> {
    let grants = Case::new(run).grants;
    let last = grants.iter().rfind(|grant| grant.name == "cl")?.op.completed;
    Some(changed(run, last, |entry| {
        if let Entry::Ok(Answer::Lock(LockAnswer::Granted { fence, .. })) = entry {
            *fence = 2;
        }
    }))
}

/// The answer to the queue's last leader has the fence of another session.
pub(super) fn fence_of_another(run: &Run) -> Option<Vec<Record>> {
    let grants = Case::new(run).grants;
    let last = grants.iter().rfind(|grant| grant.kind == Kind::Queue)?;
    let other = grants.iter().find(|grant| grant.kind == Kind::Queue && grant.lease != last.lease)?.fence;
    Some(changed(run, last.op.completed, |entry| {
        if let Entry::Ok(Answer::Queue(answer)) = entry {
            answer.fence = other;
        }
    }))
}

/// A leader's key is put anew, with another session.
pub(super) fn passed_leadership(run: &Run) -> Option<Vec<Record>> {
    let mut records = run.records.clone();
    let changes = |record: &Record| match &record.entry {
        Entry::Fact(Fact::Revision(told)) => told.changes.clone(),
        _ => Vec::new(),
    };
    let leads = |change: &Change| change.key.contains("/leader/") && change.value.is_some();
    let leader = records.iter().flat_map(changes).find(leads)?;
    let told = records.iter_mut().filter_map(|record| match &mut record.entry {
        Entry::Fact(Fact::Revision(told)) if told.revision > leader.modified => Some(told),
        _ => None,
    });
    let next = told.min_by_key(|told| told.revision)?;
    let again = Change { lease: leader.lease + 1, modified: next.revision, ..leader };
    next.changes.retain(|change| change.key != again.key);
    next.changes.push(again);
    Some(records)
}

pub(super) fn overlapping_beliefs(run: &Run) -> Option<Vec<Record>> {
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

pub(super) fn deposed_write(run: &Run) -> Option<Vec<Record>> {
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

pub(super) fn heavier_permits(run: &Run) -> Option<Vec<Record>> {
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

pub(super) fn longer_promise(run: &Run) -> Option<Vec<Record>> {
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

pub(super) fn missed_vacancy(run: &Run) -> Option<Vec<Record>> {
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

/// Moves the end of a leadership that its session's end brought into the time in which the leader
/// believes in it.
pub(super) fn early_end_of_a_queue(run: &Run) -> Option<Vec<Record>> {
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
pub(super) fn second_leader_of_a_queue(run: &Run) -> Option<Vec<Record>> {
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
