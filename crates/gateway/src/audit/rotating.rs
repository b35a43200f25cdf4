//! A file that is followed by a new one when it is large: `PATH` is renamed to `PATH.1`, that to
//! `PATH.2`, and so on.
//!
//! 1. A write is whole or has left nothing: what was written of it before an error is cut off
//!    again.
//! 2. A file that somebody moved away or deleted is followed by a new one within [`LOOK_EVERY`].
//! 3. When older files cannot be renamed, the present one goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks whether the path is still this file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Rotating {
    path: PathBuf,
    max_bytes: Option<u64>,
    files: usize,
    /// `None`: it could not be opened again.
    file: Option<File>,
    /// Bytes of whole lines in it.
    length: u64,
    looked: Instant,
}

impl Rotating {
    pub(super) fn open(path: &Path, max_bytes: Option<u64>, files: usize) -> io::Result<Rotating> {
        let path = path.to_owned();
        let mut rotating = Rotating { path, max_bytes, files, file: None, length: 0, looked: Instant::now() };
        rotating.reopen()?;
        Ok(rotating)
    }

    /// A crash may have left part of a line: it is ended.
    fn reopen(&mut self) -> io::Result<&mut File> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&self.path)?;
        self.length = file.metadata()?.len();
        if self.length > 0 && !ends_with_newline(&file, self.length) {
            file.write_all(b"\n")?;
            self.length += 1;
        }
        Ok(self.file.insert(file))
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.look();
        let is_full = |max: u64| self.length > 0 && self.length + lines.len() as u64 > max;
        if self.file.is_some() && self.max_bytes.is_some_and(is_full) {
            self.follow();
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        let written = file.write_all(lines);
        match &written {
            Ok(()) => self.length += lines.len() as u64,
            // If even that fails, the file is opened anew, which ends the broken line.
            Err(_) => self.file.take_if(|file| file.set_len(self.length).is_err()).map_or((), drop),
        }
        written
    }

    /// Whether the path still names the open file.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::metadata(&self.path).map(id).ok();
        let open = self.file.as_ref().and_then(|file| file.metadata().map(id).ok());
        if named.is_none() || named != open {
            self.file = None;
        }
    }

    fn follow(&mut self) {
        let numbered = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.files).rev() {
            let (from, to) = (numbered(number), numbered(number + 1));
            if let Err(error) = fs::rename(&from, &to)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, from = %from.display(), "an older audit log cannot be renamed; the present one grows");
                return;
            }
        }
        match fs::rename(&self.path, numbered(1)) {
            Ok(()) => self.file = None,
            Err(error) => tracing::warn!(%error, "the audit log cannot be renamed; it grows"),
        }
    }
}

fn ends_with_newline(file: &File, length: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1).is_ok() && last == *b"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| format!("{error}"))
    }

    #[test]
    fn a_full_file_is_followed_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit");
        let mut log = Rotating::open(&path, Some(8), 2).expect("a file");
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "longer than a file may be\n", "six\n"] {
            log.write(line.as_bytes()).expect("room");
        }
        let at = |number: &str| text(&dir.path().join(format!("audit{number}")));
        assert_eq!((at("").as_str(), at(".1").as_str()), ("six\n", "longer than a file may be\n"));
        assert_eq!(at(".2"), "five\n");
        assert!(!dir.path().join("audit.3").exists());
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_continued_after_a_broken_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit");
        fs::write(&path, "one\ntw").expect("a file");
        Rotating::open(&path, None, 1).expect("a file").write(b"three\n").expect("room");
        assert_eq!(text(&path), "one\ntw\nthree\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, moved) = (dir.path().join("audit"), dir.path().join("moved"));
        let mut log = Rotating::open(&path, None, 1).expect("a file");
        log.write(b"one\n").expect("room");
        fs::rename(&path, &moved).expect("it can be moved");
        log.looked = Instant::now().checked_sub(LOOK_EVERY).expect("the clock runs for longer");
        log.write(b"two\n").expect("room");
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("one\n", "two\n"));
    }

    #[test]
    fn what_cannot_be_renamed_grows() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit");
        // A directory with something in it is in the way.
        fs::create_dir_all(dir.path().join("audit.1/x")).expect("a directory");
        let mut log = Rotating::open(&path, Some(4), 1).expect("a file");
        for line in ["one\n", "two\n"] {
            log.write(line.as_bytes()).expect("room");
        }
        assert_eq!(text(&path), "one\ntwo\n");
    }

    /// `/dev/full` takes nothing, as a full disk.
    #[test]
    fn a_write_that_fails_is_told_and_the_next_one_is_tried() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit");
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let mut log = Rotating::open(&path, None, 1).expect("a file");
        assert!(log.write(b"one\n").is_err());
        fs::remove_file(&path).expect("it can be removed");
        log.looked = Instant::now().checked_sub(LOOK_EVERY).expect("the clock runs for longer");
        log.write(b"two\n").expect("room");
        assert_eq!(text(&path), "two\n");
    }
}
