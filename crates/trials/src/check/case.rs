//! A run with what several checkers need of it, worked out once.

use super::{
    place::{Grant, grants},
    timeline::Timeline,
    verdict::{Flaw, unknown},
};
use crate::history::{Fact, NEVER, Run};

/// What is judged.
#[derive(Debug)]
pub struct Case<'a> {
    pub run: &'a Run,
    pub timeline: Timeline<'a>,
    pub grants: Vec<Grant<'a>>,
    /// When the run began.
    pub began: u64,
    /// When its last record was written.
    pub ended: u64,
    /// Times at which servers were disturbed: faults, and changes of leader; by beginning.
    disturbed: Vec<(u64, u64)>,
    /// The same with faults of clients.
    all_disturbed: Vec<(u64, u64)>,
}

impl<'a> Case<'a> {
    #[must_use]
    pub fn new(run: &'a Run) -> Self {
        let timeline = Timeline::new(run);
        let grants = grants(run, &timeline);
        let (began, ended) = run.span();
        let mut all_disturbed: Vec<_> = run.broken().iter().map(|(from, until, _)| (*from, *until)).collect();
        let servers = run.broken().into_iter().filter(|(_, _, fault)| !fault.fault.starts_with("client-"));
        let mut disturbed: Vec<_> = servers.map(|(from, until, _)| (from, until)).collect();
        let mut term = 0;
        for (record, fact) in run.facts() {
            if let Fact::Leader(leader) = fact
                && leader.term > term
            {
                term = leader.term;
                disturbed.push((record.time, record.time));
                all_disturbed.push((record.time, record.time));
            }
        }
        disturbed.sort_unstable();
        all_disturbed.sort_unstable();
        Self { run, timeline, grants, began, ended, disturbed, all_disturbed }
    }

    /// The moment by which something is due that takes `span` from `from` on, begun anew after each
    /// disturbance of the servers.
    #[must_use]
    pub fn due(&self, from: u64, span: u64) -> u64 {
        due(&self.disturbed, from, span)
    }

    /// The same, where disturbances of clients excuse as well.
    #[must_use]
    pub fn due_for_clients(&self, from: u64, span: u64) -> u64 {
        due(&self.all_disturbed, from, span)
    }

    /// The same, where faults excuse and changes of leader do not.
    #[must_use]
    pub(super) fn due_after_faults(&self, from: u64, span: u64) -> u64 {
        let broken: Vec<_> = self.run.broken().iter().map(|(from, until, _)| (*from, *until)).collect();
        due(&broken, from, span)
    }

    /// Whether nothing disturbed the servers in all this time.
    pub(super) fn is_calm(&self, from: u64, until: u64) -> bool {
        !self.disturbed.iter().any(|(began, ended)| *began <= until && *ended >= from)
    }

    /// Fails as unknown if there is no truth to compare with.
    pub(super) fn truth(&self) -> Result<&Timeline<'a>, Flaw> {
        if self.timeline.revisions.is_empty() {
            return unknown("no source tells what the revisions changed");
        }
        if let Some(revision) = self.timeline.gap {
            return unknown(format!("no source tells what revision {revision} changed"));
        }
        Ok(&self.timeline)
    }

    /// A promise of `millis`, shortened by what two clocks may differ.
    pub(super) fn at_least(&self, millis: u64) -> u64 {
        let promised = millis as f64 * 1e6 * (1.0 - self.run.bounds.rate_error);
        (promised as u64).saturating_sub(self.run.bounds.uncertainty)
    }
}

fn due(disturbed: &[(u64, u64)], from: u64, span: u64) -> u64 {
    let mut due = from.saturating_add(span);
    for (began, ended) in disturbed {
        if *began <= due && *ended >= from {
            due = due.max(if *ended == NEVER { NEVER } else { ended.saturating_add(span) });
        }
    }
    due
}
