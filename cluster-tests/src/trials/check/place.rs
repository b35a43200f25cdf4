//! Places in line and tenures, as the keys show them; grants, as clients were told of them; beliefs, as clients may hold them.
//!
//! | Kind | Who holds at a revision |
//! |---|---|
//! | lock and election of etcd | of the keys `name/…`, the one with the smallest create revision |
//! | conclave.v1 lock | every key `/_conclave/l/default/<name>/holder/<fence>` |
//! | queue election | the key `/_conclave/e/default/<name>/leader/<fence>` |
//! | claim | the key `/_conclave/c/default/<name>/tenure/<fence>` |
//!
//! A belief begins when the grant is received and ends when the release is sent, when the client says that it lets go, or when the lease
//! that it knows of has run out by its own clock: the last renewal that was acknowledged in time, counted from when it was sent.

use super::timeline::Timeline;
use crate::trials::history::{
    Answer, Api, Call, ClaimAnswer, ClaimCall, Disbelief, ElectionAnswer, ElectionCall, Event, LeaseAnswer, LeaseCall,
    LockAnswer, LockCall, Mode, Op, Process, QueueOp, Run,
};
use std::collections::{BTreeMap, HashMap};

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

/// A stretch of time in which a client holds itself for the holder.
#[derive(Clone, Debug)]
pub struct Belief<'a> {
    pub grant: &'a Grant<'a>,
    pub from: u64,
    pub until: u64,
    /// How it ended.
    pub why: &'static str,
}

/// Every life of every key with the prefix, by its beginning.
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
                (Some(_), None) => {
                    if let Some(mut place) = open.take() {
                        place.until = version.revision;
                        places.push(place);
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

/// The beliefs that follow from the grants, except of claims, whose promise is checked by itself.
#[must_use]
pub fn beliefs<'a>(run: &'a Run, grants: &'a [Grant<'a>]) -> Vec<Belief<'a>> {
    let renewals = renewals(run);
    let clocks = Clocks::new(run);
    let mut ended: BTreeMap<(&str, i64), (u64, &'static str)> = BTreeMap::new();
    let mut end = |name, fence, time, why| {
        let known = ended.entry((name, fence)).or_insert((time, why));
        if time < known.0 {
            *known = (time, why);
        }
    };
    for op in &run.ops {
        match &op.call {
            Call::Lock(LockCall::Release { lock, fence, .. }) => end(lock.as_str(), *fence, op.invoked, "released"),
            Call::Election(ElectionCall::Resign { election, fence, .. }) => {
                end(election.as_str(), *fence, op.invoked, "resigned");
            }
            _ => {}
        }
    }
    for streamed in run.events() {
        if let Event::Disbelief(Disbelief { name, fence, .. }) = streamed.event {
            end(name, *fence, streamed.time, "let go");
        }
    }
    let held = grants.iter().filter(|grant| !matches!(grant.kind, Kind::Claim | Kind::Queue));
    held.map(|grant| {
        let (mut until, mut why) = match renewals.get(&grant.lease) {
            Some(renewals) => (lapse(renewals, grant, &clocks, run.bounds.rate_error), "lease ran out"),
            None => (grant.op.returned, "lease unknown"),
        };
        if let Some((time, how)) = ended.get(&(grant.name, grant.fence))
            && *time < until
        {
            (until, why) = (*time, how);
        }
        Belief { grant, from: grant.op.returned, until, why }
    })
    .collect()
}

/// When the client that goes by these renewals no longer believes in its lease.
fn lapse(renewals: &[Renewal<'_>], grant: &Grant<'_>, clocks: &Clocks<'_>, rate_error: f64) -> u64 {
    let mut until = 0;
    for renewal in renewals {
        // One that came after the lease had run out, as the client sees it, does not bring the belief back.
        if renewal.received > until && renewal.received > grant.op.returned {
            break;
        }
        let span = (renewal.ttl_ms as f64 * 1e6 * (1.0 - rate_error)) as u64;
        let deadline = match renewal.clock_sent {
            Some(clock) => clocks.true_time(renewal.process, clock.saturating_add(span)),
            None => None,
        };
        until = until.max(deadline.unwrap_or(renewal.sent.saturating_add(span)));
    }
    until.max(grant.op.returned)
}

/// How far two readings of two clocks must be apart to tell their rates.
const APART: u64 = 200_000_000;

/// The readings of every process's own clock beside the host's.
struct Clocks<'a>(HashMap<&'a Process, Vec<(u64, u64)>>);

impl<'a> Clocks<'a> {
    fn new(run: &'a Run) -> Self {
        let mut readings: HashMap<_, Vec<_>> = HashMap::new();
        for record in &run.records {
            if let Some(clock) = record.clock {
                readings.entry(&record.process).or_default().push((clock, record.time));
            }
        }
        Self(readings)
    }

    /// When a process's own clock shows `clock`, by the two readings around it or the last two.
    fn true_time(&self, process: &Process, clock: u64) -> Option<u64> {
        let readings = self.0.get(process)?;
        let after = readings.partition_point(|(own, _)| *own < clock).clamp(1, readings.len().saturating_sub(1).max(1));
        let (next_own, next_time) = *readings.get(after)?;
        // Two readings near each other tell little of the rate.
        let apart = |(_, time): &&(u64, u64)| next_time.saturating_sub(*time) >= APART;
        let (own, time) = *readings[..after].iter().rev().find(apart).or(readings.first())?;
        let rate = (next_time - time) as f64 / (next_own.saturating_sub(own)).max(1) as f64;
        Some(time + ((clock.saturating_sub(own)) as f64 * rate) as u64)
    }
}
