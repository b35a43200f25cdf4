//! A [`View`] in memory, for tests and simulation: one ordered map per table.

use crate::event::Writes;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    tables: [BTreeMap<Vec<u8>, Bytes>; Table::ALL.len()],
}

impl MemoryView {
    pub fn new() -> MemoryView {
        MemoryView::default()
    }

    /// Stores the writes of a batch.
    pub fn write(&mut self, writes: &Writes) {
        for (table, key, value) in writes.iter() {
            match value {
                Some(value) => self.tables[table as usize].insert(key.to_vec(), Bytes::copy_from_slice(value)),
                None => self.tables[table as usize].remove(key),
            };
        }
    }

    /// Removes rows that a sweep named.
    pub fn remove(&mut self, rows: &[(Table, Vec<u8>)]) {
        for (table, key) in rows {
            self.tables[*table as usize].remove(key);
        }
    }

    /// The number of rows of a table.
    pub fn rows(&self, table: Table) -> usize {
        self.tables[table as usize].len()
    }

    fn next(&self, table: Table, from: Bound<&[u8]>, below: &[u8]) -> Option<(&Vec<u8>, &Bytes)> {
        // The standard map panics on an inverted range.
        if matches!(from, Bound::Included(from) | Bound::Excluded(from) if from >= below) {
            return None;
        }
        self.tables[table as usize].range::<[u8], _>((from, Bound::Excluded(below))).next()
    }
}

impl View for MemoryView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.tables[table as usize].get(key).cloned())
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let rows = self.tables[Table::Kv as usize].range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let row = rows.take(1).find(|(row, _)| row.starts_with(prefix));
        row.map(|(row, record)| read(row, record)).transpose()
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        let mut row = self.next(table, Bound::Included(from), below);
        while let Some((key, value)) = row {
            row = match visit(key, value)? {
                Step::Next => self.next(table, Bound::Excluded(key), below),
                Step::Seek(to) if to > *key => self.next(table, Bound::Included(&to), below),
                Step::Seek(_) => self.next(table, Bound::Excluded(key), below),
                Step::Stop => None,
            };
        }
        Ok(())
    }
}
