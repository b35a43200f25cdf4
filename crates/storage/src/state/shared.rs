//! What `apply`, the threads and all readers of the state share: the database, the numbers that
//! describe the state, views and flushes.
//!
//! The numbers (revision, compacted revision, digest, last applied entry) are kept in memory, so
//! reading one costs an atomic load.
//!
//! 1. Rows and numbers change together, under one lock that no view is taken under. So the rows of
//!    a view always match its numbers, including rows that have no revision. While a slow write
//!    runs, new views are taken from a pinned snapshot of the state before it.
//! 2. The numbers change after the write that they describe. A view that is taken after the numbers
//!    were read contains that write.
//! 3. When a snapshot is installed, the database and the numbers are replaced together, under one
//!    lock. Views are taken under the same lock.

use super::StateLimits;
use super::counts::{Changed, LivingCounts};
use super::rocks::StateDb;
use super::status::{ReplicaStatus, StatusHistory};
use super::view::{PinnedSnapshot, ReadPoint, Rows, StateView, ViewCache};
use crate::background::jittered;
use crate::codec;
use crate::duration_histogram::DurationHistogram;
use crate::error::{Fatal, fault_io};
use crate::failpoint::failpoint;
use crate::log::LogStore;
use crate::log::disk::Slot;
use crate::snapshot::LatestSnapshot;
use crate::types::LogId;
use conclave_state::read::Bounds;
use conclave_state::{Auth, Machine};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use tokio::sync::watch;

pub(crate) struct StateShared {
    db: RwLock<Arc<StateDb>>,
    pub(super) revision: AtomicI64,
    compacted: AtomicI64,
    pub(super) applied_index: AtomicU64,
    pub(super) applied_term: AtomicU64,
    pub(super) applied: watch::Sender<u64>,
    pub(super) status: Mutex<StatusHistory>,
    /// Users and roles; changed together with the rows, as the numbers are.
    pub(super) auth: RwLock<Arc<Auth>>,
    /// Whether they are checked.
    pub(super) checks_users: AtomicBool,
    views: Arc<ViewCache>,
    /// Changed together with the rows, as the numbers are.
    pub(super) counts: LivingCounts,
    /// Locked for writing while rows and numbers do not match. Holds the pinned snapshot that views
    /// read while views are frozen. Locked after `db`.
    frozen: RwLock<Option<PinnedSnapshot>>,
    /// Bytes written since the last flush.
    unflushed: AtomicU64,
    /// Unflushed bytes at which the next flush starts.
    flush_at: AtomicU64,
    /// One flush or checkpoint at a time.
    flushing: Mutex<()>,
    /// How long groups took to write.
    pub(super) commits: DurationHistogram,
    pub(super) log: LogStore,
    pub(crate) fatal: Fatal,
    pub(crate) limits: StateLimits,
    pub(crate) snapshots: LatestSnapshot,
    state_dir: PathBuf,
    pub(super) workers: Mutex<Workers>,
    pub(super) stopping: AtomicBool,
}

/// Channels that wake the threads.
#[derive(Default)]
pub(super) struct Workers {
    pub(super) flush: Option<Sender<()>>,
    pub(super) sweep: Option<Sender<()>>,
    pub(super) count: Option<Sender<()>>,
}

/// Wakes a worker. A worker that has ended is ignored.
pub(super) fn wake(worker: Option<&Sender<()>>) {
    if let Some(worker) = worker {
        let _ = worker.send(());
    }
}

impl StateShared {
    pub(crate) fn new(
        db: StateDb,
        log: LogStore,
        limits: StateLimits,
        snapshots: LatestSnapshot,
        state_dir: PathBuf,
        fatal: Fatal,
    ) -> Arc<StateShared> {
        Arc::new(StateShared {
            db: RwLock::new(Arc::new(db)),
            revision: AtomicI64::new(1),
            compacted: AtomicI64::new(-1),
            applied_index: AtomicU64::new(0),
            applied_term: AtomicU64::new(0),
            applied: watch::Sender::new(0),
            status: Mutex::default(),
            auth: RwLock::default(),
            checks_users: AtomicBool::new(false),
            views: Arc::new(ViewCache::new(fatal.clone())),
            counts: LivingCounts::default(),
            frozen: RwLock::default(),
            unflushed: AtomicU64::new(0),
            flush_at: AtomicU64::new(jittered(limits.flush_bytes)),
            flushing: Mutex::new(()),
            commits: DurationHistogram::default(),
            log,
            fatal,
            limits,
            snapshots,
            state_dir,
            workers: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Whether the threads should end.
    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn db(&self) -> Arc<StateDb> {
        self.db.read().clone()
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// Copies the numbers from `machine`. Receivers of [`super::StateHandle::applied`] are woken
    /// separately.
    pub(super) fn publish(&self, machine: &Machine, applied: Option<&LogId>, digests: Vec<(u64, u64)>) {
        self.status.lock().advance(ReplicaStatus::new(applied, machine.meta()), digests);
        self.revision.store(machine.revision(), Ordering::Release);
        self.publish_auth(machine.auth());
        if let Some(id) = applied {
            self.applied_term.store(id.leader_id.term, Ordering::Release);
            self.applied_index.store(id.index, Ordering::Release);
        }
        if self.compacted.swap(machine.compacted(), Ordering::AcqRel) != machine.compacted() {
            wake(self.workers.lock().sweep.as_ref());
        }
        self.views.clear();
    }

    fn publish_auth(&self, auth: &Arc<Auth>) {
        if !Arc::ptr_eq(&self.auth.read(), auth) {
            *self.auth.write() = auth.clone();
            self.checks_users.store(auth.enabled(), Ordering::Release);
        }
    }

    /// What a view is checked against; `None` while checks are off.
    fn checked_auth(&self) -> Option<Arc<Auth>> {
        self.checks_users.load(Ordering::Acquire).then(|| self.auth.read().clone())
    }

    pub(super) fn wake_applied(&self) {
        self.applied.send_replace(self.applied_index.load(Ordering::Acquire));
    }

    /// Counts written bytes and wakes the flusher at the limit.
    pub(super) fn wrote(&self, bytes: usize) {
        let before = self.unflushed.fetch_add(bytes as u64, Ordering::Relaxed);
        let (limit, now) = (self.flush_at(), before + bytes as u64);
        // The first change wakes the flusher so that its timer starts; reaching the limit wakes it
        // again.
        if before == 0 || (before < limit && now >= limit) {
            wake(self.workers.lock().flush.as_ref());
        }
    }

    pub(super) fn flush_at(&self) -> u64 {
        self.flush_at.load(Ordering::Relaxed)
    }

    pub(super) fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Returns when everything applied so far is on disk and the log has recorded that. Blocks.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let _lock = self.flushing.lock();
        self.flush_locked()
    }

    fn flush_locked(&self) -> io::Result<()> {
        let db = self.db();
        self.unflushed.store(0, Ordering::Relaxed);
        self.flush_at.store(jittered(self.limits.flush_bytes), Ordering::Relaxed);
        let applied = db.raft_rows()?.applied;
        db.flush()?;
        // A cached view would keep the flushed write buffers in memory.
        self.views.clear();
        failpoint!("flush-before-record");
        applied.map_or(Ok(()), |id| self.log.set_blocking(Slot::Flushed, codec::encode_log_id(&id)))
    }

    /// Runs `work` on the database; no flush runs meanwhile.
    pub(crate) fn without_flush<T>(&self, work: impl FnOnce(&StateDb) -> io::Result<T>) -> io::Result<T> {
        let _lock = self.flushing.lock();
        work(&self.db())
    }

    pub(crate) fn record(&self, slot: Slot, id: &LogId) -> io::Result<()> {
        self.log.set_blocking(slot, codec::encode_log_id(id))
    }

    /// Replaces the database and the numbers.
    pub(super) fn replace(&self, db: StateDb, machine: &Machine, applied: Option<&LogId>) {
        let mut current = self.db.write();
        let old = std::mem::replace(&mut *current, Arc::new(db));
        old.retire();
        self.publish(machine, applied, Vec::new());
        self.counts.forget();
        self.unflushed.store(0, Ordering::Relaxed);
        drop(current);
        let workers = self.workers.lock();
        // The sweeper's progress was that of the old database.
        wake(workers.sweep.as_ref());
        wake(workers.count.as_ref());
    }

    /// After a batch: divides what became too large, and counts anew what did not fit the rows.
    /// Only the writer calls this.
    pub(super) fn settle_counts(&self, counted: Changed, db: &StateDb) -> io::Result<()> {
        match counted {
            Changed::Counted(crowded) if crowded.is_empty() => Ok(()),
            Changed::Counted(crowded) => self.counts.divide(crowded, &Rows::now(db)).map_err(|e| fault_io(&e)),
            Changed::CountAnew => {
                tracing::error!("the counts of keys did not fit the keys; they are counted anew");
                wake(self.workers.lock().count.as_ref());
                Ok(())
            }
        }
    }

    /// Writes rows and publishes their numbers; no view is taken meanwhile. Unfreezes views.
    pub(super) fn publish_with<T>(&self, step: impl FnOnce() -> T) -> T {
        let mut frozen = self.frozen.write();
        let done = step();
        let snapshot = frozen.take();
        drop(frozen);
        drop(snapshot);
        done
    }

    /// Until the next publish, new views read the state as of now. Only the writer calls this.
    pub(super) fn freeze_views(&self) {
        let snapshot = PinnedSnapshot::new(self.db(), self.read_point());
        *self.frozen.write() = Some(snapshot);
    }

    fn read_point(&self) -> ReadPoint {
        let bounds = Bounds { current: self.revision.load(Ordering::Acquire), compacted: self.compacted() };
        let (applied, term) = (self.applied_index.load(Ordering::Acquire), self.applied_term.load(Ordering::Acquire));
        ReadPoint { bounds, applied, term }
    }

    pub(crate) fn view(&self) -> StateView {
        self.view_and(|_| ()).0
    }

    /// A view, and something that is done to the counts at the same moment.
    pub(super) fn view_and<T>(&self, counts: impl FnOnce(&LivingCounts) -> T) -> (StateView, T) {
        let db = self.db.read();
        let frozen = self.frozen.read();
        let done = counts(&self.counts);
        let point = self.read_point();
        let view = self.views.take(point).unwrap_or_else(|| match &*frozen {
            Some(snapshot) => StateView::pinned(snapshot, self.views.clone()),
            None => StateView::now(db.clone(), point, self.views.clone()),
        });
        // Published after the frozen state is over, so these are of the same moment.
        (view.at_its_moment(self.checked_auth(), self.counts.get()), done)
    }
}
