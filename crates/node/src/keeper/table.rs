//! What has a deadline (leases, or timers) and, while this member leads, when each is due. Pure:
//! time comes in as an argument.
//!
//! Data: `lives` holds id → full span on every member, fed by apply, so that a new leader need not
//! read the store. While it leads, `queue` is a heap of moments at which a life must be looked at.
//! A renewal only moves the life's own deadline; the entry in the heap is corrected when its moment
//! comes. So a renewal costs one hash lookup, and every life costs one heap entry.
//!
//! Invariants:
//! 1. Deadlines exist only while this member leads, in one term. A term begins with the full span
//!    for everybody.
//! 2. A life has an entry in the heap no later than its deadline.
//! 3. What was taken as due is not renewed until [`Table::release`] or until it is gone: what was
//!    proposed may still happen.
//! 4. Kept time advances at most [`MAX_STEP`] between two looks, however long the process (or the
//!    machine) stood still.
//! 5. A deadline only moves forward.
//! 6. A life with a span of zero is ending: it is due at once and again until it is gone, and never
//!    renewed.
//! 7. Every life in the table was begun by an entry up to `observed`, and no entry up to it began
//!    another one under the same id.

use super::{Id, Loaded, RenewRequest};
use conclave_state::Deadline;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// The most that kept time advances between two looks at the clock. The keeper looks at least four
/// times as often.
pub(super) const MAX_STEP: Duration = Duration::from_secs(1);

/// Twice the greatest relative error between two members' clock rates, as a divisor: 2ρ = 2 %
/// (`deadline = now + span · (1 + 2ρ)`).
const SLACK_DIVISOR: u32 = 50;

#[derive(Debug)]
pub(super) struct Life {
    /// What is promised at most.
    full: Duration,
    /// In kept time; meaningless while this member does not lead.
    deadline: Duration,
    /// Tells the heap's entries of this life from those of an earlier one with the same id.
    incarnation: u64,
    /// Its end was proposed and the outcome is not known.
    expiring: bool,
}

/// A life that was taken as due; not one that began under the same id since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taken {
    pub(super) id: Id,
    incarnation: u64,
}

/// What became of an attempt to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Extended: lives at least so long from the moment given.
    Renewed,
    /// Being ended: ask again once that is decided.
    Expiring,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    lives: HashMap<Id, Life>,
    /// The log index of the last entries that changed anything here, or of the state that was
    /// loaded.
    observed: u64,
    queue: BinaryHeap<Reverse<(Duration, Id, u64)>>,
    /// The term in which this member leads.
    term: Option<u64>,
    /// The last one that it did.
    last_term: u64,
    incarnations: u64,
    last_look: Duration,
    /// Real time that kept time left out.
    skipped: Duration,
}

impl Table {
    /// Replaces everything by what is in a state that was loaded or installed. A term that runs
    /// starts over.
    ///
    /// If that state speaks of an entry after the index that comes with it, apply is about to tell
    /// of the same entry: until then what it granted is spared.
    pub(super) fn load(&mut self, loaded: Loaded, clock: Duration) {
        self.lives.clear();
        self.observed = loaded.applied;
        for (id, full) in loaded.spans {
            self.insert(id, full, Duration::ZERO);
        }
        if let Some(term) = self.term.take() {
            self.assume(term, clock);
        }
    }

    /// Begins `term` as leader unless it has begun: everybody's full span from now. True if it did.
    pub(super) fn assume(&mut self, term: u64, clock: Duration) -> bool {
        if self.term == Some(term) {
            return false;
        }
        self.term = Some(term);
        // What was proposed in an earlier term has no effect any more; in the same term it still
        // may.
        let over = std::mem::replace(&mut self.last_term, term) != term;
        let now = self.kept_time(clock);
        for life in self.lives.values_mut() {
            life.expiring &= !over;
            life.deadline = now.saturating_add(with_slack(life.full));
        }
        self.rebuild_queue();
        true
    }

    /// Leads no longer: another member counts from here on.
    pub(super) fn resign(&mut self) {
        if self.term.take().is_some() {
            self.queue = BinaryHeap::new();
        }
    }

    pub(super) fn term(&self) -> Option<u64> {
        self.term
    }

    /// All that the entries up to `index` changed since the last time.
    pub(super) fn observe(&mut self, index: u64, changes: impl IntoIterator<Item = Deadline<Id>>, clock: Duration) {
        let now = self.kept_time(clock);
        for change in changes {
            match change {
                Deadline::Armed { id, ms } => self.insert(id, Duration::from_millis(ms), now),
                Deadline::Gone { id } => drop(self.lives.remove(&id)),
            }
        }
        self.observed = self.observed.max(index);
    }

    /// Extends a life from now by what is asked for, at most its full span.
    pub(super) fn renew(&mut self, request: RenewRequest, clock: Duration) -> Renewal {
        let now = self.kept_time(clock);
        match self.lives.get_mut(&request.id) {
            None => Renewal::Unknown,
            Some(life) if life.full.is_zero() => Renewal::Unknown,
            Some(life) if life.expiring => Renewal::Expiring,
            Some(life) => {
                let span = request.span.map_or(life.full, |span| span.min(life.full));
                life.deadline = life.deadline.max(now.saturating_add(with_slack(span)));
                Renewal::Renewed
            }
        }
    }

    /// The full span of what is there, be it due or not.
    pub(super) fn alive(&self, id: Id) -> Option<Duration> {
        self.lives.get(&id).map(|life| life.full).filter(|full| !full.is_zero())
    }

    /// For how long it lives on by any member's clock, or `None` if there is no such id. It begins
    /// with what was promised and ends with the life: the slack is spread over all of it.
    pub(super) fn remaining(&mut self, id: Id, clock: Duration) -> Option<Duration> {
        let now = self.kept_time(clock);
        let life = self.lives.get(&id).filter(|life| !life.full.is_zero())?;
        Some(without_slack(life.deadline.saturating_sub(now)).min(life.full))
    }

    /// Sorts ids by when they are due. Only who leads knows.
    pub(super) fn soonest_first(&self, ids: &mut [Id]) {
        if self.term.is_some() {
            ids.sort_by_key(|id| self.lives.get(id).map_or(Duration::MAX, |life| life.deadline));
        }
    }

    /// How long these live on as far as this member knows: if it leads. Not confirmed by anybody.
    pub(super) fn known(&mut self, ids: &[Id], clock: Duration) -> Vec<Option<Duration>> {
        match self.term {
            Some(_) => ids.iter().map(|id| self.remaining(*id, clock)).collect(),
            None => vec![None; ids.len()],
        }
    }

    /// How long until something may be due; `None` if there is none to wait for.
    pub(super) fn next_due(&mut self, clock: Duration) -> Option<Duration> {
        let now = self.kept_time(clock);
        self.queue.peek().map(|Reverse((at, ..))| at.saturating_sub(now))
    }

    /// Takes what is due, in id order, and stops renewing them. Asking again yields others.
    pub(super) fn take_due(&mut self, clock: Duration, at_most: usize) -> Vec<Taken> {
        let now = self.kept_time(clock);
        let mut due = Vec::new();
        while let Some(&Reverse((at, id, incarnation))) = self.queue.peek() {
            if at > now || due.len() == at_most {
                break;
            }
            self.queue.pop();
            let Some(life) = self.lives.get_mut(&id).filter(|life| life.incarnation == incarnation) else {
                continue;
            };
            if life.deadline > now {
                self.queue.push(Reverse((life.deadline, id, incarnation)));
            } else if !life.expiring {
                life.expiring = true;
                due.push(Taken { id, incarnation });
            }
        }
        due.sort_unstable();
        due
    }

    /// Drops those that went, or were granted anew, since they were taken. With the log index up to
    /// which that is known.
    pub(super) fn still_due(&self, mut taken: Vec<Taken>) -> (Vec<Taken>, u64) {
        taken.retain(|Taken { id, incarnation }| {
            self.lives.get(id).is_some_and(|life| life.expiring && life.incarnation == *incarnation)
        });
        (taken, self.observed)
    }

    /// Surely nothing was proposed about these, or it was decided without effect: they can be
    /// renewed again, and are looked at again at once.
    pub(super) fn release(&mut self, taken: &[Taken]) {
        for Taken { id, incarnation } in taken {
            let life = self.lives.get_mut(id).filter(|life| life.expiring && life.incarnation == *incarnation);
            if let Some(life) = life {
                life.expiring = false;
                self.queue.push(Reverse((life.deadline, *id, life.incarnation)));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lives.len()
    }

    fn insert(&mut self, id: Id, full: Duration, now: Duration) {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let deadline = now.saturating_add(with_slack(full));
        self.lives.insert(id, Life { full, deadline, incarnation, expiring: false });
        if self.term.is_some() {
            self.queue.push(Reverse((deadline, id, incarnation)));
            if self.queue.len() > 2 * self.lives.len() + 1024 {
                self.rebuild_queue();
            }
        }
    }

    /// One entry for each life; also how entries of what is gone are dropped when they have become
    /// the majority.
    fn rebuild_queue(&mut self) {
        let live = self.lives.iter().filter(|(_, life)| !life.expiring);
        self.queue = live.map(|(id, life)| Reverse((life.deadline, *id, life.incarnation))).collect();
    }

    fn kept_time(&mut self, clock: Duration) -> Duration {
        self.skipped += clock.saturating_sub(self.last_look).saturating_sub(MAX_STEP);
        self.last_look = self.last_look.max(clock);
        self.last_look - self.skipped
    }
}

/// How long a life lasts here: long enough that by any other member's clock, too, it has had its
/// whole span.
fn with_slack(span: Duration) -> Duration {
    span.saturating_add(span / SLACK_DIVISOR)
}

/// The span that [`with_slack`] makes this of.
fn without_slack(span: Duration) -> Duration {
    span.saturating_sub(span / (SLACK_DIVISOR + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn granted(table: &mut Table, id: Id, seconds: u64, clock: Duration) {
        observe(table, Deadline::Armed { id, ms: seconds.saturating_mul(1000) }, clock);
    }

    /// Each in the entry after the last.
    fn observe(table: &mut Table, change: Deadline<Id>, clock: Duration) {
        table.observe(table.observed + 1, [change], clock);
    }

    fn take_due(table: &mut Table, clock: Duration) -> Vec<Id> {
        table.take_due(clock, 10).into_iter().map(|taken| taken.id).collect()
    }

    fn renew(table: &mut Table, id: Id, clock: Duration) -> Renewal {
        table.renew(RenewRequest { id, span: None }, clock)
    }

    /// Moves the clock in small steps, as the keeper's looks do.
    fn pass(table: &mut Table, clock: &mut Duration, by: Duration) {
        let end = *clock + by;
        while *clock < end {
            *clock = end.min(*clock + MAX_STEP / 4);
            table.next_due(*clock);
        }
    }

    #[test]
    fn a_lease_is_due_after_its_ttl_and_the_slack_and_not_before() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 10, clock);
        pass(&mut table, &mut clock, 10 * SECOND + Duration::from_millis(199));
        assert!(table.take_due(clock, 10).is_empty());
        assert_eq!(table.remaining(7, clock), Some(without_slack(Duration::from_millis(1))));
        pass(&mut table, &mut clock, Duration::from_millis(1));
        assert_eq!(take_due(&mut table, clock), [7]);
        assert!(table.take_due(clock, 10).is_empty(), "taken once");
    }

    /// Less than the TTL from the first moment on, or tools show that there is a slack; never less
    /// than what was promised is left; and nothing only when the life is over.
    #[test]
    fn what_remains_begins_with_the_ttl_and_ends_with_the_life() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 90, clock);
        assert_eq!(table.remaining(7, clock), Some(90 * SECOND));
        pass(&mut table, &mut clock, Duration::from_nanos(2));
        assert_eq!(table.remaining(7, clock).map(|left| left.as_secs()), Some(89));
        for second in 1..92 {
            pass(&mut table, &mut clock, SECOND);
            let left = table.remaining(7, clock).expect("it lives");
            assert!(left > (90 * SECOND).saturating_sub(clock) && left <= 92 * SECOND - clock, "{second}: {left:?}");
        }
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(table.remaining(7, clock), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_ending_is_due_until_it_is_gone_and_not_renewed() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 10, clock);
        granted(&mut table, 7, 0, clock);
        for _ in 0..3 {
            assert_eq!(renew(&mut table, 7, clock), Renewal::Unknown);
            assert_eq!((table.alive(7), table.remaining(7, clock)), (None, None));
            let taken = table.take_due(clock, 10);
            assert_eq!(taken.len(), 1, "due");
            assert_eq!(renew(&mut table, 7, clock), Renewal::Unknown, "nobody waits for the outcome");
            table.release(&taken);
            pass(&mut table, &mut clock, SECOND);
        }
        table.load(Loaded { applied: 9, spans: vec![(7, Duration::ZERO)] }, clock);
        assert_eq!(take_due(&mut table, clock), [7], "as a new leader reads it");
        observe(&mut table, Deadline::Gone { id: 7 }, clock);
        assert!(take_due(&mut table, clock).is_empty());
    }

    #[test]
    fn the_first_to_end_come_first() {
        let (mut table, clock) = (Table::default(), Duration::ZERO);
        let mut ids = vec![1, 2, 3, 4];
        table.soonest_first(&mut ids);
        assert_eq!(ids, [1, 2, 3, 4], "only who leads knows");
        table.assume(1, clock);
        for (id, seconds) in [(1, 50), (2, 5), (3, 20)] {
            granted(&mut table, id, seconds, clock);
        }
        table.soonest_first(&mut ids);
        assert_eq!(ids, [2, 3, 1, 4], "what is not here yet comes last");
    }

    #[test]
    fn a_new_reign_gives_the_full_ttl_again() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.load(Loaded { applied: 4, spans: vec![(1, 10 * SECOND)] }, clock);
        pass(&mut table, &mut clock, 100 * SECOND);
        assert!(table.take_due(clock, 10).is_empty(), "who does not lead expires nothing");
        assert!(table.assume(3, clock));
        assert!(!table.assume(3, clock), "once a term");
        assert_eq!(table.remaining(1, clock), Some(10 * SECOND));
        pass(&mut table, &mut clock, 9 * SECOND);
        assert!(table.assume(5, clock), "lost and won again between two looks");
        pass(&mut table, &mut clock, 9 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, 2 * SECOND);
        assert_eq!(take_due(&mut table, clock), [1]);
    }

    #[test]
    fn what_was_proposed_stays_open_as_long_as_its_term_lasts() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        assert_eq!(take_due(&mut table, clock), [7]);
        table.resign();
        assert!(table.assume(1, clock));
        assert_eq!(renew(&mut table, 7, clock), Renewal::Expiring);
        table.resign();
        assert!(table.assume(2, clock));
        assert_eq!(renew(&mut table, 7, clock), Renewal::Renewed);
    }

    #[test]
    fn a_renewal_moves_the_deadline_and_never_back() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 5, clock);
        pass(&mut table, &mut clock, 4 * SECOND);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Renewed);
        assert_eq!(renew(&mut table, 8, clock), Renewal::Unknown);
        pass(&mut table, &mut clock, 5 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(take_due(&mut table, clock), [7]);
    }

    #[test]
    fn a_renewal_waits_while_the_lease_is_being_expired() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        let taken = table.take_due(clock, 10);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Expiring);
        table.release(&taken);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Renewed);
        assert!(table.take_due(clock, 10).is_empty(), "renewed before it was taken again");
        pass(&mut table, &mut clock, 3 * SECOND);
        let taken = table.take_due(clock, 10);
        assert_eq!(taken.len(), 1);
        observe(&mut table, Deadline::Gone { id: 7 }, clock);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Unknown);
        table.release(&taken);
        assert_eq!(table.next_due(clock), None);
    }

    #[test]
    fn an_id_granted_again_has_nothing_of_the_old_lease() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, SECOND);
        observe(&mut table, Deadline::Gone { id: 7 }, clock);
        granted(&mut table, 7, 60, clock);
        pass(&mut table, &mut clock, 30 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, 32 * SECOND);
        let taken = table.take_due(clock, 10);
        assert_eq!(table.still_due(taken.clone()), (taken.clone(), 3));
        granted(&mut table, 7, 60, clock);
        assert_eq!(table.still_due(taken), (vec![], 4));
    }

    #[test]
    fn what_becomes_of_an_old_lease_does_not_touch_a_new_one_that_is_due_itself() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        let old = table.take_due(clock, 10);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        let new = table.take_due(clock, 10);
        assert_eq!((old.len(), new.len()), (1, 1));
        assert_eq!(table.still_due(old.clone()), (vec![], 2));
        table.release(&old);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Expiring, "its own end is still open");
        table.release(&new);
        assert_eq!(renew(&mut table, 7, clock), Renewal::Renewed);
    }

    #[test]
    fn a_state_that_is_loaded_tells_of_all_up_to_its_index() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.load(Loaded { applied: 40, spans: vec![(7, 2 * SECOND)] }, clock);
        table.assume(1, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        let taken = table.take_due(clock, 10);
        assert_eq!(table.still_due(taken.clone()), (taken.clone(), 40));
        table.observe(52, [Deadline::Gone { id: 8 }], clock);
        assert_eq!(table.still_due(taken.clone()), (taken.clone(), 52));
        table.load(Loaded { applied: 60, spans: vec![(7, 2 * SECOND)] }, clock);
        assert_eq!(table.still_due(taken), (vec![], 60), "it may be another one");
    }

    #[test]
    fn standing_still_does_not_make_everybody_due() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        for id in 0..100 {
            granted(&mut table, id, 10, clock);
        }
        clock += Duration::from_secs(3600);
        assert!(table.take_due(clock, 10).is_empty());
        assert_eq!(
            table.remaining(0, clock),
            Some(without_slack(Duration::from_millis(9_200))),
            "one step of the hour"
        );
    }

    #[test]
    fn entries_of_leases_long_gone_do_not_pile_up() {
        let (mut table, clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        for id in 0..100_000 {
            granted(&mut table, id, 3600, clock);
            observe(&mut table, Deadline::Gone { id }, clock);
        }
        assert!(table.queue.len() <= 1025);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_longest_span_and_none_at_all_do_no_harm() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 1, u64::MAX, clock);
        granted(&mut table, 2, 0, clock);
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(take_due(&mut table, clock), [2]);
    }

    #[test]
    fn a_life_of_milliseconds_ends_to_the_millisecond() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        observe(&mut table, Deadline::Armed { id: 7, ms: 500 }, clock);
        pass(&mut table, &mut clock, Duration::from_millis(509));
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, Duration::from_millis(1));
        assert_eq!(take_due(&mut table, clock), [7]);
    }

    #[test]
    fn a_shorter_renewal_never_shortens_and_a_longer_one_stays_within_the_span() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 50, clock);
        let request = |seconds| RenewRequest { id: 7, span: Some(Duration::from_secs(seconds)) };
        pass(&mut table, &mut clock, 10 * SECOND);
        assert_eq!(table.renew(request(5), clock), Renewal::Renewed);
        assert_eq!(table.remaining(7, clock), Some(without_slack(41 * SECOND)), "as before");
        pass(&mut table, &mut clock, 39 * SECOND);
        assert_eq!(table.renew(request(5), clock), Renewal::Renewed);
        pass(&mut table, &mut clock, 5 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        assert_eq!(table.renew(request(100), clock), Renewal::Renewed);
        pass(&mut table, &mut clock, 50 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(take_due(&mut table, clock), [7], "a later leader would give no more than the span either");
    }
}
