//! Receives a checkpoint: writes what a leader sends, and believes none of it until sizes and checksums agree. Whether it is the state that it
//! was said to be, [`Checkpoint::require`] finds out.
//!
//! Bytes of a file come in order. The directory goes with the receiver unless it was finished, so a transfer that breaks off leaves
//! nothing behind.

use super::checkpoint::{Checkpoint, CheckpointFile, fresh_dir, plain_name};
use crate::files;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

struct Incoming {
    expected: CheckpointFile,
    file: File,
    size: u64,
    crc32c: u32,
}

pub struct CheckpointReceiver {
    checkpoint: Checkpoint,
    files: BTreeMap<String, Incoming>,
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl CheckpointReceiver {
    /// Prepares for these files in a new directory under `dir` (see [`crate::StateHandle::snapshot_dir`]).
    pub fn begin(dir: &Path, files: Vec<CheckpointFile>) -> io::Result<CheckpointReceiver> {
        let path = fresh_dir(dir, "received")?;
        fs::create_dir(&path)?;
        let checkpoint = Checkpoint::own(path);
        let mut incoming = BTreeMap::new();
        for expected in files {
            let name = plain_name(&expected.name)?.to_owned();
            let file = File::create_new(checkpoint.path().join(&name))?;
            incoming.insert(name, Incoming { expected, file, size: 0, crc32c: 0 });
        }
        Ok(CheckpointReceiver { checkpoint, files: incoming })
    }

    /// The next bytes of a file. Blocks for one write.
    pub fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.files.get_mut(name).ok_or_else(|| refused(format!("the snapshot has no file {name:?}")))?;
        if offset != file.size {
            return Err(refused(format!("{name} goes on at {}, not at {offset}", file.size)));
        }
        file.size += bytes.len() as u64;
        if file.size > file.expected.size {
            return Err(refused(format!("{name} is longer than the {} bytes announced", file.expected.size)));
        }
        file.crc32c = crc32c::crc32c_append(file.crc32c, bytes);
        file.file.write_all(bytes)
    }

    /// Checks everything and makes it durable. Blocks.
    pub fn finish(self) -> io::Result<Checkpoint> {
        for (name, file) in &self.files {
            if file.size != file.expected.size {
                return Err(refused(format!("{name} has {} bytes, announced were {}", file.size, file.expected.size)));
            }
            if file.crc32c != file.expected.crc32c {
                return Err(refused(format!("{name} arrived damaged")));
            }
            file.file.sync_all()?;
        }
        files::sync_dir(self.checkpoint.path())?;
        Ok(self.checkpoint)
    }
}
