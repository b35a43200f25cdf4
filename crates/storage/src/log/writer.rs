//! The only thread that changes the log's disk.
//!
//! It takes what is queued (up to a number of bytes), writes it as one batch, syncs once, and then
//! reports success, in order. It has no timer: while one sync runs, the next group forms by itself.
//!
//! 1. The disk sees operations in the order of the queue. So a vote is durable only after every
//!    append before it.
//! 2. No operation is reported done before the sync that covers it has returned.
//! 3. `committed` is written only when the very entry that it names is durable. (The index alone is
//!    not enough: an entry that is about to be truncated may be there.)
//! 4. After a failure nothing more is written: every later operation fails.
//! 5. Every write is synced before the next one begins, so a power cut can lose or tear at most one
//!    write. `wal_check` relies on that.

use super::disk::{LogDisk, LogOp, Slot};
use super::shared::Shared;
use crate::codec;
use crate::failpoint::failpoint;
use crate::types::{C, Entry, LogId};
use openraft::storage::IOFlushed;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Called when the operation is durable or has failed.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

pub(super) enum Op {
    Append {
        entries: Vec<Entry>,
        number: u64,
        flushed: IOFlushed<C>,
        /// The append's share of the queue, released when it is done.
        room: Option<OwnedSemaphorePermit>,
    },
    Set {
        slot: Slot,
        record: Vec<u8>,
        done: Done,
    },
    Truncate(Range<u64>),
    Purge {
        range: Range<u64>,
        upto: LogId,
    },
}

enum Completion {
    Append(IOFlushed<C>),
    Other(Done),
}

/// A group of operations that is written as one batch.
#[derive(Default)]
struct Group {
    ops: Vec<LogOp>,
    bytes: usize,
    completions: Vec<Completion>,
    rooms: Vec<OwnedSemaphorePermit>,
    newest_append: Option<u64>,
    entries: u64,
    purged: Option<u64>,
    must_sync: bool,
}

pub(super) struct Writer {
    pub(super) disk: Arc<dyn LogDisk>,
    pub(super) shared: Arc<Shared>,
    pub(super) group_bytes: usize,
    pub(super) sync: bool,
    /// The newest commit index that was written.
    pub(super) committed: Option<LogId>,
}

impl Writer {
    pub(super) fn run(mut self, queue: &Receiver<Op>) {
        while let Ok(first) = queue.recv() {
            let mut group = Group::default();
            self.add(first, &mut group);
            while group.bytes < self.group_bytes {
                let Ok(next) = queue.try_recv() else { break };
                self.add(next, &mut group);
            }
            self.add_committed(&mut group);
            if let Err(e) = self.write(&mut group) {
                return self.fail(group, queue, &e);
            }
            self.report_done(group);
        }
        // On a clean end, store how far the next start may replay.
        let mut group = Group::default();
        self.add_committed(&mut group);
        if !group.ops.is_empty()
            && let Err(e) = self.disk.write(group.ops).and_then(|()| if self.sync { self.disk.sync() } else { Ok(()) })
        {
            tracing::warn!(error = %e, "the commit index could not be stored at the end; the next start replays less");
        }
    }

    fn add(&mut self, op: Op, group: &mut Group) {
        match op {
            Op::Append { entries, number, flushed, room } => {
                for entry in &entries {
                    let mut record = Vec::with_capacity(super::cache::weight(entry));
                    codec::encode_entry(entry, &mut record);
                    group.bytes += record.len();
                    group.ops.push(LogOp::Put { index: entry.log_id.index, record });
                }
                group.entries += entries.len() as u64;
                group.newest_append = Some(number);
                group.rooms.extend(room);
                group.must_sync = true;
                group.wait(Completion::Append(flushed));
            }
            Op::Set { slot, record, done } => {
                group.bytes += record.len();
                group.ops.push(LogOp::Set { slot, record });
                group.must_sync = true;
                group.wait(Completion::Other(done));
            }
            Op::Truncate(range) => {
                group.ops.push(LogOp::Truncate { from: range.start, to: range.end });
                // No caller waits for it, but a crash must not lose it and keep the write after it.
                group.must_sync = true;
            }
            Op::Purge { range, upto } => {
                group.ops.push(LogOp::Set { slot: Slot::Purged, record: codec::encode_log_id(&upto) });
                group.ops.push(LogOp::Purge { from: range.start, to: range.end });
                // The files of purged entries may be deleted only once the purge itself is durable.
                group.must_sync = true;
                group.purged = group.purged.max(Some(range.end));
            }
        }
    }

    /// Adds the commit index to the group if it has advanced.
    fn add_committed(&mut self, group: &mut Group) {
        if let Some(id) = self.shared.durably_committed().filter(|id| Some(*id) > self.committed) {
            group.ops.push(LogOp::Set { slot: Slot::Committed, record: codec::encode_log_id(&id) });
            self.committed = Some(id);
        }
    }

    fn write(&self, group: &mut Group) -> io::Result<()> {
        if group.ops.is_empty() {
            return Ok(());
        }
        let _doing = self.shared.step.begin();
        failpoint!("log-before-write");
        self.disk.write(std::mem::take(&mut group.ops))?;
        failpoint!("log-before-sync");
        if group.must_sync && self.sync {
            let begin = Instant::now();
            self.disk.sync()?;
            self.shared.count_sync(begin.elapsed());
        }
        failpoint!("log-after-sync");
        if let Some(to) = group.purged.take() {
            self.disk.reclaim(to)?;
        }
        Ok(())
    }

    fn report_done(&self, group: Group) {
        if let Some(number) = group.newest_append {
            self.shared.durable_up_to(number, group.entries);
        }
        for completion in group.completions {
            match completion {
                Completion::Append(flushed) => flushed.io_completed(Ok(())),
                Completion::Other(done) => done(Ok(())),
            }
        }
    }

    fn fail(&self, group: Group, queue: &Receiver<Op>, e: &io::Error) {
        let text = self.shared.fail(e).to_string();
        let error = || Err(io::Error::other(text.clone()));
        for completion in group.completions {
            match completion {
                Completion::Append(flushed) => flushed.io_completed(error()),
                Completion::Other(done) => done(error()),
            }
        }
        while let Ok(op) = queue.recv() {
            match op {
                Op::Append { flushed, .. } => flushed.io_completed(error()),
                Op::Set { done, .. } => done(error()),
                Op::Truncate(_) | Op::Purge { .. } => {}
            }
        }
    }
}

impl Group {
    /// openraft's flush callback is a watermark and wakes a task, so of consecutive appends only
    /// the newest is reported.
    fn wait(&mut self, completion: Completion) {
        let watermark = |w: &Completion| matches!(w, Completion::Append(IOFlushed::Notify(_)));
        match self.completions.last_mut() {
            Some(last) if watermark(last) && watermark(&completion) => *last = completion,
            _ => self.completions.push(completion),
        }
    }
}
