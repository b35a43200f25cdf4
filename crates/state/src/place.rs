//! Places in native queues: Campaign and Lock as one command, and the commands that end or change a place.
//!
//! A queue is the keys `name/<lease>`, in order of create revision; its head leads or holds the lock
//! ([`crate::queue`]). The keys are ordinary ones, so that clients which run etcd's recipes themselves stand in the same line. What the recipes do with several reads and watches is
//! decided here in one step:
//!
//! 1. A place is taken only under a lease that exists at this moment, and goes when the lease or the key goes: nobody that is gone
//!    can come to lead.
//! 2. The same lease asked again has the same place.
//! 3. A place is ended and changed by its create revision, never by its name alone: a late Resign, Proclaim or cancellation does not
//!    touch a successor's key. Unlock, which names no revision on the wire, touches only keys that a Lock made.
//! 4. A call that gives up takes only what it was the last to ask for, and never a place that was the first already when it asked: that
//!    is held by somebody who was told so, perhaps by another member. The row of the key's attachment to its lease says who asked last.

use crate::machine::{Batch, Position, Stop};
use crate::record::LOCK;
use crate::view::{Fault, Table, View};
use crate::{Dequeue, DequeueBy, Enqueue, LeaseId, Place, Proclaim, QueueKind, Rejection, Response, keys, queue_key};
use bytes::Bytes;

impl<V: View> Batch<'_, V> {
    pub(crate) fn enqueue(&mut self, at: Position, enqueue: &Enqueue) -> Result<Response, Stop> {
        if enqueue.grant_ttl_ms > 0 {
            self.check_grant(enqueue.lease)?;
        } else if !self.lease_exists(enqueue.lease)? {
            return Err(Rejection::LeaseNotFound.into());
        }
        let key = queue_key(&enqueue.name, enqueue.lease);
        self.check_raw(&key)?;
        if enqueue.grant_ttl_ms > 0 {
            self.execute_grant(at, enqueue.lease, enqueue.grant_ttl_ms);
        }
        let create_revision = self.take_place(enqueue, &key)?;
        let first = self.answer && self.is_first(&enqueue.name, &key)?;
        Ok(Response::Enqueue(Place { key, lease: enqueue.lease, create_revision, first }))
    }

    /// Creates the key, or brings the one that is there up to date; gives its create revision.
    fn take_place(&mut self, enqueue: &Enqueue, key: &Bytes) -> Result<i64, Fault> {
        let attempt = enqueue.attempt;
        let target = self.target(key)?;
        let mark = match enqueue.kind {
            QueueKind::Lock => LOCK,
            QueueKind::Election => 0,
        };
        let Some(old) = &target.current else {
            let created = self.next_revision();
            self.store(target, &enqueue.value, enqueue.lease, mark);
            self.set_asked(enqueue.lease, key, attempt);
            return Ok(created);
        };
        let (create_revision, flags, lease) = (old.create_revision, old.flags, old.lease);
        let again = self.asked(lease, key)? == Some(attempt);
        let old_value = self.value_of(&target)?;
        let new_value = enqueue.kind == QueueKind::Election && old_value != enqueue.value;
        if new_value || lease != enqueue.lease {
            // Somebody may have put the key by hand: a place without its lease would outlive its owner.
            let value = if new_value { enqueue.value.clone() } else { old_value };
            self.store(target, &value, enqueue.lease, flags | mark);
        } else if flags | mark != flags {
            self.mark_lock(target)?;
        }
        // An attempt that asks again, for want of an answer, may have found nobody before it the first time.
        if !again {
            let held = self.is_first(&enqueue.name, key)?;
            self.set_asked(enqueue.lease, key, if held { 0 } else { attempt });
        }
        Ok(create_revision)
    }

    /// Whether nobody stands before this place.
    fn is_first(&mut self, name: &[u8], key: &[u8]) -> Result<bool, Fault> {
        let seen = self.seen();
        self.machine.queues.is_first(&self.rows, name, key, seen)
    }

    /// Who was the last to ask for a place, if it may be given back.
    fn asked(&self, lease: LeaseId, key: &[u8]) -> Result<Option<u64>, Fault> {
        let row = self.rows.get(Table::Lease, &keys::attached_row(lease, key))?;
        Ok(row.and_then(|row| row.first_chunk().map(|attempt| u64::from_be_bytes(*attempt))))
    }

    /// Notes who was the last to ask for a place; 0: nobody who may give it back. No client can see it, so it is no change of the key.
    fn set_asked(&mut self, lease: LeaseId, key: &[u8], attempt: u64) {
        let row = if attempt == 0 { Vec::new() } else { attempt.to_be_bytes().to_vec() };
        self.rows.put(Table::Lease, keys::attached_row(lease, key), row);
        self.machine.digest.other(13, key);
        self.machine.digest.number(attempt.cast_signed());
    }

    pub(crate) fn dequeue(&mut self, dequeue: &Dequeue) -> Result<Response, Stop> {
        let Dequeue { key, by } = dequeue;
        self.check_raw(key)?;
        let target = self.target(key)?;
        let deleted = match (&target.current, *by) {
            (None, _) => false,
            (Some(current), DequeueBy::CreateRevision(revision)) => current.create_revision == revision,
            (Some(current), DequeueBy::Attempt(attempt)) => {
                attempt != 0 && self.asked(current.lease, key)? == Some(attempt)
            }
            (Some(current), DequeueBy::Lock) => current.flags & LOCK != 0,
        };
        if deleted {
            self.remove(target);
        }
        Ok(Response::Dequeue { deleted })
    }

    /// Replaces the value of a leader's key; its lease stays.
    pub(crate) fn proclaim(&mut self, proclaim: &Proclaim) -> Result<Response, Stop> {
        self.check_raw(&proclaim.key)?;
        let target = self.target(&proclaim.key)?;
        match &target.current {
            Some(current) if current.create_revision == proclaim.create_revision => {
                let (lease, flags) = (current.lease, current.flags);
                self.store(target, &proclaim.value, lease, flags);
                Ok(Response::Proclaim)
            }
            _ => Err(Rejection::NotLeader.into()),
        }
    }
}
