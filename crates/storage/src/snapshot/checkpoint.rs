//! A checkpoint: a directory with the files of a state database, complete and never changed again.
//!
//! Building one flushes the state and makes hard links. It is cheap, and takes extra space only as
//! compaction replaces files. The newest checkpoint is kept for followers; an older one is removed
//! when its last transfer ends. None survives a restart: openraft asks for a new one when it needs
//! it.
//!
//! 1. The metadata of a checkpoint is read from its own database.
//! 2. A checkpoint is handed out only after the log has recorded, durably, that the state was
//!    flushed that far.
//! 3. It is verified block by block before it is sent and after it is received.
//! 4. The checkpoint kept for followers never gets older: the log behind it may be purged already.

use crate::error::{Cause, Fatal, rocks_io};
use crate::failpoint::failpoint;
use crate::files;
use crate::log::disk::Slot;
use crate::state::{RaftRows, StateShared, read_machine_rows, read_raft_rows, verify};
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, shown};
use bytes::Bytes;
use parking_lot::Mutex;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    pub name: String,
    pub size: u64,
    pub crc32c: u32,
}

/// A shared handle. The directory is removed with the last one.
#[derive(Clone)]
pub struct Checkpoint {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Set for files of this member's own state: damage to them stops the node.
    fatal: Option<Fatal>,
    /// Computed on the first use.
    files: Mutex<Option<Vec<CheckpointFile>>>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checkpoint").field(&self.inner.path).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(e) = files::remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %e, "a checkpoint directory stays until the next start");
        }
    }
}

impl Checkpoint {
    /// Takes ownership of a complete directory with files from another member.
    pub(super) fn own(path: PathBuf) -> Checkpoint {
        Checkpoint { inner: Arc::new(Inner { path, fatal: None, files: Mutex::new(None) }) }
    }

    /// Takes ownership of a complete directory with files of this member's state.
    pub(super) fn own_state(path: PathBuf, fatal: Fatal) -> Checkpoint {
        Checkpoint { inner: Arc::new(Inner { path, fatal: Some(fatal), files: Mutex::new(None) }) }
    }

    /// Stops the node if a read of its own files failed or found damage.
    fn judged<T>(&self, read: io::Result<T>) -> io::Result<T> {
        read.map_err(|e| match &self.inner.fatal {
            Some(fatal) if matches!(Cause::of(&e), Cause::Damage | Cause::Device) => {
                fatal.raise("reading a snapshot", e)
            }
            _ => e,
        })
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Names, sizes and checksums of the files, after every block was verified. The first call
    /// reads everything twice: keep it off the event loop.
    pub fn files(&self) -> io::Result<Vec<CheckpointFile>> {
        let mut known = self.inner.files.lock();
        if let Some(files) = &*known {
            return Ok(files.clone());
        }
        let files = self.judged(self.measured())?;
        *known = Some(files.clone());
        Ok(files)
    }

    fn measured(&self) -> io::Result<Vec<CheckpointFile>> {
        verify(&self.inner.path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.inner.path)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|n| io::Error::other(format!("odd file name {n:?}")))?;
            let (size, crc32c) = measure(&entry.path())?;
            files.push(CheckpointFile { name, size, crc32c });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Refuses files that are not a state, or not the announced one. Received files must pass this
    /// before openraft gets them, because a failed installation stops the node. Blocks.
    pub fn require(&self, announced: &SnapshotMeta) -> io::Result<()> {
        require_announced(&read_machine_rows(self.path())?, announced)
    }

    /// At most `length` bytes of a file from `offset` on; empty at its end. Blocks for one read.
    pub fn read_chunk(&self, name: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let path = self.inner.path.join(plain_name(name)?);
        self.judged(read_piece(&path, offset, length))
    }
}

fn read_piece(path: &Path, offset: u64, length: usize) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut chunk = vec![0; usize::try_from(left).map_or(length, |left| left.min(length))];
    file.read_exact_at(&mut chunk, offset)?;
    Ok(Bytes::from(chunk))
}

pub(super) fn require_announced(rows: &RaftRows, meta: &SnapshotMeta) -> io::Result<()> {
    if rows.applied == meta.last_log_id && rows.membership == meta.last_membership {
        return Ok(());
    }
    let says = |applied: Option<&LogId>, membership: &StoredMembership| {
        format!("{} with the membership of {}", shown(applied), shown(membership.log_id().as_ref()))
    };
    let holds = says(rows.applied.as_ref(), &rows.membership);
    let announced = says(meta.last_log_id.as_ref(), &meta.last_membership);
    let text = format!("the snapshot holds {holds}; announced was {announced}");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// Refuses a name that would leave the directory: names come from other members.
pub(super) fn plain_name(name: &str) -> io::Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("odd file name {name:?} in a snapshot")));
    }
    Ok(name)
}

fn measure(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    let (mut size, mut crc) = (0, 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((size, crc));
        }
        size += n as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
    }
}

/// A name that no other directory of this process has.
pub(super) fn fresh_dir(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    files::create_dir(parent)?;
    Ok(parent.join(format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))))
}

/// Keeps the newest checkpoint.
pub(crate) struct LatestSnapshot {
    dir: PathBuf,
    current: Mutex<Option<Snapshot>>,
}

impl LatestSnapshot {
    /// Removes the contents of `dir`, which an earlier run left.
    pub(crate) fn start(dir: PathBuf) -> io::Result<LatestSnapshot> {
        files::remove_dir(&dir)?;
        files::create_dir(&dir)?;
        Ok(LatestSnapshot { dir, current: Mutex::new(None) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn current(&self) -> Option<Snapshot> {
        self.current.lock().clone()
    }

    /// Keeps the snapshot unless a newer one was installed while this one was being built.
    pub(super) fn keep(&self, snapshot: Snapshot) {
        let mut current = self.current.lock();
        let newer = current.as_ref().is_some_and(|kept| kept.meta.last_log_id > snapshot.meta.last_log_id);
        let gone = if newer { Some(snapshot) } else { current.replace(snapshot) };
        drop(current);
        // Dropped outside the lock: this may remove a directory.
        drop(gone);
    }
}

/// Flushes, links, records. Blocks.
pub(crate) fn build(shared: &StateShared) -> io::Result<Snapshot> {
    failpoint!("snapshot-before-checkpoint");
    // Flushes most of the state now; making the checkpoint flushes the rest.
    shared.flush()?;
    let path = fresh_dir(shared.snapshots.dir(), "built")?;
    let checkpoint = shared.without_flush(|db| {
        db.checkpoint(&path).map_err(rocks_io)?;
        Ok(Checkpoint::own_state(path, shared.fatal.clone()))
    })?;
    let rows = read_raft_rows(checkpoint.path())?;
    failpoint!("snapshot-before-record");
    if let Some(applied) = &rows.applied {
        shared.record(Slot::Flushed, applied)?;
    }
    let meta = SnapshotMeta { last_log_id: rows.applied, last_membership: rows.membership };
    let snapshot = Snapshot { meta, snapshot: checkpoint };
    shared.snapshots.keep(snapshot.clone());
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    /// A newer snapshot is installed while one is being built. The log is purged up to the newer
    /// one, so no follower could continue from the older one.
    #[test]
    fn an_older_checkpoint_does_not_replace_a_newer_one() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let keeper = LatestSnapshot::start(dir.path().join("snapshots")).expect("it can be created");
        let checkpoint = |index| {
            let path = fresh_dir(keeper.dir(), "test").expect("it has a name");
            fs::create_dir(&path).expect("it can be created");
            let meta =
                SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: StoredMembership::default() };
            Snapshot { meta, snapshot: Checkpoint::own(path) }
        };
        let kept = || keeper.current().and_then(|snapshot| snapshot.meta.last_log_id);
        keeper.keep(checkpoint(5));
        keeper.keep(checkpoint(9));
        keeper.keep(checkpoint(7));
        assert_eq!(kept(), Some(log_id(1, 9)));
        keeper.keep(checkpoint(10));
        assert_eq!(kept(), Some(log_id(1, 10)));
        assert_eq!(fs::read_dir(keeper.dir()).expect("it can be read").count(), 1);
    }
}
