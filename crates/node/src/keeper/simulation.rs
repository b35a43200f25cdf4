//! The argument for "at least the supplied duration", tried out: several members whose clocks run
//! up to 1 % too fast or too slow, stand still and start again; leaders change at any moment, and
//! deposed ones go on as if they led.
//!
//! The consensus below the keepers is reduced to what the argument uses. A log of committed
//! entries, each with its term; members apply it in order and late. The leader of a term is elected
//! at one moment; from then on no earlier leader's proposal is committed and none of its
//! confirmations succeeds. A leader begins to count when it has applied its own first entry.
//!
//! The keepers keep leases, renewed for their whole TTL, and claims, each of which has a timer
//! under a new id for every command that extends it, and is extended in between for shorter times
//! by clients that read its timer from a state that may be old. The ids of leases are chosen by
//! clients out of few, and are granted again after an end by time as well as after a revocation;
//! most of all while an end of the former lease is on its way.
//!
//! What a leader proposes may reach the log late, and twice: its outcome is unknown to it then, and
//! it proposes the same again.
//!
//! Checked: whenever something ends, every command and every confirmed renewal of it was asked for
//! at least its span ago, in true time; and while nothing disturbs the leader, it ends soon after
//! that.

use super::table::{Renewal, Table, Taken};
use super::{ExpireRequest, Id, Loaded, RenewRequest, whole_millis};
use conclave_state::Deadline;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

const MEMBERS: usize = 3;
const LEASES: Id = 12;
const CLAIMS: u8 = 12;
const STEPS: usize = 3_000;

#[derive(Clone)]
enum Entry {
    /// A leader's own first entry.
    Elected,
    Grant {
        id: Id,
        span: Duration,
    },
    Revoke {
        id: Id,
    },
    /// Takes the claim, or extends it for the longest that was asked for so far.
    Claim {
        claim: u8,
        timer: Id,
        span: Duration,
    },
    Unclaim {
        claim: u8,
    },
    End(ExpireRequest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Lease(Id),
    Claim(u8),
}

/// What the commands come to.
#[derive(Clone, Default)]
struct State {
    /// TTL, and the index of the entry that granted it.
    leases: BTreeMap<Id, (Duration, u64)>,
    /// Timer and longest span.
    claims: BTreeMap<u8, (Id, Duration)>,
}

impl State {
    /// What a keeper is told, and what came to its end by time.
    fn apply(&mut self, (index, term): (u64, u64), entry: &Entry) -> (Vec<Deadline<Id>>, Vec<Key>) {
        let mut changes = Vec::new();
        let mut ended = Vec::new();
        match *entry {
            Entry::Elected => {}
            Entry::Grant { id, span } => {
                self.leases.insert(id, (span, index));
                changes.push(Deadline::Armed { id, ms: whole_millis(span) });
            }
            Entry::Revoke { id } => {
                self.leases.remove(&id);
                changes.push(Deadline::Gone { id });
            }
            Entry::Claim { claim, timer, span } => {
                let before = self.claims.get(&claim).copied();
                changes.extend(before.map(|(id, _)| Deadline::Gone { id }));
                let longest = before.map_or(span, |(_, longest)| longest.max(span));
                self.claims.insert(claim, (timer, longest));
                changes.push(Deadline::Armed { id: timer, ms: whole_millis(longest) });
            }
            Entry::Unclaim { claim } => {
                changes.extend(self.claims.remove(&claim).map(|(id, _)| Deadline::Gone { id }));
            }
            Entry::End(ref ending) if ending.term == term => {
                for &id in &ending.ids {
                    let claim = self.claims.iter().find(|(_, (timer, _))| *timer == id).map(|(claim, _)| *claim);
                    if self.leases.get(&id).is_some_and(|(_, granted_at)| *granted_at <= ending.observed) {
                        self.leases.remove(&id);
                        ended.push(Key::Lease(id));
                        changes.push(Deadline::Gone { id });
                    } else if let Some(claim) = claim {
                        self.claims.remove(&claim);
                        ended.push(Key::Claim(claim));
                        changes.push(Deadline::Gone { id });
                    }
                }
            }
            Entry::End(_) => {}
        }
        (changes, ended)
    }
}

struct Asked {
    key: Key,
    request: RenewRequest,
    /// In true time.
    at: Duration,
}

/// Some that a member means to end.
struct UnderWay {
    taken: Vec<Taken>,
    stage: Stage,
}

enum Stage {
    /// Waits for the confirmation.
    Due,
    /// Confirmed, and on the way to the log. `open`: some of it may have got there.
    Proposing { ending: ExpireRequest, open: bool },
    /// In the log at that place, and the outcome is not applied here yet.
    InFlight(usize),
}

struct Member {
    table: Table,
    state: State,
    applied: usize,
    /// Its own reading and how fast it runs; a member that stands still keeps its clock running.
    clock: Duration,
    rate: f64,
    /// No step is taken before this true time.
    asleep_until: Duration,
    /// The term it believes to lead.
    leads: Option<u64>,
    /// Deadlines moved, confirmation outstanding.
    renewals: Vec<Asked>,
    under_way: Vec<UnderWay>,
}

struct World {
    random: StdRng,
    /// How likely a step disturbs somebody.
    trouble: f64,
    now: Duration,
    term: u64,
    leader: Option<usize>,
    log: Vec<(u64, Entry)>,
    /// After all entries.
    truth: State,
    members: Vec<Member>,
    /// What was promised of what is there: not before this true time.
    promised: BTreeMap<Key, Duration>,
    /// The same, counting renewals that were never confirmed: they make it last longer, too.
    asked: BTreeMap<Key, Duration>,
    /// Proposed, and to reach the log at any later time.
    strays: Vec<ExpireRequest>,
    last_timer: Id,
    ended: BTreeMap<bool, usize>,
    renewed: BTreeMap<bool, usize>,
    stale: usize,
    /// Leases that were granted again under an id that an entry named.
    spared: usize,
    /// By how much what was asked for was exceeded at most.
    latest: Duration,
}

fn is_claim(key: Key) -> bool {
    matches!(key, Key::Claim(_))
}

impl World {
    fn new(seed: u64, trouble: f64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let member = |random: &mut StdRng| Member {
            table: Table::default(),
            state: State::default(),
            applied: 0,
            clock: Duration::from_millis(random.random_range(0..1_000_000)),
            rate: random.random_range(0.99..=1.01),
            asleep_until: Duration::ZERO,
            leads: None,
            renewals: Vec::new(),
            under_way: Vec::new(),
        };
        let members = (0..MEMBERS).map(|_| member(&mut random)).collect();
        World {
            random,
            trouble,
            now: Duration::ZERO,
            term: 0,
            leader: None,
            log: Vec::new(),
            truth: State::default(),
            members,
            promised: BTreeMap::new(),
            asked: BTreeMap::new(),
            strays: Vec::new(),
            last_timer: 0,
            ended: BTreeMap::new(),
            renewed: BTreeMap::new(),
            stale: 0,
            spared: 0,
            latest: Duration::ZERO,
        }
    }

    fn step(&mut self) {
        let passed = Duration::from_millis(self.random.random_range(1..400));
        self.now += passed;
        for member in &mut self.members {
            member.clock += passed.mul_f64(member.rate);
        }
        let at = self.random.random_range(0..MEMBERS);
        if self.leader.is_none() {
            self.elect(at);
        } else if self.random.random_bool(self.trouble) {
            if self.random.random_bool(0.5) {
                self.elect(at);
            } else {
                let asleep = Duration::from_millis(self.random.random_range(0..20_000));
                self.members[at].asleep_until = self.now + asleep;
            }
        } else {
            match self.random.random_range(0..10) {
                0..2 => self.command(),
                2..5 => self.renew(),
                _ => {}
            }
        }
        if !self.strays.is_empty() && self.random.random_bool(0.2) {
            let which = self.random.random_range(0..self.strays.len());
            let ending = self.strays.swap_remove(which);
            self.commit(Entry::End(ending));
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
        self.commit(Entry::Elected);
        // It learns of its own election, and of nothing else; the one before learns nothing.
        self.members[at].leads = None;
    }

    /// The end of everything by time passes here.
    fn commit(&mut self, entry: Entry) {
        if let Entry::End(ending) = &entry {
            self.stale += usize::from(ending.term != self.term);
            let leases = ending.ids.iter().filter_map(|id| self.truth.leases.get(id));
            let again = leases.filter(|(_, granted_at)| *granted_at > ending.observed).count();
            self.spared += if ending.term == self.term { again } else { 0 };
        }
        let (_, ended) = self.truth.apply((self.log.len() as u64 + 1, self.term), &entry);
        self.log.push((self.term, entry));
        for key in ended {
            let promised = self.promised.remove(&key).expect("what is there was promised");
            assert!(self.now >= promised, "{key:?} ended {:?} early", promised - self.now);
            let asked = self.asked.remove(&key).unwrap_or_default();
            self.latest = self.latest.max(self.now.saturating_sub(asked.max(promised)));
            *self.ended.entry(is_claim(key)).or_default() += 1;
        }
    }

    fn promise(&mut self, key: Key, until: Duration) {
        let promised = self.promised.entry(key).or_default();
        *promised = (*promised).max(until);
    }

    /// An operation through the log. A revocation is outside the promise.
    fn command(&mut self) {
        let span = Duration::from_millis(self.random.random_range(200..15_000));
        let claim = self.random.random_range(0..CLAIMS);
        let lease = -self.random.random_range(1..=LEASES);
        let named = self.named();
        match self.random.random_range(0..20) {
            0 => self.revoke(lease),
            1 => {
                self.promised.remove(&Key::Claim(claim));
                self.asked.remove(&Key::Claim(claim));
                self.commit(Entry::Unclaim { claim });
            }
            2..4 if !named.is_empty() => {
                let lease = named[self.random.random_range(0..named.len())];
                self.revoke(lease);
                self.grant(lease, span);
            }
            4..10 if !self.truth.leases.contains_key(&lease) => self.grant(lease, span),
            _ => {
                self.last_timer += 1;
                self.commit(Entry::Claim { claim, timer: self.last_timer, span });
                self.promise(Key::Claim(claim), self.now + span);
                // The timer that the command arms runs for the longest promise.
                let (_, longest) = self.truth.claims[&claim];
                let asked = self.asked.entry(Key::Claim(claim)).or_default();
                *asked = (*asked).max(self.now + longest);
            }
        }
    }

    /// The leases that somebody is about to end.
    fn named(&self) -> Vec<Id> {
        let under_way = self.members.iter().flat_map(|member| &member.under_way);
        let taken = under_way.flat_map(|under_way| under_way.taken.iter().map(|taken| taken.id));
        let strays = self.strays.iter().flat_map(|ending| ending.ids.iter().copied());
        taken.chain(strays).filter(|id| *id < 0).collect()
    }

    fn grant(&mut self, id: Id, span: Duration) {
        self.commit(Entry::Grant { id, span });
        self.promise(Key::Lease(id), self.now + span);
    }

    fn revoke(&mut self, id: Id) {
        if self.truth.leases.contains_key(&id) {
            self.promised.remove(&Key::Lease(id));
            self.asked.remove(&Key::Lease(id));
            self.commit(Entry::Revoke { id });
        }
    }

    /// A client renews, by the state of some member, at a member that believes to lead.
    fn renew(&mut self) {
        let at = self.random.random_range(0..MEMBERS);
        let state = &self.members[at].state;
        let part = self.random.random_range(0.1..=1.0);
        let leases = state.leases.keys().map(|id| (Key::Lease(*id), RenewRequest { id: *id, span: None }));
        let claims = state.claims.iter().map(|(claim, (timer, longest))| {
            (Key::Claim(*claim), RenewRequest { id: *timer, span: Some(longest.mul_f64(part)) })
        });
        let all: Vec<_> = leases.chain(claims).collect();
        if all.is_empty() {
            return;
        }
        let (key, request) = all[self.random.random_range(0..all.len())];
        let now = self.now;
        let asked = self.asked.entry(key).or_default();
        *asked = (*asked)
            .max(now + request.span.unwrap_or(state.leases.get(&request.id).map_or(Duration::ZERO, |(span, _)| *span)));
        for member in &mut self.members {
            if member.asleep_until <= now
                && member.leads.is_some()
                && member.table.renew(request, member.clock) == Renewal::Renewed
            {
                member.renewals.push(Asked { key, request, at: now });
            }
        }
    }

    fn run(&mut self, at: usize) {
        self.apply(at);
        self.confirm_renewals(at);
        self.propose(at);
        self.confirm_ends(at);
        let member = &mut self.members[at];
        if member.leads.is_some() && member.under_way.len() < 2 {
            let taken = member.table.take_due(member.clock, 3);
            if !taken.is_empty() {
                member.under_way.push(UnderWay { taken, stage: Stage::Due });
            }
        }
    }

    /// Some of what is committed, in order.
    fn apply(&mut self, at: usize) {
        let behind = self.log.len() - self.members[at].applied;
        let member = &mut self.members[at];
        for _ in 0..self.random.random_range(0..=behind) {
            let (term, entry) = self.log[member.applied].clone();
            member.applied += 1;
            let index = member.applied as u64;
            let (changes, _) = member.state.apply((index, term), &entry);
            if !changes.is_empty() {
                member.table.observe(index, changes, member.clock);
            }
            if matches!(entry, Entry::Elected) {
                if self.leader == Some(at) && term == self.term {
                    member.leads = Some(term);
                    member.renewals.clear();
                    member.under_way.clear();
                    member.table.assume(term, member.clock);
                } else {
                    // The news that somebody else leads.
                    member.leads = None;
                    member.table.resign();
                }
            }
            let decided =
                |under_way: &mut UnderWay| matches!(under_way.stage, Stage::InFlight(place) if place < member.applied);
            for UnderWay { taken, .. } in member.under_way.extract_if(.., decided) {
                member.table.release(&taken);
            }
        }
        // Installed as a snapshot now and then, instead.
        if self.random.random_bool(self.trouble / 4.0) {
            while member.applied < self.log.len() && member.leads.is_none() {
                let (term, entry) = self.log[member.applied].clone();
                member.applied += 1;
                member.state.apply((member.applied as u64, term), &entry);
            }
            if member.leads.is_none() {
                let leases = member.state.leases.iter().map(|(id, (span, _))| (*id, *span));
                let spans = leases.chain(member.state.claims.values().copied()).collect();
                member.table.load(Loaded { applied: member.applied as u64, spans }, member.clock);
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
        for Asked { key, request, at: asked } in std::mem::take(&mut self.members[at].renewals) {
            let Some(full) = self.members[at].table.alive(request.id).filter(|_| confirmed) else { continue };
            *self.renewed.entry(is_claim(key)).or_default() += 1;
            assert!(self.promised.contains_key(&key), "{key:?} was renewed and is not there");
            self.promise(key, asked + request.span.map_or(full, |span| span.min(full)));
        }
    }

    fn confirm_ends(&mut self, at: usize) {
        let Some(term) = self.members[at].leads else { return };
        if self.leader == Some(at) && self.members[at].applied < self.log.len() {
            return;
        }
        let stale = !self.confirms(at);
        for UnderWay { taken, stage } in std::mem::take(&mut self.members[at].under_way) {
            let member = &mut self.members[at];
            if !matches!(stage, Stage::Due) {
                member.under_way.push(UnderWay { taken, stage });
            } else if stale && self.random.random_bool(0.5) {
                member.table.release(&taken);
            } else {
                let (taken, observed) = member.table.still_due(taken);
                let ending = ExpireRequest { ids: taken.iter().map(|taken| taken.id).collect(), term, observed };
                member.under_way.push(UnderWay { taken, stage: Stage::Proposing { ending, open: false } });
            }
        }
    }

    /// A confirmation may be followed by anything before the proposal reaches a log; so a deposed
    /// leader's proposal, too, may arrive at its successor. It is told apart by its term alone.
    fn propose(&mut self, at: usize) {
        for UnderWay { taken, stage } in std::mem::take(&mut self.members[at].under_way) {
            let stage = match stage {
                Stage::Proposing { ending, open } if self.random.random_bool(0.7) => {
                    let lost = self.members[at].leads.is_some() && self.random.random_bool(4.0 * self.trouble);
                    match self.random.random_range(0..4) {
                        0 if lost && !open => {
                            // Surely not proposed.
                            self.members[at].table.release(&taken);
                            continue;
                        }
                        0..2 if lost => self.commit(Entry::End(ending.clone())),
                        _ if lost => self.strays.push(ending.clone()),
                        _ => self.commit(Entry::End(ending.clone())),
                    }
                    if lost { Stage::Proposing { ending, open: true } } else { Stage::InFlight(self.log.len() - 1) }
                }
                stage => stage,
            };
            self.members[at].under_way.push(UnderWay { taken, stage });
        }
    }
}

#[test]
fn nothing_ends_before_what_was_promised() {
    let (mut ended, mut renewed, mut stale, mut spared) = ([0, 0], [0, 0], 0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed, 0.06);
        for _ in 0..STEPS {
            world.step();
        }
        for (claim, count) in world.ended {
            ended[usize::from(claim)] += count;
        }
        for (claim, count) in world.renewed {
            renewed[usize::from(claim)] += count;
        }
        stale += world.stale;
        spared += world.spared;
    }
    // The test must have tried what it is about.
    let enough = ended.into_iter().chain(renewed).all(|count| count > 10_000) && stale > 100 && spared > 500;
    assert!(enough, "{ended:?} leases and claims ended, {renewed:?} renewed, {stale} stale, {spared} spared");
}

#[test]
fn undisturbed_everything_ends_soon_after() {
    for seed in 0..50 {
        let mut world = World::new(seed, 0.0);
        for _ in 0..STEPS {
            world.step();
        }
        assert!(world.ended.values().sum::<usize>() > 100, "{:?}", world.ended);
        // The slack and the clocks are 4 % of 15 s at most; the rest are steps of up to 0.4 s that
        // somebody slept through.
        assert!(world.latest < Duration::from_secs(9), "{:?}", world.latest);
    }
}
