//! The directory that backups are put into.
//!
//! `conclave-CLUSTER-TIME-rREVISION-MEMBER.db`: the order of names is that of times. While one is
//! made it is called `….part`; what a member left behind when it stopped in the middle goes when it
//! makes the next one.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::UtcDateTime;

/// A directory, and what in it is this cluster's.
#[derive(Clone, Debug)]
pub(super) struct Target {
    dir: PathBuf,
    /// What the names of this cluster's backups begin with.
    cluster: String,
    /// What this member's unfinished one is called.
    part: String,
    member: u64,
    /// How many stay; 0: all.
    retention: usize,
}

/// A file that has not its name yet. It is removed if it never gets one.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle on it, at the same position.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // It stays, if that fails, until the next one is made.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Target {
    pub(super) fn new(dir: PathBuf, cluster: u64, member: u64, retention: usize) -> Target {
        let cluster = format!("conclave-{cluster:016x}-");
        let part = format!("{cluster}{member:016x}.part");
        Target { dir, cluster, part, member, retention }
    }

    /// Begins a file.
    pub(super) fn begin(&self) -> io::Result<Part> {
        let path = self.dir.join(&self.part);
        // Nobody but this member writes it, and one at a time.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(&path, error)),
            _ => {}
        }
        // It holds everything that is stored: for its owner only.
        let created = File::options().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Part { file: created.map_err(|error| named(&path, error))?, path, finished: false })
    }

    /// Gives a file its name, durably, and returns it.
    pub(super) fn finish(&self, mut part: Part, seconds: u64, revision: i64) -> io::Result<String> {
        let name = format!("{}{}-r{revision}-{:016x}.db", self.cluster, stamp(seconds), self.member);
        part.file.sync_all()?;
        std::fs::rename(&part.path, self.dir.join(&name)).map_err(|error| named(&part.path, error))?;
        part.finished = true;
        File::open(&self.dir)?.sync_all()?;
        Ok(name)
    }

    /// Removes backups of this cluster that are older than the newest ones.
    pub(super) fn retain(&self) -> io::Result<()> {
        if self.retention == 0 {
            return Ok(());
        }
        let mut names: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // What is no text was not written by a member.
            if let Ok(name) = entry?.file_name().into_string()
                && name.starts_with(&self.cluster)
                && name.ends_with(".db")
            {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        for name in names.iter().skip(self.retention) {
            let path = self.dir.join(name);
            match std::fs::remove_file(&path) {
                // Another member was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(named(&path, error)),
                Ok(()) => tracing::info!(file = %name, "removed an old backup"),
            }
        }
        Ok(())
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// `20261130T141502Z`.
fn stamp(seconds: u64) -> String {
    // A clock beyond the year 9999 is wrong, and no reason to stop.
    let at = i64::try_from(seconds).ok().and_then(|seconds| UtcDateTime::from_unix_timestamp(seconds).ok());
    let at = at.unwrap_or(UtcDateTime::MAX);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn times_are_written_so_that_names_are_in_their_order() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_399), "20000228T235959Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_709_251_199), "20240229T235959Z");
        assert_eq!(stamp(1_796_048_102), "20261130T141502Z");
        assert_eq!(stamp(4_107_542_400), "21000301T000000Z");
        assert_eq!(stamp(u64::MAX), "99991231T235959Z");
    }

    #[test]
    fn the_newest_stay_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = Target::new(dir.path().into(), 0xc, 0xa, 2);
        let foreign =
            ["conclave-000000000000000d-19700101T000000Z-r1-a.db", "notes.db", "conclave-000000000000000c-old.txt"];
        foreign.iter().for_each(|name| std::fs::write(dir.path().join(name), "").expect("written"));
        for time in [5, 1, 9, 7] {
            let mut part = target.begin().expect("begun");
            part.file.write_all(b"x").expect("written");
            let name = target.finish(part, time, 3).expect("finished");
            assert!(std::fs::metadata(dir.path().join(name)).expect("it is there").len() == 1);
        }
        target.retain().expect("retained");
        let own: Vec<String> = names(dir.path()).into_iter().filter(|name| !foreign.contains(&&**name)).collect();
        let named = |time: &str| format!("conclave-000000000000000c-19700101T{time}Z-r3-000000000000000a.db");
        assert_eq!(own, [named("000007"), named("000009")]);
        assert_eq!(names(dir.path()).len(), 5);
    }

    #[test]
    fn what_was_not_finished_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = Target::new(dir.path().into(), 0xc, 0xa, 0);
        drop(target.begin().expect("begun"));
        assert_eq!(names(dir.path()), Vec::<String>::new());
        // As after a kill.
        std::mem::forget(target.begin().expect("begun"));
        let part = target.begin().expect("begun again");
        target.finish(part, 1, 1).expect("finished");
        assert_eq!(names(dir.path()).len(), 1);
        let gone = Target::new(dir.path().join("gone"), 0xc, 0xa, 0);
        assert!(gone.begin().expect_err("no directory").to_string().contains("gone"));
    }
}
