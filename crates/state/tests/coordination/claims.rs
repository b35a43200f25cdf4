//! Claims in the model.

use super::{World, generate};
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
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) who: (String, String),
    duration: u64,
    pub(crate) lease: i64,
    timed: bool,
}

impl Claimed {
    fn take(&mut self, who: (String, String), longest: u64, fence: i64) {
        self.holder = Some(Holder { who, fence, longest, timed: true });
    }

    fn end(&mut self, revision: i64) {
        self.holder = None;
        if !self.line.is_empty() {
            let next = self.line.remove(0);
            self.take(next.who, next.duration, revision);
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
        let who = (item.holder.clone(), item.instance.clone());
        let Some(holder) = &mut claim.holder else {
            claim.take(who, item.duration_ms, revision);
            return "taken";
        };
        if holder.who.0 == who.0 && (holder.who == who || item.twin == Twin::Share) {
            holder.longest = holder.longest.max(item.duration_ms);
            holder.timed = true;
            claim.line.retain(|waiter| waiter.who != who);
            return "extended";
        }
        if holder.who.0 == who.0 && item.twin == Twin::TakeOver {
            claim.line.retain(|waiter| waiter.who != who);
            claim.take(who, item.duration_ms, revision);
            return "taken";
        }
        if !item.wait {
            return "denied";
        }
        let ClaimAnswer::Waiting { ticket } = *answer else { panic!("{answer:?} should wait") };
        let timed = item.wait_ms > 0;
        let wish = Waiter { ticket, who, duration: item.duration_ms, lease: session, timed };
        match claim.line.iter_mut().find(|waiter| waiter.who == wish.who) {
            Some(waiter) => {
                assert_eq!(waiter.ticket, ticket, "who asks again keeps the place");
                *waiter = wish;
            }
            None => claim.line.push(wish),
        }
        "waiting"
    }

    pub(crate) fn around_claims(&mut self, session: i64, body: &CoordBody, revision: i64) -> Option<()> {
        match body {
            CoordBody::Unclaim(Unclaim { claim, holder, instance }) => {
                let who = (holder.clone(), instance.clone());
                self.claims.entry(claim.name.clone()).or_default().line.retain(|waiter| waiter.who != who);
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
