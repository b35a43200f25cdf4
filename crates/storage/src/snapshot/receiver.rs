//! Receives a checkpoint from a leader and checks sizes and checksums of the files.
//!
//! [`Checkpoint::require`] checks afterwards that it is the announced state.
//!
//! 1. Files come in the announced order, and the bytes of a file in order. So one file is open at a
//!    time.
//! 2. Every write brings at least one byte, and no file gets more bytes than announced: a transfer
//!    ends.
//! 3. The directory is removed with the receiver unless the transfer finished, so a broken transfer
//!    leaves nothing behind.

use super::checkpoint::{Checkpoint, CheckpointFile, fresh_dir, plain_name};
use crate::files;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The most files in a checkpoint. A state of several terabytes has fewer.
const MAX_FILES: usize = 1 << 16;
/// The longest name of a file; RocksDB's have about ten bytes.
const MAX_NAME: usize = 128;
/// The free disk space that a transfer must leave for the log.
const KEPT_FREE: u64 = 64 << 20;
/// On a small disk a transfer must leave one part in this many of the free space.
const KEPT_PART: u64 = 4;

/// The file that is being written.
struct Incoming {
    file: File,
    size: u64,
    crc32c: u32,
}

pub struct CheckpointReceiver {
    checkpoint: Checkpoint,
    files: Vec<CheckpointFile>,
    /// How many files are complete.
    complete: usize,
    incoming: Option<Incoming>,
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Refuses a list of files that cannot be a checkpoint, or that does not fit on the disk.
fn check_list(dir: &Path, list: &[CheckpointFile]) -> io::Result<()> {
    if list.is_empty() || list.len() > MAX_FILES {
        return Err(refused(format!("a snapshot of {} files", list.len())));
    }
    let mut names = BTreeSet::new();
    let mut bytes = 0u64;
    for file in list {
        let name = plain_name(&file.name)?;
        if name.len() > MAX_NAME || !names.insert(name) {
            return Err(refused("a file name of the snapshot is too long, or comes twice".into()));
        }
        bytes = bytes.saturating_add(file.size);
    }
    let free = files::free_bytes(dir)?;
    let kept = KEPT_FREE.min(free / KEPT_PART);
    if bytes > free - kept {
        let text = format!("a snapshot of {bytes} bytes has no room: {free} are free, {kept} of them stay free");
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    Ok(())
}

impl CheckpointReceiver {
    /// Prepares for these files in a new directory under `dir` (see
    /// [`crate::StateHandle::snapshot_dir`]).
    pub fn begin(dir: &Path, files: Vec<CheckpointFile>) -> io::Result<CheckpointReceiver> {
        check_list(dir, &files)?;
        let path = fresh_dir(dir, "received")?;
        fs::create_dir(&path)?;
        let checkpoint = Checkpoint::own(path);
        Ok(CheckpointReceiver { checkpoint, files, complete: 0, incoming: None })
    }

    /// Writes the next bytes of the file at this position of the list. Blocks for one write, and
    /// for a sync when a file is complete.
    pub fn write(&mut self, position: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if position >= self.files.len() || position < self.complete {
            return Err(refused(format!("bytes of file {position}, expected is file {}", self.complete)));
        }
        if bytes.is_empty() {
            return Err(refused("a chunk without bytes".into()));
        }
        while self.complete < position {
            self.complete_one()?;
        }
        let mut incoming = self.take_incoming()?;
        let expected = &self.files[position];
        if offset != incoming.size {
            return Err(refused(format!("{} goes on at {}, not at {offset}", expected.name, incoming.size)));
        }
        let size = incoming.size.saturating_add(bytes.len() as u64);
        if size > expected.size {
            return Err(refused(format!("{} is longer than the {} bytes announced", expected.name, expected.size)));
        }
        incoming.file.write_all(bytes)?;
        let crc32c = crc32c::crc32c_append(incoming.crc32c, bytes);
        self.incoming = Some(Incoming { size, crc32c, ..incoming });
        Ok(())
    }

    /// The first file that is not complete, created on first use.
    fn take_incoming(&mut self) -> io::Result<Incoming> {
        match self.incoming.take() {
            Some(incoming) => Ok(incoming),
            None => {
                let file = File::create_new(self.checkpoint.path().join(&self.files[self.complete].name))?;
                Ok(Incoming { file, size: 0, crc32c: 0 })
            }
        }
    }

    /// Checks the file that is being written and makes it durable.
    fn complete_one(&mut self) -> io::Result<()> {
        let incoming = self.take_incoming()?;
        let expected = &self.files[self.complete];
        if incoming.size != expected.size {
            return Err(refused(format!(
                "{} has {} bytes, announced were {}",
                expected.name, incoming.size, expected.size
            )));
        }
        if incoming.crc32c != expected.crc32c {
            return Err(refused(format!("{} arrived damaged", expected.name)));
        }
        incoming.file.sync_all()?;
        self.complete += 1;
        Ok(())
    }

    /// Checks everything and makes it durable. Blocks.
    pub fn finish(mut self) -> io::Result<Checkpoint> {
        while self.complete < self.files.len() {
            self.complete_one()?;
        }
        files::sync_dir(self.checkpoint.path())?;
        Ok(self.checkpoint)
    }
}
