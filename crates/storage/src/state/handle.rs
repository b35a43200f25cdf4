//! The state for everyone except `apply`: views, numbers, and the life of its threads.

use super::shared::{StateShared, Workers, wake};
use super::status::ReplicaStatus;
use super::view::StateView;
use super::{counter, flusher, sweeper};
use crate::duration_histogram::DurationHistogram;
use crate::error::Cause;
use crate::files;
use conclave_state::Auth;
use conclave_state::read::Bounds;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
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
        let (count, counter) = spawn("state-counter", counter::run)?;
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

    /// How many keys are alive; `None` until they have been counted after a start.
    pub fn living_keys(&self) -> Option<u64> {
        self.shared.counts.get().map(|counts| counts.total())
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
        self.shared.flush().map_err(|e| self.shared.fatal.explained("flushing the state", &e))
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
