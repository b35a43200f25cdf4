//! What everybody reads the state through.
//!
//! Kept: the current database, and the numbers that describe it (revision, compacted revision, digest, applied entry), so that
//! asking for them costs a load.
//!
//! 1. Rows are written and the numbers moved in one turn, during which no view is taken: what a view shows is what its numbers say, also
//!    of rows without revisions. If the writing takes long, views of the moment before it are given out meanwhile.
//! 2. The numbers move after the write they describe, so a view taken after reading them contains it.
//! 3. Database and numbers are replaced together, under one lock, when a snapshot is installed. A view is taken under it.

use super::rocks::StateDb;
use super::standing::{Standing, Standings};
use super::view::{Moment, Past, Stash, StateView};
use super::{StateLimits, flusher, sweeper};
use crate::background::apart;
use crate::codec;
use crate::error::{Cause, Fatal, OnFatal};
use crate::failpoint::failpoint;
use crate::files;
use crate::log::LogStore;
use crate::log::disk::Slot;
use crate::snapshot::Keeper;
use crate::types::LogId;
use conclave_state::Machine;
use conclave_state::read::Bounds;
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

/// The state, as everybody but `apply` sees it. Clones share it.
#[derive(Clone)]
pub struct StateHandle {
    shared: Arc<State>,
}

/// The state with its threads, which have ended when the last user lets go: then the directory is free again.
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
    standings: Mutex<Standings>,
    stash: Arc<Stash>,
    /// Taken for writing while rows and numbers do not belong together. Inside: the moment that views are of, if not the database's own.
    /// Taken after `db`.
    turn: RwLock<Option<Past>>,
    /// Bytes written since the last flush.
    unflushed: AtomicU64,
    /// The next one comes when they are so many.
    flush_at: AtomicU64,
    /// One flush or checkpoint at a time.
    flushing: Mutex<()>,
    pub(super) log: LogStore,
    pub(crate) fatal: Fatal,
    pub(crate) limits: StateLimits,
    pub(crate) snapshots: Keeper,
    state_dir: PathBuf,
    workers: Mutex<Workers>,
    stopping: AtomicBool,
}

/// How the threads are told.
#[derive(Default)]
struct Workers {
    flush: Option<Sender<()>>,
    sweep: Option<Sender<()>>,
}

/// Wakes a worker. One that has ended needs nothing any more.
fn tell(worker: Option<&Sender<()>>) {
    if let Some(worker) = worker {
        let _ = worker.send(());
    }
}

impl StateShared {
    pub(crate) fn new(
        db: StateDb,
        log: LogStore,
        limits: StateLimits,
        snapshots: Keeper,
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
            standings: Mutex::default(),
            stash: Arc::new(Stash::new(Fatal(on_fatal.clone()))),
            turn: RwLock::default(),
            unflushed: AtomicU64::new(0),
            flush_at: AtomicU64::new(apart(limits.flush_bytes)),
            flushing: Mutex::new(()),
            log,
            fatal: Fatal(on_fatal),
            limits,
            snapshots,
            state_dir,
            workers: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Whether the threads shall end.
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

    /// Makes the numbers those of `machine`. Waiters of [`StateHandle::applied`] are woken apart from it.
    pub(super) fn publish(&self, machine: &Machine, applied: Option<&LogId>, marks: Vec<(u64, u64)>) {
        self.standings.lock().advance(Standing::new(applied, machine.meta()), marks);
        self.revision.store(machine.revision(), Ordering::Release);
        if let Some(id) = applied {
            self.applied_term.store(id.leader_id.term, Ordering::Release);
            self.applied_index.store(id.index, Ordering::Release);
        }
        if self.compacted.swap(machine.compacted(), Ordering::AcqRel) != machine.compacted() {
            tell(self.workers.lock().sweep.as_ref());
        }
        self.stash.clear();
    }

    pub(super) fn wake_applied(&self) {
        self.applied.send_replace(self.applied_index.load(Ordering::Acquire));
    }

    /// Counts what was written; at the limit the flusher is told.
    pub(super) fn wrote(&self, bytes: usize) {
        let before = self.unflushed.fetch_add(bytes as u64, Ordering::Relaxed);
        let (limit, now) = (self.flush_at(), before + bytes as u64);
        // The flusher is told of the first change, so that its clock starts, and again at the limit.
        if before == 0 || (before < limit && now >= limit) {
            tell(self.workers.lock().flush.as_ref());
        }
    }

    pub(super) fn flush_at(&self) -> u64 {
        self.flush_at.load(Ordering::Relaxed)
    }

    pub(super) fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Returns when everything applied before is on the disk, and the log knows. Blocks.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let _one = self.flushing.lock();
        self.flush_alone()
    }

    fn flush_alone(&self) -> io::Result<()> {
        let db = self.db();
        self.unflushed.store(0, Ordering::Relaxed);
        self.flush_at.store(apart(self.limits.flush_bytes), Ordering::Relaxed);
        let applied = db.raft_rows()?.applied;
        db.flush()?;
        // A stashed view would hold on to the write buffers that were just written out.
        self.stash.clear();
        failpoint!("flush-before-record");
        applied.map_or(Ok(()), |id| self.log.set_blocking(Slot::Flushed, codec::encode_log_id(&id)))
    }

    /// Runs `work` on the database while nothing else flushes it.
    pub(crate) fn alone<T>(&self, work: impl FnOnce(&StateDb) -> io::Result<T>) -> io::Result<T> {
        let _one = self.flushing.lock();
        work(&self.db())
    }

    pub(crate) fn record(&self, slot: Slot, id: &LogId) -> io::Result<()> {
        self.log.set_blocking(slot, codec::encode_log_id(id))
    }

    /// Puts another database in place of the current one, with its numbers.
    pub(super) fn replace(&self, db: StateDb, machine: &Machine, applied: Option<&LogId>) {
        let mut current = self.db.write();
        let old = std::mem::replace(&mut *current, Arc::new(db));
        old.retire();
        self.publish(machine, applied, Vec::new());
        self.unflushed.store(0, Ordering::Relaxed);
        drop(current);
        // The sweeper's place was that of the old database.
        tell(self.workers.lock().sweep.as_ref());
    }

    /// Writes rows and publishes their numbers, while no view is taken. Ends what was held.
    pub(super) fn turn<T>(&self, step: impl FnOnce() -> T) -> T {
        let mut turn = self.turn.write();
        let done = step();
        let past = turn.take();
        drop(turn);
        drop(past);
        done
    }

    /// From now until the end of the next turn views show this moment, whatever is written. Only for who writes.
    pub(super) fn hold(&self) {
        let past = Past::new(self.db(), self.moment());
        *self.turn.write() = Some(past);
    }

    fn moment(&self) -> Moment {
        let bounds = Bounds { current: self.revision.load(Ordering::Acquire), compacted: self.compacted() };
        let (applied, term) = (self.applied_index.load(Ordering::Acquire), self.applied_term.load(Ordering::Acquire));
        Moment { bounds, applied, term }
    }

    pub(crate) fn view(&self) -> StateView {
        let db = self.db.read();
        let turn = self.turn.read();
        let moment = self.moment();
        self.stash.take(moment).unwrap_or_else(|| match &*turn {
            Some(past) => StateView::past(past, self.stash.clone()),
            None => StateView::now(db.clone(), moment, self.stash.clone()),
        })
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
        // What was compacted before the start may not be swept.
        tell(sweep.as_ref());
        *shared.workers.lock() = Workers { flush, sweep };
        Ok(Arc::new(State { shared, threads: vec![flusher, sweeper] }))
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

    /// A point in time: now.
    pub fn view(&self) -> StateView {
        self.shared.view()
    }

    pub fn revision(&self) -> i64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    pub fn compacted(&self) -> i64 {
        self.shared.compacted()
    }

    /// The bounds of this moment. To read a view, take *its* bounds ([`StateView::bounds`]).
    pub fn bounds(&self) -> Bounds {
        Bounds { current: self.revision(), compacted: self.compacted() }
    }

    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index.load(Ordering::Acquire)
    }

    pub fn applied_term(&self) -> u64 {
        self.shared.applied_term.load(Ordering::Acquire)
    }

    /// The running digest of everything that was ever applied: equal on members that applied the same entries.
    pub fn digest(&self) -> u64 {
        self.standing().digest
    }

    /// The numbers of one moment, and the digest among them.
    pub fn standing(&self) -> Standing {
        self.shared.standings.lock().now
    }

    /// The digests at the last indexes that [`MARKED`](super::MARKED) divides, oldest first. None is newer than [`StateHandle::standing`].
    pub fn marks(&self) -> (Standing, Vec<(u64, u64)>) {
        let standings = self.shared.standings.lock();
        (standings.now, standings.marks.iter().copied().collect())
    }

    /// The index of the last applied entry, as it changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Space taken, on the disk and in write buffers.
    pub fn size_bytes(&self) -> u64 {
        let db = self.shared.db();
        db.sum(rocksdb::properties::TOTAL_SST_FILES_SIZE) + db.sum(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)
    }

    /// An estimate of the part that is alive.
    pub fn size_in_use_bytes(&self) -> u64 {
        let db = self.shared.db();
        db.sum(rocksdb::properties::ESTIMATE_LIVE_DATA_SIZE) + db.sum(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)
    }

    /// Brings the state to the disk, so that the next start has nothing to replay. Blocks.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.flush()
    }

    /// Gives back now the space that would come back by and by. Blocks for as long as rewriting the state takes, but nobody else.
    pub fn reclaim(&self) {
        self.shared.db().rewrite();
    }

    /// What the failure of a step of receiving a snapshot means here. If it is the disk's (an input or output error, or that it has
    /// become read-only), the disk is not to be trusted from here on: the node stops. Content that is refused, and room or open files
    /// that are wanting, are the transfer's end and nothing more: what a peer sends must not be able to stop this node.
    pub fn receiving_failed(&self, error: io::Error) -> io::Error {
        if matches!(Cause::of(&error), Cause::Device | Cause::ReadOnly) {
            self.shared.fatal.raise("receiving a snapshot", error)
        } else {
            error
        }
    }

    /// Where the directories of snapshots belong: those received, too.
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

    /// Whether what the compaction at `revision` makes unreadable has been removed.
    pub fn swept_to(&self, revision: i64) -> bool {
        self.shared.db().sweep_progress().is_ok_and(|progress| progress.done >= revision)
    }

    /// Waits at most `patience` until everything compacted is swept. For tests and tools.
    pub fn swept(&self, patience: Duration) -> bool {
        let deadline = std::time::Instant::now() + patience;
        while std::time::Instant::now() < deadline {
            if self.swept_to(self.compacted()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}
