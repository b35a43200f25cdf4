//! Elections in the model: a list of names.

use super::{Askers, World, generate, own};
use conclave_state::coord::Purpose;
use conclave_state::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Election {
    pub(crate) leader: Option<String>,
    /// Who waits, and the priority that goes with the place.
    pub(crate) line: Vec<(String, i64)>,
    pub(crate) all: BTreeMap<String, Candidate>,
    pub(crate) term: i64,
    pub(crate) seq: u64,
    delayed: bool,
    held: bool,
    transfer: Option<(String, bool, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) lease: i64,
    instance: String,
    priority: i64,
    delay: bool,
    hold: bool,
    askers: Askers,
}

/// What happened since an operation began.
#[derive(Default)]
struct Since {
    leader: Option<String>,
    renew: bool,
    delay: bool,
}

impl Election {
    fn begin(&self) -> Since {
        Since { leader: self.leader.clone(), ..Since::default() }
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.line.iter().position(|(other, _)| other == id)
    }

    fn put_in_front(&mut self, id: &str) {
        let priority = self.all[id].priority;
        let class = self.line.first().map_or(priority, |(_, class)| priority.max(*class));
        self.line.insert(0, (id.to_owned(), class));
    }

    fn lead(&mut self, id: &str) {
        let at = self.index(id).expect("it waits");
        if self.leader.is_none() && at == 0 {
            return;
        }
        self.line.remove(at);
        match self.leader.replace(id.to_owned()) {
            Some(old) => self.put_in_front(&old),
            None => {
                self.leader = None;
                self.put_in_front(id);
            }
        }
    }

    fn shift(&mut self, from: usize, to: usize) {
        let classes: Vec<i64> = self.line.iter().map(|(_, class)| *class).collect();
        let moved = self.line.remove(from);
        self.line.insert(to, moved);
        self.line.iter_mut().zip(classes).for_each(|(place, class)| place.1 = class);
    }

    fn take_out(&mut self, id: &str, abnormal: bool, since: &mut Since) {
        let candidate = self.all.remove(id).expect("it is a candidate");
        if self.leader.as_deref() == Some(id) {
            self.leader = None;
            since.delay = abnormal && candidate.delay;
        } else {
            self.line.retain(|(other, _)| other != id);
        }
        if self.transfer.as_ref().is_some_and(|(to, ..)| to == id) {
            self.transfer = None;
        }
    }

    fn end(&mut self, since: Since, revision: i64) {
        self.delayed |= since.delay && self.leader.is_none();
        if self.leader.is_none() && !self.delayed && !self.line.is_empty() {
            self.leader = Some(self.line.remove(0).0);
        }
        if since.renew || self.leader != since.leader {
            self.transfer = None;
            self.held = false;
            if let Some(leader) = &self.leader {
                self.term = revision;
                self.seq += 1;
                self.held = self.all[leader].hold;
            }
        }
    }

    pub(crate) fn order(&self) -> Vec<String> {
        self.leader.iter().chain(self.line.iter().map(|(id, _)| id)).cloned().collect()
    }

    pub(crate) fn timers(&self, name: &str) -> Vec<Purpose> {
        let election = generate::name(name);
        let mut timers = Vec::new();
        if self.delayed {
            timers.push(Purpose::ElectionDelay { election: election.clone() });
        }
        if self.held {
            timers.push(Purpose::ElectionHold { election: election.clone() });
        }
        if let Some((_, true, _)) = self.transfer {
            timers.push(Purpose::TransferDeadline { election });
        }
        timers
    }
}

impl World {
    /// `None` if the operation is refused.
    pub(crate) fn enter(&mut self, session: i64, enter: &Enter, revision: i64) -> Option<()> {
        let Enter { election: name, candidate: id, attempt, .. } = enter;
        let attempt = *attempt;
        if session == 0 || self.election_bans.contains(&(name.name.clone(), id.clone())) {
            return None;
        }
        let untouched = !self.elections.contains_key(&name.name);
        let election = self.elections.entry(name.name.clone()).or_default();
        let mut since = election.begin();
        let candidate = Candidate {
            lease: session,
            instance: own(session, &enter.instance),
            priority: enter.priority,
            delay: enter.lock_delay_ms > 0,
            hold: enter.max_hold_ms > 0,
            askers: Askers::new(attempt),
        };
        let leads = election.leader.as_ref() == Some(id);
        match election.all.get_mut(id) {
            Some(old) if old.lease == session && old.instance == candidate.instance => {
                old.askers.join(attempt);
                return Some(());
            }
            Some(_) if !enter.takeover => return None,
            Some(old) => {
                *old = candidate;
                since.renew = leads;
            }
            None => {
                let leader = election.leader.as_ref().map(|leader| election.all[leader].priority);
                let preempts = enter.preempt && leader.is_some_and(|leader| enter.priority > leader);
                let free = leader.is_none() && !election.delayed && election.line.is_empty();
                if enter.try_only && !free && !preempts {
                    if untouched {
                        self.elections.remove(&name.name);
                    }
                    return Some(());
                }
                election.all.insert(id.clone(), candidate);
                let at = election.line.iter().position(|(_, class)| *class < enter.priority);
                election.line.insert(at.unwrap_or(election.line.len()), (id.clone(), enter.priority));
                if preempts {
                    election.lead(id);
                }
            }
        }
        election.end(since, revision);
        Some(())
    }

    /// A remembered answer is told again, to another attempt.
    pub(crate) fn enter_again(&mut self, session: i64, enter: &Enter) {
        let Enter { election, candidate: id, instance, attempt, .. } = enter;
        let instance = own(session, instance);
        let Some(election) = self.elections.get_mut(&election.name) else { return };
        let its = |candidate: &&mut Candidate| candidate.lease == session && candidate.instance == instance;
        if let Some(candidate) = election.all.get_mut(id).filter(its) {
            candidate.askers.join(*attempt);
        }
    }

    pub(crate) fn order(&mut self, body: &CoordBody, revision: i64) -> Option<()> {
        let (name, id, missing) = match body {
            CoordBody::Anoint(Anoint { election, candidate, ignore_missing }) => (election, candidate, ignore_missing),
            CoordBody::Promote(promote) => (&promote.election, &promote.candidate, &promote.ignore_missing),
            CoordBody::Demote(demote) => (&demote.election, &demote.candidate, &demote.ignore_missing),
            _ => unreachable!("only these change the order"),
        };
        let found = self.elections.get_mut(&name.name).filter(|election| election.all.contains_key(id));
        let Some(election) = found else { return missing.then_some(()) };
        let since = election.begin();
        let leads = election.leader.as_ref() == Some(id);
        match body {
            CoordBody::Demote(demote) => {
                let mut left = demote.places as usize;
                if leads && left > 0 && !election.line.is_empty() {
                    let next = election.line[0].0.clone();
                    election.lead(&next);
                    left -= 1;
                }
                if let Some(at) = election.index(id) {
                    election.shift(at, (at + left).min(election.line.len() - 1));
                }
            }
            _ if leads => {}
            CoordBody::Promote(Promote { to: PromoteTo::Front, .. }) => {
                if let Some(at @ 1..) = election.index(id) {
                    election.line.remove(at);
                    election.put_in_front(id);
                }
            }
            CoordBody::Promote(Promote { to: PromoteTo::Places(places), .. }) => {
                let (at, places) = (election.index(id).expect("it waits"), *places as usize);
                if election.leader.is_some() && places > at {
                    election.lead(id);
                } else {
                    election.shift(at, at.saturating_sub(places));
                }
            }
            _ => election.lead(id),
        }
        election.end(since, revision);
        Some(())
    }

    pub(crate) fn leaving(&mut self, session: i64, body: &CoordBody, revision: i64) -> Option<()> {
        match body {
            CoordBody::Leave(Leave { election, candidate, instance }) => {
                let stands = self.elections.get(&election.name).and_then(|election| election.all.get(candidate));
                let Some(stands) = stands else { return Some(()) };
                let named = instance.as_ref().is_none_or(|instance| stands.instance == own(session, instance));
                if !named || (session != 0 && stands.lease != session) {
                    return Some(());
                }
                self.remove(&election.name, candidate, false, revision);
                Some(())
            }
            CoordBody::Evict(Evict { election, candidate, cooldown_ms, .. }) => {
                let found = self.remove(&election.name, candidate, true, revision);
                if found && *cooldown_ms > 0 {
                    self.election_bans.insert((election.name.clone(), candidate.clone()));
                }
                found.then_some(())
            }
            CoordBody::EvictEverywhere(EvictEverywhere { candidate, cooldown_ms, .. }) => {
                for name in self.elections.keys().cloned().collect::<Vec<_>>() {
                    if self.remove(&name, candidate, true, revision) && *cooldown_ms > 0 {
                        self.election_bans.insert((name, candidate.clone()));
                    }
                }
                Some(())
            }
            CoordBody::DeleteElection(name) => {
                self.elections.remove(&name.name)?;
                self.election_bans.retain(|(other, _)| *other != name.name);
                Some(())
            }
            _ => unreachable!("only these leave"),
        }
    }

    pub(super) fn cancel_candidate(&mut self, session: i64, attempt: u64, name: &str, id: &str, revision: i64) -> bool {
        let Some(election) = self.elections.get_mut(name) else { return false };
        let leads = election.leader.as_deref() == Some(id);
        let own = election.all.get_mut(id).filter(|candidate| candidate.lease == session);
        own.is_some_and(|candidate| candidate.askers.leave(attempt, leads)) && self.remove(name, id, false, revision)
    }

    fn remove(&mut self, name: &str, id: &str, abnormal: bool, revision: i64) -> bool {
        let found = self.elections.get_mut(name).filter(|election| election.all.contains_key(id));
        let Some(election) = found else { return false };
        let mut since = election.begin();
        election.take_out(id, abnormal, &mut since);
        election.end(since, revision);
        true
    }

    pub(crate) fn transfer(&mut self, body: &CoordBody, revision: i64) -> Option<()> {
        match body {
            CoordBody::RequestTransfer(RequestTransfer { election, to, deadline_ms, force }) => {
                let election = self.elections.get_mut(&election.name)?;
                let leader = election.all.get(to).map(|_| election.leader.clone())?;
                if leader.as_ref() == Some(to) {
                    return Some(());
                }
                leader?;
                election.transfer = Some((to.clone(), *deadline_ms > 0, *force));
            }
            CoordBody::Transfer(Transfer { election, term_id, to, leave }) => {
                let election = self.elections.get_mut(&election.name)?;
                let leader = election.leader.clone().filter(|_| election.term == *term_id)?;
                let to = if to.is_empty() { election.transfer.clone()?.0 } else { to.clone() };
                election.all.get(&to)?;
                if to != leader {
                    let mut since = election.begin();
                    election.lead(&to);
                    if *leave {
                        election.take_out(&leader, false, &mut since);
                    }
                    election.end(since, revision);
                }
            }
            _ => unreachable!("only these transfer"),
        }
        Some(())
    }

    pub(crate) fn elections_settle(
        &mut self,
        leases: &BTreeSet<i64>,
        fired: &[Purpose],
        abnormal: bool,
        revision: i64,
    ) {
        for (name, election) in &mut self.elections {
            let named = |other: &Name| other.name == *name;
            let delay = fired.iter().any(|it| matches!(it, Purpose::ElectionDelay { election } if named(election)));
            let hold = fired.iter().any(|it| matches!(it, Purpose::ElectionHold { election } if named(election)));
            let late = fired.iter().any(|it| matches!(it, Purpose::TransferDeadline { election } if named(election)));
            let mut since = election.begin();
            let dead = |candidate: &Candidate| leases.contains(&candidate.lease);
            let mut gone: BTreeMap<String, bool> =
                election.all.iter().filter(|(_, one)| dead(one)).map(|(id, _)| (id.clone(), abnormal)).collect();
            election.delayed &= !delay;
            let pending = election.transfer.take_if(|_| late);
            if let Some((to, _, true)) = pending.filter(|(to, ..)| election.leader.is_some() && !gone.contains_key(to))
            {
                election.lead(&to);
            }
            if hold && let Some(leader) = &since.leader {
                gone.entry(leader.clone()).or_insert(true);
            }
            for (id, abnormal) in gone {
                let was = since.delay;
                election.take_out(&id, abnormal, &mut since);
                since.delay |= was;
            }
            election.end(since, revision);
        }
    }
}
