//! What files hold at one moment, block by block, to tell later what is gone.

use anyhow::Result;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::ErrorKind,
    path::{Path, PathBuf},
};

const BLOCK: usize = 4096;

/// The files below a directory: length and a hash of each block.
#[derive(Debug, Default)]
pub(crate) struct Picture(BTreeMap<PathBuf, (u64, Vec<u64>)>);

impl Picture {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let mut picture = Self::default();
        for path in files(dir)? {
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let name = path.strip_prefix(dir)?.to_owned();
            picture.0.insert(name, (bytes.len() as u64, bytes.chunks(BLOCK).map(hash).collect()));
        }
        Ok(picture)
    }

    /// Bytes in blocks that are no longer what they were, and the files they were in.
    pub(crate) fn lost(&self, after: &Self) -> (u64, Vec<String>) {
        let (mut bytes, mut names) = (0, Vec::new());
        for (name, (length, blocks)) in &self.0 {
            let now = after.0.get(name).map_or(&[][..], |(_, blocks)| blocks);
            let changed = blocks.iter().enumerate().filter(|(i, block)| now.get(*i) != Some(block)).map(|(i, _)| i);
            let gone: u64 = changed.map(|i| (length - (i * BLOCK) as u64).min(BLOCK as u64)).sum();
            if gone > 0 || !after.0.contains_key(name) {
                bytes += gone;
                names.push(name.display().to_string());
            }
        }
        (bytes, names)
    }
}

/// All regular files below a directory, in order.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn hash(block: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    block.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_by_block() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, vec![1; 10_000]).unwrap();
        std::fs::write(&b, b"").unwrap();
        let before = Picture::of(dir.path()).unwrap();
        assert_eq!(before.lost(&Picture::of(dir.path()).unwrap()), (0, vec![]));
        std::fs::write(&a, vec![1; 4096]).unwrap();
        std::fs::remove_file(&b).unwrap();
        assert_eq!(before.lost(&Picture::of(dir.path()).unwrap()), (10_000 - 4096, vec!["a".into(), "b".into()]));
    }
}
