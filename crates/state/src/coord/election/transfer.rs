//! Planned hand-over, and the leader's proclaimed value.
//!
//! A client requests a transfer; the leader sees the request in the term, finishes its work, and
//! hands over. No revision has two leaders, and none is without one. A request ends when the leader
//! changes, when its candidate leaves, or at its deadline.

use super::Told;
use crate::Rejection;
use crate::coord::row::{Cause, PendingTransfer, Purpose, must};
use crate::coord::{CoordResponse, ProclaimTerm, RequestTransfer, Transfer, keys};
use crate::machine::{Batch, Stop};
use crate::view::View;

impl<V: View> Batch<'_, V> {
    pub(in crate::coord) fn request_transfer(&mut self, request: &RequestTransfer) -> Result<CoordResponse, Stop> {
        let RequestTransfer { election: name, to, deadline_ms, force } = request;
        self.wanted(name, to, false)?;
        let mut edit = self.open(name)?;
        if edit.leads(to) {
            return Ok(self.tell(&edit, false, to)?);
        }
        if edit.head.leader.is_none() {
            return Err(Rejection::NotLeader.into());
        }
        self.end_transfer(&mut edit)?;
        let timer = match deadline_ms {
            0 => 0,
            millis => self.arm(Purpose::TransferDeadline { election: name.clone() }, *millis)?,
        };
        edit.head.transfer = Some(PendingTransfer { to: to.clone(), timer, force: *force });
        self.close(&mut edit, &Told::new(Cause::TransferRequested, to))?;
        Ok(self.tell(&edit, true, to)?)
    }

    pub(in crate::coord) fn transfer(&mut self, transfer: &Transfer) -> Result<CoordResponse, Stop> {
        let Transfer { election: name, term_id, to, leave } = transfer;
        let mut edit = self.open(name)?;
        let Some(leader) = edit.leader.clone().filter(|_| edit.term_id == *term_id) else {
            return Err(Rejection::NotLeader.into());
        };
        let pending = edit.head.transfer.as_ref().map(|pending| pending.to.clone());
        let to = if to.is_empty() { pending.ok_or(Rejection::NotACandidate)? } else { to.clone() };
        let row = self.candidate(name, &to)?.ok_or(Rejection::NotACandidate)?;
        if to == leader {
            return Ok(self.tell(&edit, false, &to)?);
        }
        self.lead(&mut edit, &to, &row)?;
        if *leave {
            let row = must(self.candidate(name, &leader)?, "a leader")?;
            self.take_out(&mut edit, &leader, &row, Cause::Transferred)?;
        }
        self.close(&mut edit, &Told::new(Cause::Transferred, &to))?;
        Ok(self.tell(&edit, true, &to)?)
    }

    pub(in crate::coord) fn proclaim_term(&mut self, proclaim: &ProclaimTerm) -> Result<CoordResponse, Stop> {
        let ProclaimTerm { election: name, term_id, value } = proclaim;
        let edit = self.open(name)?;
        let Some(leader) = edit.leader.clone().filter(|_| edit.term_id == *term_id) else {
            return Err(Rejection::NotLeader.into());
        };
        let mut row = must(self.candidate(name, &leader)?, "a leader")?;
        let changed = row.value != *value;
        if changed {
            row.value = value.clone();
            self.put_candidate(name, &leader, &row);
            self.show(keys::leader_key(name, *term_id), value.to_vec(), row.lease);
        }
        Ok(self.tell(&edit, changed, &leader)?)
    }
}
