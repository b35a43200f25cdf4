//! Whether a data directory is where it was when it was used last, or a copy.
//!
//! A copy that is older than the directory it was made of has forgotten what was acknowledged since, and looks like a directory that
//! was left alone. But a copy is made of new files. So a file of the directory remembers its own inode and the time of its creation,
//! which copying changes and nothing else does.
//!
//! This finds copies of files. It does not find a disk that was turned back as a whole (a snapshot of a volume or of a virtual machine).

use crate::codec::{self, PlaceRecord};
use crate::error::OpenError;
use crate::files;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

const FILE: &str = "PLACE";

fn of(file: &Metadata) -> PlaceRecord {
    // Not every file system knows when a file was created.
    let created = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let created = created.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    PlaceRecord { inode: file.ino(), created }
}

impl PlaceRecord {
    fn may_be(self, other: PlaceRecord) -> bool {
        let unknown = self.created == 0 || other.created == 0;
        self.inode == other.inode && (unknown || self.created == other.created)
    }
}

/// Whether the directory was copied here since it was used last. Without the file, nothing is known, and it passes for the original.
pub fn is_copy(data_dir: &Path) -> Result<bool, OpenError> {
    let path = data_dir.join(FILE);
    let look = || -> io::Result<Option<(Vec<u8>, Metadata)>> {
        match File::open(&path) {
            Ok(file) => Ok(Some((fs::read(&path)?, file.metadata()?))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    };
    let found = look().map_err(OpenError::io("read", &path))?;
    let Some((record, file)) = found else { return Ok(false) };
    match codec::unseal::<PlaceRecord>(&record) {
        Ok(place) => Ok(!place.may_be(of(&file))),
        Err(error) => {
            // Perhaps it was never written to its end.
            tracing::warn!(file = %path.display(), %error, "it cannot be told whether this directory was copied");
            Ok(false)
        }
    }
}

/// This is the directory's place from now on.
pub fn settle(data_dir: &Path) -> Result<(), OpenError> {
    let path = data_dir.join(FILE);
    let write = || -> io::Result<()> {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(files::OWNERS_FILE).open(&path)?;
        file.write_all(&codec::seal(&of(&file.metadata()?)))?;
        file.sync_all()?;
        files::sync_dir(data_dir)
    };
    write().map_err(OpenError::io("write", &path))
}

/// Whether the directory has a place yet.
pub fn is_settled(data_dir: &Path) -> Result<bool, OpenError> {
    files::is_there(&data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_and_moved_directories_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, third) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::create_dir(&first).unwrap();
        assert!(!is_copy(&first).unwrap());
        settle(&first).unwrap();
        assert!(!is_copy(&first).unwrap());
        fs::create_dir(&second).unwrap();
        fs::copy(first.join(FILE), second.join(FILE)).unwrap();
        assert!(is_copy(&second).unwrap());
        fs::rename(&first, &third).unwrap();
        assert!(!is_copy(&third).unwrap());
        settle(&second).unwrap();
        assert!(!is_copy(&second).unwrap());
        fs::write(second.join(FILE), b"rubbish").unwrap();
        assert!(!is_copy(&second).unwrap());
    }
}
