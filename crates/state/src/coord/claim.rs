//! Claims: Juju's leadership, a name that is held for at least a duration.
//!
//! One command takes, extends or denies a claim, based on the current state. A timer ends the
//! claim; the leader restarts it for every extension. Nothing ends by time alone.
//!
//! 1. A tenure never gets shorter: the timer always runs for the longest duration that was promised
//!    in it.
//! 2. An extension by a command gives the timer a new id, so that an expiry that was already
//!    proposed has no effect.
//! 3. An extension changes no key: guards and watches see nothing.
//! 4. While a claim is pinned its timer ends nothing. When the last pin is removed, the holder gets
//!    the whole duration again.
//! 5. A claim has waiters only while it is held: when it ends, the first waiter gets it in the same
//!    revision.
//! 6. A new holder loses its own place in line, so it does not get the claim again after releasing
//!    it.
//! 7. A waiter that asks again keeps its place, with the duration that it requested last. A place
//!    belongs to one session (or to none): another session has its own place, under any name. It
//!    does not belong to a call, so no attempt gives it up.
//! 8. A tenure has one holder: a session and an instance in it. Several share it only if each of
//!    them, including the first, asked to share. Without a session only the instance distinguishes
//!    processes, so it must be named.
//! 9. A tenure outlives its session, because it was promised for a duration. An instance that was
//!    left out does not: it was the session's own. Afterwards nobody extends the tenure under it,
//!    also if the same id is granted again.

use super::project::Json;
use super::row::{self, Cause, ClaimHead, ClaimWaiter, Dependent, Purpose, Tenure, must};
use super::settle::ClaimDue;
use super::{
    Claim, ClaimAnswer, CoordResponse, Kind, Limits, Name, Revoke, SetLimits, Twin, Unclaim, instance_of, keys,
};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, Step, View};
use crate::{LeaseId, Rejection};
use std::collections::BTreeSet;

/// One of the claims of a command, with its claimant.
struct Bid<'a> {
    item: &'a Claim,
    session: LeaseId,
    /// The session's own instance if none was named.
    instance: String,
}

impl<V: View> Batch<'_, V> {
    /// Each item is decided separately. A name counts once in a command, because a revision is one
    /// fence.
    pub(super) fn claims(&mut self, session: LeaseId, items: &[Claim]) -> Result<CoordResponse, Stop> {
        if session == 0 && items.iter().any(|item| item.instance.is_empty() && item.twin != Twin::Share) {
            return Err(Rejection::Malformed.into());
        }
        let mut named = BTreeSet::new();
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            answers.push(if named.insert(&item.claim) {
                self.claim_one(&Bid { item, session, instance: instance_of(session, &item.instance) })?
            } else {
                ClaimAnswer::Repeated {}
            });
        }
        Ok(CoordResponse::Claims { items: answers })
    }

    fn claim_one(&mut self, bid: &Bid<'_>) -> Result<ClaimAnswer, Fault> {
        let Bid { item, session, .. } = *bid;
        let Limits { min_ms, max_ms, max_waiting } = self.limits(&item.claim.namespace)?;
        if item.duration_ms < min_ms || item.duration_ms > max_ms {
            return Ok(ClaimAnswer::BadDuration { min_ms, max_ms });
        }
        let mut head = self.claim_head(&item.claim)?.unwrap_or_default();
        let Some(tenure) = head.tenure.clone() else {
            return self.take_claim(&mut head, bid, Cause::Claimed);
        };
        if tenure.holder == item.holder {
            let own = self.is_own(&tenure, session, &item.instance)?;
            if own || (tenure.shared && item.twin == Twin::Share) {
                self.leave_line_of_claim(bid, &mut head)?;
                return self.extend_claim(&mut head, bid, own);
            }
            if item.twin == Twin::TakeOver {
                self.leave_line_of_claim(bid, &mut head)?;
                self.vacate(&item.claim, &mut head)?;
                return self.take_claim(&mut head, bid, Cause::TakenOver);
            }
        }
        if !item.wait {
            let Tenure { holder, instance, fence, .. } = tenure;
            return Ok(ClaimAnswer::Denied { holder, instance, fence });
        }
        self.wait_for_claim(bid, &mut head, max_waiting)
    }

    fn take_claim(&mut self, head: &mut ClaimHead, bid: &Bid<'_>, cause: Cause) -> Result<ClaimAnswer, Fault> {
        let Bid { item, session, .. } = *bid;
        let (holder, instance) = (item.holder.clone(), bid.instance.clone());
        let shared = item.twin == Twin::Share;
        let waiter = ClaimWaiter { holder, instance, duration_ms: item.duration_ms, lease: session, timer: 0, shared };
        self.install(&item.claim, head, waiter, cause)?;
        self.put_claim_head(&item.claim, head);
        let Tenure { fence, timer, .. } = *must(head.tenure.as_ref(), "a tenure")?;
        Ok(ClaimAnswer::Taken { fence, timer })
    }

    /// `own`: by its holder, possibly with a new session after the previous one ended.
    fn extend_claim(&mut self, head: &mut ClaimHead, bid: &Bid<'_>, own: bool) -> Result<ClaimAnswer, Fault> {
        let Bid { item, session, .. } = *bid;
        let tenure = must(head.tenure.as_mut(), "a tenure")?;
        if own {
            tenure.shared |= item.twin == Twin::Share;
            if tenure.session != session {
                tenure.session = session;
                self.depend_if_own(&item.claim, tenure);
            }
        }
        tenure.longest_ms = tenure.longest_ms.max(item.duration_ms);
        self.disarm(tenure.timer)?;
        tenure.timer = self.arm(Purpose::ClaimEnd { claim: item.claim.clone() }, tenure.longest_ms)?;
        let Tenure { fence, timer, longest_ms, .. } = *tenure;
        self.put_row(keys::head(Kind::Claim, &item.claim), head);
        Ok(ClaimAnswer::Extended { fence, timer, longest_ms })
    }

    /// Removes the claimant's place in line, if it has one.
    fn leave_line_of_claim(&mut self, bid: &Bid<'_>, head: &mut ClaimHead) -> Result<(), Fault> {
        let Claim { claim, holder, .. } = bid.item;
        if let Some(ticket) = self.get_row(&keys::waiter(claim, holder, &bid.instance, bid.session))? {
            self.stop_waiting(claim, head, ticket)?;
            self.put_claim_head(claim, head);
        }
        Ok(())
    }

    /// Takes a place in line, or finds it again.
    fn wait_for_claim(&mut self, bid: &Bid<'_>, head: &mut ClaimHead, max_waiting: u32) -> Result<ClaimAnswer, Fault> {
        let Bid { item, session, ref instance } = *bid;
        let Claim { claim, holder, duration_ms, twin, wait_ms, .. } = item;
        let shared = *twin == Twin::Share;
        let own = keys::waiter(claim, holder, instance, session);
        let found: Option<u64> = self.get_row(&own)?;
        let ticket = match found {
            Some(ticket) => {
                let before = must(self.get_row::<ClaimWaiter>(&keys::turn(Kind::Claim, claim, ticket))?, "who waits")?;
                let as_before = before.duration_ms == *duration_ms && before.shared == shared;
                if as_before && before.timer == 0 && *wait_ms == 0 {
                    return Ok(ClaimAnswer::Waiting { ticket });
                }
                self.disarm(before.timer)?;
                ticket
            }
            None if head.waiting >= max_waiting => return Ok(ClaimAnswer::TooManyWaiting {}),
            None => self.next_id()?,
        };
        let timer = match wait_ms {
            0 => 0,
            millis => self.arm(Purpose::ClaimWait { claim: claim.clone(), ticket }, *millis)?,
        };
        let (holder, instance) = (holder.clone(), instance.clone());
        let waiter = ClaimWaiter { holder, instance, duration_ms: *duration_ms, lease: session, timer, shared };
        self.put_row(keys::turn(Kind::Claim, claim, ticket), &waiter);
        let value = Json::new().text("holder", &waiter.holder).text("instance", &waiter.instance);
        self.show(keys::claim_waiter_key(claim, ticket), value.done(), session);
        if found.is_none() {
            self.depend(session, &Dependent::Waiter { claim: claim.clone(), ticket }, 0);
            self.put_row(own, &ticket);
            if head.waiting == 0 {
                head.first = ticket;
            }
            head.waiting += 1;
            self.put_claim_head(claim, head);
        }
        Ok(ClaimAnswer::Waiting { ticket })
    }

    /// Removes the session's own place. Without a session (an operator), removes all places under
    /// that name.
    pub(super) fn unclaim(&mut self, session: LeaseId, unclaim: &Unclaim) -> Result<CoordResponse, Stop> {
        let Unclaim { claim, holder, instance } = unclaim;
        let instance = instance_of(session, instance);
        let mut tickets: Vec<u64> = Vec::new();
        if session == 0 {
            row::each(&self.rows, keys::waiters(claim, holder, &instance).all(), |_, ticket| {
                tickets.push(ticket);
                Ok(Step::Next)
            })?;
        } else {
            tickets.extend(self.get_row::<u64>(&keys::waiter(claim, holder, &instance, session))?);
        }
        if tickets.is_empty() {
            return Ok(CoordResponse::Unclaimed { changed: false });
        }
        let mut head = must(self.claim_head(claim)?, "a claim")?;
        for ticket in tickets {
            self.stop_waiting(claim, &mut head, ticket)?;
        }
        self.put_claim_head(claim, &mut head);
        Ok(CoordResponse::Unclaimed { changed: true })
    }

    pub(super) fn revoke_claim(&mut self, revoke: &Revoke) -> Result<CoordResponse, Stop> {
        let Revoke { claim, holder, instance } = revoke;
        let mut head = self.claim_head(claim)?.unwrap_or_default();
        let Some(tenure) = &head.tenure else { return Ok(CoordResponse::Revoked { changed: false }) };
        let meant = holder.as_ref().is_none_or(|holder| *holder == tenure.holder)
            && instance.as_ref().is_none_or(|instance| *instance == tenure.instance);
        if !meant {
            return Err(Rejection::NotHolder.into());
        }
        // Deleted keys carry no cause, so a revocation writes this note. An end without a note in
        // its revision was an expiry.
        let note = Json::new().text("claim", &claim.name).text("holder", &tenure.holder);
        let note = note.text("instance", &tenure.instance).number("fence", tenure.fence).done();
        self.show(keys::revoked_key(&claim.namespace), note, 0);
        self.end_claim(claim, &mut head, Cause::Revoked)?;
        Ok(CoordResponse::Revoked { changed: true })
    }

    /// Timers and sessions that ended, of one claim.
    pub(super) fn settle_claim(&mut self, claim: &Name, due: ClaimDue) -> Result<(), Fault> {
        let Some(mut head) = self.claim_head(claim)? else { return Ok(()) };
        let was_pinned = head.pins > 0;
        let before = (head.waiting, head.pins);
        if let Some(tenure) = &mut head.tenure {
            if due.over {
                tenure.timer = 0;
            }
            if due.orphaned {
                // No session: nobody is taken for the one that left its instance out.
                tenure.session = 0;
            }
        }
        for ticket in due.waiters {
            self.stop_waiting(claim, &mut head, ticket)?;
        }
        for entity in due.pins {
            self.remove_pin(claim, &mut head, &entity)?;
        }
        if due.over && !was_pinned {
            return self.end_claim(claim, &mut head, Cause::Expired);
        }
        if before == (head.waiting, head.pins) {
            // The time ran out while the claim was pinned; no visible change.
            self.put_row(keys::head(Kind::Claim, claim), &head);
        } else {
            self.put_claim_head(claim, &mut head);
        }
        Ok(())
    }

    /// Ends the tenure; the first waiter follows.
    fn end_claim(&mut self, claim: &Name, head: &mut ClaimHead, cause: Cause) -> Result<(), Fault> {
        self.vacate(claim, head)?;
        if let Some((ticket, waiter)) = self.next_waiter(claim, head)? {
            head.first = ticket;
            self.stop_waiting(claim, head, ticket)?;
            self.install(claim, head, waiter, cause)?;
        }
        self.put_claim_head(claim, head);
        Ok(())
    }

    fn vacate(&mut self, claim: &Name, head: &mut ClaimHead) -> Result<(), Fault> {
        if let Some(tenure) = head.tenure.take() {
            self.disarm(tenure.timer)?;
            if tenure.is_of_its_session() {
                self.free(tenure.session, &Dependent::Tenure { claim: claim.clone() });
            }
            self.hide(keys::tenure_key(claim, tenure.fence));
            self.hide(keys::claim_holder_key(claim));
            head.previous = tenure.holder;
        }
        Ok(())
    }

    fn install(&mut self, claim: &Name, head: &mut ClaimHead, waiter: ClaimWaiter, cause: Cause) -> Result<(), Fault> {
        let ClaimWaiter { holder, instance, duration_ms, lease: session, shared, .. } = waiter;
        let fence = self.next_revision();
        let timer = self.arm(Purpose::ClaimEnd { claim: claim.clone() }, duration_ms)?;
        let value = Json::new()
            .text("holder", &holder)
            .text("instance", &instance)
            .text("cause", cause.word())
            .some("previous", &head.previous)
            .done();
        self.show(keys::tenure_key(claim, fence), value, 0);
        self.show(keys::claim_holder_key(claim), holder.as_bytes().to_vec(), 0);
        let tenure = Tenure { holder, instance, fence, longest_ms: duration_ms, timer, session, shared };
        self.depend_if_own(claim, &tenure);
        head.tenure = Some(tenure);
        Ok(())
    }

    /// The end of the session ends its own instance, though not the tenure.
    fn depend_if_own(&mut self, claim: &Name, tenure: &Tenure) {
        if tenure.is_of_its_session() {
            self.depend(tenure.session, &Dependent::Tenure { claim: claim.clone() }, 0);
        }
    }

    /// The first waiter. Tickets rise, so the search starts at the previous one and skips the
    /// tombstones of earlier waiters.
    fn next_waiter(&self, claim: &Name, head: &ClaimHead) -> Result<Option<(u64, ClaimWaiter)>, Fault> {
        if head.waiting == 0 {
            return Ok(None);
        }
        let mut first = None;
        let from = keys::turn(Kind::Claim, claim, head.first);
        row::each(&self.rows, (from, keys::line(Kind::Claim, claim).all().1), |key, waiter| {
            first = keys::split_id(key).map(|ticket| (ticket, waiter));
            Ok(Step::Stop)
        })?;
        Ok(first)
    }

    fn stop_waiting(&mut self, claim: &Name, head: &mut ClaimHead, ticket: u64) -> Result<(), Fault> {
        let turn = keys::turn(Kind::Claim, claim, ticket);
        let Some(waiter) = self.get_row::<ClaimWaiter>(&turn)? else { return Ok(()) };
        self.delete_row(turn);
        self.delete_row(keys::waiter(claim, &waiter.holder, &waiter.instance, waiter.lease));
        self.free(waiter.lease, &Dependent::Waiter { claim: claim.clone(), ticket });
        self.disarm(waiter.timer)?;
        self.hide(keys::claim_waiter_key(claim, ticket));
        head.waiting -= 1;
        Ok(())
    }

    pub(super) fn claim_head(&self, claim: &Name) -> Result<Option<ClaimHead>, Fault> {
        self.get_row(&keys::head(Kind::Claim, claim))
    }

    /// For a change that is projected.
    pub(super) fn put_claim_head(&mut self, claim: &Name, head: &mut ClaimHead) {
        let row = keys::head(Kind::Claim, claim);
        head.changed = self.next_revision();
        if head.tenure.is_none() && head.waiting == 0 && head.pins == 0 {
            self.delete_row(row);
        } else {
            self.put_row(row, head);
        }
    }

    fn limits(&self, namespace: &str) -> Result<Limits, Fault> {
        Ok(self.get_row(&keys::limits(namespace))?.unwrap_or_default())
    }

    pub(super) fn set_limits(&mut self, set: &SetLimits) -> Result<CoordResponse, Stop> {
        let SetLimits { namespace, limits } = set;
        let row = keys::limits(namespace);
        let before: Option<Limits> = self.get_row(&row)?;
        match limits {
            _ if before == *limits => return Ok(CoordResponse::Limits { changed: false }),
            Some(Limits { min_ms, max_ms, .. }) if min_ms > max_ms => return Err(Rejection::Malformed.into()),
            Some(limits) => {
                let Limits { min_ms, max_ms, max_waiting } = *limits;
                self.put_row(row, limits);
                let value =
                    Json::new().number("min_ms", min_ms).number("max_ms", max_ms).number("max_waiting", max_waiting);
                self.show(keys::limits_key(namespace), value.done(), 0);
            }
            None => {
                self.delete_row(row);
                self.hide(keys::limits_key(namespace));
            }
        }
        Ok(CoordResponse::Limits { changed: true })
    }
}
