//! Building a state from a backup: the opposite of [`crate::export`].
//!
//! History is given in the order of revisions, after the leases. At the end [`renew`] ends
//! everything that a token from before the backup could prove:
//!
//! * leaders of elections are evicted, and the next in line leads under a new term;
//! * requests for locks end, granted or waiting, because a request keeps its fence from the time it
//!   came;
//! * tenures of claims are revoked, and the next in line takes over under a new fence;
//! * places in queues of the etcd wire are made again in their order, so that each has a new create
//!   revision.
//!
//! 1. The result depends on what was given alone: the same backup gives the same rows and the same
//!    digest on every member.
//! 2. Everything that [`renew`] grants has a fence above the revision that [`Import::numbers`] set.
//! 3. Users are checked only from the end on: the commands of [`renew`] have no caller, and must
//!    not be refused.

use crate::auth::{self, Role, User};
use crate::coord::renew::{self, Tenures};
use crate::coord::{self, keys as coord_keys};
use crate::keys::{self, Before, KeyRows};
use crate::lease::LeaseRow;
use crate::machine::{Batch, Machine, Stop};
use crate::overlay::Overlay;
use crate::record::{Head, LOCK, Record};
use crate::view::{Fault, Table, View};
use crate::{Command, KeyValue, LeaseId, Position, Writes, queue};
use bytes::Bytes;

pub use crate::bounds::Meta;

/// Rows that are written in pieces and can be read between them.
pub trait Rows {
    type View<'a>: View
    where
        Self: 'a;

    fn view(&self) -> Self::View<'_>;

    fn write(&mut self, writes: &Writes) -> Result<(), Fault>;
}

/// One piece of a backup as rows.
pub struct Import<'a, V> {
    rows: Overlay<'a, V>,
}

fn corrupt<T>(text: String) -> Result<T, Fault> {
    Err(Fault::Corrupt(text))
}

impl<'a, V: View> Import<'a, V> {
    pub fn new(view: &'a V) -> Import<'a, V> {
        Import { rows: Overlay::new(view) }
    }

    pub fn finish(self) -> Writes {
        self.rows.into_writes()
    }

    /// A lease, with its whole TTL.
    pub fn lease(&mut self, id: LeaseId, ttl_ms: u64) {
        let row = LeaseRow { ttl_ms, granted_at: 0, cancelled: Vec::new() };
        self.rows.put(Table::Lease, keys::lease_row(id).to_vec(), row.encode());
    }

    /// A version of a key, as change number `sub` of its revision. `is_lock`: a Lock made the key.
    pub fn version(&mut self, kv: &KeyValue, sub: u32, is_lock: bool) -> Result<(), Fault> {
        let KeyValue { ref key, ref value, create_revision, mod_revision, version, lease } = *kv;
        let rows = KeyRows::of(key);
        match self.living(&rows)? {
            None => {
                self.rows.add(Table::Live, rows.prefix().to_vec());
                if let Some(name) = queue::name_of(key) {
                    self.rows.add(Table::Queue, queue::row(name, create_revision, key));
                }
            }
            Some(old) if old.create_revision != create_revision || old.mod_revision >= mod_revision => {
                return corrupt(format!("revision {mod_revision} contradicts the version of its key before it"));
            }
            Some(old) => self.detach(old.lease, key),
        }
        let flags = if is_lock { LOCK } else { 0 };
        let record = Record { create_revision, version, lease, flags, value };
        self.rows.put(Table::Kv, rows.into_row(mod_revision), record.encode());
        if lease != 0 && self.rows.get(Table::Lease, &keys::lease_row(lease))?.is_some() {
            self.rows.put(Table::Lease, keys::attached_row(lease, key), Bytes::new());
        }
        self.changed(key, mod_revision, sub);
        Ok(())
    }

    /// The deletion of a key, which need not be alive.
    pub fn deletion(&mut self, key: &Bytes, revision: i64, sub: u32) -> Result<(), Fault> {
        let rows = KeyRows::of(key);
        if let Some(old) = self.living(&rows)? {
            self.rows.take(Table::Live, rows.prefix().to_vec());
            if let Some(name) = queue::name_of(key) {
                self.rows.take(Table::Queue, queue::row(name, old.create_revision, key));
            }
            self.detach(old.lease, key);
        }
        self.rows.put(Table::Kv, rows.into_row(revision), Record::DELETED.encode());
        self.changed(key, revision, sub);
        Ok(())
    }

    /// A row of elections, locks and claims. What was remembered for the retries of a session is
    /// left out: its answers have fences of before.
    pub fn coordination(&mut self, row: &[u8], value: &[u8]) -> Result<(), Fault> {
        coord::check_row(row, value)?;
        if !coord_keys::is_memory(row) {
            self.rows.put(Table::Coord, row.to_vec(), value.to_vec());
        }
        Ok(())
    }

    /// Sets the numbers of the store, and raises the ids of timers and places in line by `raise`.
    pub fn numbers(&mut self, meta: &Meta, raise: u64) -> Result<(), Fault> {
        crate::meta::store_meta(&mut self.rows, meta);
        if let Some((row, value)) = renew::raised_ids(&self.rows, raise)? {
            self.rows.put(Table::Coord, row, value);
        }
        Ok(())
    }

    /// The policy of placement, whose row must be one of a policy ([`check_placement`]).
    pub fn placement(&mut self, row: &[u8]) -> Result<(), Fault> {
        check_placement(row)?;
        self.rows.put(Table::Meta, keys::PLACEMENT.to_vec(), row.to_vec());
        Ok(())
    }

    /// Whether users are checked, and the auth revision. After [`renew`], whose commands name no
    /// caller.
    pub fn auth(&mut self, enabled: bool, revision: u64) {
        let (row, value) = auth::meta_row(enabled, revision);
        self.rows.put(Table::Meta, row, value);
    }

    pub fn user(&mut self, name: &str, user: &User) {
        self.rows.put(Table::Meta, auth::user_row(name), auth::encode_user(user));
    }

    pub fn role(&mut self, name: &str, role: &Role) {
        self.rows.put(Table::Meta, auth::role_row(name), auth::encode_role(role));
    }

    fn living(&self, rows: &KeyRows) -> Result<Option<Head>, Fault> {
        Ok(self.rows.newest_head(rows)?.filter(|head| !head.is_tombstone()))
    }

    fn detach(&mut self, lease: LeaseId, key: &[u8]) {
        if lease != 0 {
            self.rows.delete(Table::Lease, keys::attached_row(lease, key));
        }
    }

    fn changed(&mut self, key: &Bytes, revision: i64, sub: u32) {
        self.rows.put(Table::Rev, keys::change_row(revision, sub, Before::Unknown), key.clone());
    }
}

/// Whether a row of the policy of placement can be read and used.
pub fn check_placement(row: &[u8]) -> Result<(), Fault> {
    let checked = crate::placement::decode_policy(row)?.check();
    checked.or_else(|why| corrupt(format!("the policy of placement cannot be used: {why}")))
}

/// What [`renew`] ended or made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    pub elections: usize,
    pub locks: usize,
    pub claims: usize,
    /// Places in queues of the etcd wire.
    pub places: usize,
    /// Keys below the reserved prefix that no row explains.
    pub foreign: usize,
    /// Keys that named a lease which the backup does not have. They are kept without it.
    pub leaseless: usize,
}

/// The living keys that must not stay as they are.
#[derive(Default)]
struct Keys {
    places: Vec<(i64, Bytes)>,
    reserved: Vec<Bytes>,
    leaseless: Vec<Bytes>,
}

/// Ends what tokens from before could prove. `coordinated`: rows of elections, locks and claims
/// were given, and explain the keys below the reserved prefix.
pub fn renew<R: Rows>(to: &mut R, coordinated: bool) -> Result<Renewed, Fault> {
    let (tenures, living, mut machine) = {
        let view = to.view();
        (renew::tenures(&view)?, living(&view)?, Machine::load(&view)?)
    };
    let mut run = Run { to, machine: &mut machine };
    let foreign = if coordinated { Vec::new() } else { living.reserved };
    run.each(&foreign, |batch, key| batch.end_key(key))?;
    run.each(&living.leaseless, |batch, key| batch.without_lease(key))?;
    let Tenures { leaders, requests, claims } = &tenures;
    for command in renew::commands(&tenures) {
        run.command(&command)?;
    }
    run.renew_places(&living.places)?;
    Ok(Renewed {
        elections: leaders.len(),
        locks: requests.len(),
        claims: claims.len(),
        places: living.places.len(),
        foreign: foreign.len(),
        leaseless: living.leaseless.len(),
    })
}

fn living<V: View>(view: &V) -> Result<Keys, Fault> {
    let mut found = Keys::default();
    let (from, below) = keys::all_rows();
    let budget = crate::bounds::Budget::unlimited();
    crate::scan::alive(view, (&from, &below), crate::scan::PRESENT, &budget, |row| {
        let key = keys::user_key(row.prefix)?;
        let lease = row.record.lease;
        if coord::is_reserved(&key) {
            found.reserved.push(key);
        } else {
            // Any key may have the form of a place. One that etcd's calls and recipes made is
            // attached to the lease that it names.
            if queue::name_of(&key).is_some_and(|name| crate::queue_key(name, lease) == key) {
                found.places.push((row.record.create_revision, key.clone()));
            }
            if lease != 0 && view.get(Table::Lease, &keys::lease_row(lease))?.is_none() {
                found.leaseless.push(key);
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    // The order of a queue: by create revision, then by key.
    found.places.sort();
    Ok(found)
}

/// Items in one write.
const PIECE: usize = 1_000;

struct Run<'a, R> {
    to: &'a mut R,
    machine: &'a mut Machine,
}

impl<R: Rows> Run<'_, R> {
    fn command(&mut self, command: &Command) -> Result<(), Fault> {
        let writes = {
            let view = self.to.view();
            let mut batch = self.machine.begin(&view);
            // A rejection means that an earlier command ended it as well.
            let _ = batch.apply(Position::default(), command, false)?;
            batch.finish().writes
        };
        self.to.write(&writes)
    }

    /// Changes keys, each in a revision of its own.
    fn each<T>(
        &mut self,
        items: &[T],
        mut change: impl FnMut(&mut Batch<'_, R::View<'_>>, &T) -> Result<(), Stop>,
    ) -> Result<(), Fault> {
        for piece in items.chunks(PIECE) {
            let writes = {
                let view = self.to.view();
                let mut batch = self.machine.begin(&view);
                for item in piece {
                    batch.one_change(|batch| change(batch, item))?;
                }
                batch.finish().writes
            };
            self.to.write(&writes)?;
        }
        Ok(())
    }

    /// All places of one revision are deleted and made again before the next: the order stays, also
    /// if this holds many.
    fn renew_places(&mut self, places: &[(i64, Bytes)]) -> Result<(), Fault> {
        self.each(places, |batch, (_, key)| batch.renew_key(key))
    }
}

impl<V: View> Batch<'_, V> {
    /// A change outside of a command. It takes a revision if it changes a key.
    fn one_change(&mut self, change: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Fault> {
        self.sub = 0;
        let changed = change(self);
        self.end_change();
        match changed {
            Ok(()) => Ok(()),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(stop) => corrupt(format!("a key cannot be restored: {stop:?}")),
        }
    }

    fn end_change(&mut self) {
        self.machine.revision = self.seen();
        self.sub = 0;
    }

    fn end_key(&mut self, key: &Bytes) -> Result<(), Stop> {
        let target = self.target(key)?;
        if target.current.is_some() {
            self.remove(target);
        }
        Ok(())
    }

    fn without_lease(&mut self, key: &Bytes) -> Result<(), Stop> {
        let target = self.target(key)?;
        let (value, flags) = (self.value_of(&target)?, target.current.map_or(0, |head| head.flags));
        self.store(target, &value, 0, flags);
        Ok(())
    }

    /// Deletes a key and makes it again, in two revisions.
    fn renew_key(&mut self, key: &Bytes) -> Result<(), Stop> {
        let target = self.target(key)?;
        let Some(Head { lease, flags, .. }) = target.current else { return Ok(()) };
        let value = self.value_of(&target)?;
        self.remove(target);
        self.end_change();
        let target = self.target(key)?;
        self.store(target, &value, lease, flags);
        Ok(())
    }
}

impl Rows for crate::MemoryView {
    type View<'a> = &'a crate::MemoryView;

    fn view(&self) -> &crate::MemoryView {
        self
    }

    fn write(&mut self, writes: &Writes) -> Result<(), Fault> {
        crate::MemoryView::write(self, writes);
        Ok(())
    }
}
