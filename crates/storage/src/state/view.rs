//! A view of the state at one point in time: a RocksDB snapshot, with one iterator kept for each
//! table.
//!
//! Creating an iterator costs about ten seeks, so each one is kept for the next read. It is taken
//! out of its slot while in use; a read from inside a scan creates its own.
//!
//! A deleted or swept row leaves a tombstone until the next compaction, and a seek or step into a
//! long run of tombstones would walk all of it. So kept iterators give up after a few hundred
//! tombstones. A scan of the present then asks the table of living keys where to continue. Any
//! other scan continues with an iterator that is bounded to its range, or stops if its caller must
//! not take long.
//!
//! Reads of one key have their own iterator, which asks the Bloom filters first. A key that does
//! not exist, or that is not in the newer files, costs no seek there.
//!
//! A dropped view goes into a cache, with its iterators, and is reused until something newer is
//! applied. Most reads come between two batches and find everything ready:
//!
//! ```text
//! batch n          read   read   read          batch n + 1 (clears the cache)
//!                   │      ▲ │    ▲ │
//!          new view └ drop ┘ └────┘ └ drop
//! ```
//!
//! 1. A view sees all tables at one point in time, and its [`StateView::bounds`] belong to it:
//!    every version at or above its compacted revision is readable. Bounds that were read at
//!    another time do not have this property, because the sweeper may have run in between.
//! 2. A failed read stops the node. (`apply` and the sweeper read through [`Rows`] and report it
//!    themselves.)
//! 3. The view of `apply` has no snapshot. Only the sweeper writes besides `apply`, and it removes
//!    only rows that no command reads.

use super::rocks::StateDb;
use crate::error::{Fatal, fault_io};
use bytes::Bytes;
use conclave_state::read::Bounds;
use conclave_state::{Auth, Counted, Fault, KeyCounts, Step, Table, View, first_living};
use parking_lot::Mutex;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ErrorKind, ReadOptions, SnapshotWithThreadMode};
use std::cell::Cell;
use std::sync::Arc;

type Iter<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// Tombstones that a kept iterator passes before it gives up.
const MAX_TOMBSTONES: u64 = 256;

/// The rows of a database, now or in a snapshot.
pub struct Rows<'a> {
    state: &'a StateDb,
    snapshot: Snapshot<'a>,
    kept: [Cell<Option<Iter<'a>>>; Table::ALL.len()],
    /// The iterator for reads of one key.
    versions: Cell<Option<Iter<'a>>>,
}

enum Snapshot<'a> {
    Now,
    Own(SnapshotWithThreadMode<'a, DB>),
    Shared(&'a SharedSnapshot),
}

fn fault(e: &rocksdb::Error) -> Fault {
    match e.kind() {
        ErrorKind::Corruption => Fault::Corrupt(e.to_string()),
        _ => Fault::Read(e.to_string()),
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn now(state: &'a StateDb) -> Rows<'a> {
        Rows { state, snapshot: Snapshot::Now, kept: Default::default(), versions: Cell::default() }
    }

    fn of(source: &'a Source) -> Rows<'a> {
        let state = source.state();
        let snapshot = match source {
            Source::Now(_) => Snapshot::Own(state.db().snapshot()),
            Source::Pinned(snapshot) => Snapshot::Shared(snapshot),
        };
        Rows { snapshot, ..Rows::now(state) }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        match &self.snapshot {
            Snapshot::Now => {}
            Snapshot::Own(snapshot) => options.set_snapshot(snapshot),
            Snapshot::Shared(snapshot) => snapshot.with_dependent(|_, snapshot| options.set_snapshot(snapshot)),
        }
        // The Bloom filters are for single keys (rocks.rs), so a scan must not use them.
        options.set_total_order_seek(true);
        options
    }

    /// Options of an iterator that sees only the rows of the key that it was positioned at.
    fn one_key(&self) -> ReadOptions {
        let mut options = self.options();
        options.set_total_order_seek(false);
        options.set_prefix_same_as_start(true);
        options
    }

    fn iterate(&self, table: Table, options: ReadOptions) -> Iter<'a> {
        self.state.db().raw_iterator_cf_opt(self.state.table(table), options)
    }

    fn kept(&self, table: Table) -> Iter<'a> {
        self.kept[table as usize].take().unwrap_or_else(|| {
            let mut options = self.options();
            options.set_max_skippable_internal_keys(MAX_TOMBSTONES);
            self.iterate(table, options)
        })
    }

    fn keep(&self, table: Table, rows: Iter<'a>) {
        self.kept[table as usize].set(Some(rows));
    }

    fn bounded(&self, table: Table, from: &[u8], below: &[u8]) -> Iter<'a> {
        let mut options = self.options();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(below);
        let mut rows = self.iterate(table, options);
        rows.seek(from);
        rows
    }
}

/// Whether an invalid iterator has given up; otherwise it is at the end.
fn gave_up(rows: &Iter<'_>) -> Result<bool, Fault> {
    match rows.status() {
        Ok(()) => Ok(false),
        Err(e) if e.kind() == ErrorKind::Incomplete => Ok(true),
        Err(e) => Err(fault(&e)),
    }
}

impl View for Rows<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let row = self.state.db().get_pinned_cf_opt(self.state.table(table), key, &self.options());
        Ok(row.map_err(|e| fault(&e))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.one_version(prefix, from, read)? {
            Seek::Found(found) => Ok(Some(found)),
            Seek::Nothing => Ok(None),
            // The sweeper removes the versions of a key from the oldest on. So nothing is left
            // behind a version that was removed: at that revision the key was deleted.
            Seek::GaveUp => Ok(None),
        }
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.one_version(prefix, prefix, read)? {
            Seek::Found(found) => Ok(Some(found)),
            Seek::Nothing => Ok(None),
            Seek::GaveUp if self.get(Table::Live, prefix)?.is_none() => Ok(None),
            Seek::GaveUp => Err(living_without_rows()),
        }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        if from >= below {
            return Ok(());
        }
        let mut walk = Walk { rows: self.kept(table), next: from.to_vec() };
        walk.rows.seek(from);
        if !walk.until_it_gives_up(below, visit)? {
            self.keep(table, walk.rows);
            return Ok(());
        }
        self.keep(table, std::mem::replace(&mut walk.rows, self.bounded(table, &walk.next, below)));
        walk.until_it_gives_up(below, visit).map(|_| ())
    }

    fn scan_briefly(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<bool, Fault> {
        if from >= below {
            return Ok(true);
        }
        let mut walk = Walk { rows: self.kept(table), next: from.to_vec() };
        walk.rows.seek(from);
        let gave_up = walk.until_it_gives_up(below, visit)?;
        self.keep(table, walk.rows);
        Ok(!gave_up)
    }

    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        if from >= below {
            return Ok(());
        }
        let mut walk = Walk { rows: self.kept(Table::Kv), next: from.to_vec() };
        walk.rows.seek(from);
        while walk.until_it_gives_up(below, visit)? {
            let Some(living) = first_living(self, &walk.next, below)? else { break };
            walk.rows.seek(&living);
            if !walk.rows.key().is_some_and(|row| row.starts_with(&living)) {
                walk.rows.status().map_err(|e| fault(&e))?;
                return Err(living_without_rows());
            }
            walk.next = living;
        }
        self.keep(Table::Kv, walk.rows);
        Ok(())
    }
}

/// The result of one seek to the rows of a key.
enum Seek<T> {
    Found(T),
    Nothing,
    /// Too many versions were swept.
    GaveUp,
}

impl Rows<'_> {
    fn one_version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Seek<T>, Fault> {
        let mut rows = self.versions.take().unwrap_or_else(|| {
            let mut options = self.one_key();
            options.set_max_skippable_internal_keys(MAX_TOMBSTONES);
            self.iterate(Table::Kv, options)
        });
        rows.seek(from);
        let found = match rows.item() {
            Some((row, record)) if row.starts_with(prefix) => Seek::Found(read(row, record)?),
            Some(_) => Seek::Nothing,
            None if gave_up(&rows)? => Seek::GaveUp,
            None => Seek::Nothing,
        };
        self.versions.set(Some(rows));
        Ok(found)
    }
}

/// A scan in progress.
struct Walk<'a> {
    rows: Iter<'a>,
    /// Where to continue if the iterator gives up.
    next: Vec<u8>,
}

type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault> + 'a;

impl Walk<'_> {
    /// Visits rows until the visitor stops or the range ends; true if the iterator gave up before
    /// that.
    fn until_it_gives_up(&mut self, below: &[u8], visit: &mut Visit<'_>) -> Result<bool, Fault> {
        loop {
            let Some((key, value)) = self.rows.item() else { return gave_up(&self.rows) };
            if key >= below {
                return Ok(false);
            }
            match visit(key, value)? {
                Step::Stop => return Ok(false),
                Step::Next => {
                    self.next.clear();
                    self.next.extend_from_slice(key);
                    self.next.push(0);
                    self.rows.next();
                }
                Step::Seek(to) => {
                    self.rows.seek(&to);
                    self.next = to;
                }
            }
        }
    }
}

fn living_without_rows() -> Fault {
    Fault::Corrupt("a key is in the table of living keys and has no version".into())
}

type SnapshotOf<'a> = SnapshotWithThreadMode<'a, DB>;

self_cell::self_cell!(
    /// A RocksDB snapshot that many views share.
    struct SharedSnapshot {
        owner: Arc<StateDb>,
        #[not_covariant]
        dependent: SnapshotOf,
    }
);

/// Where a view comes from.
enum Source {
    Now(Arc<StateDb>),
    Pinned(Arc<SharedSnapshot>),
}

impl Source {
    fn state(&self) -> &StateDb {
        match self {
            Source::Now(state) => state,
            Source::Pinned(snapshot) => snapshot.borrow_owner(),
        }
    }
}

/// The snapshot that new views read while a slow write is in progress.
pub(super) struct PinnedSnapshot {
    rows: Arc<SharedSnapshot>,
    point: ReadPoint,
}

impl PinnedSnapshot {
    pub(super) fn new(state: Arc<StateDb>, point: ReadPoint) -> PinnedSnapshot {
        PinnedSnapshot { rows: Arc::new(SharedSnapshot::new(state, |state| state.db().snapshot())), point }
    }
}

self_cell::self_cell!(
    struct OwnedRows {
        owner: Source,
        #[not_covariant]
        dependent: Rows,
    }
);

/// The numbers of a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadPoint {
    pub(super) bounds: Bounds,
    pub(super) applied: u64,
    /// The term of that entry.
    pub(super) term: u64,
}

/// Dropped views for reuse. Each keeps files and write buffers alive, so there are few, and every
/// change of the state clears the cache.
pub(super) struct ViewCache {
    views: Mutex<Vec<(ReadPoint, OwnedRows)>>,
    fatal: Fatal,
}

const CACHED_VIEWS: usize = 4;

impl ViewCache {
    pub(super) fn new(fatal: Fatal) -> ViewCache {
        ViewCache { views: Mutex::default(), fatal }
    }

    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.views.lock());
        // Dropped outside the lock, because closing iterators is slow.
        drop(gone);
    }

    /// A view of exactly this point in time, if there is one.
    pub(super) fn take(self: &Arc<Self>, point: ReadPoint) -> Option<StateView> {
        let (at, rows) = self.views.lock().pop()?;
        let view = StateView { owned: Some(rows), point: at, auth: None, counts: None, cache: self.clone() };
        if at == point {
            return Some(view);
        }
        view.discard();
        self.clear();
        None
    }

    fn put(&self, point: ReadPoint, rows: OwnedRows) {
        if rows.borrow_owner().state().is_retired() {
            return;
        }
        let mut views = self.views.lock();
        if views.len() < CACHED_VIEWS {
            views.push((point, rows));
        }
    }
}

/// A read-only view of the state at one point in time. It can be sent to another thread, and keeps
/// its database open even if a snapshot replaces the state.
pub struct StateView {
    /// `None` only after the view is dropped.
    owned: Option<OwnedRows>,
    point: ReadPoint,
    auth: Option<Arc<Auth>>,
    counts: Option<Arc<KeyCounts>>,
    cache: Arc<ViewCache>,
}

impl StateView {
    /// A view of the current contents of the database, which `point` describes.
    pub(super) fn now(state: Arc<StateDb>, point: ReadPoint, cache: Arc<ViewCache>) -> StateView {
        StateView::of(Source::Now(state), point, cache)
    }

    pub(super) fn pinned(snapshot: &PinnedSnapshot, cache: Arc<ViewCache>) -> StateView {
        StateView::of(Source::Pinned(snapshot.rows.clone()), snapshot.point, cache)
    }

    fn of(source: Source, point: ReadPoint, cache: Arc<ViewCache>) -> StateView {
        StateView {
            owned: Some(OwnedRows::new(source, |source| Rows::of(source))),
            point,
            auth: None,
            counts: None,
            cache,
        }
    }

    fn discard(mut self) {
        self.owned = None;
    }

    /// Adds what belongs to the same moment and is not kept in rows.
    pub(super) fn at_its_moment(mut self, auth: Option<Arc<Auth>>, counts: Option<Arc<KeyCounts>>) -> StateView {
        (self.auth, self.counts) = (auth, counts);
        self
    }

    /// The users and roles of this moment; `None` if they are not checked.
    pub fn auth(&self) -> Option<&Auth> {
        self.auth.as_deref()
    }

    /// The revisions that can be read in this view.
    pub fn bounds(&self) -> Bounds {
        self.point.bounds
    }

    /// The last entry that was applied in this view.
    pub fn applied_index(&self) -> u64 {
        self.point.applied
    }

    /// The term of that entry.
    pub fn applied_term(&self) -> u64 {
        self.point.term
    }

    /// Reads, and stops the node if the read fails: a damaged state may answer wrongly next time.
    /// The caller gets the error as well.
    fn read<T>(&self, read: impl for<'a> FnOnce(&Rows<'a>) -> Result<T, Fault>) -> Result<T, Fault> {
        let rows = self.owned.as_ref().expect("taken only when the view is dropped");
        let found = rows.with_dependent(|_, rows| read(rows));
        if let Err(fault) = &found {
            self.cache.fatal.raise("reading the state", fault_io(fault));
        }
        found
    }
}

impl Drop for StateView {
    fn drop(&mut self) {
        if let Some(rows) = self.owned.take() {
            self.cache.put(self.point, rows);
        }
    }
}

impl View for StateView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.read(|rows| rows.get(table, key))
    }

    fn decoded<T>(
        &self,
        table: Table,
        key: &[u8],
        decode: impl FnOnce(&Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.read(|rows| rows.decoded(table, key, decode))
    }

    fn contradiction(&self, what: String) -> Fault {
        let fault = Fault::Corrupt(what);
        self.cache.fatal.raise("reading the state", fault_io(&fault));
        fault
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.read(|rows| rows.version(prefix, from, read))
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.read(|rows| rows.newest(prefix, read))
    }

    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.read(|rows| rows.scan_present(from, below, visit))
    }

    fn counted(&self, from: &[u8], below: &[u8]) -> Option<Counted> {
        self.counts.as_ref()?.within(from, below)
    }

    fn scan_briefly(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<bool, Fault> {
        self.read(|rows| rows.scan_briefly(table, from, below, visit))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.read(|rows| rows.scan(table, from, below, visit))
    }
}
