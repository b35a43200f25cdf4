//! Shared access to the state: views, flushes, and the numbers that describe the state.
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

use super::counts::{self, Changed, LivingCounts};
use super::rocks::StateDb;
use super::status::{ReplicaStatus, StatusHistory};
use super::view::{PinnedSnapshot, ReadPoint, Rows, StateView, ViewCache};
use super::{StateLimits, flusher, sweeper};
use crate::background::jittered;
use crate::codec;
use crate::duration_histogram::DurationHistogram;
use crate::error::{Cause, Fatal, OnFatal, fault_io};
use crate::failpoint::failpoint;
use crate::files;
use crate::log::LogStore;
use crate::log::disk::Slot;
use crate::snapshot::LatestSnapshot;
use crate::types::LogId;
use conclave_state::read::Bounds;
use conclave_state::{Auth, Machine};
use parking_lot::{Mutex, RwLock};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// The state for every user except `apply`. Clones share it.
#[derive(Clone)]
pub struct StateHandle {
    shared: Arc<State>,
}

/// The state and its threads. When the last user drops it, the threads end and the directory can be
/// opened again.
pub(crate) struct State {
    shared: Arc<StateShared>,
    threads: Vec<JoinHandle<()>>,
}

pub(crate) struct StateShared {
    db: RwLock<Arc<StateDb>>,
    revision: AtomicI64,
    compacted: AtomicI64,
    applied_index: AtomicU64,
    applied_term: AtomicU64,
    applied: watch::Sender<u64>,
    status: Mutex<StatusHistory>,
    /// Users and roles; changed together with the rows, as the numbers are.
    auth: RwLock<Arc<Auth>>,
    /// Whether they are checked.
    checks_users: AtomicBool,
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
    workers: Mutex<Workers>,
    stopping: AtomicBool,
}

/// Channels that wake the threads.
#[derive(Default)]
struct Workers {
    flush: Option<Sender<()>>,
    sweep: Option<Sender<()>>,
    count: Option<Sender<()>>,
}

/// Wakes a worker. A worker that has ended is ignored.
fn wake(worker: Option<&Sender<()>>) {
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
        on_fatal: OnFatal,
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
            views: Arc::new(ViewCache::new(Fatal(on_fatal.clone()))),
            counts: LivingCounts::default(),
            frozen: RwLock::default(),
            unflushed: AtomicU64::new(0),
            flush_at: AtomicU64::new(jittered(limits.flush_bytes)),
            flushing: Mutex::new(()),
            commits: DurationHistogram::default(),
            log,
            fatal: Fatal(on_fatal),
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

    /// Copies the numbers from `machine`. Receivers of [`StateHandle::applied`] are woken
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

    /// After a batch: divides what became too large, and counts anew what did not fit the rows. Only the
    /// writer calls this.
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

impl State {
    /// Starts the threads.
    pub(crate) fn start(shared: Arc<StateShared>) -> io::Result<Arc<State>> {
        let spawn = |name: &str, run: fn(&StateShared, &Receiver<()>)| {
            let (tx, rx) = channel();
            let state = shared.clone();
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&state, &rx))?;
            io::Result::Ok((Some(tx), thread))
        };
        let (flush, flusher) = spawn("state-flusher", flusher::run)?;
        let (sweep, sweeper) = spawn("state-sweeper", sweeper::run)?;
        let (count, counter) = spawn("state-counter", counts::run)?;
        // A compaction before the start may not have been swept.
        wake(sweep.as_ref());
        wake(count.as_ref());
        *shared.workers.lock() = Workers { flush, sweep, count };
        Ok(Arc::new(State { shared, threads: vec![flusher, sweeper, counter] }))
    }
}

impl std::ops::Deref for State {
    type Target = StateShared;

    fn deref(&self) -> &StateShared {
        &self.shared
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        *self.shared.workers.lock() = Workers::default();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the state had panicked");
            }
        }
    }
}

impl StateHandle {
    pub(crate) fn new(shared: Arc<State>) -> StateHandle {
        StateHandle { shared }
    }

    /// A view of the current state.
    pub fn view(&self) -> StateView {
        self.shared.view()
    }

    /// How long the writes of what was applied took.
    pub fn commits(&self) -> &DurationHistogram {
        &self.shared.commits
    }

    /// The users and roles as of what is applied.
    pub fn auth(&self) -> Arc<Auth> {
        self.shared.auth.read().clone()
    }

    /// Whether users and roles are checked.
    #[inline]
    pub fn checks_users(&self) -> bool {
        self.shared.checks_users.load(Ordering::Acquire)
    }

    pub fn revision(&self) -> i64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    pub fn compacted(&self) -> i64 {
        self.shared.compacted()
    }

    /// The current bounds. A read of a view must use the view's own bounds ([`StateView::bounds`]).
    pub fn bounds(&self) -> Bounds {
        Bounds { current: self.revision(), compacted: self.compacted() }
    }

    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index.load(Ordering::Acquire)
    }

    pub fn applied_term(&self) -> u64 {
        self.shared.applied_term.load(Ordering::Acquire)
    }

    /// The running digest of everything ever applied. Members that applied the same entries have
    /// equal digests.
    pub fn digest(&self) -> u64 {
        self.status().digest
    }

    /// All numbers, including the digest, as of one applied entry.
    pub fn status(&self) -> ReplicaStatus {
        self.shared.status.lock().now
    }

    /// The current status and the digests at the last multiples of
    /// [`DIGEST_EVERY`](super::DIGEST_EVERY), oldest first. No digest is newer than the status.
    pub fn digest_checkpoints(&self) -> (ReplicaStatus, Vec<(u64, u64)>) {
        let status = self.shared.status.lock();
        (status.now, status.digests.iter().copied().collect())
    }

    /// Follows the index of the last applied entry.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Bytes in files and write buffers.
    pub fn size_bytes(&self) -> u64 {
        let db = self.shared.db();
        db.sum(rocksdb::properties::TOTAL_SST_FILES_SIZE) + db.sum(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)
    }

    /// Estimated bytes of live data.
    pub fn size_in_use_bytes(&self) -> u64 {
        let db = self.shared.db();
        db.sum(rocksdb::properties::ESTIMATE_LIVE_DATA_SIZE) + db.sum(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)
    }

    /// Flushes the state, so that the next start has nothing to replay. Blocks.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.flush()
    }

    /// Compacts immediately instead of waiting for background compaction. Blocks the caller only.
    pub fn compact_now(&self) {
        self.shared.db().rewrite();
    }

    /// Decides what a failure to receive a snapshot means. A device error or a read-only file
    /// system stops the node, because the disk cannot be trusted any more. Refused content, a full
    /// disk and a lack of file descriptors fail only the transfer: input from a peer must not be
    /// able to stop this node.
    pub fn receiving_failed(&self, error: io::Error) -> io::Error {
        if matches!(Cause::of(&error), Cause::Device | Cause::ReadOnly) {
            self.shared.fatal.raise("receiving a snapshot", error)
        } else {
            error
        }
    }

    /// The directory for snapshots, both built and received.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.shared.snapshots.dir().to_owned()
    }

    /// An empty file in the data directory that has no name, and is gone when it is closed.
    pub fn scratch_file(&self) -> io::Result<File> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = self.shared.snapshots.dir();
        files::create_dir(dir)?;
        let path = dir.join(format!("scratch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    /// Whether everything that the compaction at `revision` made unreadable has been removed.
    pub fn swept_to(&self, revision: i64) -> bool {
        self.shared.db().sweep_progress().is_ok_and(|progress| progress.done >= revision)
    }

    /// Waits at most `timeout` until everything compacted is swept. For tests and tools.
    pub fn swept(&self, timeout: Duration) -> bool {
        let deadline = std::time::Instant::now() + timeout;
        while std::time::Instant::now() < deadline {
            if self.swept_to(self.compacted()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}
