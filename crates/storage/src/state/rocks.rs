//! The state's database: one column family for each table, and one for Raft.
//!
//! All tables are in one database, so that one write covers all of them. Writes are not synced,
//! because the log can bring back what a crash loses. The options here are about reads: filters for
//! single keys, and compaction of the tables in which rows come and go.
//!
//! 1. There is no write-ahead log. One write is one batch (rows, applied id, membership), and
//!    flushes are atomic over all column families, so after a crash the database is exactly at some
//!    applied entry.
//! 2. The directory of a replaced database is removed when its last reader is dropped.

use super::StateLimits;
use crate::background;
use crate::codec;
use crate::descriptors::OpenFiles;
use crate::error::{OpenError, damaged, rocks_io};
use crate::log::quiet;
use crate::types::{LogId, StoredMembership};
use crate::{files, wal_check};
use conclave_state::{Table, Writes};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, Options,
    SliceTransform, WriteBatch, WriteOptions,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const RAFT: &str = "raft";
const APPLIED: &[u8] = b"applied";
const MEMBERSHIP: &[u8] = b"membership";
const SWEEP: &[u8] = b"sweep";

/// The share of a write buffer for its Bloom filter of keys: more than ten bits per row, even if
/// all rows are of the smallest size.
const KEY_FILTER: f64 = 0.015;

/// Delay, in seconds, before RocksDB rewrites a bottommost file that was written while views
/// existed.
///
/// RocksDB does so to drop rows that those views kept alive. There are always views and hardly ever
/// such rows. Without a delay the rewrite would follow each flush; with it, most files are gone by
/// then.
const REWRITE_AFTER: &str = "3600";

/// A file is compacted if half of this many consecutive rows are tombstones.
const MARKERS_WINDOW: usize = 1024;

/// The bytes that a deletion counts toward the next flush. Until the flush, scans pass over the
/// deleted row: with a flush after 64 MiB, over at most 32,768 deleted rows.
const DELETION: usize = 2048;

/// The largest overhead of a row in a write batch.
const ROW: usize = 12;

pub(crate) struct StateDb {
    db: DB,
    no_wal: WriteOptions,
    // Declared after the database, so that the database is closed first.
    dir: Dir,
}

struct Dir {
    path: PathBuf,
    obsolete: AtomicBool,
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::SeqCst)
            && let Err(e) = files::remove_dir(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %e, "a replaced state directory stays until the next start");
        }
    }
}

fn options(limits: &StateLimits) -> Options {
    let mut o = Options::default();
    o.create_if_missing(true);
    o.create_missing_column_families(true);
    o.set_atomic_flush(true);
    o.set_write_buffer_size(limits.write_buffer_bytes);
    o.set_max_write_buffer_number(3);
    o.set_compression_type(DBCompressionType::Lz4);
    o.set_max_background_jobs(2);
    o.set_max_open_files(OpenFiles::of_this_process().state());
    // Only `apply` and the sweeper write: no compare-and-swap inserts, no spinning in the write
    // queue.
    o.set_allow_concurrent_memtable_write(false);
    o.set_enable_write_thread_adaptive_yield(false);
    quiet(&mut o);
    o
}

fn families(limits: &StateLimits) -> Vec<ColumnFamilyDescriptor> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(limits.block_cache_bytes));
    blocks.set_bloom_filter(10.0, false);
    let mut o = options(limits);
    o.set_level_zero_file_num_compaction_trigger(background::files_to_compact());
    o.set_block_based_table_factory(&blocks);
    let mut kv = o.clone();
    // Filters in files and write buffers cover user keys as well as rows. The extractor's name is
    // stored in the files: a different extractor needs a different name.
    kv.set_prefix_extractor(SliceTransform::create(c"conclave.user-key.1", conclave_state::shared_part, None));
    kv.set_memtable_prefix_bloom_ratio(KEY_FILTER);
    // `apply` deletes rows of these tables, and scans pass over the tombstones until a compaction.
    // The tables are small, so a file with many consecutive tombstones is compacted at once.
    let mut short_lived = o.clone();
    short_lived.add_compact_on_deletion_collector_factory(MARKERS_WINDOW, MARKERS_WINDOW / 2, 0.0);
    let of = |name| match Table::ALL.into_iter().find(|table| table.name() == name) {
        Some(Table::Kv) => kv.clone(),
        Some(Table::Live | Table::Queue | Table::Lease | Table::Coord) => short_lived.clone(),
        _ => o.clone(),
    };
    family_names().map(|name| ColumnFamilyDescriptor::new(name, of(name))).collect()
}

/// Whether a database has applied entries but lacks a table, because an older version made it.
/// Opening it for writing would add the table, empty. (A table may be missing from a database that
/// has applied nothing: its creation was interrupted.)
fn is_older(dir: &Path) -> Result<bool, rocksdb::Error> {
    let mut o = Options::default();
    quiet(&mut o);
    // Listing fails if the database does not exist yet.
    let found = DB::list_cf(&o, dir).unwrap_or_default();
    let has = |name: &str| found.iter().any(|found| found == name);
    if !has(RAFT) || Table::ALL.iter().all(|table| has(table.name())) {
        return Ok(false);
    }
    let db = DB::open_cf_for_read_only(&o, dir, &found, false)?;
    let raft = db.cf_handle(RAFT).expect("it is among the families that were opened");
    Ok(db.get_cf(raft, APPLIED)?.is_some())
}

pub(super) fn family_names() -> impl Iterator<Item = &'static str> {
    ["default", RAFT].into_iter().chain(Table::ALL.map(Table::name))
}

/// The Raft metadata in the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RaftRows {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

pub(super) fn raft_rows(db: &DB) -> io::Result<RaftRows> {
    let raft = db.cf_handle(RAFT).ok_or_else(|| damaged("the state has no table for Raft"))?;
    let row = |key| db.get_cf(raft, key).map_err(rocks_io);
    Ok(RaftRows {
        applied: row(APPLIED)?.map(|r| codec::decode_log_id(&r)).transpose()?,
        membership: row(MEMBERSHIP)?.map(|r| codec::decode_membership(&r)).transpose()?.unwrap_or_default(),
    })
}

impl StateDb {
    fn around(db: DB, dir: &Path) -> StateDb {
        let mut no_wal = WriteOptions::default();
        no_wal.disable_wal(true);
        StateDb { db, no_wal, dir: Dir { path: dir.to_owned(), obsolete: AtomicBool::new(false) } }
    }

    pub(crate) fn open(dir: &Path, limits: &StateLimits) -> Result<StateDb, OpenError> {
        wal_check::mend(wal_check::Of::State, dir)?;
        background::low_priority_threads();
        let mut o = options(limits);
        background::write_back_in_pieces(&mut o);
        let refused = |e| OpenError::rocks("the state", dir, &e);
        if is_older(dir).map_err(refused)? {
            return Err(OpenError::Older { path: dir.to_owned() });
        }
        let db = DB::open_cf_descriptors(&o, dir, families(limits)).map_err(refused)?;
        let db = StateDb::around(db, dir);
        // Not for the two tables in which `apply` deletes rows: RocksDB moves a flushed file with
        // its tombstones to the last level and drops them only by this rewrite. These tables are
        // small.
        for table in Table::ALL.into_iter().filter(|table| !matches!(table, Table::Lease | Table::Coord)) {
            let later = [("bottommost_file_compaction_delay", REWRITE_AFTER)];
            db.db.set_options_cf(db.table(table), &later).map_err(refused)?;
        }
        Ok(db)
    }

    pub(super) fn open_read_only(dir: &Path) -> Result<StateDb, OpenError> {
        let limits = StateLimits::default();
        wal_check::check(wal_check::Of::State, dir)?;
        let db = DB::open_cf_descriptors_read_only(&options(&limits), dir, families(&limits), false)
            .map_err(|e| OpenError::rocks("the state", dir, &e))?;
        Ok(StateDb::around(db, dir))
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir.path
    }

    /// The directory is removed with the last reader.
    pub(crate) fn retire(&self) {
        self.dir.obsolete.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.dir.obsolete.load(Ordering::SeqCst)
    }

    pub(super) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with this column family")
    }

    pub(super) fn table(&self, table: Table) -> &ColumnFamily {
        self.family(table.name())
    }

    pub(crate) fn raft_rows(&self) -> io::Result<RaftRows> {
        raft_rows(&self.db)
    }

    /// Writes the rows of a batch and its log position as one. Returns the bytes that count toward
    /// the next flush.
    pub(crate) fn write_applied(
        &self,
        writes: &Writes,
        applied: &LogId,
        membership: Option<&StoredMembership>,
    ) -> io::Result<usize> {
        let tables = Table::ALL.map(|t| self.table(t));
        let raft = self.family(RAFT);
        let bytes: usize = writes.iter().map(|(_, key, value)| ROW + key.len() + value.map_or(0, <[u8]>::len)).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + 256);
        let mut deletions = 0;
        for (table, key, value) in writes.iter() {
            let family = tables[table as usize];
            match value {
                Some(value) => batch.put_cf(family, key, value),
                // A flush that sees both the row and its deletion drops both.
                None if table.alternates() => batch.single_delete_cf(family, key),
                None => batch.delete_cf(family, key),
            }
            deletions += usize::from(value.is_none());
        }
        batch.put_cf(raft, APPLIED, codec::encode_log_id(applied));
        if let Some(membership) = membership {
            batch.put_cf(raft, MEMBERSHIP, codec::encode_membership(membership));
        }
        let size = batch.size_in_bytes() + deletions * DELETION;
        self.db.write_opt(batch, &self.no_wal).map_err(rocks_io)?;
        Ok(size)
    }

    pub(super) fn sweep_progress(&self) -> io::Result<codec::SweepProgress> {
        let row = self.db.get_cf(self.family(RAFT), SWEEP).map_err(rocks_io)?;
        Ok(row.map(|r| codec::unseal(&r)).transpose()?.unwrap_or_default())
    }

    /// Removes rows and stores the progress as one write. Returns its size.
    pub(super) fn write_swept(&self, rows: &[(Table, Vec<u8>)], progress: &codec::SweepProgress) -> io::Result<usize> {
        let tables = Table::ALL.map(|t| self.table(t));
        let mut batch = WriteBatch::default();
        rows.iter().for_each(|(table, key)| batch.delete_cf(tables[*table as usize], key));
        batch.put_cf(self.family(RAFT), SWEEP, codec::seal(progress));
        let size = batch.size_in_bytes();
        self.db.write_opt(batch, &self.no_wal).map_err(rocks_io)?;
        Ok(size)
    }

    /// Returns when everything written before the call is on disk.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let families: Vec<_> = family_names().map(|name| self.family(name)).collect();
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_cfs_opt(&families, &wait).map_err(rocks_io)
    }

    /// Compacts all tables. Reads, writes and RocksDB's own compactions go on meanwhile.
    pub(super) fn rewrite(&self) {
        let mut options = rocksdb::CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        for table in Table::ALL {
            self.db.compact_range_cf_opt(self.table(table), None::<&[u8]>, None::<&[u8]>, &options);
        }
    }

    /// Makes a directory with the current contents of the database.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), rocksdb::Error> {
        rocksdb::checkpoint::Checkpoint::new(&self.db)?.create_checkpoint(path)
    }

    /// The sum of a property over all tables.
    pub(super) fn sum(&self, property: &std::ffi::CStr) -> u64 {
        family_names()
            .filter_map(|name| self.db.property_int_value_cf(self.family(name), property).ok().flatten())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_state_that_lacks_a_table_is_refused_unless_it_is_new() {
        for applied in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let limits = StateLimits::default();
            let mut db = StateDb::open(dir.path(), &limits).unwrap();
            if applied {
                let id = crate::types::log_id(1, 1);
                db.write_applied(&Writes::default(), &id, None).unwrap();
                db.flush().unwrap();
            }
            db.db.drop_cf(Table::Live.name()).unwrap();
            drop(db);
            let opened = StateDb::open(dir.path(), &limits);
            assert_eq!(matches!(opened, Err(OpenError::Older { .. })), applied);
        }
    }

    /// With RocksDB's defaults the file of each flush would be written twice.
    #[test]
    fn what_a_flush_wrote_stays_when_a_view_of_that_time_goes() {
        let dir = tempfile::tempdir().unwrap();
        let db = StateDb::open(dir.path(), &StateLimits::default()).unwrap();
        let write = |value: &str| {
            let mut batch = WriteBatch::default();
            (0..100).for_each(|i| batch.put_cf(db.table(Table::Kv), format!("key {i}"), value));
            db.db.write_opt(batch, &db.no_wal).unwrap();
        };
        let files = || db.db.live_files().unwrap().into_iter().map(|f| f.name).collect::<Vec<_>>();
        write("old");
        let view = db.db.snapshot();
        write("new");
        db.flush().unwrap();
        let written = files();
        write("newest");
        drop(view);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(files(), written);
    }
}
