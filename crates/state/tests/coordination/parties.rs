//! Whose fences, places and tickets are: written down at first sight, and the same for ever after.

use super::generate;
use conclave_state::coord::read;
use conclave_state::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A session (0: none) and an instance in it.
pub(crate) type Party = (LeaseId, String);

/// What has one owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owned {
    /// The term of an election. One revision may begin terms and tenures of several names.
    Term(Name, i64),
    /// A candidacy, by the revision at which it began.
    Candidacy(String, i64),
    /// A request for locks, by its fence.
    Request(i64),
    /// A place in the line of a claim.
    Ticket(u64),
    /// A tenure of a claim, by its fence.
    Tenure(Name, i64),
}

/// An owner, and whether its session has ended since. The same id, granted again, is another
/// session.
#[derive(Clone, Debug)]
struct Owner {
    party: Party,
    ended: bool,
}

#[derive(Default)]
pub(crate) struct Owners {
    owners: BTreeMap<Owned, Owner>,
    /// Tenures that all of their holders asked to share.
    shared: BTreeSet<Owned>,
    /// Tokens that parties were told.
    tokens: BTreeMap<Owned, BTreeSet<(Party, Vec<Compared>)>>,
}

/// A guard: a key and the revision that created it.
type Compared = (Vec<u8>, i64);

pub(crate) fn own(session: LeaseId, named: &str) -> String {
    if named.is_empty() && session != 0 { format!("{session:x}") } else { named.to_owned() }
}

fn guards(token: &Token) -> Vec<Compared> {
    let one = |guard: &Compare| match guard.target {
        Target::CreateRevision(revision) => (guard.range.key.to_vec(), revision),
        ref other => panic!("{other:?} is no target of a token"),
    };
    token.guards.iter().map(one).collect()
}

fn passes(view: &MemoryView, guards: &[Compared]) -> bool {
    let bounds = conclave_state::read::meta(view).expect("memory can be read").bounds();
    guards.iter().all(|(key, revision)| {
        let range = KeyRange { key: key.clone().into(), end: "".into() };
        let query = RangeQuery { range, ..RangeQuery::default() };
        let found = conclave_state::read::range(view, &query, bounds, None).expect("memory can be read");
        let found = found.expect("it is the present").kvs;
        found.first().map_or(0, |kv| kv.create_revision) == *revision
    })
}

fn lives(view: &MemoryView, session: LeaseId) -> bool {
    conclave_state::read::lease_ttl(view, session).expect("memory can be read").is_some()
}

impl Owners {
    fn belongs(&mut self, what: Owned, party: Party) -> Result<(), TestCaseError> {
        let before = self.owners.insert(what.clone(), Owner { party: party.clone(), ended: false });
        let Some(before) = before.filter(|before| before.ended || before.party != party) else { return Ok(()) };
        // A tenure outlives its session: a caller that names the same instance can extend it, with
        // a session of its own or none. The session's own instance has ended with it, and belongs
        // to no session any more.
        let nobodys = own(before.party.0, "") == party.1 && party.0 != 0;
        let inherited = matches!(what, Owned::Tenure(..)) && before.ended && before.party.1 == party.1 && !nobodys;
        prop_assert!(inherited, "{:?} was of {:?} and is of {:?}", what, before, party);
        Ok(())
    }

    /// Writes down whose everything is after a command.
    pub(crate) fn look(&mut self, view: &MemoryView) -> Result<(), TestCaseError> {
        // The memory of a session ends with it, also if its id is granted again.
        for owner in self.owners.values_mut() {
            owner.ended |= owner.party.0 != 0 && !lives(view, owner.party.0);
        }
        for told in self.tokens.values_mut() {
            told.retain(|((session, _), _)| *session == 0 || lives(view, *session));
        }
        for name in ["e", "f"].map(generate::name) {
            let state = read::election(view, &name).expect("memory can be read");
            let leader = state.as_ref().and_then(|state| state.term.leader.clone());
            for one in read::candidates(view, &name, 0, 99).expect("memory can be read") {
                let party = (one.lease, one.instance.clone());
                if leader.as_ref() == Some(&one.id) {
                    let term = state.as_ref().map_or(0, |state| state.term.id);
                    self.belongs(Owned::Term(name.clone(), term), party.clone())?;
                }
                self.belongs(Owned::Candidacy(one.id, one.joined), party)?;
            }
        }
        for name in ["x", "y", "z"].map(generate::name) {
            let held = read::lock_holders(view, &name, 0, 99).expect("memory can be read");
            let waiting = read::lock_waiting(view, &name, 0, 99).expect("memory can be read");
            for request in held.into_iter().chain(waiting) {
                self.belongs(Owned::Request(request.fence), (request.lease, String::new()))?;
            }
        }
        for name in ["c", "d"].map(generate::name) {
            for waiter in read::claim_waiting(view, &name, 0, 99).expect("memory can be read") {
                self.belongs(Owned::Ticket(waiter.ticket), (waiter.lease, waiter.instance))?;
            }
            let holder = read::claim(view, &name).expect("memory can be read").and_then(|state| state.holder);
            if let Some(holder) = holder {
                if holder.shared {
                    self.shared.insert(Owned::Tenure(name.clone(), holder.fence));
                }
                self.belongs(Owned::Tenure(name, holder.fence), (holder.session, holder.instance))?;
            }
        }
        self.no_two_pass(view)
    }

    /// Of the tokens of one fence, those that pass are one party's.
    fn no_two_pass(&self, view: &MemoryView) -> Result<(), TestCaseError> {
        for (what, told) in &self.tokens {
            let holders: BTreeSet<&Party> =
                told.iter().filter(|(_, guards)| passes(view, guards)).map(|(party, _)| party).collect();
            prop_assert!(holders.len() <= 1 || self.shared.contains(what), "{:?} passes for {:?}", what, holders);
        }
        Ok(())
    }

    /// Records what the answer to an operation says that it holds.
    pub(crate) fn told(&mut self, command: &Command, outcome: &Outcome) -> Result<(), TestCaseError> {
        let (Command::Coord(coord), Ok(Response::Coord(answer))) = (command, &outcome.result) else { return Ok(()) };
        let session = coord.session;
        match (&coord.body, answer) {
            (CoordBody::Enter(enter), CoordResponse::Election { term, standing: Standing::Leads {}, .. }) => {
                let party = (session, own(session, &enter.instance));
                let token = coord::token::leadership(&enter.election, term.id);
                self.note(Owned::Term(enter.election.clone(), term.id), party, &token)
            }
            (CoordBody::Acquire(acquire), CoordResponse::Lock { fence, held_since }) if *held_since > 0 => {
                let token = coord::token::locks(&acquire.parts, *fence, *held_since);
                self.note(Owned::Request(*fence), (session, String::new()), &token)
            }
            (CoordBody::Claim(items), CoordResponse::Claims { items: answers }) => {
                for (item, answer) in items.iter().zip(answers) {
                    let (ClaimAnswer::Taken { fence, .. } | ClaimAnswer::Extended { fence, .. }) = answer else {
                        continue;
                    };
                    let party = (session, own(session, &item.instance));
                    let token = coord::token::tenure(&item.claim, *fence);
                    self.note(Owned::Tenure(item.claim.clone(), *fence), party, &token)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, what: Owned, party: Party, token: &Token) -> Result<(), TestCaseError> {
        if !self.shared.contains(&what) {
            self.belongs(what.clone(), party.clone())?;
        }
        self.tokens.entry(what).or_default().insert((party, guards(token)));
        Ok(())
    }
}
