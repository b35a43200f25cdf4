//! The log's interface to the disk, and a disk in memory that loses what was not synced.
//!
//! A disk holds records under indexes, and a few single records under a [`Slot`]. It does not
//! interpret them.
//!
//! 1. `write` makes a batch readable as a whole and in order. After a crash a prefix of the batches
//!    is there.
//! 2. `sync` returns only when everything written before it survives a crash.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Keys of the single records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The identity of the member that owns the log.
    Identity,
    Vote,
    /// The last purged entry.
    Purged,
    /// The newest entry known to be committed; may lag.
    Committed,
    /// The last entry in the state when it was last flushed.
    Flushed,
    /// The last entry of the snapshot whose installation began last.
    Installing,
    /// The incarnation that holds a member id.
    Registered(u64),
    /// The highest known acknowledgement of a member.
    Acknowledged(u64),
}

#[derive(Clone, Debug)]
pub enum LogOp {
    Put {
        index: u64,
        record: Vec<u8>,
    },
    /// Removes `[from, to)` from the end; the indexes may be written again.
    Truncate {
        from: u64,
        to: u64,
    },
    /// Removes `[from, to)` from the front, for good.
    Purge {
        from: u64,
        to: u64,
    },
    Set {
        slot: Slot,
        record: Vec<u8>,
    },
}

impl LogOp {
    /// Approximate bytes in a batch.
    pub(super) fn weight(&self) -> usize {
        match self {
            LogOp::Put { record, .. } | LogOp::Set { record, .. } => 64 + record.len(),
            LogOp::Truncate { .. } | LogOp::Purge { .. } => 64,
        }
    }
}

pub trait LogDisk: Send + Sync + 'static {
    fn write(&self, ops: Vec<LogOp>) -> io::Result<()>;

    fn sync(&self) -> io::Result<()>;

    /// Frees the space of entries below `to`, whose purge is synced. May do nothing.
    fn reclaim(&self, _to: u64) -> io::Result<()> {
        Ok(())
    }

    /// The records in `[from, to)` in order: about `max_bytes`, and at least one if there is any.
    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>>;

    /// The first and the last index at or above `from`.
    fn ends(&self, from: u64) -> io::Result<Option<(u64, u64)>>;

    /// Approximate bytes of the entries in `[from, to)`.
    fn bytes(&self, from: u64, to: u64) -> io::Result<u64>;

    fn slot(&self, slot: Slot) -> io::Result<Option<Bytes>>;

    /// All `Slot::Registered`, by member id.
    fn registered(&self) -> io::Result<Vec<(u64, Bytes)>>;
}

#[derive(Clone, Debug, Default)]
struct Contents {
    entries: BTreeMap<u64, Bytes>,
    slots: BTreeMap<Slot, Bytes>,
}

impl Contents {
    fn apply(&mut self, ops: &[LogOp]) {
        for op in ops {
            match op {
                LogOp::Put { index, record } => {
                    self.entries.insert(*index, Bytes::copy_from_slice(record));
                }
                LogOp::Truncate { from, to } | LogOp::Purge { from, to } => {
                    self.entries.retain(|index, _| index < from || index >= to);
                }
                LogOp::Set { slot, record } => {
                    self.slots.insert(*slot, Bytes::copy_from_slice(record));
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Memory {
    written: Contents,
    synced: Contents,
    /// Batches since the last sync.
    volatile: Vec<Vec<LogOp>>,
    sync_takes: Duration,
    write_takes: Duration,
    broken: Option<String>,
}

/// A log disk in memory, for tests and simulation. Clones share the contents.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Memory>>);

impl MemoryDisk {
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    /// The disk after a crash: everything synced, and the first `survivors` of the batches written
    /// since.
    pub fn crash(&self, survivors: usize) -> MemoryDisk {
        let memory = self.0.lock();
        let mut contents = memory.synced.clone();
        memory.volatile.iter().take(survivors).for_each(|ops| contents.apply(ops));
        MemoryDisk(Arc::new(Mutex::new(Memory { written: contents.clone(), synced: contents, ..Memory::default() })))
    }

    /// Number of batches that a crash could lose.
    pub fn volatile(&self) -> usize {
        self.0.lock().volatile.len()
    }

    pub fn slow_down(&self, write_takes: Duration, sync_takes: Duration) {
        let mut memory = self.0.lock();
        (memory.write_takes, memory.sync_takes) = (write_takes, sync_takes);
    }

    /// From now on every write and sync fails.
    pub fn break_down(&self, reason: &str) {
        self.0.lock().broken = Some(reason.to_owned());
    }

    fn working(&self) -> io::Result<()> {
        self.0.lock().broken.as_ref().map_or(Ok(()), |reason| Err(io::Error::other(reason.clone())))
    }
}

impl LogDisk for MemoryDisk {
    fn write(&self, ops: Vec<LogOp>) -> io::Result<()> {
        self.working()?;
        let takes = self.0.lock().write_takes;
        std::thread::sleep(takes);
        let mut memory = self.0.lock();
        memory.written.apply(&ops);
        memory.volatile.push(ops);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.working()?;
        let (takes, covered) = {
            let memory = self.0.lock();
            (memory.sync_takes, memory.volatile.len())
        };
        std::thread::sleep(takes);
        let mut memory = self.0.lock();
        let durable: Vec<_> = memory.volatile.drain(..covered).collect();
        durable.iter().for_each(|ops| memory.synced.apply(ops));
        Ok(())
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let memory = self.0.lock();
        let mut bytes = 0;
        let wanted = memory.written.entries.range(from..to.max(from)).take_while(|(_, record)| {
            let more = bytes < max_bytes;
            bytes += record.len();
            more
        });
        Ok(wanted.map(|(index, record)| (*index, record.clone())).collect())
    }

    fn ends(&self, from: u64) -> io::Result<Option<(u64, u64)>> {
        let memory = self.0.lock();
        let mut range = memory.written.entries.range(from..);
        let first = range.next().map(|(index, _)| *index);
        let last = range.next_back().map(|(index, _)| *index);
        Ok(first.map(|first| (first, last.unwrap_or(first))))
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<u64> {
        let disk = self.0.lock();
        Ok(disk.written.entries.range(from..to.max(from)).map(|(_, record)| record.len() as u64).sum())
    }

    fn slot(&self, slot: Slot) -> io::Result<Option<Bytes>> {
        Ok(self.0.lock().written.slots.get(&slot).cloned())
    }

    fn registered(&self) -> io::Result<Vec<(u64, Bytes)>> {
        let memory = self.0.lock();
        let rows = memory.written.slots.iter().filter_map(|(slot, record)| match slot {
            Slot::Registered(id) => Some((*id, record.clone())),
            _ => None,
        });
        Ok(rows.collect())
    }
}
