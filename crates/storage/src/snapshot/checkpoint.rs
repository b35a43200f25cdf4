//! A checkpoint: a directory with the files of a state database, complete and never changed again.
//!
//! It is removed when its last user, such as a transfer to a follower, ends. None survives a
//! restart: openraft asks for a new one when it needs it.
//!
//! 1. The metadata of a checkpoint is read from its own database.
//! 2. It is verified block by block before it is sent and after it is received.

use crate::error::{Cause, Fatal};
use crate::files;
use crate::state::{RaftRows, read_machine_rows, verify};
use crate::types::{C, LogId, SnapshotMeta, StoredMembership, shown};
use bytes::Bytes;
use openraft::type_config::alias;
use parking_lot::Mutex;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A checkpoint as openraft passes it around, with its metadata.
pub type Snapshot = alias::SnapshotOf<C, Checkpoint>;

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
