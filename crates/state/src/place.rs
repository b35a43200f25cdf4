//! Places in native queues: Campaign and Lock as one command, and the commands that end or change a
//! place.
//!
//! A queue is the keys `name/<lease>` in order of create revision. The first place leads or holds
//! the lock ([`crate::queue`]). The keys are ordinary, so clients that run etcd's recipes
//! themselves share the same queue. The recipes need several reads and watches; here one command
//! decides:
//!
//! 1. A place is taken only under an existing lease and ends with the lease or the key, so a client
//!    that is gone cannot become leader.
//! 2. A second request of the same lease gets the same place.
//! 3. A place is ended and changed by its create revision, never by its name alone, so a late
//!    Resign, Proclaim or cancellation does not affect a successor's key. Unlock, which names no
//!    revision on the wire, touches only keys that a Lock made.
//! 4. A cancelled call ends only its own place ([`crate::attempt`]).
//! 5. A key in the place of one lease that is attached to another one is that session's. The place
//!    does not pass from it with its fence: the request is rejected as long as that session lives.

use crate::attempt::PlaceRow;
use crate::machine::{Batch, Position, Stop};
use crate::queue;
use crate::record::LOCK;
use crate::view::{Fault, View};
use crate::{Dequeue, DequeueBy, Enqueue, LeaseId, Place, Proclaim, QueueKind, Rejection, Response, queue_key};
use bytes::Bytes;

impl<V: View> Batch<'_, V> {
    pub(crate) fn enqueue(&mut self, at: Position, enqueue: &Enqueue) -> Result<Response, Stop> {
        if enqueue.grant_ttl_ms > 0 {
            self.check_grant(enqueue.lease)?;
        } else {
            self.lease(enqueue.lease)?.ok_or(Rejection::LeaseNotFound)?.check_attempt(enqueue.attempt)?;
        }
        let key = queue_key(&enqueue.name, enqueue.lease);
        self.check_raw(&key)?;
        let create_revision = self.take_place(at, enqueue, &key)?;
        let first = self.answer && self.is_first(&enqueue.name, &key)?;
        Ok(Response::Enqueue(Place { key, lease: enqueue.lease, create_revision, first }))
    }

    /// Creates the key or updates the existing one; returns its create revision.
    fn take_place(&mut self, at: Position, enqueue: &Enqueue, key: &Bytes) -> Result<i64, Stop> {
        let target = self.target(key)?;
        if let Some(lease) = target.current.as_ref().map(|old| old.lease)
            && lease != 0
            && lease != enqueue.lease
        {
            return Err(Rejection::OfOtherLease { lease }.into());
        }
        if enqueue.grant_ttl_ms > 0 {
            self.execute_grant(at, enqueue.lease, enqueue.grant_ttl_ms);
        }
        let mark = match enqueue.kind {
            QueueKind::Lock => LOCK,
            QueueKind::Election => 0,
        };
        let place = PlaceRow::of_key(enqueue.lease, key);
        let Some(old) = &target.current else {
            let created = self.next_revision();
            self.store(target, &enqueue.value, enqueue.lease, mark);
            self.attempt_made(place, enqueue.attempt);
            return Ok(created);
        };
        let (create_revision, flags, lease) = (old.create_revision, old.flags, old.lease);
        let old_value = self.value_of(&target)?;
        let new_value = enqueue.kind == QueueKind::Election && old_value != enqueue.value;
        if new_value || lease != enqueue.lease {
            // A client may have put the key by hand without the lease. The place would outlive its
            // owner, so the lease is attached.
            let value = if new_value { enqueue.value.clone() } else { old_value };
            self.store(target, &value, enqueue.lease, flags | mark);
        } else if flags | mark != flags {
            self.mark_lock(target)?;
        }
        self.attempt_found(place, enqueue.attempt)?;
        Ok(create_revision)
    }

    /// Whether this place is the first of its queue.
    fn is_first(&mut self, name: &[u8], key: &[u8]) -> Result<bool, Fault> {
        let seen = self.seen();
        self.machine.queues.is_first(&self.rows, name, key, seen)
    }

    /// Ends the place at a key for a cancelled attempt. Returns whether it ended.
    pub(crate) fn cancel_key(&mut self, session: LeaseId, attempt: u64, key: &[u8]) -> Result<bool, Fault> {
        let target = self.target(key)?;
        let Some(name) = queue::name_of(key).filter(|_| target.current.is_some()) else { return Ok(false) };
        let stays = self.attempt_cancelled(PlaceRow::of_key(session, key), attempt)?;
        if stays.decide(|| self.is_first(name, key))? {
            return Ok(false);
        }
        self.remove(target);
        Ok(true)
    }

    pub(crate) fn dequeue(&mut self, dequeue: &Dequeue) -> Result<Response, Stop> {
        let Dequeue { key, by } = dequeue;
        self.check_raw(key)?;
        let target = self.target(key)?;
        let deleted = match (&target.current, *by) {
            (None, _) => false,
            (Some(current), DequeueBy::CreateRevision(revision)) => current.create_revision == revision,
            (Some(current), DequeueBy::Lock) => current.flags & LOCK != 0,
        };
        if deleted {
            self.remove(target);
        }
        Ok(Response::Dequeue { deleted })
    }

    /// Replaces the value of a leader's key and keeps its lease.
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
