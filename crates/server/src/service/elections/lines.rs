//! The lines that campaigns of this node stand in, as far as they have to know them.
//!
//! Who leads is one row, read once after each change. The places in between are the whole line, and to tell them is an answer to each that
//! waits: with thousands in line, that is done in steps, not after each change.
//!
//! 1. A line is kept while a campaign of this node is in it, and read anew by the first that wants a later one, once in a [`step`].
//! 2. A change of leader is never older than what whoever asks has seen; a place may be, until the step is over.
//! 3. Calls for the same candidacy are counted: it is given up by the last that goes ([`Places`]). A candidacy is one party's: calls of two
//!    sessions under one candidate's id are counted apart, and neither gives up what the other entered.

use crate::node::Node;
use crate::waiters::places::{Asking, Places};
use bytes::Bytes;
use conclave_state::coord::{candidate_key, read};
use conclave_state::{Fault, LeaseId, Name};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Lines {
    waiting: Mutex<BTreeMap<Name, Waiting>>,
    candidacies: Places,
}

#[derive(Default)]
struct Waiting {
    calls: usize,
    lead: Option<Arc<Lead>>,
    line: Option<Arc<Line>>,
}

/// Who leads at one point in time.
pub(super) struct Lead {
    revision: i64,
    pub(super) leader: Option<String>,
}

/// A line at one point in time.
pub(super) struct Line {
    pub(super) revision: i64,
    /// When it may be read again.
    pub(super) until: Instant,
    places: HashMap<String, u64>,
}

/// How long a line of so many is not read again: telling each of its place takes about a twentieth of a processor then.
fn step(len: usize) -> Duration {
    const EACH: Duration = Duration::from_micros(200);
    const LONGEST: Duration = Duration::from_secs(2);
    EACH.saturating_mul(u32::try_from(len).unwrap_or(u32::MAX)).min(LONGEST)
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
    /// What it owes the election.
    pub(super) asking: Asking,
    ended: bool,
}

impl Lines {
    pub(super) fn call(self: &Arc<Lines>, election: &Name, candidate: &str, party: (LeaseId, &str)) -> Call {
        self.waiting.lock().entry(election.clone()).or_default().calls += 1;
        let asking = self.candidacies.ask(candidacy(election, candidate, party));
        Call { lines: self.clone(), election: election.clone(), asking, ended: false }
    }
}

/// What calls for one candidacy have in common.
fn candidacy(election: &Name, candidate: &str, (session, instance): (LeaseId, &str)) -> Bytes {
    let key = candidate_key(election, candidate);
    // No part of a projected key has this byte.
    [&key[..], b"\0", &session.to_be_bytes(), instance.as_bytes()].concat().into()
}

impl Call {
    /// Who leads at `revision` or later.
    pub(super) fn lead(&self, node: &Node, revision: i64) -> Result<Arc<Lead>, Fault> {
        let mut lines = self.lines.waiting.lock();
        let waiting = lines.entry(self.election.clone()).or_default();
        if let Some(lead) = waiting.lead.as_ref().filter(|lead| lead.revision >= revision) {
            return Ok(lead.clone());
        }
        let (view, at) = crate::coordination::snapshot(&node.state)?;
        let leader = read::election(&view, &self.election)?.and_then(|state| state.term.leader);
        let lead = Arc::new(Lead { revision: at, leader });
        waiting.lead = Some(lead.clone());
        Ok(lead)
    }

    /// The line at `revision` or later; an earlier one if it was read a moment ago.
    pub(super) fn line(&self, node: &Node, revision: i64) -> Result<Arc<Line>, Fault> {
        let now = Instant::now();
        let mut lines = self.lines.waiting.lock();
        let waiting = lines.entry(self.election.clone()).or_default();
        if let Some(line) = waiting.line.as_ref().filter(|line| line.revision >= revision || now < line.until) {
            return Ok(line.clone());
        }
        let line = Arc::new(read_line(node, &self.election, now)?);
        waiting.line = Some(line.clone());
        Ok(line)
    }

    /// Ends the call's part. Whether the candidacy is to be given up.
    pub(super) fn end(&mut self) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        let mut lines = self.lines.waiting.lock();
        if let Some(waiting) = lines.get_mut(&self.election) {
            waiting.calls -= 1;
            if waiting.calls == 0 {
                lines.remove(&self.election);
            }
        }
        drop(lines);
        self.asking.leave()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_line(node: &Node, election: &Name, now: Instant) -> Result<Line, Fault> {
    let (view, revision) = crate::coordination::snapshot(&node.state)?;
    let leader = read::election(&view, election)?.and_then(|state| state.term.leader);
    let first = u64::from(leader.is_some());
    let places: HashMap<String, u64> = read::line(&view, election)?.into_iter().zip(first..).collect();
    Ok(Line { revision, until: now + step(places.len()), places })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_two_sessions_under_one_id_are_counted_apart() {
        let election = Name { namespace: "n".into(), name: "e".into() };
        let lines = Arc::new(Lines::default());
        let call = |session, instance| lines.call(&election, "host-7", (session, instance));
        let (mut one, mut again, mut other) = (call(1, "1"), call(1, "1"), call(2, "2"));
        assert_eq!(one.asking.attempt(), again.asking.attempt());
        assert_ne!(one.asking.attempt(), other.asking.attempt());
        // The other one's doubt takes nothing from the calls that want to stay.
        other.asking.doubt();
        assert!(other.end() && !again.end() && !one.end());
        assert_ne!(candidacy(&election, "a", (1, "x")), candidacy(&election, "a", (1, "y")));
    }

    #[test]
    fn short_lines_are_told_at_once_and_long_ones_in_steps() {
        assert_eq!(step(0), Duration::ZERO);
        assert!(step(10) <= Duration::from_millis(2));
        assert!(step(5_000) >= Duration::from_millis(500));
        assert_eq!(step(usize::MAX), Duration::from_secs(2));
    }
}
