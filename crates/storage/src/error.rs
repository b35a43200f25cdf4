//! Failures of the disk: at the start ([`OpenError`], an instruction for the operator) and later
//! ([`Fatal`], which ends the process).
//!
//! Only damage is called damage. A full disk, a read-only file system and the like are obstacles.
//! Their texts say what they are, what to do, and that nothing is lost ([`Cause`]).

use crate::codec::CodecError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Why the data directory cannot be served. Each text says what is wrong and what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    // Not a source: the text has its words, and reports of a whole chain would repeat them.
    #[error("cannot {doing} {path}: {cause}; {}", Cause::of(cause).advice())]
    Io { doing: &'static str, path: PathBuf, cause: io::Error },
    #[error("cannot use {what} in {path}: {reason}; {advice}")]
    Obstacle { path: PathBuf, what: &'static str, reason: String, advice: &'static str },
    #[error("the data directory {path} is in use by another process; stop it first")]
    InUse { path: PathBuf },
    #[error("{path} is not empty: what is restored needs a directory of its own; nothing was changed")]
    NotEmpty { path: PathBuf },
    #[error(
        "the log is in {path}, not in {asked} (--wal-dir): stop the member, move it there, and put a link to it in its place"
    )]
    OtherLog { path: PathBuf, asked: PathBuf },
    #[error(
        "{path} is a data directory of etcd, and this member would begin empty beside it; nothing was changed. To keep the data, stop \
         etcd and restore it into another directory (conclave snapshot restore {path}/member/snap/db --data-dir NEW, with the name and \
         the initial-* options of this member); otherwise start with an empty data directory"
    )]
    OfEtcd { path: PathBuf },
    #[error("{path} is not the data directory of a member: there is no identity file in it")]
    NoMember { path: PathBuf },
    #[error(
        "the last write to {path} was not finished, as after a power failure; nothing acknowledged is lost: start the member once, \
         which cuts it off, and stop it before you look again"
    )]
    Unfinished { path: PathBuf },
    #[error(
        "{path} belongs to another member: its {what} is {stored}, this member's is {given}; correct the configuration \
         (name, initial cluster, token), or start with an empty data directory"
    )]
    OtherIdentity { path: PathBuf, what: &'static str, stored: String, given: String },
    #[error(
        "{missing} is missing in {path}, which was in use before: this member has forgotten what it promised to the others; \
         bring back the directory as it was last (a missing mount?), never an older copy; if it is lost, leave this member \
         out: the others serve without it"
    )]
    Missing { path: PathBuf, missing: &'static str },
    #[error(
        "{what} in {path} cannot be read: {reason}; the disk has lost or changed data that was acknowledged; \
         check the disk. If the data is lost, leave this member out: the others serve without it; never start it from an older copy"
    )]
    Corrupt { path: PathBuf, what: &'static str, reason: String },
    #[error(
        "the list of the files of {what} in {path} is not whole: {reason}; a power failure while a file was begun or removed leaves it so, and \
         so does a disk that changes data. Whether anything acknowledged is lost cannot be told without the list: leave this member out, or \
         replace it: the others serve without it; never start it from an older copy"
    )]
    FileList { path: PathBuf, what: &'static str, reason: String },
    #[error(
        "the state in {path} was written by an older version, which this one cannot read: go on with that version, or start this \
         member with an empty data directory"
    )]
    Older { path: PathBuf },
    #[error(
        "log and state contradict each other: {reason}; this member may have acknowledged what it no longer holds, so it must not \
         vote: bring back the directory as it was last, never an older copy; if it is lost, leave this member out: the others \
         serve without it"
    )]
    Contradiction { reason: String },
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.into();
        move |cause| OpenError::Io { doing, path, cause }
    }

    /// Converts to an I/O error of the same kind.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            OpenError::Io { cause, .. } => cause,
            OpenError::Corrupt { what, reason, .. } => damaged(format!("{what}: {reason}")),
            OpenError::Obstacle { what, reason, .. } => io::Error::other(format!("{what}: {reason}")),
            other => io::Error::other(other),
        }
    }

    /// Classifies an error from reading `what`.
    pub(crate) fn reading(what: &'static str, path: impl Into<PathBuf>, e: &io::Error) -> OpenError {
        OpenError::sorted(what, path.into(), Cause::of(e), e.to_string())
    }

    /// Classifies an error from opening RocksDB.
    pub(crate) fn rocks(what: &'static str, path: impl Into<PathBuf>, e: &rocksdb::Error) -> OpenError {
        let path = path.into();
        let reason = e.to_string();
        let held = ["Resource temporarily unavailable", "lock hold by current process"];
        if reason.contains("LOCK") && held.iter().any(|words| reason.contains(words)) {
            return OpenError::InUse { path };
        }
        OpenError::sorted(what, path, Cause::of_rocks(e), reason)
    }

    fn sorted(what: &'static str, path: PathBuf, cause: Cause, reason: String) -> OpenError {
        match cause {
            Cause::Damage => OpenError::Corrupt { path, what, reason },
            cause => OpenError::Obstacle { path, what, reason, advice: cause.advice() },
        }
    }
}

/// The cause of a disk error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The contents are not what was written.
    Damage,
    Full,
    ReadOnly,
    OpenFiles,
    Permission,
    Memory,
    /// The device failed to do an operation.
    Device,
    Other,
}

impl Cause {
    pub(crate) fn of(e: &io::Error) -> Cause {
        let known = Cause::of_text(&e.to_string());
        match e.kind() {
            _ if known != Cause::Other => known,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
            io::ErrorKind::ReadOnlyFilesystem => Cause::ReadOnly,
            io::ErrorKind::PermissionDenied => Cause::Permission,
            io::ErrorKind::OutOfMemory => Cause::Memory,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Cause::Damage,
            _ => Cause::Other,
        }
    }

    /// RocksDB wraps system errors into several kinds, including corruption, so its text is
    /// examined first.
    fn of_rocks(e: &rocksdb::Error) -> Cause {
        match Cause::of_text(e.as_ref()) {
            Cause::Other if e.kind() == rocksdb::ErrorKind::Corruption => Cause::Damage,
            // A file that should exist is missing.
            Cause::Other if e.as_ref().contains("No such file or directory") => Cause::Damage,
            cause => cause,
        }
    }

    /// Finds the system's error text, as glibc and musl word it.
    fn of_text(text: &str) -> Cause {
        const WORDS: [(&str, Cause); 13] = [
            ("No space left on device", Cause::Full),
            ("Disk quota exceeded", Cause::Full),
            ("Quota exceeded", Cause::Full),
            ("File too large", Cause::Full),
            ("Read-only file system", Cause::ReadOnly),
            ("Too many open files", Cause::OpenFiles),
            ("No file descriptors available", Cause::OpenFiles),
            ("Permission denied", Cause::Permission),
            ("Operation not permitted", Cause::Permission),
            ("Cannot allocate memory", Cause::Memory),
            ("Out of memory", Cause::Memory),
            ("Resource temporarily unavailable", Cause::Memory),
            ("Input/output error", Cause::Device),
        ];
        let known = WORDS.iter().find(|(words, _)| text.contains(words));
        // musl's text for a device error is so short that other texts may contain it, so it comes
        // last.
        known.map_or(if text.contains("I/O error") { Cause::Device } else { Cause::Other }, |(_, cause)| *cause)
    }

    pub(crate) fn advice(self) -> &'static str {
        match self {
            Cause::Damage => {
                "the disk has lost or changed data that was acknowledged; check the disk. If the data is lost, leave this member out: \
                 the others serve without it; never start it from an older copy"
            }
            Cause::Full => {
                "no data is lost: free some space on this file system (or raise the quota), then start this member again"
            }
            Cause::ReadOnly => {
                "no data is lost: the file system is read-only (the kernel's log says why, if it was not mounted so); make it \
                 writable, then start this member again"
            }
            Cause::OpenFiles => {
                "no data is lost: the process may not open more files; raise the limit (ulimit -n, LimitNOFILE=), then start this \
                 member again"
            }
            Cause::Permission => {
                "no data is lost: let the user who runs the server own the data directory and everything in it, then start this \
                 member again"
            }
            Cause::Memory => {
                "no data is lost: the system has no memory or threads left for this process; give it more, then start this member again"
            }
            Cause::Device => {
                "the disk does not read or write: look at it, at what connects it and at the kernel's log; what is written may be whole \
                 once it works again"
            }
            Cause::Other => "check the directory, its permissions and the disk",
        }
    }
}

/// Called once with the reason when the disk fails or contradicts itself while the node runs. It
/// must end the process, because the contents of the disk are known only after a restart.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// Calls [`OnFatal`]. Everything that uses a directory shares it.
#[derive(Clone)]
pub(crate) struct Fatal {
    tell: OnFatal,
    /// Where the disk is that failed: errors of the system do not say.
    dir: Arc<Path>,
}

impl Fatal {
    pub(crate) fn new(tell: OnFatal, dir: &Path) -> Fatal {
        Fatal { tell, dir: dir.into() }
    }

    /// Reports the failure and returns the error that the caller gives to openraft, which then
    /// stops too.
    pub(crate) fn raise(&self, what: &str, e: io::Error) -> io::Error {
        let error = self.explained(what, &e);
        tracing::error!(%error, "storage failed; the node stops");
        (self.tell)(error.to_string());
        io::Error::other(error)
    }

    /// What failed and in which directory, and for a known cause what it means and what to do.
    pub(crate) fn explained(&self, what: &str, e: &io::Error) -> io::Error {
        let dir = self.dir.display();
        io::Error::new(
            e.kind(),
            match Cause::of(e) {
                Cause::Other => format!("{what} in {dir}: {e}"),
                cause => format!("{what} in {dir}: {e}; {}", cause.advice()),
            },
        )
    }
}

/// Keeps the kind of the error.
pub(crate) fn rocks_io(e: rocksdb::Error) -> io::Error {
    let kind = match Cause::of_rocks(&e) {
        Cause::Damage => io::ErrorKind::InvalidData,
        Cause::Full => io::ErrorKind::StorageFull,
        Cause::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
        Cause::Permission => io::ErrorKind::PermissionDenied,
        Cause::Memory => io::ErrorKind::OutOfMemory,
        Cause::OpenFiles | Cause::Device | Cause::Other => io::ErrorKind::Other,
    };
    io::Error::new(kind, e.into_string())
}

/// An error for contents that cannot be what was written.
pub(crate) fn damaged(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Converts an error from reading rows of the state.
pub(crate) fn fault_io(fault: &conclave_state::Fault) -> io::Error {
    match fault {
        conclave_state::Fault::Corrupt(_) => damaged(fault.to_string()),
        conclave_state::Fault::Read(_) => io::Error::other(fault.to_string()),
    }
}

impl From<CodecError> for io::Error {
    fn from(e: CodecError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_is_called_damage() {
        let says = |e: io::Error| OpenError::reading("the log", "/data", &e).to_string();
        for (number, word) in
            [(28, "free some space"), (30, "read-only"), (24, "ulimit"), (13, "own the data"), (12, "memory")]
        {
            let text = says(io::Error::from_raw_os_error(number));
            assert!(
                text.contains(word) && text.contains("no data is lost") && !text.contains("acknowledged"),
                "{text}"
            );
        }
        let text = says(io::Error::from_raw_os_error(5));
        assert!(text.contains("does not read or write") && !text.contains("acknowledged"), "{text}");
        assert!(says(damaged("a checksum")).contains("lost or changed data that was acknowledged"));
        assert!(says(CodecError::Short(3).into()).contains("lost or changed data that was acknowledged"));
    }

    /// A server that stops has the same to say as one that does not start.
    #[test]
    fn a_failure_while_running_says_where_and_what_to_do() {
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = told.clone();
        let fatal = Fatal::new(Arc::new(move |reason| tell.lock().unwrap().push(reason)), Path::new("/data/log"));
        let error = fatal.raise("writing the log", io::Error::from_raw_os_error(28)).to_string();
        assert!(error.starts_with("writing the log in /data/log: No space left on device"), "{error}");
        assert!(error.contains("no data is lost: free some space on this file system"), "{error}");
        assert_eq!(*told.lock().unwrap(), [error]);
        let other = fatal.explained("flushing the state", &io::Error::other("odd")).to_string();
        assert_eq!(other, "flushing the state in /data/log: odd");
    }

    #[test]
    fn a_cause_is_named_once() {
        let error = OpenError::io("create", "/proc/x")(io::Error::from_raw_os_error(2));
        assert!(error.to_string().contains("cannot create /proc/x: No such file or directory"), "{error}");
        // What `{:#}` of a report appends.
        assert!(std::error::Error::source(&error).is_none(), "{error}");
    }

    #[test]
    fn obstacles_are_known_whatever_rocksdb_calls_them() {
        let text =
            "Corruption: Can't access /000012.sst: IO error: Too many open files: While open a file for random read";
        assert_eq!(Cause::of_text(text), Cause::OpenFiles);
        assert_eq!(
            Cause::of_text("IO error: No space left on device: While appending to file: /d/000005.log"),
            Cause::Full
        );
        assert_eq!(Cause::of_text("Corruption: block checksum mismatch"), Cause::Other);
        assert_eq!(Cause::of_text("IO error: No such file or directory: While opening /d/000005.sst"), Cause::Other);
    }
}
