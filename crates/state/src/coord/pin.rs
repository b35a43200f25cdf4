//! Pins: a set of entities that keep a claim from expiring, for maintenance.
//!
//! A pin on a claim without a holder applies to the next holder. A pin may depend on the pinner's
//! session and may have an end, so pins of dead processes need no clean-up. A claim has a bounded
//! number of pins. Revoking does not ask the pins, and leaves them for the next holder.

use super::project::Json;
use super::row::{ClaimHead, Dependent, PinRow, Purpose};
use super::{CoordResponse, Name, Pin, Unpin, keys};
use crate::machine::{Batch, Stop};
use crate::view::{Fault, View};
use crate::{LeaseId, Rejection};

/// The most pins on one claim. All of them are in the answer to a claim.
const MOST_PINS: u32 = 1_000;

impl<V: View> Batch<'_, V> {
    pub(super) fn pin(&mut self, session: LeaseId, pin: &Pin) -> Result<CoordResponse, Stop> {
        let Pin { claim, entity, reason, with_session, max_ms } = pin;
        if *with_session && session == 0 {
            return Err(Rejection::LeaseNotFound.into());
        }
        let lease = if *with_session { session } else { 0 };
        let before: Option<PinRow> = self.get_row(&keys::pin(claim, entity))?;
        let mut head = self.claim_head(claim)?.unwrap_or_default();
        if before.is_none() && head.pins >= MOST_PINS {
            return Err(Rejection::TooManyPins { limit: MOST_PINS }.into());
        }
        let dependent = Dependent::Pin { claim: claim.clone(), entity: entity.clone() };
        let changed = before.as_ref().is_none_or(|row| row.reason != *reason || row.lease != lease);
        if let Some(row) = &before {
            self.disarm(row.timer)?;
            self.free(row.lease, &dependent);
        }
        let timer = match max_ms {
            0 => 0,
            millis => self.arm(Purpose::PinEnd { claim: claim.clone(), entity: entity.clone() }, *millis)?,
        };
        self.depend(lease, &dependent, 0);
        self.put_row(keys::pin(claim, entity), &PinRow { reason: reason.clone(), lease, timer });
        self.show(keys::pin_key(claim, entity), Json::new().text("reason", reason).done(), lease);
        if changed {
            head.pins += u32::from(before.is_none());
            self.put_claim_head(claim, &mut head);
        }
        Ok(CoordResponse::Pinned { changed })
    }

    pub(super) fn unpin(&mut self, unpin: &Unpin) -> Result<CoordResponse, Stop> {
        let Unpin { claim, entity } = unpin;
        let mut head = self.claim_head(claim)?.unwrap_or_default();
        let changed = self.remove_pin(claim, &mut head, entity)?;
        if changed {
            self.put_claim_head(claim, &mut head);
        }
        Ok(CoordResponse::Unpinned { changed })
    }

    /// Removing the last pin restarts the holder's time.
    pub(super) fn remove_pin(&mut self, claim: &Name, head: &mut ClaimHead, entity: &str) -> Result<bool, Fault> {
        let Some(row) = self.get_row::<PinRow>(&keys::pin(claim, entity))? else { return Ok(false) };
        self.delete_row(keys::pin(claim, entity));
        self.free(row.lease, &Dependent::Pin { claim: claim.clone(), entity: entity.to_owned() });
        self.disarm(row.timer)?;
        self.hide(keys::pin_key(claim, entity));
        head.pins -= 1;
        if head.pins == 0
            && let Some(tenure) = &mut head.tenure
        {
            self.disarm(tenure.timer)?;
            tenure.timer = self.arm(Purpose::ClaimEnd { claim: claim.clone() }, tenure.longest_ms)?;
        }
        Ok(true)
    }
}
