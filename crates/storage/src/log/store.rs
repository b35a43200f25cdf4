//! openraft's log storage: the tail in memory, the writer's queue, and the disk for older entries.
//!
//! Raft appends to the end of the log, reads mostly there, and must know what is durable. So the
//! end is in memory, where readers find it at once. A thread writes it to the disk behind them,
//! many appends with one sync. Older entries are read from the disk.
//!
//! 1. When `append` returns, every reader sees its entries. When its callback is called, they are
//!    durable.
//! 2. `append` waits when the queue holds too many bytes, which slows Raft down on purpose. Besides
//!    it only `save_vote` waits for the disk: a vote must be durable before it is sent.
//! 3. A reader either gets every existing entry of its range or an error, because openraft would
//!    take a short answer for the whole. Reads that start below the purge point through
//!    [`RaftLogReader::limited_get_log_entries`] or `entries_stream` return nothing, never a later
//!    suffix.

use super::cache::{Plan, Tail};
use super::disk::{LogDisk, Slot};
use super::found::{Found, corrupt, decode};
use super::position::LogPosition;
use super::shared::Shared;
use super::step::WriterStep;
use super::writer::{Done, Op, Writer};
use crate::codec;
use crate::duration_histogram::DurationHistogram;
use crate::error::Fatal;
use crate::failpoint::failpoint;
use crate::types::{C, Entry, LogId, Vote};
use futures::Stream;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};

/// Bounds of the log's memory.
#[derive(Clone, Debug)]
pub struct LogLimits {
    /// Decoded entries kept for replication and apply.
    pub cache_bytes: usize,
    /// Appends waiting for the disk.
    pub queue_bytes: usize,
    /// Bytes of one write to the disk.
    pub group_bytes: usize,
    /// Bytes of one answer to replication.
    pub read_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits { cache_bytes: 16 << 20, queue_bytes: 64 << 20, group_bytes: 8 << 20, read_bytes: 1 << 20 }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    pub entries: u64,
    pub syncs: u64,
    pub sync_time: Duration,
}

/// The bytes of the log's entries, accurate to about a megabyte. Entries that were there at the
/// start are estimated.
#[derive(Clone)]
pub struct LogSize(Arc<Shared>);

impl LogSize {
    pub fn bytes(&self) -> u64 {
        self.0.tail.lock().sizes.bytes()
    }

    /// The index up to which entries can be purged while the rest still has `keep` bytes; `None` if
    /// nothing can be.
    pub fn beyond(&self, keep: u64) -> Option<u64> {
        self.0.tail.lock().sizes.beyond(keep)
    }

    /// The bytes of the entries with these indexes.
    pub fn between(&self, indexes: Range<u64>) -> u64 {
        self.0.tail.lock().sizes.between(&indexes)
    }
}

/// Ends the writer when the last store is dropped.
struct WriterHandle {
    queue: Option<Sender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the log writer had panicked");
        }
    }
}

/// The log. Clones share it, and each clone is also a reader.
#[derive(Clone)]
pub struct LogStore {
    // Declared first, so that the writer ends before the disk is closed.
    writer: Arc<WriterHandle>,
    shared: Arc<Shared>,
    disk: Arc<dyn LogDisk>,
    room: Arc<Semaphore>,
    limits: LogLimits,
}

impl LogStore {
    /// Starts the writer on a disk. `sync: false` gives up durability.
    pub(crate) fn start(
        disk: Arc<dyn LogDisk>,
        found: &Found,
        limits: LogLimits,
        sync: bool,
        fatal: Fatal,
    ) -> io::Result<LogStore> {
        let shared = Arc::new(Shared {
            tail: Mutex::new(Tail::found(found, limits.cache_bytes)),
            durable: watch::Sender::new(0),
            failed: AtomicBool::new(false),
            fatal,
            entries: AtomicU64::new(0),
            sync_times: Arc::default(),
            step: Arc::default(),
        });
        let (queue, rest) = channel();
        let writer = Writer {
            disk: disk.clone(),
            shared: shared.clone(),
            group_bytes: limits.group_bytes,
            sync,
            committed: found.committed,
        };
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run(&rest))?;
        Ok(LogStore {
            writer: Arc::new(WriterHandle { queue: Some(queue), thread: Some(thread) }),
            shared,
            disk,
            room: Arc::new(Semaphore::new(limits.queue_bytes)),
            limits,
        })
    }

    pub fn stats(&self) -> LogStats {
        LogStats {
            entries: self.shared.entries.load(Ordering::Relaxed),
            syncs: self.shared.sync_times.syncs(),
            sync_time: self.shared.sync_times.total(),
        }
    }

    /// Sync durations for metrics. Does not keep the log open.
    pub fn sync_times(&self) -> Arc<DurationHistogram> {
        self.shared.sync_times.clone()
    }

    /// The time for which the writer has been waiting for the disk. Does not keep the log open.
    pub fn writer_step(&self) -> Arc<WriterStep> {
        self.shared.step.clone()
    }

    /// The size of the entries. Does not keep the log open.
    pub fn size(&self) -> LogSize {
        LogSize(self.shared.clone())
    }

    fn send(&self, op: Op) -> io::Result<()> {
        let queue = self.writer.queue.as_ref().expect("taken only when the last store is dropped");
        queue.send(op).map_err(|_| io::Error::other("the log writer has ended"))
    }

    /// Stores a single record durably. Blocks the thread for one sync, so call it rarely, and off
    /// the event loop where possible.
    pub(crate) fn set_blocking(&self, slot: Slot, record: Vec<u8>) -> io::Result<()> {
        let (tx, rx) = channel();
        let done: Done = Box::new(move |result| drop(tx.send(result)));
        self.send(Op::Set { slot, record, done })?;
        rx.recv().map_err(|_| io::Error::other("the log writer has ended"))?
    }

    /// Stores several records durably, usually with one sync. Blocks.
    pub(crate) fn set_all_blocking(&self, records: Vec<(Slot, Vec<u8>)>) -> io::Result<()> {
        let (tx, rx) = channel();
        let count = records.len();
        for (slot, record) in records {
            let tx = tx.clone();
            self.send(Op::Set { slot, record, done: Box::new(move |result| drop(tx.send(result))) })?;
        }
        for _ in 0..count {
            rx.recv().map_err(|_| io::Error::other("the log writer has ended"))??;
        }
        Ok(())
    }

    /// Read together from memory, so it is never behind the disk.
    pub(crate) fn position(&self) -> LogPosition {
        let tail = self.shared.tail.lock();
        let term = tail.vote.map_or(0, |vote| vote.leader_id.term);
        LogPosition { term, index: tail.last.map_or(0, |last| last.index) }
    }

    /// A single record as stored on disk.
    pub(crate) fn slot(&self, slot: Slot) -> io::Result<Option<bytes::Bytes>> {
        self.disk.slot(slot)
    }

    /// Waits until the entry at `index` would survive a crash. Returns at once for an index that is
    /// not (any more) in the log.
    pub(crate) async fn durable(&self, index: u64) -> io::Result<()> {
        if self.shared.tail.lock().is_durable(index) {
            return Ok(());
        }
        let mut watermark = self.shared.durable.subscribe();
        loop {
            if self.shared.tail.lock().is_durable(index) {
                return Ok(());
            }
            if self.shared.failed.load(Ordering::SeqCst) {
                return Err(io::Error::other("the log could not be written"));
            }
            watermark.changed().await.map_err(io::Error::other)?;
        }
    }

    /// The existing entries of `[from, to)`: all of them, or about `max_bytes` and at least one.
    fn entries(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        loop {
            let plan = self.shared.tail.lock().plan(from, to, max_bytes);
            let epoch = plan.epoch;
            let read = self.complete(plan, max_bytes);
            // If entries were removed while the disk was read, the result cannot be used.
            if self.shared.tail.lock().epoch() == epoch {
                // A log that cannot be read stops the node.
                return read.map_err(|e| self.shared.fatal.raise("reading the log", e));
            }
        }
    }

    /// The same, but empty if the entry `from` is purged: openraft would take the next entry for
    /// it.
    fn entries_from(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let mut entries = self.entries(from, to, max_bytes)?;
        if entries.first().is_some_and(|first| first.log_id.index != from) {
            entries.clear();
        }
        Ok(entries)
    }

    fn complete(&self, plan: Plan, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if plan.disk.is_empty() {
            return Ok(plan.cached);
        }
        let rows = self.disk.read(plan.disk.start, plan.disk.end, max_bytes)?;
        let mut entries = Vec::with_capacity(rows.len() + plan.cached.len());
        let mut bytes = 0;
        for (expected, (index, record)) in (plan.disk.start..).zip(rows) {
            if index != expected {
                return Err(corrupt(format!("the log has no entry {expected}: the next one is {index}")));
            }
            bytes += record.len();
            entries.push(decode(index, &record)?);
        }
        let complete = entries.len() as u64 == plan.disk.end - plan.disk.start;
        if complete {
            let room = |entry: &Entry| {
                let more = bytes < max_bytes;
                bytes = bytes.saturating_add(super::cache::weight(entry));
                more
            };
            entries.extend(plan.cached.into_iter().take_while(room));
        } else if entries.is_empty() || bytes < max_bytes {
            let missing = plan.disk.start + entries.len() as u64;
            return Err(corrupt(format!("the log has no entry {missing}, though it ends later")));
        }
        Ok(entries)
    }
}

/// A range of indexes as `[from, to)`.
fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(x) => *x,
        Bound::Excluded(x) => x.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(x) => x.saturating_add(1),
        Bound::Excluded(x) => *x,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<C> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = half_open(&range);
        self.entries(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.tail.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        // Of nothing, replication makes a heartbeat, and asks again or sends a snapshot.
        self.entries_from(start, end, self.limits.read_bytes)
    }

    /// In pieces: a follower that is far behind must not read all of it into memory at once.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (mut next, to) = half_open(&range);
        let to = to.min(self.shared.tail.lock().end());
        let reader = self.clone();
        let mut piece = Vec::new().into_iter();
        futures::stream::iter(std::iter::from_fn(move || {
            if piece.len() == 0 && next < to {
                match reader.entries_from(next, to, reader.limits.read_bytes) {
                    Ok(entries) if entries.is_empty() => {
                        let gone = corrupt(format!("entry {next} is not in the log any more"));
                        next = to;
                        return Some(Err(gone));
                    }
                    Ok(entries) => piece = entries.into_iter(),
                    Err(e) => {
                        next = to;
                        return Some(Err(e));
                    }
                }
            }
            let entry: Entry = piece.next()?;
            next = entry.log_id.index + 1;
            Some(Ok(entry))
        }))
    }
}

impl RaftLogStorage<C> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let tail = self.shared.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(tx.send(result)));
        failpoint!("vote-before-save");
        self.send(Op::Set { slot: Slot::Vote, record: codec::encode_vote(vote), done })?;
        rx.await.map_err(io::Error::other)??;
        failpoint!("vote-after-save");
        self.shared.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Called whenever the commit index advances. The writer adds it to the first group after
        // the one that contains its entry.
        self.shared.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let weight: usize = entries.iter().map(super::cache::weight).sum();
        let weight = u32::try_from(weight.min(self.limits.queue_bytes)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(weight).await.map_err(io::Error::other)?;
        let (number, _) = self.shared.tail.lock().append(&entries)?;
        self.send(Op::Append { entries, number, flushed: callback, room: Some(room) })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let range = self.shared.tail.lock().truncate_after(last);
        if range.is_empty() { Ok(()) } else { self.send(Op::Truncate(range)) }
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let range = {
            let mut tail = self.shared.tail.lock();
            if tail.purged >= Some(upto) {
                return Ok(());
            }
            tail.purge(upto)
        };
        self.send(Op::Purge { range, upto })
    }
}
