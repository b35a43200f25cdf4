//! The writes of a batch on top of the view that it began with.
//!
//! Later commands of a batch must see the writes of earlier ones, but rows go to disk only when the
//! batch is done. The overlay is a [`View`] of both: rows of the batch replace or delete rows of
//! the base.
//!
//! ```text
//! base      a=1  b=2  c=3
//! batch          b=9  c deleted  d=4
//! overlay   a=1  b=9             d=4
//! ```
//!
//! 1. The overlay shows the same as the base would after the writes are stored.
//! 2. In the kv table apply never deletes a row, and a newer version sorts first. So the overlay's
//!    first row of a key is the newest.

use crate::event::{Rows, Writes};
use crate::key_counts::Counted;
use crate::keys::{self, KeyRows};
use crate::record::{Head, Record};
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;
use std::ops::Bound;

pub struct Overlay<'a, V> {
    base: &'a V,
    /// One map per table: lookups compare plain bytes and need no owned key.
    tables: [Rows; Table::ALL.len()],
}

impl<'a, V: View> Overlay<'a, V> {
    pub fn new(base: &'a V) -> Overlay<'a, V> {
        Overlay { base, tables: Default::default() }
    }

    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.tables[table as usize].insert(key.into(), Some(value.into()));
    }

    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.tables[table as usize].insert(key.into(), None);
    }

    /// Adds a row without a value to a table with [`Table::alternates`]. The row must not exist.
    pub fn add(&mut self, table: Table, key: impl Into<Bytes>) {
        let (rows, key) = (&mut self.tables[table as usize], key.into());
        // Deleted in this batch, so the base has it and it stays.
        if rows.remove(&key).is_none() {
            rows.insert(key, Some(Bytes::new()));
        }
    }

    /// Removes such a row. It must exist.
    pub fn take(&mut self, table: Table, key: impl Into<Bytes>) {
        let (rows, key) = (&mut self.tables[table as usize], key.into());
        // Added in this batch, so the base never gets it.
        if rows.remove(&key).is_none() {
            rows.insert(key, None);
        }
    }

    pub fn into_writes(self) -> Writes {
        Writes { tables: self.tables }
    }

    /// The newest version of a key: at most one lookup in the base, none if this batch wrote the
    /// key.
    pub(crate) fn newest_head(&self, rows: &KeyRows) -> Result<Option<Head>, Fault> {
        self.newest(rows.prefix(), |row, record| Ok(Record::decode(record)?.head(keys::split_row(row)?.1)))
    }

    fn own_version(&self, prefix: &[u8], from: &[u8]) -> Option<(&Bytes, &Bytes)> {
        let after = self.tables[Table::Kv as usize].range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).next();
        after.and_then(|(row, record)| Some((row, record.as_ref()?))).filter(|(row, _)| row.starts_with(prefix))
    }
}

impl<V: View> View for Overlay<'_, V> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        match self.tables[table as usize].get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(table, key),
        }
    }

    fn decoded<T>(
        &self,
        table: Table,
        key: &[u8],
        decode: impl FnOnce(&Bytes) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.tables[table as usize].get(key) {
            Some(value) => value.as_ref().map(decode).transpose(),
            None => self.base.decoded(table, key, decode),
        }
    }

    fn contradiction(&self, what: String) -> Fault {
        self.base.contradiction(what)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        // The batch's versions of a key are newer than the base's: one that is at or after `from`
        // comes first.
        match self.own_version(prefix, from) {
            Some((row, record)) => read(row, record).map(Some),
            None => self.base.version(prefix, from, read),
        }
    }

    fn newest<T>(
        &self,
        prefix: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self.own_version(prefix, prefix) {
            Some((row, record)) => read(row, record).map(Some),
            None => self.base.newest(prefix, read),
        }
    }

    /// The base may omit rows that are not the newest of a living key. If the batch changed the
    /// key, its own rows show that.
    fn scan_present(
        &self,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.merged(Table::Kv, from, below, visit, |visit| self.base.scan_present(from, below, visit))
    }

    fn counted(&self, from: &[u8], below: &[u8]) -> Option<Counted> {
        if self.tables[Table::Live as usize].is_empty() { self.base.counted(from, below) } else { None }
    }

    fn scan_briefly(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<bool, Fault> {
        let mut whole = true;
        self.merged(table, from, below, visit, |visit| {
            whole = self.base.scan_briefly(table, from, below, visit)?;
            Ok(())
        })?;
        Ok(whole)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.merged(table, from, below, visit, |visit| self.base.scan(table, from, below, visit))
    }
}

impl<V: View> Overlay<'_, V> {
    fn merged(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut Visit<'_>,
        scan_base: impl FnOnce(&mut Visit<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let rows = &self.tables[table as usize];
        if rows.is_empty() {
            return scan_base(visit);
        }
        let mut merge =
            Merge { rows, own: range(rows, Bound::Included(from), below).peekable(), below, at: None, stopped: false };
        scan_base(&mut |key, value| merge.base_row(key, value, visit))?;
        merge.own_rows(None, visit)
    }
}

type OwnRows<'a> = std::iter::Peekable<std::collections::btree_map::Range<'a, Bytes, Option<Bytes>>>;

/// A scan over both: it follows the base and inserts the batch's rows.
struct Merge<'a> {
    rows: &'a Rows,
    own: OwnRows<'a>,
    below: &'a [u8],
    /// The target of the visitor's last seek.
    at: Option<Vec<u8>>,
    stopped: bool,
}

type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault> + 'a;

impl Merge<'_> {
    fn base_row(&mut self, key: &[u8], value: &[u8], visit: &mut Visit<'_>) -> Result<Step, Fault> {
        self.own_rows(Some(key), visit)?;
        let hidden = self.own.peek().is_some_and(|(own, _)| own[..] == *key);
        if hidden {
            let own = self.own.next().expect("it was just peeked at").1;
            if let (Some(value), true) = (own, self.wanted(key)) {
                self.show(key, value, visit)?;
            }
        } else if self.wanted(key) {
            self.show(key, value, visit)?;
        }
        Ok(match &self.at {
            _ if self.stopped => Step::Stop,
            Some(at) if at.as_slice() > key => Step::Seek(at.clone()),
            _ => Step::Next,
        })
    }

    /// Visits the batch's rows before `until`, or all remaining ones.
    fn own_rows(&mut self, until: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        while !self.stopped {
            let Some((key, value)) = self.own.next_if(|(own, _)| until.is_none_or(|until| own[..] < *until)) else {
                break;
            };
            if let Some(value) = value {
                self.show(key, value, visit)?;
            }
        }
        Ok(())
    }

    fn wanted(&self, key: &[u8]) -> bool {
        !self.stopped && self.at.as_deref().is_none_or(|at| at <= key)
    }

    fn show(&mut self, key: &[u8], value: &[u8], visit: &mut Visit<'_>) -> Result<(), Fault> {
        self.at = None;
        match visit(key, value)? {
            Step::Next => {}
            Step::Stop => self.stopped = true,
            Step::Seek(to) if to.as_slice() > key => {
                self.own = range(self.rows, Bound::Included(&to), self.below).peekable();
                self.at = Some(to);
            }
            // Never backwards, and never the same row again.
            Step::Seek(_) => {}
        }
        Ok(())
    }
}

fn range<'a>(
    rows: &'a Rows,
    from: Bound<&[u8]>,
    below: &[u8],
) -> std::collections::btree_map::Range<'a, Bytes, Option<Bytes>> {
    match from {
        // The standard map panics on an inverted range.
        Bound::Included(from) if from > below => {
            rows.range::<[u8], _>((Bound::Included(below), Bound::Excluded(below)))
        }
        from => rows.range::<[u8], _>((from, Bound::Excluded(below))),
    }
}
