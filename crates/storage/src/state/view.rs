//! One point in time of the state: a RocksDB snapshot, with one iterator kept for each table.
//!
//! Creating an iterator costs as much as some ten seeks, so each is kept for the next question. While it is in use it is taken out
//! of its place; a question from inside a scan gets one of its own.
//!
//! A row that was deleted or swept leaves a marker until a compaction comes by, and a seek or step into a long run of markers would walk
//! all of it. So kept iterators give up after some hundred markers. A scan of the present then asks the table of living keys where to
//! go on; any other scan goes on with an iterator bounded to its range, which stops at the end of it.
//!
//! Questions about one key have an iterator of their own, which asks the filters of keys before it searches: a key that does not exist,
//! or is in none of the newer files, costs no seek there.
//!
//! A view that is let go is stashed, with its iterators, and handed out again as long as nothing newer was applied: most reads
//! come between two batches and find everything ready.
//!
//! 1. A view sees all tables at one moment. Its [`StateView::bounds`] belong to that moment: everything at or above its compacted
//!    revision is there. (Bounds that were taken at another moment do not: the sweeper may have been there in between.)
//! 2. A read that fails, on whichever path, stops the node. (`apply` and the sweeper read by [`Rows`] and report it themselves.)
//! 3. The view of `apply` has no snapshot. Nobody else writes, but for the sweeper, which removes only what no command reads.

use super::rocks::StateDb;
use crate::error::{Fatal, fault_io};
use bytes::Bytes;
use conclave_state::read::Bounds;
use conclave_state::{Fault, Step, Table, View, first_living};
use parking_lot::Mutex;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ErrorKind, ReadOptions, SnapshotWithThreadMode};
use std::cell::Cell;
use std::sync::Arc;

type Iter<'a> = DBRawIteratorWithThreadMode<'a, DB>;

/// Markers of removed rows that a kept iterator walks over before the question is asked in another way.
const MARKERS: u64 = 256;

/// The rows of a database, as they are or as they were.
pub(super) struct Rows<'a> {
    state: &'a StateDb,
    snapshot: Snapshot<'a>,
    kept: [Cell<Option<Iter<'a>>>; Table::ALL.len()],
    /// The one for questions about one key.
    versions: Cell<Option<Iter<'a>>>,
}

enum Snapshot<'a> {
    Now,
    Own(SnapshotWithThreadMode<'a, DB>),
    Held(&'a Held),
}

fn fault(e: &rocksdb::Error) -> Fault {
    match e.kind() {
        ErrorKind::Corruption => Fault::Corrupt(e.to_string()),
        _ => Fault::Read(e.to_string()),
    }
}

impl<'a> Rows<'a> {
    pub(super) fn now(state: &'a StateDb) -> Rows<'a> {
        Rows { state, snapshot: Snapshot::Now, kept: Default::default(), versions: Cell::default() }
    }

    fn frozen(source: &'a Source) -> Rows<'a> {
        let state = source.state();
        let snapshot = match source {
            Source::Now(_) => Snapshot::Own(state.db().snapshot()),
            Source::Held(held) => Snapshot::Held(held),
        };
        Rows { snapshot, ..Rows::now(state) }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        match &self.snapshot {
            Snapshot::Now => {}
            Snapshot::Own(snapshot) => options.set_snapshot(snapshot),
            Snapshot::Held(held) => held.with_dependent(|_, snapshot| options.set_snapshot(snapshot)),
        }
        // Filters speak of single keys (rocks.rs); whoever walks over many must not ask them.
        options.set_total_order_seek(true);
        options
    }

    /// Sees the rows of one key after each seek, and never walks on to its neighbours.
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
            options.set_max_skippable_internal_keys(MARKERS);
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

/// Whether an iterator that stands on nothing has come to the end, or has given up.
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
            Looked::Found(found) => Ok(Some(found)),
            Looked::Nothing => Ok(None),
            // A question about the past of a key of which much was swept.
            Looked::GaveUp(read) => {
                let mut rows = self.iterate(Table::Kv, self.one_key());
                rows.seek(from);
                rows.status().map_err(|e| fault(&e))?;
                rows.item()
                    .filter(|(row, _)| row.starts_with(prefix))
                    .map(|(row, record)| read(row, record))
                    .transpose()
            }
        }
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.one_version(prefix, prefix, read)? {
            Looked::Found(found) => Ok(Some(found)),
            Looked::Nothing => Ok(None),
            Looked::GaveUp(_) if self.get(Table::Live, prefix)?.is_none() => Ok(None),
            Looked::GaveUp(_) => Err(living_without_rows()),
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

/// What one look at the rows of a key found.
enum Looked<T, R> {
    Found(T),
    Nothing,
    /// Too many of them were swept. Gives back the reader.
    GaveUp(R),
}

impl Rows<'_> {
    fn one_version<T, R: FnOnce(&[u8], &[u8]) -> Result<T, Fault>>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: R,
    ) -> Result<Looked<T, R>, Fault> {
        let mut rows = self.versions.take().unwrap_or_else(|| {
            let mut options = self.one_key();
            options.set_max_skippable_internal_keys(MARKERS);
            self.iterate(Table::Kv, options)
        });
        rows.seek(from);
        let looked = match rows.item() {
            Some((row, record)) if row.starts_with(prefix) => Looked::Found(read(row, record)?),
            Some(_) => Looked::Nothing,
            None if gave_up(&rows)? => Looked::GaveUp(read),
            None => Looked::Nothing,
        };
        self.versions.set(Some(rows));
        Ok(looked)
    }
}

/// A scan, as far as it has come.
struct Walk<'a> {
    rows: Iter<'a>,
    /// Where to go on if the iterator gives up.
    next: Vec<u8>,
}

type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault> + 'a;

impl Walk<'_> {
    /// Shows rows until told to stop or at the end; true if the iterator gave up before.
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
    /// A snapshot that many views share.
    struct Held {
        owner: Arc<StateDb>,
        #[not_covariant]
        dependent: SnapshotOf,
    }
);

/// Where a view comes from.
enum Source {
    Now(Arc<StateDb>),
    Held(Arc<Held>),
}

impl Source {
    fn state(&self) -> &StateDb {
        match self {
            Source::Now(state) => state,
            Source::Held(held) => held.borrow_owner(),
        }
    }
}

/// A moment that views are taken of while rows of the next one are being written.
pub(super) struct Past {
    rows: Arc<Held>,
    moment: Moment,
}

impl Past {
    pub(super) fn new(state: Arc<StateDb>, moment: Moment) -> Past {
        Past { rows: Arc::new(Held::new(state, |state| state.db().snapshot())), moment }
    }
}

self_cell::self_cell!(
    struct Frozen {
        owner: Source,
        #[not_covariant]
        dependent: Rows,
    }
);

/// The numbers of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) bounds: Bounds,
    pub(super) applied: u64,
    /// The term of that entry.
    pub(super) term: u64,
}

/// Views that were let go. Each keeps files and buffers of its moment alive, so there are few, and none outlives its use: whoever
/// changes the state clears the stash.
pub(super) struct Stash {
    views: Mutex<Vec<(Moment, Frozen)>>,
    fatal: Fatal,
}

const STASHED: usize = 4;

impl Stash {
    pub(super) fn new(fatal: Fatal) -> Stash {
        Stash { views: Mutex::default(), fatal }
    }

    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.views.lock());
        // Outside of the lock: closing iterators takes its time.
        drop(gone);
    }

    /// A view of exactly this moment, if there is one.
    pub(super) fn take(self: &Arc<Self>, moment: Moment) -> Option<StateView> {
        let (at, frozen) = self.views.lock().pop()?;
        let view = StateView { frozen: Some(frozen), moment: at, stash: self.clone() };
        if at == moment {
            return Some(view);
        }
        view.discard();
        self.clear();
        None
    }

    fn put(&self, moment: Moment, frozen: Frozen) {
        if frozen.borrow_owner().state().is_retired() {
            return;
        }
        let mut views = self.views.lock();
        if views.len() < STASHED {
            views.push((moment, frozen));
        }
    }
}

/// A point in time. Can be sent to another thread, and keeps its database open even if a snapshot replaces the state meanwhile.
pub struct StateView {
    /// Taken only when the view is let go.
    frozen: Option<Frozen>,
    moment: Moment,
    stash: Arc<Stash>,
}

impl StateView {
    /// Of what the database holds, which is this moment.
    pub(super) fn now(state: Arc<StateDb>, moment: Moment, stash: Arc<Stash>) -> StateView {
        StateView::of(Source::Now(state), moment, stash)
    }

    pub(super) fn past(past: &Past, stash: Arc<Stash>) -> StateView {
        StateView::of(Source::Held(past.rows.clone()), past.moment, stash)
    }

    fn of(source: Source, moment: Moment, stash: Arc<Stash>) -> StateView {
        StateView { frozen: Some(Frozen::new(source, |source| Rows::frozen(source))), moment, stash }
    }

    fn discard(mut self) {
        self.frozen = None;
    }

    /// What can be read in this view.
    pub fn bounds(&self) -> Bounds {
        self.moment.bounds
    }

    /// The last entry that is in the view.
    pub fn applied_index(&self) -> u64 {
        self.moment.applied
    }

    /// The term of that entry.
    pub fn applied_term(&self) -> u64 {
        self.moment.term
    }

    /// Reads, and stops the node if that fails: whoever asked gets an error as well, but what a damaged state answers next is not known.
    fn rows<T>(&self, read: impl for<'a> FnOnce(&Rows<'a>) -> Result<T, Fault>) -> Result<T, Fault> {
        let frozen = self.frozen.as_ref().expect("taken only when the view is let go");
        let found = frozen.with_dependent(|_, rows| read(rows));
        if let Err(fault) = &found {
            self.stash.fatal.raise("reading the state", fault_io(fault));
        }
        found
    }
}

impl Drop for StateView {
    fn drop(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.stash.put(self.moment, frozen);
        }
    }
}

impl View for StateView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.rows(|rows| rows.get(table, key))
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.rows(|rows| rows.version(prefix, from, read))
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.rows(|rows| rows.newest(prefix, read))
    }

    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.rows(|rows| rows.scan_present(from, below, visit))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.rows(|rows| rows.scan(table, from, below, visit))
    }
}
