//! A second state machine for elections, locks and claims, written from their documentation with
//! lists and loops. It shares the words with the real one and none of its code.

mod claims;
mod elections;
pub(crate) mod generate;
mod locks;
pub(crate) mod omitting;
pub(crate) mod parties;

use claims::Claimed;
use conclave_state::coord::Purpose;
use conclave_state::*;
use elections::Election;
use locks::Request;
use parties::own;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    leases: BTreeSet<i64>,
    pub(crate) elections: BTreeMap<String, Election>,
    election_bans: BTreeSet<(String, String)>,
    pub(crate) requests: BTreeMap<i64, Request>,
    delays: BTreeSet<String>,
    lock_bans: BTreeSet<(String, String)>,
    /// Attempts that were given up.
    cancelled: BTreeSet<(i64, u64)>,
    pub(crate) claims: BTreeMap<String, Claimed>,
    /// A claim was ever revoked: the note of the last one stays.
    revoked: bool,
    /// With what was asked, and of whom.
    answered: BTreeMap<(i64, [u8; 16]), (Asked, CoordResponse)>,
}

/// An operation and whom it is about.
type Asked = (&'static str, Vec<String>);

/// The attempts that asked for a place and were not cancelled, oldest first; 0 cannot be cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Askers(Vec<u64>);

impl Askers {
    fn new(attempt: u64) -> Askers {
        Askers(vec![attempt])
    }

    fn join(&mut self, attempt: u64) {
        if attempt == 0 {
            self.0.retain(|other| *other != 0);
        }
        if !self.0.contains(&attempt) {
            self.0.push(attempt);
        }
    }

    /// Whether the place ends with the attempt.
    fn leave(&mut self, attempt: u64, held: bool) -> bool {
        let Askers(askers) = self;
        if attempt == 0 || !askers.contains(&attempt) {
            return false;
        }
        let was_last = askers.last() == Some(&attempt);
        askers.retain(|other| *other != attempt);
        askers.is_empty() || (was_last && !held)
    }
}

fn asked(body: &CoordBody) -> Asked {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match body {
        CoordBody::Enter(Enter { election, candidate, instance, .. }) => {
            ("enter", texts(&[&election.name, candidate, instance]))
        }
        CoordBody::Leave(Leave { election, candidate, instance, .. }) => {
            ("leave", texts(&[&election.name, candidate, &text(instance)]))
        }
        CoordBody::Anoint(Anoint { election, candidate, .. }) => ("anoint", texts(&[&election.name, candidate])),
        CoordBody::Promote(Promote { election, candidate, .. }) => ("promote", texts(&[&election.name, candidate])),
        CoordBody::Demote(Demote { election, candidate, .. }) => ("demote", texts(&[&election.name, candidate])),
        CoordBody::Evict(Evict { election, candidate, .. }) => ("evict", texts(&[&election.name, candidate])),
        CoordBody::EvictEverywhere(EvictEverywhere { candidate, .. }) => ("evict everywhere", texts(&[candidate])),
        CoordBody::RequestTransfer(RequestTransfer { election, to, .. }) => ("request", texts(&[&election.name, to])),
        CoordBody::Transfer(Transfer { election, to, .. }) => ("transfer", texts(&[&election.name, to])),
        CoordBody::DeleteElection(election) => ("delete", texts(&[&election.name])),
        CoordBody::Acquire(Acquire { parts, owner, .. }) => {
            let names = parts.iter().map(|part| part.lock.name.clone());
            ("acquire", names.chain([owner.clone()]).collect())
        }
        CoordBody::Release(Release { fence, .. }) => ("release", vec![fence.to_string()]),
        CoordBody::Claim(items) => {
            let one = |item: &Claim| [item.claim.name.clone(), item.holder.clone(), item.instance.clone()];
            ("claim", items.iter().flat_map(one).collect())
        }
        CoordBody::Unclaim(Unclaim { claim, holder, instance }) => ("unclaim", texts(&[&claim.name, holder, instance])),
        CoordBody::Revoke(Revoke { claim, holder, instance }) => {
            ("revoke", texts(&[&claim.name, &text(holder), &text(instance)]))
        }
        CoordBody::Pin(Pin { claim, entity, .. }) => ("pin", texts(&[&claim.name, entity])),
        CoordBody::Unpin(Unpin { claim, entity }) => ("unpin", texts(&[&claim.name, entity])),
        other => unreachable!("{other:?} is not generated"),
    }
}

pub(crate) fn order(election: &Election) -> Vec<String> {
    election.order()
}

impl World {
    /// Follows a command that may get `revision`, and says whether it was right to be refused.
    pub(crate) fn apply(&mut self, command: &Command, fired: &[Purpose], outcome: &Outcome, revision: i64) -> bool {
        match command {
            Command::LeaseGrant(grant) => self.leases.insert(grant.id),
            Command::LeaseRevoke { id } => {
                let found = self.leases.contains(id);
                self.settle([*id].into(), &[], false, revision);
                found
            }
            Command::Expire(expire) => {
                self.settle(expire.leases.iter().copied().collect(), &[], true, revision);
                true
            }
            Command::CoordTimer(_) => {
                self.settle(BTreeSet::new(), fired, true, revision);
                true
            }
            Command::Coord(coord) => self.coord(coord, outcome, revision).is_some(),
            Command::Cancel(cancel) => {
                let ended = self.cancel(cancel, revision);
                assert_eq!(outcome.result, Ok(Response::Cancel { ended }), "what {cancel:?} came to");
                true
            }
            other => unreachable!("{other:?} is not generated"),
        }
    }

    fn settle(&mut self, mut leases: BTreeSet<i64>, fired: &[Purpose], abnormal: bool, revision: i64) {
        leases.retain(|lease| self.leases.remove(lease));
        self.answered.retain(|(lease, _), _| !leases.contains(lease));
        self.cancelled.retain(|(lease, _)| !leases.contains(lease));
        for purpose in fired {
            match purpose {
                Purpose::ElectionCooldown { election, who } => {
                    self.election_bans.remove(&(election.name.clone(), who.clone()));
                }
                Purpose::LockCooldown { lock, who } => drop(self.lock_bans.remove(&(lock.name.clone(), who.clone()))),
                _ => {}
            }
        }
        self.elections_settle(&leases, fired, abnormal, revision);
        self.locks_settle(&leases, fired, abnormal);
        self.claims_settle(&leases, fired, revision);
    }

    fn coord(&mut self, coord: &Coord, outcome: &Outcome, revision: i64) -> Option<()> {
        let Coord { session, dedupe, body, .. } = coord;
        if *session != 0 && !self.leases.contains(session) {
            return None;
        }
        let attempt = match body {
            CoordBody::Enter(enter) => enter.attempt,
            CoordBody::Acquire(acquire) => acquire.attempt,
            _ => 0,
        };
        if self.cancelled.contains(&(*session, attempt)) {
            return None;
        }
        let answer = match &outcome.result {
            Ok(Response::Coord(answer)) => Some(answer),
            _ => None,
        };
        if let Some((question, before)) = dedupe.and_then(|id| self.answered.get(&(*session, id))) {
            if *question != asked(body) {
                return None;
            }
            assert_eq!(Some(before), answer, "the answer that was remembered");
            let before = before.clone();
            match body {
                CoordBody::Acquire(acquire) => self.join(acquire, &before),
                CoordBody::Enter(enter) => self.enter_again(*session, enter),
                _ => {}
            }
            return Some(());
        }
        match body {
            CoordBody::Enter(enter) => self.enter(*session, enter, revision),
            CoordBody::Anoint(_) | CoordBody::Promote(_) | CoordBody::Demote(_) => self.order(body, revision),
            CoordBody::Leave(_)
            | CoordBody::Evict(_)
            | CoordBody::EvictEverywhere(_)
            | CoordBody::DeleteElection(_) => self.leaving(*session, body, revision),
            CoordBody::RequestTransfer(_) | CoordBody::Transfer(_) => self.transfer(body, revision),
            CoordBody::Acquire(acquire) => self.acquire(*session, acquire, revision, dedupe.is_some()),
            CoordBody::Release(release) => self.release(*session, release),
            CoordBody::Claim(items) => {
                if *session == 0 && items.iter().any(|item| item.instance.is_empty() && item.twin != Twin::Share) {
                    return None;
                }
                let Some(CoordResponse::Claims { items: answers }) = answer else {
                    panic!("claims are answered one by one")
                };
                self.claim_all(*session, items, answers, revision);
                Some(())
            }
            other => self.around_claims(*session, other, revision),
        }?;
        if let (Some(id), Some(answer)) = (dedupe, answer) {
            self.answered.insert((*session, *id), (asked(body), answer.clone()));
        }
        Some(())
    }

    fn cancel(&mut self, cancel: &Cancel, revision: i64) -> bool {
        let Cancel { session, attempt, place } = cancel;
        if !self.leases.contains(session) || *attempt == 0 {
            return false;
        }
        self.cancelled.insert((*session, *attempt));
        match place {
            PlaceId::Key(_) => unreachable!("not generated here"),
            PlaceId::Candidate { election, candidate } => {
                self.cancel_candidate(*session, *attempt, &election.name, candidate, revision)
            }
            PlaceId::Request { fence, dedupe } => {
                let remembered = dedupe.and_then(|id| self.answered.get(&(*session, id)));
                let fence = match (*fence, remembered) {
                    (0, Some((_, CoordResponse::Lock { fence, .. }))) => *fence,
                    (0, _) if dedupe.is_some() => 0,
                    (0, _) => self.fence_of(*session, *attempt),
                    (fence, _) => fence,
                };
                self.cancel_request(*session, *attempt, fence)
            }
        }
    }

    /// All timers that should be armed.
    pub(crate) fn timers(&self) -> Vec<Purpose> {
        let bans = self
            .election_bans
            .iter()
            .map(|(election, who)| Purpose::ElectionCooldown { election: generate::name(election), who: who.clone() });
        let lock_bans = self
            .lock_bans
            .iter()
            .map(|(lock, who)| Purpose::LockCooldown { lock: generate::name(lock), who: who.clone() });
        let mut timers: Vec<Purpose> = bans.chain(lock_bans).chain(self.lock_timers()).collect();
        timers.extend(self.elections.iter().flat_map(|(name, election)| election.timers(name)));
        timers.extend(self.claims.iter().flat_map(|(name, claim)| claim.timers(name)));
        timers.sort();
        timers
    }

    /// How many candidacies, requests, places, pins and instances depend on a session.
    pub(crate) fn dependents(&self) -> usize {
        let candidates: usize = self.elections.values().map(|election| election.all.len()).sum();
        let waiters = self.claims.values().flat_map(|claim| claim.line.iter().map(|waiter| waiter.lease));
        let pins = self.claims.values().flat_map(|claim| claim.pins.values().map(|(lease, _)| *lease));
        let instances = self.claims.values().filter_map(|claim| claim.holder.as_ref());
        let instances = instances.filter(|holder| holder.is_of_its_session()).count();
        candidates + self.requests.len() + instances + waiters.chain(pins).filter(|lease| *lease != 0).count()
    }

    /// All keys that should be projected, but for the terms', with their leases.
    pub(crate) fn keys(&self) -> BTreeMap<Vec<u8>, i64> {
        let mut keys = BTreeMap::new();
        for (name, election) in &self.elections {
            let name = generate::name(name);
            for (id, candidate) in &election.all {
                keys.insert(coord::candidate_key(&name, id), candidate.lease);
            }
            if let Some(leader) = &election.leader {
                keys.insert(coord::leader_key(&name, election.term), election.all[leader].lease);
            }
            keys.insert(coord::term_key(&name), 0);
        }
        for (fence, request) in &self.requests {
            let key = if request.held { coord::lock_holder_key } else { coord::lock_waiter_key };
            keys.extend(request.parts.iter().map(|part| (key(&part.lock, *fence), request.lease)));
        }
        for (name, claim) in &self.claims {
            let name = generate::name(name);
            if let Some(holder) = &claim.holder {
                keys.insert(coord::claim_holder_key(&name), 0);
                keys.insert(coord::tenure_key(&name, holder.fence), 0);
            }
            keys.extend(claim.line.iter().map(|one| (coord::claim_waiter_key(&name, one.ticket), one.lease)));
            keys.extend(claim.pins.iter().map(|(entity, (lease, _))| (coord::pin_key(&name, entity), *lease)));
        }
        if self.revoked {
            keys.insert(coord::revoked_key("n"), 0);
        }
        keys
    }
}
