//! What can go wrong with the disk, in two kinds: at the start ([`OpenError`], an instruction for the operator) and later
//! ([`Fatal`], the end of the process).

use crate::codec::CodecError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Why the data directory cannot be served. Each text says what is wrong and what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot {doing} {path}: {source}; check the directory, its permissions and the disk")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the data directory {path} is in use by another process; stop it first")]
    InUse { path: PathBuf },
    #[error("{path} is not the data directory of a member: there is no identity file in it")]
    NoMember { path: PathBuf },
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
        move |source| OpenError::Io { doing, path, source }
    }

    pub(crate) fn corrupt(what: &'static str, path: impl Into<PathBuf>, e: &io::Error) -> OpenError {
        OpenError::Corrupt { path: path.into(), what, reason: e.to_string() }
    }

    /// Sorts what RocksDB reported when it was opened.
    pub(crate) fn rocks(what: &'static str, path: impl Into<PathBuf>, e: &rocksdb::Error) -> OpenError {
        let path = path.into();
        let reason = e.to_string();
        if reason.contains("lock") && (reason.contains("LOCK") || reason.contains("hold")) {
            return OpenError::InUse { path };
        }
        OpenError::Corrupt { path, what, reason }
    }
}

/// Called once with the reason when the disk fails or contradicts itself while the node runs. It must end the process: an
/// unknown state of the disk is only known again after a restart.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// The way to [`OnFatal`], shared by everything that touches the disk.
#[derive(Clone)]
pub(crate) struct Fatal(pub(crate) OnFatal);

impl Fatal {
    /// Reports the end, and gives the error that the caller hands to openraft (which stops as well).
    pub(crate) fn raise(&self, what: &str, e: impl std::fmt::Display) -> io::Error {
        let text = format!("{what}: {e}");
        tracing::error!(error = %text, "storage failed; the node stops");
        (self.0)(text.clone());
        io::Error::other(text)
    }
}

pub(crate) fn rocks_io(e: rocksdb::Error) -> io::Error {
    io::Error::other(e.to_string())
}

impl From<CodecError> for io::Error {
    fn from(e: CodecError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, e)
    }
}
