//! A file beside the log's database that says up to which write the log is synced.
//!
//! The end of a write-ahead log does not show whether its last write was synced and damaged later,
//! or never finished. The mark decides that. It is written after each sync and not synced itself,
//! so it costs one small write to the page cache.
//!
//! 1. The mark is never ahead of what is synced. If it names a write that the log does not hold,
//!    that write was lost.
//! 2. It may lag: after a power cut by what the system had not written back (seconds, at most half
//!    a minute), after the death of the process by one write. Writes beyond it are judged by their
//!    contents ([`crate::wal_check`]).
//!
//! The content is twelve bytes: RocksDB's sequence number of the last write, and its CRC-32C, both
//! little endian.

use crate::files;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) struct Mark(File);

impl Mark {
    pub(super) const FILE: &str = "SYNCED";

    /// The marked sequence number; `None` if the file is missing or unreadable.
    pub(super) fn read(dir: &Path) -> io::Result<Option<u64>> {
        let path = dir.join(Mark::FILE);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let marked = decode(&content);
        if marked.is_none() {
            tracing::warn!(file = %path.display(), "the mark of what is synced cannot be read; the log is judged without it");
        }
        Ok(marked)
    }

    /// Opens the mark of a log that is synced up to `sequence`.
    pub(super) fn open(dir: &Path, sequence: u64) -> io::Result<Mark> {
        let path = dir.join(Mark::FILE);
        let new = !path.try_exists()?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let mark = Mark(file);
        mark.set(sequence)?;
        if new {
            // Synced once, so that the file itself is durable.
            mark.0.sync_all()?;
            files::sync_dir(dir)?;
        }
        Ok(mark)
    }

    /// Called after the sync of everything up to `sequence`. The mark is within one sector, so it
    /// changes as a whole.
    pub(super) fn set(&self, sequence: u64) -> io::Result<()> {
        self.0.write_all_at(&encode(sequence), 0)
    }
}

fn encode(sequence: u64) -> [u8; 12] {
    let number = sequence.to_le_bytes();
    let mut content = [0; 12];
    content[..8].copy_from_slice(&number);
    content[8..].copy_from_slice(&crc32c::crc32c(&number).to_le_bytes());
    content
}

fn decode(content: &[u8]) -> Option<u64> {
    let sequence = u64::from_le_bytes(*content.first_chunk()?);
    (content == encode(sequence)).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_synced_mark() {
        conclave_fuzz::target!("synced_mark").seeds([encode(77).to_vec(), vec![0; 12]]).run(|bytes| {
            let sequence = decode(bytes);
            assert!(sequence.is_none_or(|sequence| encode(sequence) == bytes));
            format!("{}", sequence.is_some())
        });
    }

    #[test]
    fn its_bytes() {
        assert_eq!(encode(0x0102), [2, 1, 0, 0, 0, 0, 0, 0, 0x0c, 0x64, 0x53, 0x76]);
        assert_eq!(decode(&encode(77)), Some(77));
        for bad in [&[][..], &[0; 12], &encode(77)[..11], &[encode(77).as_slice(), &[0]].concat()] {
            assert_eq!(decode(bad), None);
        }
    }

    #[test]
    fn it_is_found_again_unless_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        let mark = Mark::open(dir.path(), 5).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(5));
        mark.set(6).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(6));
        mark.0.write_all_at(&[9], 0).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
    }
}
