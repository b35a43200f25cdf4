//! The argument for "at least the supplied duration", tried out: several members whose clocks run up to 1 % too fast or too slow, stand
//! still and start again; leaders change at any moment, and deposed ones go on as if they led.
//!
//! The consensus below the keepers is reduced to what the argument uses. A log of committed entries, each with its term; members
//! apply it in order and late. The leader of a term is elected at one moment; from then on no earlier leader's proposal is committed and none of its
//! confirmations succeeds. A leader begins to count when it has applied its own first entry.
//!
//! Checked: whenever an expiry takes effect, every grant and every confirmed renewal of that lease was made at least its TTL ago, in
//! true time.

use super::table::{Renewal, Table};
use conclave_state::{LeaseChange, LeaseId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

const MEMBERS: usize = 3;
const LEASES: LeaseId = 12;
const STEPS: usize = 3_000;

#[derive(Clone)]
enum Entry {
    /// A leader's own first entry.
    Elected,
    Grant {
        id: LeaseId,
        ttl: i64,
    },
    Revoke {
        id: LeaseId,
    },
    Expire {
        ids: Vec<LeaseId>,
        claimed_term: u64,
    },
}

struct Member {
    table: Table,
    applied: usize,
    /// Its own reading and how fast it runs; a member that stands still keeps its clock running.
    clock: Duration,
    rate: f64,
    /// No step is taken before this true time.
    asleep_until: Duration,
    /// The term it believes to lead.
    leads: Option<u64>,
    /// Waits for its confirmation: (lease, TTL, true time of the call).
    renewals: Vec<(LeaseId, i64, Duration)>,
    /// Due, and waiting for the confirmation before it is proposed.
    due: Vec<LeaseId>,
    /// Proposed, and the outcome is not applied here yet.
    in_flight: Option<(usize, Vec<LeaseId>)>,
}

struct World {
    random: StdRng,
    now: Duration,
    term: u64,
    leader: Option<usize>,
    log: Vec<(u64, Entry)>,
    members: Vec<Member>,
    /// What was promised of each living lease: not before this true time.
    promised: BTreeMap<LeaseId, Duration>,
    expired: usize,
    renewed: usize,
    stale: usize,
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).expect("the test's TTLs are positive"))
}

/// What apply decides about an expiry of one term in an entry of another.
fn takes_effect(claimed: u64, term: u64) -> bool {
    claimed == term
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let member = |random: &mut StdRng| Member {
            table: Table::default(),
            applied: 0,
            clock: Duration::from_millis(random.random_range(0..1_000_000)),
            rate: random.random_range(0.99..=1.01),
            asleep_until: Duration::ZERO,
            leads: None,
            renewals: Vec::new(),
            due: Vec::new(),
            in_flight: None,
        };
        let members = (0..MEMBERS).map(|_| member(&mut random)).collect();
        World {
            random,
            now: Duration::ZERO,
            term: 0,
            leader: None,
            log: Vec::new(),
            members,
            promised: BTreeMap::new(),
            expired: 0,
            renewed: 0,
            stale: 0,
        }
    }

    fn step(&mut self) {
        let passed = Duration::from_millis(self.random.random_range(1..400));
        self.now += passed;
        for member in &mut self.members {
            member.clock += passed.mul_f64(member.rate);
        }
        let at = self.random.random_range(0..MEMBERS);
        match self.random.random_range(0..100) {
            0..3 => self.elect(at),
            3..6 => {
                self.members[at].asleep_until = self.now + Duration::from_millis(self.random.random_range(0..20_000))
            }
            6..26 => self.grant_or_revoke(),
            26..56 => self.renew(),
            _ => {}
        }
        for at in 0..MEMBERS {
            if self.members[at].asleep_until <= self.now && self.random.random_bool(0.8) {
                self.run(at);
            }
        }
    }

    fn elect(&mut self, at: usize) {
        if self.members[at].asleep_until > self.now {
            return;
        }
        self.term += 1;
        self.leader = Some(at);
        self.log.push((self.term, Entry::Elected));
        // It learns of its own election, and of nothing else; the one before learns nothing.
        self.members[at].leads = None;
    }

    fn grant_or_revoke(&mut self) {
        if self.leader.is_none() {
            return;
        }
        let id = self.random.random_range(1..=LEASES);
        // A revocation is outside the promise.
        if self.promised.contains_key(&id) {
            if self.random.random_bool(0.1) {
                self.promised.remove(&id);
                self.log.push((self.term, Entry::Revoke { id }));
            }
        } else {
            let ttl = self.random.random_range(2..15);
            self.promised.insert(id, self.now + seconds(ttl));
            self.log.push((self.term, Entry::Grant { id, ttl }));
        }
    }

    /// A client renews with whoever believes to lead.
    fn renew(&mut self) {
        let id = self.random.random_range(1..=LEASES);
        let now = self.now;
        for member in &mut self.members {
            if member.asleep_until <= now && member.leads.is_some() {
                let clock = member.clock;
                if let (Renewal::Renewed, Some(ttl)) = (member.table.renew(id, clock), member.table.alive(id)) {
                    member.renewals.push((id, ttl, now));
                }
            }
        }
    }

    fn run(&mut self, at: usize) {
        self.apply(at);
        self.confirm_renewals(at);
        self.confirm_and_propose(at);
        let member = &mut self.members[at];
        if member.leads.is_some() && member.in_flight.is_none() && member.due.is_empty() {
            member.due = member.table.take_due(member.clock, 3);
        }
    }

    /// Some of what is committed, in order.
    fn apply(&mut self, at: usize) {
        let behind = self.log.len() - self.members[at].applied;
        let member = &mut self.members[at];
        for _ in 0..self.random.random_range(0..=behind) {
            let (term, entry) = self.log[member.applied].clone();
            member.applied += 1;
            let gone = |id| LeaseChange::Gone { id };
            match entry {
                Entry::Grant { id, ttl } => {
                    member.table.observe(&LeaseChange::Granted { id, ttl_seconds: ttl }, member.clock);
                }
                Entry::Revoke { id } => member.table.observe(&gone(id), member.clock),
                Entry::Expire { ids, claimed_term } if takes_effect(claimed_term, term) => {
                    ids.iter().for_each(|id| member.table.observe(&gone(*id), member.clock));
                }
                Entry::Expire { .. } => {}
                Entry::Elected if self.leader == Some(at) && term == self.term => {
                    member.leads = Some(term);
                    member.renewals.clear();
                    (member.due, member.in_flight) = (Vec::new(), None);
                    member.table.assume(term, member.clock);
                }
                // The news that somebody else leads.
                Entry::Elected => {
                    member.leads = None;
                    member.table.resign();
                }
            }
            if member.in_flight.as_ref().is_some_and(|(index, _)| *index < member.applied) {
                let (_, ids) = member.in_flight.take().expect("it was just there");
                member.table.release(&ids);
            }
        }
    }

    /// A quorum answers in `term` only as long as nobody was elected in a later one.
    fn confirms(&self, at: usize) -> bool {
        self.leader == Some(at) && self.members[at].leads == Some(self.term)
    }

    fn confirm_renewals(&mut self, at: usize) {
        if self.random.random_bool(0.3) {
            return;
        }
        let confirmed = self.confirms(at) && self.members[at].applied == self.log.len();
        for (id, ttl, called) in std::mem::take(&mut self.members[at].renewals) {
            if confirmed && self.members[at].table.alive(id) == Some(ttl) {
                self.renewed += 1;
                if let Some(promised) = self.promised.get_mut(&id) {
                    *promised = (*promised).max(called + seconds(ttl));
                }
            }
        }
    }

    fn confirm_and_propose(&mut self, at: usize) {
        let ids = std::mem::take(&mut self.members[at].due);
        let Some(claimed_term) = self.members[at].leads.filter(|_| !ids.is_empty()) else { return };
        if self.leader == Some(at) && self.members[at].applied < self.log.len() {
            self.members[at].due = ids;
            return;
        }
        // A confirmation may be followed by anything before the proposal reaches a log; so a deposed leader's proposal, too, may
        // arrive at its successor. It is told apart by its term alone.
        let stale = !self.confirms(at);
        let ids = self.members[at].table.still_due(ids);
        if stale && self.random.random_bool(0.5) {
            self.members[at].table.release(&ids);
            return;
        }
        self.stale += usize::from(stale);
        if takes_effect(claimed_term, self.term) {
            for id in &ids {
                if let Some(promised) = self.promised.remove(id) {
                    assert!(self.now >= promised, "lease {id} ended {:?} early", promised - self.now);
                    self.expired += 1;
                }
            }
        }
        self.log.push((self.term, Entry::Expire { ids: ids.clone(), claimed_term }));
        self.members[at].in_flight = Some((self.log.len() - 1, ids));
    }
}

#[test]
fn no_lease_ends_before_what_was_promised() {
    let (mut expired, mut renewed, mut stale) = (0, 0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        expired += world.expired;
        renewed += world.renewed;
        stale += world.stale;
    }
    // The test must have tried what it is about.
    assert!(expired > 10_000 && renewed > 10_000 && stale > 100, "{expired} expired, {renewed} renewed, {stale} stale");
}
