//! What a history says about each lease: acknowledged renewals, evidence that it is gone, and
//! whether anybody asked for its end.
//!
//! Evidence is a keep-alive or question answered with *gone*, and the deletion of a *sentinel*: a
//! key that was put with the lease and that no call deletes or rewrites. Keys of locks and
//! elections are no sentinels, since cancelling deletes them too.

use super::super::{
    case::Case,
    place::{Renewal, renewals},
};
use crate::history::{Answer, Call, KvCall, LeaseAnswer, LeaseCall, Outcome, TxnOp};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
pub(super) struct Lease<'a> {
    /// Acknowledged grants and renewals, by when they were sent.
    pub(super) renewals: Vec<Renewal<'a>>,
    /// The last moment at which a renewal of unknown outcome was under way, and its time to live is
    /// not known better.
    pub(super) doubtful: u64,
    /// When its end was first asked for.
    pub(super) revoked: Option<u64>,
    /// It is known to be gone: by when, how, and the records that say so; by time.
    pub(super) gone: Vec<(u64, String, usize)>,
    /// It has a sentinel that was acknowledged.
    pub(super) watched: bool,
}

pub(super) fn leases<'a>(case: &Case<'a>) -> BTreeMap<i64, Lease<'a>> {
    let mut found: BTreeMap<i64, Lease<'_>> = BTreeMap::new();
    for (lease, renewals) in renewals(case.run) {
        found.entry(lease).or_default().renewals = renewals;
    }
    for op in &case.run.ops {
        match (&op.call, &op.outcome) {
            (Call::Lease(LeaseCall::Revoke { lease }), outcome) if !matches!(outcome, Outcome::Fail(_)) => {
                let lease = found.entry(*lease).or_default();
                lease.revoked = Some(lease.revoked.map_or(op.invoked, |known| known.min(op.invoked)));
            }
            (Call::Lease(LeaseCall::Keepalive { lease } | LeaseCall::TimeToLive { lease }), outcome) => {
                let how = match outcome {
                    Outcome::Ok(Answer::Lease(LeaseAnswer::Kept { ttl_ms: 0, .. })) => {
                        "a keep-alive answered that it is gone"
                    }
                    Outcome::Ok(Answer::Lease(LeaseAnswer::Remains { remaining_ms, .. })) if *remaining_ms < 0 => {
                        "asked for its time to live, the server answered that it is gone"
                    }
                    Outcome::Fail(failure) if failure.code.eq_ignore_ascii_case("NotFound") => "it was not found",
                    Outcome::Unknown(_) if matches!(op.call, Call::Lease(LeaseCall::Keepalive { .. })) => {
                        let lease = found.entry(*lease).or_default();
                        lease.doubtful = lease.doubtful.max(case.run.records[op.completed].time);
                        continue;
                    }
                    _ => continue,
                };
                found.entry(*lease).or_default().gone.push((op.returned, how.into(), op.completed));
            }
            _ => {}
        }
    }
    for (key, lease) in sentinels(case) {
        let Some(lease) = found.get_mut(&lease) else { continue };
        lease.watched = true;
        let deleted = case.timeline.keys.get(key).into_iter().flatten().find(|version| version.value.is_none());
        let Some((time, index)) = deleted.and_then(|version| case.timeline.seen(version.revision)) else { continue };
        lease.gone.push((time, format!("its key {key} was seen deleted"), index));
    }
    for lease in found.values_mut() {
        lease.gone.sort_by_key(|(time, ..)| *time);
    }
    found
}

/// Keys that only the end of their lease deletes.
fn sentinels<'a>(case: &Case<'a>) -> HashMap<&'a str, i64> {
    let (mut puts, mut others): (HashMap<&str, (i64, usize)>, Vec<&str>) = (HashMap::new(), Vec::new());
    for op in &case.run.ops {
        match &op.call {
            Call::Kv(KvCall::Put { key, lease, .. } | KvCall::Cas { key, lease, .. }) => {
                let put = puts.entry(key).or_insert((*lease, 0));
                put.1 += 1;
                if *lease == 0 || op.answer().is_none() {
                    others.push(key);
                }
            }
            Call::Kv(KvCall::Delete { key, .. }) => others.push(key),
            Call::Kv(KvCall::Txn { then, otherwise, .. }) => {
                others.extend(then.iter().chain(otherwise).filter_map(|step| match step {
                    TxnOp::Put { key, .. } | TxnOp::Delete { key } => Some(key.as_str()),
                    TxnOp::Get { .. } => None,
                }));
            }
            _ => {}
        }
    }
    for key in others {
        puts.remove(key);
    }
    puts.into_iter().filter(|(_, (_, count))| *count == 1).map(|(key, (lease, _))| (key, lease)).collect()
}
