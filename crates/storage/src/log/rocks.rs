//! The log's disk on RocksDB: entries under their big-endian index, and slots by name in a second
//! column family.
//!
//! The recovery mode tolerates a torn last write of the write-ahead log and nothing else. RocksDB's
//! default would silently end the log at the first bad record, even with acknowledged entries
//! behind it. The manifest tracks finished log files, so a missing or short one is noticed. A file
//! beside the database records how far the log is synced ([`super::mark`]), so a lost end is
//! noticed as well.

use super::disk::{LogDisk, LogOp, Slot};
use super::mark::Mark;
use crate::background;
use crate::descriptors::OpenFiles;
use crate::error::{OpenError, damaged, rocks_io};
use crate::wal_check;
use bytes::Bytes;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Options, Range, ReadOptions,
    WriteBatch, WriteOptions, properties,
};
use std::io;
use std::path::Path;

const ENTRIES: &str = "entries";
const SLOTS: &str = "slots";
const REGISTERED: &[u8] = b"registered/";
const ACKNOWLEDGED: &[u8] = b"acknowledged/";

pub(crate) struct RocksLog {
    db: DB,
    /// `None` if opened read-only.
    mark: Option<Mark>,
}

fn options() -> Options {
    let mut o = Options::default();
    o.create_if_missing(true);
    o.create_missing_column_families(true);
    o.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    o.set_track_and_verify_wals_in_manifest(true);
    o.set_write_buffer_size(16 << 20);
    o.set_max_write_buffer_number(3);
    // Slots are rewritten in place and rarely fill a buffer, so this bound is needed to release old
    // log files.
    o.set_max_total_wal_size(128 << 20);
    // Indexes only rise, so files do not overlap and compaction moves them without rewriting.
    o.set_compression_type(DBCompressionType::None);
    o.set_target_file_size_base(64 << 20);
    o.set_max_background_jobs(2);
    o.set_max_open_files(OpenFiles::of_this_process().log());
    // One thread writes: no compare-and-swap inserts, no spinning in the write queue.
    o.set_allow_concurrent_memtable_write(false);
    o.set_enable_write_thread_adaptive_yield(false);
    quiet(&mut o);
    o
}

/// Keeps RocksDB's own log short and without statistics.
pub(crate) fn quiet(o: &mut Options) {
    o.set_keep_log_file_num(2);
    o.set_max_log_file_size(4 << 20);
    o.set_stats_dump_period_sec(0);
    o.set_stats_persist_period_sec(0);
}

fn families() -> [ColumnFamilyDescriptor; 3] {
    ["default", ENTRIES, SLOTS].map(|name| ColumnFamilyDescriptor::new(name, options()))
}

impl RocksLog {
    pub(crate) fn open(dir: &Path) -> Result<RocksLog, OpenError> {
        let synced = Mark::read(dir).map_err(OpenError::io("read", dir.join(Mark::FILE)))?;
        wal_check::mend(wal_check::Of::Log { synced }, dir)?;
        background::low_priority_threads();
        let mut o = options();
        // Recent entries are read from memory (`cache`); only a member that was away needs older
        // ones.
        background::direct(&mut o, dir);
        let db = DB::open_cf_descriptors(&o, dir, families()).map_err(|e| OpenError::rocks("the log", dir, &e))?;
        let last = db.latest_sequence_number();
        if let Some(synced) = synced.filter(|synced| *synced > last) {
            let reason = format!("its end is gone: it was synced up to write {synced}, and ends with write {last}");
            return Err(OpenError::Corrupt { path: dir.into(), what: "the log", reason });
        }
        // Opening has synced everything that it found.
        let mark = Mark::open(dir, last).map_err(OpenError::io("write", dir.join(Mark::FILE)))?;
        Ok(RocksLog { db, mark: Some(mark) })
    }

    /// Opens the log of a stopped member for reading.
    pub(crate) fn open_read_only(dir: &Path) -> Result<RocksLog, OpenError> {
        wal_check::check(wal_check::Of::Log { synced: None }, dir)?;
        let db = DB::open_cf_descriptors_read_only(&options(), dir, families(), false)
            .map_err(|e| OpenError::rocks("the log", dir, &e))?;
        Ok(RocksLog { db, mark: None })
    }

    /// Starts a new write-ahead log file.
    #[cfg(test)]
    pub(super) fn rotate(&self) {
        self.db.flush_cf(self.family(ENTRIES)).unwrap();
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with this column family")
    }
}

fn slot_key(slot: Slot) -> Vec<u8> {
    let name: &[u8] = match slot {
        Slot::Identity => b"identity",
        Slot::Vote => b"vote",
        Slot::Purged => b"purged",
        Slot::Committed => b"committed",
        Slot::Flushed => b"flushed",
        Slot::Installing => b"installing",
        Slot::Registered(id) => return [REGISTERED, id.to_be_bytes().as_slice()].concat(),
        Slot::Acknowledged(id) => return [ACKNOWLEDGED, id.to_be_bytes().as_slice()].concat(),
    };
    name.to_vec()
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let bytes = key.try_into().map_err(|_| damaged("an entry's key does not have 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

impl LogDisk for RocksLog {
    fn write(&self, ops: Vec<LogOp>) -> io::Result<()> {
        let (entries, slots) = (self.family(ENTRIES), self.family(SLOTS));
        let mut batch = WriteBatch::with_capacity_bytes(ops.iter().map(LogOp::weight).sum());
        for op in &ops {
            match op {
                LogOp::Put { index, record } => batch.put_cf(entries, index.to_be_bytes(), record),
                LogOp::Truncate { from, to } | LogOp::Purge { from, to } => {
                    batch.delete_range_cf(entries, from.to_be_bytes(), to.to_be_bytes());
                }
                LogOp::Set { slot, record } => batch.put_cf(slots, slot_key(*slot), record),
            }
        }
        self.db.write_opt(batch, &WriteOptions::default()).map_err(rocks_io)
    }

    fn sync(&self) -> io::Result<()> {
        // Read before the sync: a write that comes after this may not be covered by it.
        let last = self.db.latest_sequence_number();
        self.db.flush_wal(true).map_err(rocks_io)?;
        self.mark.as_ref().map_or(Ok(()), |mark| mark.set(last))
    }

    fn reclaim(&self, to: u64) -> io::Result<()> {
        let Some(last) = to.checked_sub(1) else { return Ok(()) };
        // From the very first index, because an earlier purge that ended inside a file left that
        // file. RocksDB's end is inclusive: a file that ends with `to` holds an entry that stays.
        let first: u64 = 0;
        let entries = self.family(ENTRIES);
        self.db.delete_file_in_range_cf(entries, first.to_be_bytes(), last.to_be_bytes()).map_err(rocks_io)
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let mut bounds = ReadOptions::default();
        // With both bounds a scan does not walk through the tombstones of purged or truncated
        // entries.
        bounds.set_iterate_lower_bound(from.to_be_bytes());
        bounds.set_iterate_upper_bound(to.to_be_bytes());
        let mut rows = self.db.raw_iterator_cf_opt(self.family(ENTRIES), bounds);
        let (mut found, mut bytes) = (Vec::new(), 0);
        rows.seek(from.to_be_bytes());
        while bytes < max_bytes {
            let Some((key, record)) = rows.item() else { break };
            bytes += record.len();
            found.push((index_of(key)?, Bytes::copy_from_slice(record)));
            rows.next();
        }
        rows.status().map_err(rocks_io)?;
        Ok(found)
    }

    fn ends(&self, from: u64) -> io::Result<Option<(u64, u64)>> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_lower_bound(from.to_be_bytes());
        let mut rows = self.db.raw_iterator_cf_opt(self.family(ENTRIES), bounds);
        rows.seek_to_first();
        let Some(first) = rows.key().map(index_of).transpose()? else {
            return rows.status().map(|()| None).map_err(rocks_io);
        };
        rows.seek_to_last();
        let last = rows.key().map(index_of).transpose()?;
        rows.status().map_err(rocks_io)?;
        Ok(Some((first, last.unwrap_or(first))))
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<u64> {
        let entries = self.family(ENTRIES);
        let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
        let files: u64 = self.db.get_approximate_sizes_cf(entries, &[Range::new(&from, &to)]).iter().sum();
        let buffers = self.db.property_int_value_cf(entries, properties::CUR_SIZE_ALL_MEM_TABLES).map_err(rocks_io)?;
        Ok(files + buffers.unwrap_or(0))
    }

    fn slot(&self, slot: Slot) -> io::Result<Option<Bytes>> {
        Ok(self.db.get_cf(self.family(SLOTS), slot_key(slot)).map_err(rocks_io)?.map(Bytes::from))
    }

    fn registered(&self) -> io::Result<Vec<(u64, Bytes)>> {
        let mut rows = self.db.raw_iterator_cf(self.family(SLOTS));
        let mut found = Vec::new();
        rows.seek(REGISTERED);
        while let Some((key, record)) = rows.item() {
            let Some(id) = key.strip_prefix(REGISTERED) else { break };
            found.push((index_of(id)?, Bytes::copy_from_slice(record)));
            rows.next();
        }
        rows.status().map_err(rocks_io)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocksdb::CompactOptions;
    use std::time::Duration;

    /// A file on a level where a purge may delete it, which begins with `from` and ends with
    /// `last`.
    fn file(log: &RocksLog, from: u64, last: u64) {
        let ops = (from..=last).map(|index| LogOp::Put { index, record: index.to_be_bytes().to_vec() }).collect();
        log.write(ops).unwrap();
        let entries = log.family(ENTRIES);
        log.db.flush_cf(entries).unwrap();
        let mut down = CompactOptions::default();
        down.set_change_level(true);
        down.set_target_level(6);
        for _ in 0..100 {
            log.db.compact_range_cf_opt(entries, Some(from.to_be_bytes()), Some(last.to_be_bytes()), &down);
            if files(log).iter().all(|f| f.0 > 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it stays on level 0: {:?}", files(log));
    }

    fn files(log: &RocksLog) -> Vec<(i32, u64, u64)> {
        let key = |key: Option<Vec<u8>>| index_of(&key.unwrap()).unwrap();
        let files = log.db.live_files().unwrap().into_iter().filter(|f| f.column_family_name == ENTRIES);
        let mut files: Vec<_> = files.map(|f| (f.level, key(f.start_key), key(f.end_key))).collect();
        files.sort_by_key(|f| f.1);
        files
    }

    /// Purged is up to the entry before the last one of a file, and then with it.
    #[test]
    fn a_file_goes_with_its_last_entry_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let log = RocksLog::open(dir.path()).unwrap();
        let last = 2_000;
        file(&log, 0, last);
        file(&log, last + 1, 2 * last);
        let ends: Vec<_> = files(&log).iter().map(|f| (f.1, f.2)).collect();
        assert_eq!(ends, [(0, last), (last + 1, 2 * last)]);

        log.write(vec![LogOp::Purge { from: 0, to: last }]).unwrap();
        log.sync().unwrap();
        log.reclaim(last).unwrap();
        let kept = log.read(last, last + 1, 1).unwrap();
        assert_eq!(kept.first().map(|row| row.0), Some(last), "the first entry that must stay is gone");
        drop(log);
        let log = RocksLog::open(dir.path()).unwrap();
        assert_eq!(log.ends(last).unwrap(), Some((last, 2 * last)));

        log.reclaim(last + 1).unwrap();
        // The purge itself, which was in the journal when the log was opened, is a file on level 0.
        assert!(files(&log).iter().all(|f| f.0 == 0 || f.1 > last), "{:?}", files(&log));
        assert_eq!(log.ends(last + 1).unwrap(), Some((last + 1, 2 * last)));
    }
}
