//! The orders of elections that campaigns of this node wait in, read once for all of them.
//!
//! The leader is one row, read once after each change. The positions of those who wait need the
//! whole order, and telling them is an answer to each. With thousands of candidates that is done in
//! steps, not after each change.
//!
//! 1. An order is kept while a campaign of this node waits in it. The first campaign that needs a
//!    later one reads it again, at most once in a [`step`].
//! 2. An order of more than [`LONG`] is read beside the event loop. Until it is there, campaigns go
//!    by the one before, or know no position.
//! 3. The leader that a campaign is told is never older than the revision it asks for. Its position
//!    may be, until the step is over.

use super::state::{Order, State};
use conclave_state::{Fault, Name};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Lines {
    waiting: Mutex<BTreeMap<Name, Waiting>>,
}

#[derive(Default)]
struct Waiting {
    calls: usize,
    lead: Option<Arc<Lead>>,
    line: Option<Arc<Line>>,
    /// The order is being read beside the event loop.
    reading: bool,
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
    places: Arc<HashMap<String, u64>>,
}

/// How long a line of so many is not read again: telling each of its place takes about a twentieth
/// of a processor then.
fn step(len: usize) -> Duration {
    const EACH: Duration = Duration::from_micros(200);
    const LONGEST: Duration = Duration::from_secs(2);
    EACH.saturating_mul(u32::try_from(len).unwrap_or(u32::MAX)).min(LONGEST)
}

impl Line {
    fn of(order: Order, now: Instant) -> Line {
        let first = u64::from(order.leader.is_some());
        let places: HashMap<String, u64> = order.waiting.into_iter().zip(first..).collect();
        Line { revision: order.revision, until: now + step(places.len()), places: Arc::new(places) }
    }

    /// How many stand before a candidate that waits, the leader included.
    pub(super) fn before(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }
}

/// From here on an order is read beside the event loop.
const LONG: usize = 1_000;

/// How long a call waits for an order that is being read.
const A_MOMENT: Duration = Duration::from_millis(100);

/// One call that waits in an election.
pub(super) struct Call {
    lines: Arc<Lines>,
    state: Arc<dyn State>,
    election: Name,
}

impl Lines {
    pub(super) fn call(self: &Arc<Lines>, state: Arc<dyn State>, election: &Name) -> Call {
        self.waiting.lock().entry(election.clone()).or_default().calls += 1;
        Call { lines: self.clone(), state, election: election.clone() }
    }

    /// An order was read beside the event loop. A failure comes to light when the next call reads.
    fn read(&self, election: &Name, order: Option<Result<Order, Fault>>) {
        let line = order.and_then(Result::ok).map(|order| Arc::new(Line::of(order, Instant::now())));
        if let Some(waiting) = self.waiting.lock().get_mut(election) {
            waiting.reading = false;
            waiting.line = line.or(waiting.line.take());
        }
    }
}

impl Call {
    /// Who leads at `revision` or later.
    pub(super) fn lead(&self, revision: i64) -> Result<Arc<Lead>, Fault> {
        let mut lines = self.lines.waiting.lock();
        let waiting = lines.entry(self.election.clone()).or_default();
        if let Some(lead) = waiting.lead.as_ref().filter(|lead| lead.revision >= revision) {
            return Ok(lead.clone());
        }
        let (leader, revision) = self.state.leader(&self.election)?;
        let lead = Arc::new(Lead { revision, leader });
        waiting.lead = Some(lead.clone());
        Ok(lead)
    }

    /// The line at `revision` or later; an earlier one if it was read a moment ago.
    pub(super) fn line(&self, revision: i64) -> Result<Arc<Line>, Fault> {
        let now = Instant::now();
        let mut lines = self.lines.waiting.lock();
        let waiting = lines.entry(self.election.clone()).or_default();
        if let Some(line) = waiting.line.as_ref().filter(|line| line.revision >= revision || now < line.until) {
            return Ok(line.clone());
        }
        let reads = if waiting.reading { None } else { Some(self.state.order(&self.election, LONG)?) };
        if let Some(Some(order)) = reads {
            let line = Arc::new(Line::of(order, now));
            waiting.line = Some(line.clone());
            return Ok(line);
        }
        let begins = !std::mem::replace(&mut waiting.reading, true);
        let places = waiting.line.as_ref().map(|line| line.places.clone()).unwrap_or_default();
        drop(lines);
        if begins {
            let (lines, election) = (self.lines.clone(), self.election.clone());
            self.state.order_later(&self.election, Box::new(move |order| lines.read(&election, order)));
        }
        Ok(Arc::new(Line { revision: 0, until: now + A_MOMENT, places }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut lines = self.lines.waiting.lock();
        if let Some(waiting) = lines.get_mut(&self.election) {
            waiting.calls -= 1;
            if waiting.calls == 0 {
                lines.remove(&self.election);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An election with so many, whose order is read when the test says so.
    struct Long {
        len: usize,
        later: Mutex<Vec<super::super::state::Then>>,
    }

    impl Long {
        fn all(&self) -> Order {
            let waiting = (0..self.len).map(|number| format!("c{number}")).collect();
            Order { leader: Some("leader".into()), waiting, revision: 7 }
        }
    }

    impl State for Long {
        fn candidate(&self, _: &Name, _: &str) -> Result<super::super::state::Seen, Fault> {
            unreachable!("nobody asks")
        }

        fn leader(&self, _: &Name) -> Result<(Option<String>, i64), Fault> {
            unreachable!("nobody asks")
        }

        fn order(&self, _: &Name, most: usize) -> Result<Option<Order>, Fault> {
            Ok((self.len <= most).then(|| self.all()))
        }

        fn order_later(&self, _: &Name, then: super::super::state::Then) {
            self.later.lock().push(then);
        }

        fn session_lives(&self, _: i64) -> Result<bool, Fault> {
            unreachable!("nobody asks")
        }

        fn header(&self, _: i64) -> conclave_api::etcdserverpb::ResponseHeader {
            unreachable!("nobody asks")
        }
    }

    #[tokio::test]
    async fn a_long_line_is_read_beside_the_event_loop_once_for_all() {
        let election = Name { namespace: "n".into(), name: "x".into() };
        let short = Arc::new(Long { len: LONG, later: Mutex::default() });
        let line = Arc::<Lines>::default().call(short.clone(), &election).line(7).unwrap();
        assert_eq!((line.revision, line.before("c9"), short.later.lock().len()), (7, Some(10), 0));

        let long = Arc::new(Long { len: LONG + 1, later: Mutex::default() });
        let lines = Arc::<Lines>::default();
        let calls: Vec<Call> = (0..100).map(|_| lines.call(long.clone(), &election)).collect();
        for call in &calls {
            let line = call.line(7).unwrap();
            assert_eq!((line.revision, line.before("c9")), (0, None), "it is not known yet");
        }
        let then: Vec<_> = std::mem::take(&mut *long.later.lock());
        assert_eq!(then.len(), 1, "one reads for all");
        then.into_iter().for_each(|then| then(Some(Ok(long.all()))));
        for call in &calls {
            let line = call.line(7).unwrap();
            assert_eq!((line.revision, line.before("c9")), (7, Some(10)));
        }
        assert!(long.later.lock().is_empty());
    }

    #[test]
    fn short_lines_are_told_at_once_and_long_ones_in_steps() {
        assert_eq!(step(0), Duration::ZERO);
        assert!(step(10) <= Duration::from_millis(2));
        assert!(step(5_000) >= Duration::from_millis(500));
        assert_eq!(step(usize::MAX), Duration::from_secs(2));
    }
}
