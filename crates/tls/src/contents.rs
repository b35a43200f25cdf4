//! The bytes of files, read together.

use crate::TlsError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No certificate is as long; a list of revoked ones of a large authority may be a few megabytes.
const MOST: u64 = 64 << 20;

/// What the files of a set held at one time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Vec<u8>>);

impl Contents {
    pub(crate) fn read<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Contents, TlsError> {
        let mut contents = BTreeMap::new();
        for path in paths {
            let bytes = read(path).map_err(|error| TlsError::of(path, plain(&error)))?;
            contents.insert(path.clone(), bytes);
        }
        Ok(Contents(contents))
    }

    /// Of one of the files.
    pub fn of(&self, path: &Path) -> &[u8] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(std::io::Error::other("it is longer than 64 MiB"));
    }
    Ok(bytes)
}

/// Without the number that the system gives it.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
