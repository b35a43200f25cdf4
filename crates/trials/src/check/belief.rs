//! When clients hold themselves for the holder, and how long what they were granted really lasted.
//!
//! A belief begins when the grant is received. It ends
//!
//! 1. when the lease that the client knows of has run out by its own clock: the last renewal that
//!    was acknowledged in time, counted from when it was sent;
//! 2. or, if that is earlier, when the client lets go: it sends the release, gives its lease back,
//!    or says that it no longer believes;
//! 3. or, in a queue election, when somebody asked for a change that may have deposed it. Who is
//!    deposed on purpose is not told before the next one leads, and is not promised to be; only an
//!    end that nobody asked for must be known to the leader first.

use super::{
    case::Case,
    place::{Grant, Kind, Place, Renewal, holders, places, renewals},
};
use crate::history::{
    Answer, Call, Disbelief, ElectionCall, Event, LeaseCall, LockCall, Op, Outcome, Process, QueueOp, Run,
};
use std::collections::{BTreeMap, HashMap};

/// A stretch of time in which a client holds itself for the holder.
#[derive(Clone, Debug)]
pub struct Belief<'a> {
    pub grant: &'a Grant<'a>,
    /// What it was granted, as the keys show it; absent where they do not.
    pub tenure: Option<Place<'a>>,
    pub from: u64,
    pub until: u64,
    /// How it ended.
    pub why: &'static str,
}

/// The beliefs that follow from the grants, except of claims, whose promise is checked by itself.
#[must_use]
pub fn beliefs<'c>(case: &'c Case<'_>) -> Vec<Belief<'c>> {
    let run = case.run;
    let (renewals, clocks, ends) = (renewals(run), Clocks::new(run), Ends::new(run));
    let mut lines: HashMap<(Kind, &str), Vec<Place<'c>>> = HashMap::new();
    let changes: Vec<(&str, &QueueOp, &Op)> = run
        .ops
        .iter()
        .filter_map(|op| match &op.call {
            Call::Queue(call) => Some((call.election.as_str(), &call.what, op)),
            _ => None,
        })
        .collect();
    let held = case.grants.iter().filter(|grant| grant.kind != Kind::Claim);
    held.map(|grant| {
        let line = lines
            .entry((grant.kind, grant.name))
            .or_insert_with(|| places(&case.timeline, &holders(grant.kind, grant.name)));
        let tenure = line.iter().find(|place| place.key == grant.key && place.fence == grant.fence).cloned();
        let (mut until, mut why) = match renewals.get(&grant.lease) {
            Some(renewals) => (lapse(renewals, grant, &clocks, run.bounds.rate_error), "lease ran out"),
            None => (grant.op.returned, "lease unknown"),
        };
        let let_go = [ends.of_tenures.get(&(grant.name, grant.fence)), ends.of_leases.get(&grant.lease)];
        let deposed =
            tenure.as_ref().and_then(|tenure| deposed(case, &changes, grant, tenure)).map(|time| (time, "deposed"));
        for (time, how) in let_go.into_iter().flatten().copied().chain(deposed) {
            if time < until {
                (until, why) = (time, how);
            }
        }
        Belief { grant, tenure, from: grant.op.returned, until, why }
    })
    .collect()
}

type End = (u64, &'static str);

/// When clients let go by themselves.
struct Ends<'a> {
    of_tenures: BTreeMap<(&'a str, i64), End>,
    of_leases: HashMap<i64, End>,
}

impl<'a> Ends<'a> {
    fn new(run: &'a Run) -> Self {
        let mut ends = Self { of_tenures: BTreeMap::new(), of_leases: HashMap::new() };
        let earlier = |known: &mut End, end: End| *known = if end.0 < known.0 { end } else { *known };
        for op in &run.ops {
            let (tenure, how) = match &op.call {
                Call::Lock(LockCall::Release { lock, fence, .. }) => ((lock.as_str(), *fence), "released"),
                Call::Election(ElectionCall::Resign { election, fence, .. }) => {
                    ((election.as_str(), *fence), "resigned")
                }
                Call::Lease(LeaseCall::Revoke { lease }) => {
                    let end = (op.invoked, "lease given back");
                    earlier(ends.of_leases.entry(*lease).or_insert(end), end);
                    continue;
                }
                _ => continue,
            };
            let end = (op.invoked, how);
            earlier(ends.of_tenures.entry(tenure).or_insert(end), end);
        }
        for streamed in run.events() {
            if let Event::Disbelief(Disbelief { name, fence, .. }) = streamed.event {
                let end = (streamed.time, "let go");
                earlier(ends.of_tenures.entry((name, *fence)).or_insert(end), end);
            }
        }
        ends
    }
}

/// When the first change was asked for that may have ended a leadership of a queue election before
/// its session did.
fn deposed(case: &Case<'_>, changes: &[(&str, &QueueOp, &Op)], grant: &Grant<'_>, tenure: &Place<'_>) -> Option<u64> {
    if grant.kind != Kind::Queue {
        return None;
    }
    let (seen, _) = case.timeline.seen(tenure.until)?;
    let may_be_it = |op: &Op| {
        op.invoked <= seen
            && match &op.outcome {
                Outcome::Ok(Answer::Queue(answer)) => answer.revision >= tenure.until,
                Outcome::Ok(_) | Outcome::Fail(_) => false,
                Outcome::Unknown(_) => true,
            }
    };
    let asked =
        changes.iter().filter(|(election, what, op)| *election == grant.name && deposes(what, grant) && may_be_it(op));
    asked.map(|(.., op)| op.invoked).min()
}

/// Whether a change may depose who was granted the lead.
fn deposes(what: &QueueOp, grant: &Grant<'_>) -> bool {
    let me = candidate(grant.op);
    let of_me = |candidate: &String| Some(candidate.as_str()) == me;
    match what {
        QueueOp::Leave { candidate } | QueueOp::Demote { candidate, .. } | QueueOp::Evict { candidate } => {
            of_me(candidate)
        }
        QueueOp::Enter { candidate, takeover, preempt, session, .. } => {
            *preempt || (of_me(candidate) && *takeover && *session != grant.lease)
        }
        // Whether it takes over is not written.
        QueueOp::Campaign { candidate, session } => of_me(candidate) && *session != grant.lease,
        QueueOp::Anoint { .. }
        | QueueOp::Promote { .. }
        | QueueOp::Transfer { .. }
        | QueueOp::RequestTransfer { .. }
        | QueueOp::Delete => true,
        QueueOp::Proclaim { .. } | QueueOp::Term | QueueOp::Watch { .. } => false,
    }
}

fn candidate(op: &Op) -> Option<&str> {
    match &op.call {
        Call::Queue(call) => match &call.what {
            QueueOp::Enter { candidate, .. } | QueueOp::Campaign { candidate, .. } => Some(candidate),
            _ => None,
        },
        _ => None,
    }
}

/// When the client that goes by these renewals no longer believes in its lease.
fn lapse(renewals: &[Renewal<'_>], grant: &Grant<'_>, clocks: &Clocks<'_>, rate_error: f64) -> u64 {
    let mut until = 0;
    for renewal in renewals {
        // One that came after the lease had run out, as the client sees it, does not bring the
        // belief back.
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
