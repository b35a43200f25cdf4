//! The identity of the member that owns a data directory: one small file, written and synced before
//! anything else is stored.
//!
//! A member's vote and acknowledged entries are tied to its data directory. The incarnation, a
//! random number drawn for an empty directory, lets the other members notice that a directory was
//! lost and started again.

use crate::codec;
use crate::error::OpenError;
use crate::failpoint::failpoint;
use crate::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

pub(crate) const FILE: &str = "IDENTITY";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: u64,
    pub name: String,
    /// Drawn at random when the directory was empty.
    pub incarnation: u64,
}

/// The identity stored in a data directory; `None` if the directory is new.
pub fn read_identity(data_dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = data_dir.join(FILE);
    let record = match std::fs::read(&path) {
        Ok(record) => record,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(OpenError::io("read", path)(e)),
    };
    let identity = codec::unseal(&record).map_err(|e| OpenError::Corrupt {
        path: data_dir.to_owned(),
        what: "the identity file",
        reason: e.to_string(),
    })?;
    Ok(Some(identity))
}

/// Stores the identity of a new data directory, durably. An existing identity must be the same.
pub fn write_identity(data_dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    files::create_dir(data_dir).map_err(OpenError::io("create", data_dir))?;
    private(data_dir);
    match read_identity(data_dir)? {
        Some(stored) => {
            private(&data_dir.join(FILE));
            require_same(data_dir, &stored, identity)
        }
        None => files::replace(data_dir, FILE, &codec::seal(identity), || failpoint!("identity-before-rename"))
            .map_err(OpenError::io("write", data_dir.join(FILE))),
    }
}

/// Removes the permissions of other users. A failure is logged and is no reason to stop.
fn private(path: &Path) {
    if let Err(error) = files::owners_only(path) {
        tracing::warn!(path = %path.display(), %error, "others than its owner can read this, and that cannot be changed");
    }
}

pub(crate) fn require_same(path: &Path, stored: &Identity, given: &Identity) -> Result<(), OpenError> {
    let differs =
        |what, stored: String, given: String| OpenError::OtherIdentity { path: path.to_owned(), what, stored, given };
    let hex = |n: u64| format!("{n:x}");
    if stored.cluster_id != given.cluster_id {
        return Err(differs("cluster id", hex(stored.cluster_id), hex(given.cluster_id)));
    }
    if stored.member_id != given.member_id {
        return Err(differs("member id", hex(stored.member_id), hex(given.member_id)));
    }
    if stored.incarnation != given.incarnation {
        return Err(differs("incarnation", hex(stored.incarnation), hex(given.incarnation)));
    }
    if stored.name != given.name {
        return Err(differs("name", stored.name.clone(), given.name.clone()));
    }
    Ok(())
}
