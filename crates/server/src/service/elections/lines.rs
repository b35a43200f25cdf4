//! The lines that campaigns of this node stand in: each read once after a change, however many stand in it.
//!
//! 1. A line is kept while a campaign of this node is in it, and read anew by the first that wants a later one.
//! 2. Calls for the same candidacy are counted: it is given up by the last that goes.

use crate::node::Node;
use conclave_state::coord::read;
use conclave_state::{Fault, Name};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Lines(Mutex<BTreeMap<Name, Waiting>>);

#[derive(Default)]
struct Waiting {
    calls: HashMap<String, usize>,
    line: Option<Arc<Line>>,
}

/// A line at one point in time.
pub(super) struct Line {
    pub(super) revision: i64,
    pub(super) leader: Option<String>,
    places: HashMap<String, u64>,
}

impl Line {
    /// How many stand before a candidate that waits, the leader included.
    pub(super) fn before(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }
}

/// One call's part in a candidacy.
pub(super) struct Call {
    lines: Arc<Lines>,
    election: Name,
    candidate: String,
    ended: bool,
}

impl Lines {
    pub(super) fn call(self: &Arc<Lines>, election: &Name, candidate: &str) -> Call {
        let mut lines = self.0.lock();
        *lines.entry(election.clone()).or_default().calls.entry(candidate.to_owned()).or_default() += 1;
        drop(lines);
        Call { lines: self.clone(), election: election.clone(), candidate: candidate.to_owned(), ended: false }
    }
}

impl Call {
    /// The line at `revision` or later.
    pub(super) fn line(&self, node: &Node, revision: i64) -> Result<Arc<Line>, Fault> {
        let mut lines = self.lines.0.lock();
        let waiting = lines.entry(self.election.clone()).or_default();
        if let Some(line) = waiting.line.as_ref().filter(|line| line.revision >= revision) {
            return Ok(line.clone());
        }
        let line = Arc::new(read_line(node, &self.election)?);
        waiting.line = Some(line.clone());
        Ok(line)
    }

    /// Ends the call's part. Whether it was the last of this node for the candidacy.
    pub(super) fn end(&mut self) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        let mut lines = self.lines.0.lock();
        let Some(waiting) = lines.get_mut(&self.election) else { return false };
        let left = waiting.calls.get_mut(&self.candidate).map_or(0, |calls| {
            *calls -= 1;
            *calls
        });
        if left == 0 {
            waiting.calls.remove(&self.candidate);
        }
        if waiting.calls.is_empty() {
            lines.remove(&self.election);
        }
        left == 0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_line(node: &Node, election: &Name) -> Result<Line, Fault> {
    let (view, revision) = crate::coordination::snapshot(&node.state)?;
    let leader = read::election(&view, election)?.and_then(|state| state.term.leader);
    let first = u64::from(leader.is_some());
    let places = read::line(&view, election)?.into_iter().zip(first..).collect();
    Ok(Line { revision, leader, places })
}
