//! Why a certificate, key, list or setting cannot be used.

use std::path::Path;

/// Names the file (or setting) and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {reason}")]
pub struct TlsError {
    pub subject: String,
    pub reason: String,
}

impl TlsError {
    /// What is wrong with a file.
    pub fn of(file: &Path, reason: impl ToString) -> TlsError {
        TlsError { subject: file.display().to_string(), reason: reason.to_string() }
    }
}
