//! Puts another member's data in the place of a directory's own, so that a crash at any moment
//! leaves one or the other.
//!
//! The new data is made in `NEW-CLUSTER` inside the directory: from the moment that it has this
//! name the old data is over, and every start goes on from there ([`finish`]). The old data is kept
//! in `OLD-CLUSTER`, and `FORCED` says that it was done: while that file stands, it is not done
//! again.

use crate::error::OpenError;
use crate::open::MARKER;
use crate::{files, first_start, identity, location};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const NEW: &str = "NEW-CLUSTER";
const OLD: &str = "OLD-CLUSTER";
const DONE: &str = "FORCED";

/// What a directory holds, in the order in which it is replaced. The new data has no place and no
/// snapshots.
const NAMES: [&str; 7] = [location::FILE, "snapshots", MARKER, "log", "state", first_start::FILE, identity::FILE];

/// Where the new data is made. It must get this name when it is complete and durable.
#[must_use]
pub fn new_data(data_dir: &Path) -> PathBuf {
    data_dir.join(NEW)
}

/// Where the old data is kept.
#[must_use]
pub fn old_data(data_dir: &Path) -> PathBuf {
    data_dir.join(OLD)
}

/// Whether the data was replaced, and [`forget`] not called since.
pub fn was_done(data_dir: &Path) -> Result<bool, OpenError> {
    files::is_there(&data_dir.join(DONE))
}

/// It may be done again.
pub fn forget(data_dir: &Path) -> Result<(), OpenError> {
    if was_done(data_dir)? {
        fs::remove_file(data_dir.join(DONE)).map_err(OpenError::io("remove", data_dir.join(DONE)))?;
        files::sync_dir(data_dir).map_err(OpenError::io("sync", data_dir))?;
    }
    Ok(())
}

/// Removes what was begun and never got its name.
pub fn clear_drafts(data_dir: &Path) -> Result<(), OpenError> {
    let io = || OpenError::io("clear", data_dir);
    let drafts = format!("{NEW}.");
    for entry in fs::read_dir(data_dir).map_err(io())? {
        let entry = entry.map_err(io())?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&drafts)) {
            files::remove_dir(&entry.path()).map_err(io())?;
        }
    }
    Ok(())
}

/// Puts new data that is complete in the place of the old; whether there was any. To be called at
/// every start, before anything else is read.
pub fn finish(data_dir: &Path) -> Result<bool, OpenError> {
    let new = new_data(data_dir);
    if !files::is_there(&new)? {
        return Ok(false);
    }
    let io = || OpenError::io("replace the data in", data_dir);
    files::create_dir(&old_data(data_dir)).map_err(io())?;
    for name in NAMES {
        for (from, to) in moves(data_dir, name).map_err(io())? {
            fs::rename(&from, &to).map_err(io())?;
        }
        files::sync_dir(data_dir).map_err(io())?;
    }
    files::sync_dir(&old_data(data_dir)).map_err(io())?;
    files::replace(data_dir, DONE, b"made by --force-new-cluster\n", || ()).map_err(io())?;
    files::remove_dir(&new).map_err(io())?;
    files::sync_dir(data_dir).map_err(io())?;
    Ok(true)
}

/// What is left to do for one name: the old one goes away, if the new one is not there yet, and the
/// new one takes its place.
fn moves(data_dir: &Path, name: &str) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let (here, new, old) = (data_dir.join(name), new_data(data_dir).join(name), old_data(data_dir).join(name));
    let there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    };
    let comes = there(&new)?;
    let only_old = matches!(name, location::FILE | "snapshots");
    let goes = (comes || only_old) && there(&here)?;
    let goes = goes.then(|| (here.clone(), old));
    Ok(goes.into_iter().chain(comes.then_some((new, here))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn put(dir: &Path, name: &str, text: &str) {
        match name {
            "log" | "state" | "snapshots" => {
                fs::create_dir_all(dir.join(name)).unwrap();
                fs::write(dir.join(name).join("CURRENT"), text).unwrap();
            }
            _ => fs::write(dir.join(name), text).unwrap(),
        }
    }

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        NAMES.iter().for_each(|name| put(dir.path(), name, "old"));
        put(dir.path(), "RESERVE", "room");
        dir
    }

    fn make_new(dir: &Path) {
        fs::create_dir(new_data(dir)).unwrap();
        [MARKER, "log", "state", "FIRST", "IDENTITY"].iter().for_each(|name| put(&new_data(dir), name, "new"));
    }

    fn contents(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => found.extend(contents(&entry.path()).into_iter().map(|(k, v)| (format!("{name}/{k}"), v))),
                false => drop(found.insert(name, fs::read_to_string(entry.path()).unwrap())),
            }
        }
        found
    }

    fn replaced() -> BTreeMap<String, String> {
        let dir = directory();
        make_new(dir.path());
        assert!(finish(dir.path()).unwrap());
        contents(dir.path())
    }

    #[test]
    fn the_new_data_takes_the_place_of_the_old_which_is_kept() {
        let found = replaced();
        for name in ["IDENTITY", "FIRST", MARKER, "log/CURRENT", "state/CURRENT"] {
            assert_eq!(
                (found[name].as_str(), found[&format!("OLD-CLUSTER/{name}")].as_str()),
                ("new", "old"),
                "{name}"
            );
        }
        assert!(!found.contains_key("PLACE") && found["OLD-CLUSTER/PLACE"] == "old" && found["RESERVE"] == "room");
        assert!(found.keys().all(|name| !name.contains(NEW)), "{found:?}");
    }

    #[test]
    fn it_goes_on_wherever_it_was_broken_off() {
        let wanted = replaced();
        for broken_off_after in 0..14 {
            let dir = directory();
            make_new(dir.path());
            fs::create_dir(old_data(dir.path())).unwrap();
            let mut left = broken_off_after;
            for (from, to) in NAMES.iter().flat_map(|name| moves(dir.path(), name).unwrap()).collect::<Vec<_>>() {
                if left == 0 {
                    break;
                }
                left -= 1;
                fs::rename(from, to).unwrap();
            }
            assert!(finish(dir.path()).unwrap());
            assert_eq!(contents(dir.path()), wanted, "after {broken_off_after} steps");
        }
    }

    #[test]
    fn it_is_done_once() {
        let dir = directory();
        assert!(!finish(dir.path()).unwrap() && !was_done(dir.path()).unwrap());
        make_new(dir.path());
        assert!(finish(dir.path()).unwrap() && was_done(dir.path()).unwrap());
        assert!(!finish(dir.path()).unwrap());
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert!(!was_done(dir.path()).unwrap());
        put(dir.path(), "NEW-CLUSTER.1.sort", "x");
        fs::remove_file(dir.path().join("NEW-CLUSTER.1.sort")).unwrap();
        fs::create_dir(dir.path().join("NEW-CLUSTER.1.restoring")).unwrap();
        clear_drafts(dir.path()).unwrap();
        assert!(!dir.path().join("NEW-CLUSTER.1.restoring").exists());
    }
}
