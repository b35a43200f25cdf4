//! Places in line and tenures, as the keys show them; grants, as clients were told of them;
//! renewals of leases that were acknowledged.
//!
//! | Kind | Who holds at a revision |
//! |---|---|
//! | lock and election of etcd | of the keys `name/…`, the one with the smallest create revision |
//! | conclave.v1 lock | every key `/_conclave/l/default/<name>/holder/<fence>` |
//! | queue election | the key `/_conclave/e/default/<name>/leader/<fence>` |
//! | claim | the key `/_conclave/c/default/<name>/tenure/<fence>` |

use super::timeline::{Timeline, Version};
use crate::history::{
    Answer, Api, Call, ClaimAnswer, ClaimCall, ElectionAnswer, ElectionCall, LeaseAnswer, LeaseCall, LockAnswer,
    LockCall, Mode, Op, Process, QueueOp, Run,
};
use std::collections::HashMap;

/// One life of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub key: &'a str,
    /// The hexadecimal end of a projected key, else the create revision.
    pub fence: i64,
    pub lease: i64,
    pub from: i64,
    /// The revision that deleted it.
    pub until: i64,
}

impl Place<'_> {
    #[must_use]
    pub fn stands_at(&self, revision: i64) -> bool {
        self.from <= revision && revision < self.until
    }
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    EtcdLock,
    EtcdElection,
    Lock,
    Queue,
    Claim,
}

/// A tenure that a client was told of.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    pub op: &'a Op,
    pub kind: Kind,
    pub name: &'a str,
    pub mode: Mode,
    /// As told, or the create revision of `key` where it was not; 0: neither.
    pub fence: i64,
    /// The header's.
    pub revision: i64,
    /// What proves the tenure.
    pub key: String,
    /// 0: it depends on none.
    pub lease: i64,
}

/// Every life of every key with the prefix, by its beginning. A projected key that passes to
/// another session, as a candidate's does when it is taken over, begins another life.
#[must_use]
pub fn places<'a>(timeline: &Timeline<'a>, prefix: &str) -> Vec<Place<'a>> {
    let mut places = Vec::new();
    for (key, versions) in timeline.versions_under(prefix) {
        let mut open: Option<Place<'a>> = None;
        for version in versions {
            match (&mut open, version.value) {
                (None, Some(_)) => {
                    let fence = projected_fence(key).unwrap_or(version.revision);
                    let (from, until) = (version.revision, i64::MAX);
                    open = Some(Place { key, fence, lease: version.lease, from, until });
                }
                (Some(place), value) if value.is_none() || passes(place, version) => {
                    let fence = place.fence;
                    place.until = version.revision;
                    places.extend(open.take());
                    if value.is_some() {
                        let (from, until) = (version.revision, i64::MAX);
                        open = Some(Place { key, fence, lease: version.lease, from, until });
                    }
                }
                _ => {}
            }
        }
        places.extend(open);
    }
    places.sort_by_key(|place| (place.from, place.fence));
    places
}

fn passes(place: &Place<'_>, version: &Version<'_>) -> bool {
    place.key.starts_with("/_conclave/") && place.lease != version.lease
}

fn projected_fence(key: &str) -> Option<i64> {
    let tail = key.strip_prefix("/_conclave/")?.rsplit('/').next()?;
    if tail.len() == 16 { i64::from_str_radix(tail, 16).ok() } else { None }
}

/// The prefix of the keys that stand in line or hold, of a name.
#[must_use]
pub fn holders(kind: Kind, name: &str) -> String {
    match kind {
        Kind::EtcdLock | Kind::EtcdElection => format!("{name}/"),
        Kind::Lock => format!("/_conclave/l/default/{name}/holder/"),
        Kind::Queue => format!("/_conclave/e/default/{name}/leader/"),
        Kind::Claim => format!("/_conclave/c/default/{name}/tenure/"),
    }
}

/// Who stands first among etcd's keys at a revision.
#[must_use]
pub fn owner<'p, 'a>(places: &'p [Place<'a>], revision: i64) -> Option<&'p Place<'a>> {
    places.iter().filter(|place| place.stands_at(revision)).min_by_key(|place| place.from)
}

/// Everything that clients were told they hold, by when they were told.
#[must_use]
pub fn grants<'a>(run: &'a Run, timeline: &Timeline<'a>) -> Vec<Grant<'a>> {
    let mut found: Vec<Grant<'a>> = run.ops.iter().filter_map(|op| grant(op, timeline)).collect();
    found.sort_by_key(|grant| grant.op.returned);
    found
}

fn grant<'a>(op: &'a Op, timeline: &Timeline<'a>) -> Option<Grant<'a>> {
    let projected = |kind, name: &str, fence: i64| format!("{}{fence:016x}", holders(kind, name));
    let (kind, name, mode, fence, revision, key, lease) = match (&op.call, op.answer()?) {
        (
            Call::Lock(LockCall::Acquire { lock, lease, api, mode, .. }),
            Answer::Lock(LockAnswer::Granted { revision, fence, key, .. }),
        ) => {
            let kind = if *api == Api::Etcd { Kind::EtcdLock } else { Kind::Lock };
            let key = match api {
                Api::Etcd if key.is_empty() => format!("{lock}/{lease:x}"),
                Api::Etcd => key.clone(),
                Api::Conclave => projected(kind, lock, *fence),
            };
            (kind, lock.as_str(), *mode, *fence, *revision, key, *lease)
        }
        (
            Call::Election(ElectionCall::Campaign { election, lease, .. }),
            Answer::Election(ElectionAnswer::Won { revision, key, fence }),
        ) => (Kind::EtcdElection, election.as_str(), Mode::Exclusive, *fence, *revision, key.clone(), *lease),
        (Call::Queue(call), Answer::Queue(answer)) if answer.fence > 0 => {
            let (QueueOp::Enter { session, .. } | QueueOp::Campaign { session, .. }) = &call.what else { return None };
            let key = projected(Kind::Queue, &call.election, answer.fence);
            (Kind::Queue, call.election.as_str(), Mode::Exclusive, answer.fence, answer.revision, key, *session)
        }
        (
            Call::Claim(ClaimCall::Claim { claim, .. }),
            Answer::Claim(ClaimAnswer::Taken { revision, fence, .. } | ClaimAnswer::Extended { revision, fence, .. }),
        ) => {
            let key = projected(Kind::Claim, claim, *fence);
            (Kind::Claim, claim.as_str(), Mode::Exclusive, *fence, *revision, key, 0)
        }
        _ => return None,
    };
    let fence = if fence == 0 { last_create(timeline, &key, revision) } else { fence };
    Some(Grant { op, kind, name, mode, fence, revision, key, lease })
}

/// The create revision of the key's newest life up to a revision.
fn last_create(timeline: &Timeline<'_>, key: &str, revision: i64) -> i64 {
    let versions = timeline.keys.get(key).map_or(&[][..], Vec::as_slice);
    let upto = versions.partition_point(|version| version.revision <= revision);
    versions[..upto].iter().rev().find(|version| version.value.is_some()).map_or(0, |version| version.create)
}

/// A renewal or grant of a lease that was acknowledged: sent, received, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal<'a> {
    pub process: &'a Process,
    pub sent: u64,
    pub received: u64,
    pub clock_sent: Option<u64>,
    pub ttl_ms: u64,
    pub index: usize,
}

/// Acknowledged grants and renewals of each lease, by when they were sent.
#[must_use]
pub(super) fn renewals(run: &Run) -> HashMap<i64, Vec<Renewal<'_>>> {
    let mut found: HashMap<i64, Vec<Renewal<'_>>> = HashMap::new();
    for op in &run.ops {
        let (lease, ttl_ms) = match (&op.call, op.answer()) {
            (
                Call::Lease(LeaseCall::Grant { .. } | LeaseCall::Keepalive { .. }),
                Some(Answer::Lease(
                    LeaseAnswer::Granted { lease, ttl_ms, .. } | LeaseAnswer::Kept { lease, ttl_ms, .. },
                )),
            ) if *ttl_ms > 0 => (*lease, *ttl_ms),
            _ => continue,
        };
        let (sent, received, index) = (op.invoked, op.returned, op.completed);
        let renewal = Renewal { process: &op.process, sent, received, clock_sent: op.clock_invoked, ttl_ms, index };
        found.entry(lease).or_default().push(renewal);
    }
    for renewals in found.values_mut() {
        renewals.sort_by_key(|renewal| renewal.sent);
    }
    found
}
