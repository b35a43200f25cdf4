//! What a data directory was first started as: one small file, written before the identity.
//!
//! Until the member has a log, it is all that it knows of its cluster; after that the applied
//! membership counts. A directory without an identity was never started, whatever this file says.

use crate::codec;
use crate::error::OpenError;
use crate::files;
use std::io;
use std::path::Path;

pub use crate::codec::FirstStart;

pub(crate) const FILE: &str = "FIRST";

/// `None` for a new directory, and for one from before there was this file.
pub fn read(data_dir: &Path) -> Result<Option<FirstStart>, OpenError> {
    let path = data_dir.join(FILE);
    match std::fs::read(&path) {
        Ok(record) => codec::unseal(&record).map(Some).map_err(|e| OpenError::Corrupt {
            path: data_dir.to_owned(),
            what: "the record of its first start",
            reason: e.to_string(),
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(OpenError::io("read", path)(e)),
    }
}

/// Durable when this returns.
pub fn write(data_dir: &Path, first: &FirstStart) -> Result<(), OpenError> {
    files::create_dir(data_dir).map_err(OpenError::io("create", data_dir))?;
    files::replace(data_dir, FILE, &codec::seal(first), || ()).map_err(OpenError::io("write", data_dir.join(FILE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberNode;

    #[test]
    fn it_comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let node = MemberNode { name: "a".into(), peer_urls: vec!["http://a:1".into()] };
        let first = FirstStart { token: "t".into(), joins: true, members: [(7, node)].into() };
        write(dir.path(), &first).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(first));
        std::fs::write(dir.path().join(FILE), b"x").unwrap();
        assert!(read(dir.path()).is_err());
    }
}
