//! Detects a data directory that was copied since its last use.
//!
//! An older copy lacks everything acknowledged since the copy was made, and looks like a directory
//! that was simply left alone. But a copy consists of new files. So a file in the directory records
//! its own inode and creation time, which copying changes and nothing else does.
//!
//! This finds copies of files. It does not find a disk that was reset as a whole (a snapshot of a
//! volume or of a virtual machine).

use crate::codec::{self, LocationRecord};
use crate::error::OpenError;
use crate::files;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

pub(crate) const FILE: &str = "PLACE";

fn of(file: &Metadata) -> LocationRecord {
    // Not every file system records creation times.
    let created = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let created = created.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    LocationRecord { inode: file.ino(), created }
}

impl LocationRecord {
    fn may_be(self, other: LocationRecord) -> bool {
        let unknown = self.created == 0 || other.created == 0;
        self.inode == other.inode && (unknown || self.created == other.created)
    }
}

/// Whether the directory was copied since its last use. A directory without the file counts as the
/// original.
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
    match codec::unseal::<LocationRecord>(&record) {
        Ok(place) => Ok(!place.may_be(of(&file))),
        Err(error) => {
            // It may never have been written completely.
            tracing::warn!(file = %path.display(), %error, "it cannot be told whether this directory was copied");
            Ok(false)
        }
    }
}

/// Records the directory's location.
pub fn record(data_dir: &Path) -> Result<(), OpenError> {
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

/// Whether a location is recorded.
pub fn is_recorded(data_dir: &Path) -> Result<bool, OpenError> {
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
        record(&first).unwrap();
        assert!(!is_copy(&first).unwrap());
        fs::create_dir(&second).unwrap();
        fs::copy(first.join(FILE), second.join(FILE)).unwrap();
        assert!(is_copy(&second).unwrap());
        fs::rename(&first, &third).unwrap();
        assert!(!is_copy(&third).unwrap());
        record(&second).unwrap();
        assert!(!is_copy(&second).unwrap());
        fs::write(second.join(FILE), b"rubbish").unwrap();
        assert!(!is_copy(&second).unwrap());
    }
}
