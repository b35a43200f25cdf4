//! Changes of keys: Put and DeleteRange, and the two primitives that every other command uses.
//!
//! A version is never overwritten. A change adds a version under a new revision, and deleting adds
//! a tombstone. The rows that go with a version are written together with it: the change by its
//! revision, the mark that the key is alive, its place in a queue, its attachment to a lease.
//!
//! 1. [`Batch::store`] and [`Batch::remove`] are the only writers of kv, rev, live and queue rows
//!    and of attachments, and the only source of events, so these cannot diverge. They and
//!    [`Batch::mark_lock`] update the cache of key metadata.
//! 2. A key changes at most once in a revision (conversion refuses other transactions). If such a
//!    transaction reached apply, the later change would replace the earlier one on every member.

use crate::bounds::Budget;
use crate::bounds::MOST_KEYS;
use crate::event::{Event, EventKind};
use crate::keys::{self, Before, KeyRows};
use crate::machine::{Batch, Stop};
use crate::queue;
use crate::record::{self, Head, LOCK, Record, TOMBSTONE, Version};
use crate::scan;
use crate::view::{Fault, Table, View};
use crate::{DeleteRange, Deleted, KeyRange, KeyValue, LeaseId, Put, Rejection, Response};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A key to be changed: its row prefix, and its newest version if it is alive.
pub(crate) struct Target<'k> {
    pub(crate) key: &'k [u8],
    rows: KeyRows,
    pub(crate) current: Option<Head>,
}

impl<V: View> Batch<'_, V> {
    /// Looks up a key once, for all following steps.
    pub(crate) fn target<'k>(&self, key: &'k [u8]) -> Result<Target<'k>, Fault> {
        let rows = KeyRows::of(key);
        let newest = match self.machine.heads.get(key) {
            Some(head) => Some(head),
            None => self.rows.newest_head(&rows)?,
        };
        Ok(Target { key, rows, current: newest.filter(|head| !head.is_tombstone()) })
    }

    /// The value of a living key, read when needed.
    pub(crate) fn value_of(&self, target: &Target<'_>) -> Result<Bytes, Fault> {
        let Some(current) = &target.current else { return Ok(Bytes::new()) };
        let row = keys::version_row(target.key, current.mod_revision);
        let Some(record) = self.rows.get(Table::Kv, &row)? else {
            return Err(Fault::Corrupt(format!(
                "a key has no version at its newest revision {}",
                current.mod_revision
            )));
        };
        Ok(Version::decode(record, current.mod_revision)?.value)
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<Response, Stop> {
        let target = self.target(&put.key)?;
        self.check_put(put, target.current.is_some())?;
        let prev = self.execute_put(put, target)?;
        Ok(Response::Put { prev })
    }

    /// All checks that can reject a Put.
    pub(crate) fn check_put(&self, put: &Put, exists: bool) -> Result<(), Stop> {
        self.check_raw(&put.key)?;
        if !put.ignore_lease && put.lease != 0 && !self.lease_exists(put.lease)? {
            return Err(Rejection::LeaseNotFound.into());
        }
        if (put.ignore_value || put.ignore_lease) && !exists {
            return Err(Rejection::KeyNotFound.into());
        }
        Ok(())
    }

    /// Executes a checked Put; returns the previous version if requested.
    pub(crate) fn execute_put(&mut self, put: &Put, target: Target<'_>) -> Result<Option<KeyValue>, Fault> {
        let old = target.current;
        let lease = if put.ignore_lease { old.map_or(0, |old| old.lease) } else { put.lease };
        let wants_prev = put.prev_kv && self.answer;
        let value = if put.ignore_value || wants_prev { self.value_of(&target)? } else { Bytes::new() };
        let prev = old.filter(|_| wants_prev).map(|old| old.with(value.clone()).into_kv(target.key));
        let flags = old.map_or(0, |old| old.flags & LOCK);
        let kept = put.ignore_value && old.is_some();
        self.store(target, if kept { &value } else { &put.value }, lease, flags);
        Ok(prev)
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Result<Deleted, Stop> {
        self.check_raw_range(&delete.range)?;
        let want_prev = delete.prev_kv && self.answer;
        let mut deleted = Deleted::default();
        for (key, old) in self.alive(&delete.range, want_prev)? {
            if want_prev {
                deleted.prev.push(old.to_kv(&key));
            }
            deleted.deleted += 1;
            self.remove(Target { key: &key, rows: KeyRows::of(&key), current: Some(old.head()) });
        }
        Ok(deleted)
    }

    /// Writes a new version of a key. Key and value are copied once into the row, because the
    /// command's bytes are slices of a whole log entry. The event shares the row's bytes.
    pub(crate) fn store(&mut self, target: Target<'_>, value: &[u8], lease: LeaseId, flags: u8) {
        let Target { key, rows, current } = target;
        let main = self.next_revision();
        let (create_revision, version, old_lease) = match &current {
            Some(old) => (old.create_revision, old.version + 1, old.lease),
            None => (main, 1, 0),
        };
        let head = Head { create_revision, mod_revision: main, version, lease, flags };
        // A version made by this same revision does not count as the one before.
        let before = current.map(|old| old.mod_revision).filter(|revision| *revision < main);
        let before = before.map_or(Before::Nothing, Before::Version);
        if current.is_none() {
            self.rows.add(Table::Live, Bytes::copy_from_slice(rows.prefix()));
            if let Some(name) = queue::name_of(key) {
                self.rows.add(Table::Queue, queue::row(name, create_revision, key));
                self.machine.queues.added(name, create_revision, key);
            }
        }
        let (row, record) = (Bytes::from(rows.into_row(main)), Bytes::from(head.record(value).encode()));
        let (shared_key, value) = (keys::shared_key(&row, key), record.slice(record::HEAD..));
        self.rows.put(Table::Kv, row, record);
        self.machine.heads.set(key, head);
        if lease != old_lease {
            self.detach(old_lease, key);
            self.attach(lease, key);
        }
        let kv = KeyValue { key: shared_key, value, create_revision, mod_revision: main, version, lease };
        self.changed(Event { kind: EventKind::Put, kv }, before);
    }

    /// Writes the tombstone of a key that is alive.
    pub(crate) fn remove(&mut self, target: Target<'_>) {
        let Target { key, rows, current } = target;
        let main = self.next_revision();
        if let Some(Head { create_revision, lease, .. }) = current {
            self.rows.take(Table::Live, Bytes::copy_from_slice(rows.prefix()));
            if let Some(name) = queue::name_of(key) {
                self.rows.take(Table::Queue, queue::row(name, create_revision, key));
                self.machine.queues.taken(name, key);
            }
            self.detach(lease, key);
        }
        let row = Bytes::from(rows.into_row(main));
        let shared_key = keys::shared_key(&row, key);
        self.rows.put(Table::Kv, row, Record::DELETED.encode());
        self.machine.heads.set(key, Record::DELETED.head(main));
        let kv = KeyValue { key: shared_key, mod_revision: main, ..KeyValue::default() };
        // A deletion makes two rows obsolete: the version before, and the tombstone unless a later
        // change in this revision replaces it. The change row has room for one, so the sweep reads
        // the rows of the key instead.
        self.changed(Event { kind: EventKind::Delete, kv }, Before::Unknown);
    }

    /// Sets the flag that the key was created by a Lock. Clients do not see the flag, so this is no
    /// change of the key.
    pub(crate) fn mark_lock(&mut self, target: Target<'_>) -> Result<(), Fault> {
        let value = self.value_of(&target)?;
        let Target { key, rows, current } = target;
        let Some(head) = current else { return Ok(()) };
        debug_assert_eq!(head.flags & TOMBSTONE, 0, "only living keys are looked up");
        let head = Head { flags: head.flags | LOCK, ..head };
        self.rows.put(Table::Kv, rows.into_row(head.mod_revision), head.record(&value).encode());
        self.machine.heads.set(key, head);
        self.machine.digest.other(6, key);
        Ok(())
    }

    /// The living keys of a range, collected before the first one is changed.
    fn alive(&self, range: &KeyRange, with_value: bool) -> Result<Vec<(Bytes, Version)>, Stop> {
        if range.end.is_empty() {
            let target = self.target(&range.key)?;
            let Some(head) = target.current else { return Ok(Vec::new()) };
            let value = if with_value { self.value_of(&target)? } else { Bytes::new() };
            return Ok(vec![(range.key.clone(), head.with(value))]);
        }
        let mut found = Vec::new();
        if let Some((from, below)) = keys::range_rows(range) {
            scan::alive(&self.rows, (&from, &below), scan::PRESENT, &Budget::unlimited(), |row| {
                found.push((keys::user_key(row.prefix)?, row.record.to_version(row.mod_revision, with_value)));
                Ok(if found.len() <= MOST_KEYS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        if found.len() > MOST_KEYS {
            return Err(Rejection::TooManyKeys { limit: MOST_KEYS }.into());
        }
        Ok(found)
    }

    /// Records one change of one key.
    fn changed(&mut self, event: Event, before: Before) {
        let row = keys::change_row(event.kv.mod_revision, self.sub, before);
        self.rows.put(Table::Rev, row, event.kv.key.clone());
        self.sub += 1;
        self.machine.digest.event(&event);
        self.events.push(event);
    }
}
