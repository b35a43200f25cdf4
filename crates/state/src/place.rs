//! Places in native queues: Campaign and Lock as one command, and the commands that end or change a place.
//!
//! A queue is the keys under `name/`, in order of create revision; its head leads or holds the lock. The keys are ordinary ones, so
//! that clients which run etcd's recipes themselves stand in the same line. What the recipes do with several reads and watches is
//! decided here in one step:
//!
//! 1. A place is taken only under a lease that exists at this moment, and goes when the lease or the key goes: nobody that is gone
//!    can come to lead.
//! 2. The same lease asked again has the same place.
//! 3. A place is ended and changed by its create revision, never by its name alone: a late Resign, Proclaim or cancellation does not
//!    touch a successor's key. Unlock, which names no revision on the wire, touches only keys that a Lock made.

use crate::machine::{Batch, Position, Stop};
use crate::mutant;
use crate::record::LOCK;
use crate::view::{Fault, View};
use crate::{Enqueue, Place, Proclaim, QueueKind, Rejection, Response, Withdraw, queue_key, queue_prefix};
use bytes::Bytes;

impl<V: View> Batch<'_, V> {
    pub(crate) fn enqueue(&mut self, at: Position, enqueue: &Enqueue) -> Result<Response, Stop> {
        if enqueue.grant_ttl_seconds > 0 {
            self.check_grant(enqueue.lease)?;
        } else if !self.lease_exists(enqueue.lease)? {
            return Err(Rejection::LeaseNotFound.into());
        }
        let prefix = queue_prefix(&enqueue.name);
        let key = queue_key(&enqueue.name, enqueue.lease);
        self.check_raw(&key)?;
        if self.answer {
            self.follow(&prefix)?;
        }
        if enqueue.grant_ttl_seconds > 0 {
            self.execute_grant(at, enqueue.lease, enqueue.grant_ttl_seconds);
        }
        let create_revision = self.take_place(enqueue, &key)?;
        let first = self.machine.queues.head(&prefix).is_some_and(|(_, head)| *head == key)
            || (mutant!("lock-not-first") && enqueue.kind == QueueKind::Lock);
        Ok(Response::Enqueue(Place { key, lease: enqueue.lease, create_revision, first }))
    }

    /// Creates the key, or brings the one that is there up to date; gives its create revision.
    fn take_place(&mut self, enqueue: &Enqueue, key: &Bytes) -> Result<i64, Fault> {
        let target = self.target(key)?;
        let mark = match enqueue.kind {
            QueueKind::Lock => LOCK,
            QueueKind::Election => 0,
        };
        let Some(old) = &target.current else {
            let created = self.next_revision();
            self.store(target, &enqueue.value, enqueue.lease, mark);
            return Ok(created);
        };
        let (create_revision, flags, lease) = (old.create_revision, old.flags, old.lease);
        let old_value = self.value_of(&target)?;
        let new_value = enqueue.kind == QueueKind::Election && old_value != enqueue.value;
        if new_value || lease != enqueue.lease {
            // Somebody may have put the key by hand: a place without its lease would outlive its owner.
            let value = if new_value { enqueue.value.clone() } else { old_value };
            self.store(target, &value, enqueue.lease, flags | mark);
        } else if flags | mark != flags {
            self.mark_lock(target)?;
        }
        Ok(create_revision)
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

    pub(crate) fn withdraw(&mut self, withdraw: &Withdraw) -> Result<Response, Stop> {
        self.check_raw(&withdraw.key)?;
        let target = self.target(&withdraw.key)?;
        let deleted =
            target.current.as_ref().is_some_and(|current| current.create_revision == withdraw.create_revision);
        if deleted {
            self.remove(target);
        }
        Ok(Response::Withdraw { deleted })
    }

    pub(crate) fn unlock(&mut self, key: &[u8]) -> Result<Response, Stop> {
        self.check_raw(key)?;
        let target = self.target(key)?;
        let deleted = target.current.as_ref().is_some_and(|current| current.flags & LOCK != 0);
        if deleted {
            self.remove(target);
        }
        Ok(Response::Unlock { deleted })
    }

    fn follow(&mut self, prefix: &[u8]) -> Result<(), Fault> {
        let revision = self.seen();
        self.machine.queues.make_room();
        self.machine.queues.ensure_at(&self.rows, prefix, revision)
    }
}
