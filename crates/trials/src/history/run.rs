//! A merged history with its calls and completions paired.
//!
//! 1. Records stand in order of time; a record's index is its place.
//! 2. Every invoke is one [`Op`]; without completion it is unknown and returns
//!    [`NEVER`](super::NEVER), as an `info` does.

use super::{Answer, Bounds, Call, Entry, Event, Fact, Failure, FaultEvent, NEVER, Process, Record, Stage};
use std::collections::{BTreeMap, HashMap};

/// A call and what became of it.
#[derive(Clone, Debug)]
pub struct Op {
    pub process: Process,
    pub node: Option<u32>,
    pub call: Call,
    pub outcome: Outcome,
    /// Host time.
    pub invoked: u64,
    /// Host time; [`NEVER`](super::NEVER) where the outcome is unknown.
    pub returned: u64,
    /// The process's own clock, where it was written.
    pub clock_invoked: Option<u64>,
    /// Places of the two records; the second is the first's where there is none.
    pub index: usize,
    pub completed: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Ok(Answer),
    Fail(Failure),
    Unknown(Failure),
}

impl Op {
    /// The answer, if there is one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        if let Outcome::Ok(answer) = &self.outcome { Some(answer) } else { None }
    }
}

/// A stream's event with its circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Streamed<'a> {
    pub event: &'a Event,
    pub process: &'a Process,
    pub node: Option<u32>,
    pub time: u64,
    pub index: usize,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub records: Vec<Record>,
    pub ops: Vec<Op>,
    pub bounds: Bounds,
}

impl Run {
    /// Orders and pairs. Completions that answer nothing are left out of `ops`.
    #[must_use]
    pub fn new(mut records: Vec<Record>) -> Self {
        records.sort_by_key(|record| record.time);
        let mut run = Self::default();
        let mut open: HashMap<Process, usize> = HashMap::new();
        for (index, record) in records.iter_mut().enumerate() {
            record.index = index as u64;
            match &record.entry {
                Entry::Invoke(call) => {
                    open.insert(record.process.clone(), run.ops.len());
                    run.ops.push(Op {
                        process: record.process.clone(),
                        node: record.node,
                        call: call.clone(),
                        outcome: Outcome::Unknown(Failure { code: String::new(), error: "never completed".into() }),
                        invoked: record.time,
                        returned: NEVER,
                        clock_invoked: record.clock,
                        index,
                        completed: index,
                    });
                }
                Entry::Ok(_) | Entry::Fail(_) | Entry::Info(_) => {
                    let Some(at) = open.remove(&record.process) else { continue };
                    let op = &mut run.ops[at];
                    op.completed = index;
                    (op.outcome, op.returned) = match &record.entry {
                        Entry::Ok(answer) => (Outcome::Ok(answer.clone()), record.time),
                        Entry::Fail(failure) => (Outcome::Fail(failure.clone()), record.time),
                        Entry::Info(failure) => (Outcome::Unknown(failure.clone()), NEVER),
                        _ => unreachable!("matched above"),
                    };
                }
                Entry::Fact(Fact::Bounds(bounds)) => run.bounds = bounds.clone(),
                _ => {}
            }
        }
        run.records = records;
        run
    }

    /// Everything that came on streams, in order.
    pub fn events(&self) -> impl Iterator<Item = Streamed<'_>> {
        self.records.iter().enumerate().filter_map(|(index, record)| match &record.entry {
            Entry::Event(event) => {
                Some(Streamed { event, process: &record.process, node: record.node, time: record.time, index })
            }
            _ => None,
        })
    }

    /// Everything the harness found out, in order.
    pub fn facts(&self) -> impl Iterator<Item = (&Record, &Fact)> {
        self.records.iter().filter_map(|record| match &record.entry {
            Entry::Fact(fact) => Some((record, fact)),
            _ => None,
        })
    }

    pub fn faults(&self) -> impl Iterator<Item = (&Record, &FaultEvent)> {
        self.records.iter().filter_map(|record| match &record.entry {
            Entry::Fault(fault) => Some((record, fault)),
            _ => None,
        })
    }

    /// When something was broken: from the installation of each fault to its healing, or the end.
    #[must_use]
    pub fn broken(&self) -> Vec<(u64, u64, &FaultEvent)> {
        let mut open: BTreeMap<u64, (u64, &FaultEvent)> = BTreeMap::new();
        let mut windows = Vec::new();
        for (record, fault) in self.faults() {
            match fault.stage {
                Stage::Installed => {
                    open.insert(fault.id, (record.time, fault));
                }
                Stage::Healed => {
                    if let Some((from, fault)) = open.remove(&fault.id) {
                        windows.push((from, record.time, fault));
                    }
                }
                Stage::Evidence | Stage::Skipped => {}
            }
        }
        windows.extend(open.into_values().map(|(from, fault)| (from, NEVER, fault)));
        windows.sort_by_key(|(from, until, _)| (*from, *until));
        windows
    }

    /// When the phase began.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<u64> {
        self.facts().find_map(|(record, fact)| match fact {
            Fact::Phase(phase) if phase == name => Some(record.time),
            _ => None,
        })
    }

    /// The first and the last moment.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let times = || self.records.iter().map(|record| record.time).filter(|time| *time > 0);
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    }
}
