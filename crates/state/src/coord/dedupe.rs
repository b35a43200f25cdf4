//! The last answers of each session, for requests that are asked again because their answer was lost.
//!
//! 1. A request that was answered is not executed again while its answer is remembered. What was refused had no effect, and is not
//!    remembered: asked again, it is decided again.
//! 2. A session's memory is a ring of [`SESSION`] answers and goes with its lease. Operators without a session share one of [`SHARED`].

use super::keys;
use super::{CoordBody, CoordResponse};
use crate::machine::Batch;
use crate::view::{Fault, View};
use crate::{Command, LeaseId};
use bytes::Bytes;

/// How many answers are remembered of one session.
const SESSION: u64 = 32;
/// And of all requests without one.
const SHARED: u64 = 1024;

impl<V: View> Batch<'_, V> {
    /// Whether the command is a retry of one that was answered, and will have no other effect than that answer.
    pub(crate) fn is_remembered(&self, command: &Command) -> Result<bool, Fault> {
        match command {
            Command::Coord(coord) => match &coord.dedupe {
                Some(id) => Ok(self.recall(coord.session, id)?.is_some()),
                None => match &coord.body {
                    CoordBody::Acquire(acquire) => Ok(self.fence_of(coord.session, acquire.attempt)?.is_some()),
                    _ => Ok(false),
                },
            },
            _ => Ok(false),
        }
    }

    pub(super) fn recall(&self, session: LeaseId, id: &[u8; 16]) -> Result<Option<CoordResponse>, Fault> {
        self.get_row(&keys::memo(session, id))
    }

    pub(super) fn remember(&mut self, session: LeaseId, id: &[u8; 16], answer: &CoordResponse) -> Result<(), Fault> {
        let next = keys::memo_next(session);
        let number: u64 = self.get_row(&next)?.unwrap_or(0);
        let slot = keys::memo_slot(session, number % if session == 0 { SHARED } else { SESSION });
        if let Some(old) = self.get_row::<Bytes>(&slot)?
            && let Ok(old) = <&[u8; 16]>::try_from(&old[..])
        {
            self.delete_row(keys::memo(session, old));
        }
        self.put_row(slot, &Bytes::copy_from_slice(id));
        self.put_row(next, &(number + 1));
        self.put_row(keys::memo(session, id), answer);
        Ok(())
    }
}
