//! Claims in the model.

use super::{World, generate, own};
use conclave_state::coord::Purpose;
use conclave_state::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) holder: Option<Holder>,
    pub(crate) line: Vec<Waiter>,
    /// With the lease each depends on, and whether it has an end.
    pub(crate) pins: BTreeMap<String, (i64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) who: (String, String),
    pub(crate) fence: i64,
    pub(crate) longest: u64,
    timed: bool,
    session: i64,
    shared: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) who: (String, String),
    duration: u64,
    pub(crate) lease: i64,
    timed: bool,
    shared: bool,
}

impl Holder {
    /// Whether it holds under its session's own instance, which ends with the session.
    pub(crate) fn is_of_its_session(&self) -> bool {
        self.session != 0 && self.who.1 == own(self.session, "")
    }
}

impl Claimed {
    fn take(&mut self, wish: Waiter, fence: i64) {
        let Waiter { who, duration: longest, lease: session, shared, .. } = wish;
        self.holder = Some(Holder { who, fence, longest, timed: true, session, shared });
    }

    fn end(&mut self, revision: i64) {
        self.holder = None;
        if !self.line.is_empty() {
            let next = self.line.remove(0);
            self.take(next, revision);
        }
    }

    fn unpin(&mut self, entity: &str) {
        if self.pins.remove(entity).is_some()
            && self.pins.is_empty()
            && let Some(holder) = &mut self.holder
        {
            holder.timed = true;
        }
    }

    pub(crate) fn timers(&self, name: &str) -> Vec<Purpose> {
        let claim = generate::name(name);
        let mut timers = Vec::new();
        if self.holder.as_ref().is_some_and(|holder| holder.timed) {
            timers.push(Purpose::ClaimEnd { claim: claim.clone() });
        }
        for waiter in self.line.iter().filter(|waiter| waiter.timed) {
            timers.push(Purpose::ClaimWait { claim: claim.clone(), ticket: waiter.ticket });
        }
        for (entity, _) in self.pins.iter().filter(|(_, (_, timed))| *timed) {
            timers.push(Purpose::PinEnd { claim: claim.clone(), entity: entity.clone() });
        }
        timers
    }
}

impl World {
    /// The model learns the tickets of those who wait from the answer.
    pub(crate) fn claim_all(&mut self, session: i64, items: &[Claim], answers: &[ClaimAnswer], revision: i64) {
        let mut named = BTreeSet::new();
        for (item, answer) in items.iter().zip(answers) {
            let expected =
                if named.insert(&item.claim) { self.claim_one(session, item, answer, revision) } else { "repeated" };
            let actual = match answer {
                ClaimAnswer::Taken { .. } => "taken",
                ClaimAnswer::Extended { .. } => "extended",
                ClaimAnswer::Waiting { .. } => "waiting",
                ClaimAnswer::Denied { .. } => "denied",
                ClaimAnswer::BadDuration { .. } => "bad duration",
                ClaimAnswer::TooManyWaiting {} => "too many",
                ClaimAnswer::Repeated {} => "repeated",
            };
            assert_eq!(actual, expected, "{item:?}");
        }
    }

    fn claim_one(&mut self, session: i64, item: &Claim, answer: &ClaimAnswer, revision: i64) -> &'static str {
        if item.duration_ms < 5000 {
            return "bad duration";
        }
        let claim = self.claims.entry(item.claim.name.clone()).or_default();
        let who = (item.holder.clone(), own(session, &item.instance));
        let (shared, timed) = (item.twin == Twin::Share, item.wait_ms > 0);
        let wish = Waiter { ticket: 0, who, duration: item.duration_ms, lease: session, timed, shared };
        let its = |waiter: &Waiter| waiter.who == wish.who && waiter.lease == session;
        let Some(holder) = &mut claim.holder else {
            claim.take(wish, revision);
            return "taken";
        };
        let gone = holder.session != 0 && !self.leases.contains(&holder.session);
        let returns = gone && !item.instance.is_empty();
        let same = holder.who == wish.who && (holder.session == session || returns);
        if same || (holder.who.0 == wish.who.0 && holder.shared && shared) {
            holder.longest = holder.longest.max(item.duration_ms);
            holder.timed = true;
            if same {
                holder.session = session;
                holder.shared |= shared;
            }
            claim.line.retain(|waiter| !its(waiter));
            return "extended";
        }
        if holder.who.0 == wish.who.0 && item.twin == Twin::TakeOver {
            claim.line.retain(|waiter| !its(waiter));
            claim.take(wish, revision);
            return "taken";
        }
        if !item.wait {
            return "denied";
        }
        let ClaimAnswer::Waiting { ticket } = *answer else { panic!("{answer:?} should wait") };
        match claim.line.iter_mut().find(|waiter| its(waiter)) {
            Some(waiter) => {
                assert_eq!(waiter.ticket, ticket, "who asks again keeps the place");
                *waiter = Waiter { ticket, ..wish };
            }
            None => claim.line.push(Waiter { ticket, ..wish }),
        }
        "waiting"
    }

    pub(crate) fn around_claims(&mut self, session: i64, body: &CoordBody, revision: i64) -> Option<()> {
        match body {
            CoordBody::Unclaim(Unclaim { claim, holder, instance }) => {
                let who = (holder.clone(), own(session, instance));
                let meant = |waiter: &Waiter| waiter.who == who && (session == 0 || waiter.lease == session);
                self.claims.entry(claim.name.clone()).or_default().line.retain(|waiter| !meant(waiter));
            }
            CoordBody::Revoke(Revoke { claim, holder, .. }) => {
                let claim = self.claims.entry(claim.name.clone()).or_default();
                if let Some(held) = &claim.holder {
                    if holder.as_ref().is_some_and(|holder| *holder != held.who.0) {
                        return None;
                    }
                    claim.end(revision);
                    self.revoked = true;
                }
            }
            CoordBody::Pin(Pin { claim, entity, with_session, max_ms, .. }) => {
                if *with_session && session == 0 {
                    return None;
                }
                let lease = if *with_session { session } else { 0 };
                let claim = self.claims.entry(claim.name.clone()).or_default();
                claim.pins.insert(entity.clone(), (lease, *max_ms > 0));
            }
            CoordBody::Unpin(Unpin { claim, entity }) => {
                self.claims.entry(claim.name.clone()).or_default().unpin(entity);
            }
            _ => unreachable!("only these are left"),
        }
        Some(())
    }

    pub(crate) fn claims_settle(&mut self, leases: &BTreeSet<i64>, fired: &[Purpose], revision: i64) {
        for (name, claim) in &mut self.claims {
            let pinned = !claim.pins.is_empty();
            if let Some(holder) = &mut claim.holder
                && leases.contains(&holder.session)
                && holder.is_of_its_session()
            {
                holder.session = 0;
            }
            let mut over = false;
            let mut ended: Vec<String> =
                claim.pins.iter().filter(|(_, (lease, _))| leases.contains(lease)).map(|(id, _)| id.clone()).collect();
            for purpose in fired {
                match purpose {
                    Purpose::ClaimEnd { claim: other } if other.name == *name => over = true,
                    Purpose::ClaimWait { claim: other, ticket } if other.name == *name => {
                        claim.line.retain(|waiter| waiter.ticket != *ticket);
                    }
                    Purpose::PinEnd { claim: other, entity } if other.name == *name => ended.push(entity.clone()),
                    _ => {}
                }
            }
            claim.line.retain(|waiter| !leases.contains(&waiter.lease));
            if over && let Some(holder) = &mut claim.holder {
                holder.timed = false;
            }
            ended.iter().for_each(|entity| claim.unpin(entity));
            if over && !pinned {
                claim.end(revision);
            }
        }
    }
}
