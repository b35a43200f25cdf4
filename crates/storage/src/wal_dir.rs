//! A log outside the data directory, which has a link to it in the log's place. So the link alone
//! says where the log is, to every start and to every program that reads the directory.

use crate::error::OpenError;
use crate::files;
use std::fs;
use std::io;
use std::path::Path;

/// Makes `log` a link to `asked` if it is not there yet; refuses to go on with a log elsewhere.
pub(crate) fn place(log: &Path, asked: &Path) -> Result<(), OpenError> {
    files::create_dir(asked).map_err(OpenError::io("create", asked))?;
    let asked = fs::canonicalize(asked).map_err(OpenError::io("look for", asked))?;
    match fs::symlink_metadata(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::os::unix::fs::symlink(&asked, log).map_err(OpenError::io("link", log))?;
            let parent = log.parent().unwrap_or(log);
            return files::sync_dir(parent).map_err(OpenError::io("sync", parent));
        }
        Err(error) => return Err(OpenError::io("look for", log)(error)),
        Ok(_) => {}
    }
    let found = fs::canonicalize(log).map_err(OpenError::io("look for", log))?;
    match found == asked {
        true => Ok(()),
        false => Err(OpenError::OtherLog { path: found, asked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_says_where_the_log_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (log, asked) = (dir.path().join("data/log"), dir.path().join("disk/log"));
        fs::create_dir(dir.path().join("data")).expect("create");
        place(&log, &asked).expect("the first start");
        fs::write(asked.join("CURRENT"), "x").expect("write");
        place(&log, &asked).expect("a later start");
        place(&log, &dir.path().join("disk/../disk/log")).expect("the same place by another name");
        assert!(files::is_there(&log.join("CURRENT")).expect("readable"));
        let elsewhere = place(&log, &dir.path().join("other")).expect_err("the log is not there").to_string();
        assert!(elsewhere.contains("--wal-dir") && elsewhere.contains("disk/log"), "{elsewhere}");
        let inside = dir.path().join("data/inside");
        fs::create_dir(&inside).expect("create");
        place(&inside, &inside).expect("where it is anyway");
        assert!(place(&inside, &asked).is_err());
    }
}
