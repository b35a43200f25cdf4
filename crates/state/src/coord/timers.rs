//! Timers: deadlines as rows, ended by commands.
//!
//! What is to happen later (the end of a lock-delay, of the longest hold, of a claim) is a row with
//! an id and a number of milliseconds. The leader measures the time outside the log, and proposes a
//! [`CoordTimer`] with the ids whose time is over. Here they end, with what depends on them.
//!
//! 1. An id is used once. To disarm a timer its row is deleted; a later command with its id has no
//!    effect.
//! 2. A new leader arms all timers that have rows, each for its whole time, so nothing ends early.

use super::keys;
use super::row::{self, Purpose, TimerRow};
use super::{CoordTimer, Due};
use crate::event::TimerChange;
use crate::machine::{Batch, Position, Stop};
use crate::view::{Fault, Table, View};
use crate::{Rejection, Response};

impl<V: View> Batch<'_, V> {
    /// A number that was never used before.
    pub(super) fn next_id(&mut self) -> Result<u64, Fault> {
        let id = self.get_row::<u64>(keys::LAST_ID)?.unwrap_or(0) + 1;
        self.put_row(keys::LAST_ID.to_vec(), &id);
        Ok(id)
    }

    pub(super) fn arm(&mut self, purpose: Purpose, millis: u64) -> Result<u64, Fault> {
        let id = self.next_id()?;
        self.put_row(keys::timer(id), &TimerRow { purpose, millis });
        self.timers.push(TimerChange::Armed { id, ms: millis });
        Ok(id)
    }

    /// 0 is no timer. A timer that ran out is disarmed already.
    pub(super) fn disarm(&mut self, id: u64) -> Result<(), Fault> {
        if id != 0 && self.rows.get(Table::Coord, &keys::timer(id))?.is_some() {
            self.delete_row(keys::timer(id));
            self.timers.push(TimerChange::Gone { id });
        }
        Ok(())
    }

    pub(crate) fn coord_timer(&mut self, at: Position, command: &CoordTimer) -> Result<Response, Stop> {
        if at.term != command.term {
            return Err(Rejection::StaleTerm.into());
        }
        let mut ids = command.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let (mut due, mut ended) = (Due::default(), 0);
        for id in ids {
            let Some(TimerRow { purpose, .. }) = self.get_row(&keys::timer(id))? else { continue };
            ended += 1;
            self.disarm(id)?;
            self.ran_out(purpose, &mut due)?;
        }
        self.settle(due)?;
        self.project()?;
        Ok(Response::CoordTimer { ended })
    }

    fn ran_out(&mut self, purpose: Purpose, due: &mut Due) -> Result<(), Fault> {
        match purpose {
            Purpose::ElectionDelay { election } => due.election(election).delay_over = true,
            Purpose::ElectionHold { election } => due.election(election).hold_over = true,
            Purpose::TransferDeadline { election } => due.election(election).transfer_over = true,
            Purpose::ElectionCooldown { election, who } => {
                self.delete_row(keys::cooldown(super::Kind::Election, &election, &who));
            }
            Purpose::LockCooldown { lock, who } => self.delete_row(keys::cooldown(super::Kind::Lock, &lock, &who)),
            Purpose::LockDelay { lock } => drop(due.lock_delays.insert(lock)),
            Purpose::LockHold { fence } => drop(due.requests.insert(fence, row::Cause::HoldEnded)),
            Purpose::LockWait { fence } => drop(due.requests.insert(fence, row::Cause::Withdrawn)),
            Purpose::ClaimEnd { claim } => due.claim(claim).over = true,
            Purpose::ClaimWait { claim, ticket } => drop(due.claim(claim).waiters.insert(ticket)),
            Purpose::PinEnd { claim, entity } => drop(due.claim(claim).pins.insert(entity)),
        }
        Ok(())
    }

    /// Keeps a name from entering again before the time is over. Replaces an existing ban.
    pub(super) fn ban(&mut self, kind: super::Kind, name: &super::Name, who: &str, millis: u64) -> Result<(), Fault> {
        if millis == 0 {
            return Ok(());
        }
        let row = keys::cooldown(kind, name, who);
        if let Some(timer) = self.get_row(&row)? {
            self.disarm(timer)?;
        }
        let (name, who) = (name.clone(), who.to_owned());
        let purpose = match kind {
            super::Kind::Lock => Purpose::LockCooldown { lock: name, who },
            _ => Purpose::ElectionCooldown { election: name, who },
        };
        let timer = self.arm(purpose, millis)?;
        self.put_row(row, &timer);
        Ok(())
    }
}
