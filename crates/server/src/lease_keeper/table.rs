//! The leases and, while this member leads, when each is due. Pure: time comes in as an argument.
//!
//! Data: `leases` holds id → TTL on every member, fed by apply, so that a new leader need not read the store. While it leads, `queue`
//! is a heap of moments at which a lease must be looked at. A renewal only moves the lease's own deadline; the entry in the heap is
//! corrected when its moment comes. So a renewal costs one hash lookup, and every lease costs one heap entry.
//!
//! Invariants:
//! 1. Deadlines exist only within a reign (one term as leader). A reign begins with the full TTL for everybody.
//! 2. A live lease has an entry in the heap no later than its deadline.
//! 3. A lease that was taken as due is not renewed until [`Table::release`] or until it is gone: what was proposed may still happen.
//! 4. Lease time advances at most [`MAX_STEP`] between two looks, however long the process (or the machine) stood still.

use conclave_state::{LeaseChange, LeaseId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// The most that lease time advances between two looks at the clock. The keeper looks at least four times as often.
pub(super) const MAX_STEP: Duration = Duration::from_secs(1);

/// Twice the greatest relative error between two members' clock rates, as a divisor: 2ρ = 2 % (`deadline = now + ttl · (1 + 2ρ)`).
const SLACK_DIVISOR: u32 = 50;

#[derive(Debug)]
pub(super) struct Lease {
    ttl_seconds: i64,
    /// In lease time; meaningless outside a reign.
    deadline: Duration,
    /// Tells the heap's entries of this lease from those of an earlier one with the same id.
    incarnation: u64,
    /// An expiry was proposed and its outcome is not known.
    expiring: bool,
}

/// What became of an attempt to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Extended: lives its full TTL from the moment given.
    Renewed,
    /// Being expired: ask again once that is decided.
    Expiring,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    leases: HashMap<LeaseId, Lease>,
    queue: BinaryHeap<Reverse<(Duration, LeaseId, u64)>>,
    /// The term in which this member leads.
    reign: Option<u64>,
    incarnations: u64,
    last_look: Duration,
    /// Real time that lease time left out.
    skipped: Duration,
}

impl Table {
    /// Replaces all leases by those of a state that was loaded or installed. A running reign starts over.
    pub(super) fn load(&mut self, leases: impl IntoIterator<Item = (LeaseId, i64)>, clock: Duration) {
        self.leases.clear();
        for (id, ttl_seconds) in leases {
            self.insert(id, ttl_seconds, Duration::ZERO);
        }
        if let Some(term) = self.reign.take() {
            self.assume(term, clock);
        }
    }

    /// Begins the reign of `term` unless it has begun: everybody's full TTL from now. True if it did.
    pub(super) fn assume(&mut self, term: u64, clock: Duration) -> bool {
        if self.reign == Some(term) {
            return false;
        }
        self.reign = Some(term);
        let now = self.lease_time(clock);
        for lease in self.leases.values_mut() {
            lease.expiring = false;
            lease.deadline = now.saturating_add(span(lease.ttl_seconds));
        }
        self.rebuild_queue();
        true
    }

    /// Ends the reign: another member counts from here on.
    pub(super) fn resign(&mut self) {
        if self.reign.take().is_some() {
            self.queue = BinaryHeap::new();
            for lease in self.leases.values_mut() {
                lease.expiring = false;
            }
        }
    }

    pub(super) fn reign(&self) -> Option<u64> {
        self.reign
    }

    pub(super) fn observe(&mut self, change: &LeaseChange, clock: Duration) {
        match *change {
            LeaseChange::Granted { id, ttl_seconds } => {
                let now = self.lease_time(clock);
                self.insert(id, ttl_seconds, now);
            }
            LeaseChange::SessionGranted { id, ttl_millis } => {
                // Deadlines are kept for whole seconds: never early, and up to a second late.
                let ttl_seconds = i64::try_from(ttl_millis.div_ceil(1000)).unwrap_or(i64::MAX);
                let now = self.lease_time(clock);
                self.insert(id, ttl_seconds, now);
            }
            LeaseChange::Gone { id } => {
                self.leases.remove(&id);
            }
        }
    }

    /// Extends the lease's life to its full TTL from now.
    pub(super) fn renew(&mut self, id: LeaseId, clock: Duration) -> Renewal {
        let now = self.lease_time(clock);
        match self.leases.get_mut(&id) {
            None => Renewal::Unknown,
            Some(lease) if lease.expiring => Renewal::Expiring,
            Some(lease) => {
                lease.deadline = lease.deadline.max(now.saturating_add(span(lease.ttl_seconds)));
                Renewal::Renewed
            }
        }
    }

    /// The TTL of a lease that is there, be it due or not.
    pub(super) fn alive(&self, id: LeaseId) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl_seconds)
    }

    /// Time left of what was promised (not of the slack), or `None` if there is no such lease.
    pub(super) fn remaining(&mut self, id: LeaseId, clock: Duration) -> Option<Duration> {
        let now = self.lease_time(clock);
        let lease = self.leases.get(&id)?;
        Some(lease.deadline.saturating_sub(now).min(seconds(lease.ttl_seconds)))
    }

    /// How long until a lease may be due; `None` if there is none to wait for.
    pub(super) fn next_due(&mut self, clock: Duration) -> Option<Duration> {
        let now = self.lease_time(clock);
        self.queue.peek().map(|Reverse((at, ..))| at.saturating_sub(now))
    }

    /// Takes leases that are due, in id order, and stops renewing them. Asking again yields others.
    pub(super) fn take_due(&mut self, clock: Duration, at_most: usize) -> Vec<LeaseId> {
        let now = self.lease_time(clock);
        let mut due = Vec::new();
        while let Some(&Reverse((at, id, incarnation))) = self.queue.peek() {
            if at > now || due.len() == at_most {
                break;
            }
            self.queue.pop();
            let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.incarnation == incarnation) else {
                continue;
            };
            if lease.deadline > now {
                self.queue.push(Reverse((lease.deadline, id, incarnation)));
            } else if !lease.expiring {
                lease.expiring = true;
                due.push(id);
            }
        }
        due.sort_unstable();
        due
    }

    /// Drops those that went, or were granted anew, since they were taken.
    pub(super) fn still_due(&self, mut ids: Vec<LeaseId>) -> Vec<LeaseId> {
        ids.retain(|id| self.leases.get(id).is_some_and(|lease| lease.expiring));
        ids
    }

    /// Surely nothing was proposed about these, or it was decided without effect: they can be renewed again, and are looked at again
    /// at once.
    pub(super) fn release(&mut self, ids: &[LeaseId]) {
        for id in ids {
            if let Some(lease) = self.leases.get_mut(id).filter(|lease| lease.expiring) {
                lease.expiring = false;
                self.queue.push(Reverse((lease.deadline, *id, lease.incarnation)));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    fn insert(&mut self, id: LeaseId, ttl_seconds: i64, now: Duration) {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let deadline = now.saturating_add(span(ttl_seconds));
        self.leases.insert(id, Lease { ttl_seconds, deadline, incarnation, expiring: false });
        if self.reign.is_some() {
            self.queue.push(Reverse((deadline, id, incarnation)));
            if self.queue.len() > 2 * self.leases.len() + 1024 {
                self.rebuild_queue();
            }
        }
    }

    /// One entry for each lease; also how entries of leases that are gone are dropped when they have become the majority.
    fn rebuild_queue(&mut self) {
        let live = self.leases.iter().filter(|(_, lease)| !lease.expiring);
        self.queue = live.map(|(id, lease)| Reverse((lease.deadline, *id, lease.incarnation))).collect();
    }

    fn lease_time(&mut self, clock: Duration) -> Duration {
        self.skipped += clock.saturating_sub(self.last_look).saturating_sub(MAX_STEP);
        self.last_look = self.last_look.max(clock);
        self.last_look - self.skipped
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

/// How long a lease lives here: long enough that by any other member's clock, too, it has had its whole TTL.
fn span(ttl_seconds: i64) -> Duration {
    let ttl = seconds(ttl_seconds);
    ttl.saturating_add(ttl / SLACK_DIVISOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn granted(table: &mut Table, id: LeaseId, ttl_seconds: i64, clock: Duration) {
        table.observe(&LeaseChange::Granted { id, ttl_seconds }, clock);
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
        assert_eq!(table.remaining(7, clock), Some(Duration::from_millis(1)));
        pass(&mut table, &mut clock, Duration::from_millis(1));
        assert_eq!(table.take_due(clock, 10), [7]);
        assert!(table.take_due(clock, 10).is_empty(), "taken once");
    }

    #[test]
    fn a_new_reign_gives_the_full_ttl_again() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.load([(1, 10)], clock);
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
        assert_eq!(table.take_due(clock, 10), [1]);
    }

    #[test]
    fn a_renewal_moves_the_deadline_and_never_back() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 5, clock);
        pass(&mut table, &mut clock, 4 * SECOND);
        assert_eq!(table.renew(7, clock), Renewal::Renewed);
        assert_eq!(table.renew(8, clock), Renewal::Unknown);
        pass(&mut table, &mut clock, 5 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(table.take_due(clock, 10), [7]);
    }

    #[test]
    fn a_renewal_waits_while_the_lease_is_being_expired() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, 3 * SECOND);
        assert_eq!(table.take_due(clock, 10), [7]);
        assert_eq!(table.renew(7, clock), Renewal::Expiring);
        table.release(&[7]);
        assert_eq!(table.renew(7, clock), Renewal::Renewed);
        assert!(table.take_due(clock, 10).is_empty(), "renewed before it was taken again");
        pass(&mut table, &mut clock, 3 * SECOND);
        assert_eq!(table.take_due(clock, 10), [7]);
        table.observe(&LeaseChange::Gone { id: 7 }, clock);
        assert_eq!(table.renew(7, clock), Renewal::Unknown);
        table.release(&[7]);
        assert_eq!(table.next_due(clock), None);
    }

    #[test]
    fn an_id_granted_again_has_nothing_of_the_old_lease() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 7, 2, clock);
        pass(&mut table, &mut clock, SECOND);
        table.observe(&LeaseChange::Gone { id: 7 }, clock);
        granted(&mut table, 7, 60, clock);
        pass(&mut table, &mut clock, 30 * SECOND);
        assert!(table.take_due(clock, 10).is_empty());
        pass(&mut table, &mut clock, 32 * SECOND);
        let taken = table.take_due(clock, 10);
        assert_eq!(table.still_due(taken.clone()), [7]);
        granted(&mut table, 7, 60, clock);
        assert!(table.still_due(taken).is_empty());
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
        assert_eq!(table.remaining(0, clock), Some(Duration::from_millis(9_200)), "one step of the hour counted");
    }

    #[test]
    fn entries_of_leases_long_gone_do_not_pile_up() {
        let (mut table, clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        for id in 0..100_000 {
            granted(&mut table, id, 3600, clock);
            table.observe(&LeaseChange::Gone { id }, clock);
        }
        assert!(table.queue.len() <= 1025);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_longest_ttl_and_a_nonsensical_one_do_no_harm() {
        let (mut table, mut clock) = (Table::default(), Duration::ZERO);
        table.assume(1, clock);
        granted(&mut table, 1, i64::MAX, clock);
        granted(&mut table, 2, -5, clock);
        pass(&mut table, &mut clock, SECOND);
        assert_eq!(table.take_due(clock, 10), [2]);
    }
}
