//! A file that keeps a little of the disk free.
//!
//! When a disk is full, making room needs some: a deletion and a compaction are entries of the log,
//! and merged files exist twice for a while. The file is given up then, and made again when there
//! is enough room.

use crate::files::{OWNERS_FILE, sync_dir};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const NAME: &str = "RESERVE";

/// The reserve of a data directory. Its methods block.
#[derive(Clone, Debug)]
pub struct Reserve {
    dir: PathBuf,
}

impl Reserve {
    pub fn of(dir: &Path) -> Reserve {
        Reserve { dir: dir.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Keeps so many bytes. A failure leaves nothing behind.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let path = self.path();
        if path.metadata().is_ok_and(|found| found.len() == bytes) {
            return Ok(());
        }
        let made = self.release().and_then(|_| make(&path, bytes)).and_then(|()| sync_dir(&self.dir));
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made
    }

    /// Gives the room away. Returns whether there was any.
    pub fn release(&self) -> io::Result<bool> {
        match fs::remove_file(self.path()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNERS_FILE).open(path)?;
    allocate(&mut file, bytes)?;
    file.sync_all()
}

/// Blocks on the disk, and not only a length.
fn allocate(file: &mut File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        done => return Ok(done?),
    }
    const CHUNK: u64 = 1 << 20;
    let zeros = vec![0; usize::try_from(CHUNK).expect("a mebibyte")];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK);
        file.write_all(&zeros[..usize::try_from(now).expect("at most a mebibyte")])?;
        left -= now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_reserve_takes_room_and_gives_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(dir.path());
        assert!(!reserve.release().unwrap());
        for bytes in [3 << 20, 3 << 20, 1 << 20] {
            reserve.take(bytes).unwrap();
            let file = reserve.path().metadata().unwrap();
            assert_eq!(file.len(), bytes);
            assert!(file.blocks() * 512 >= bytes, "{} blocks: it is more than a length", file.blocks());
        }
        assert!(reserve.release().unwrap() && !reserve.release().unwrap());
        assert!(Reserve::of(&dir.path().join("missing")).take(1).is_err());
    }
}
