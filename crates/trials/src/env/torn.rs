//! Writes that were under way when the power was cut, as file systems can leave them that keep the
//! length of a file and not all of its content.
//!
//! ext4 with an ordered journal, which the volumes are, never shows this: it loses the length, too.
//! So what it lost of the ends of write-ahead logs is written again, sector by sector: each as it
//! was meant, or zero.

use super::picture::files;
use anyhow::Result;
use rand::{RngExt, rngs::StdRng};
use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// The write-ahead logs of a node, as they were written.
#[derive(Debug, Default)]
pub(crate) struct Written(Vec<(PathBuf, Vec<u8>)>);

impl Written {
    pub(crate) fn below(dir: &Path) -> Result<Self> {
        let logs = files(dir)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        Ok(Self(logs.map(|path| Ok((path.clone(), std::fs::read(&path)?))).collect::<Result<_>>()?))
    }

    /// Brings back a part of what is missing at the ends; returns how many bytes of it are zero now
    /// that were not.
    pub(crate) fn tear(&self, dice: &mut StdRng) -> Result<u64> {
        let mut zeroed = 0;
        for (path, written) in &self.0 {
            // A file that is gone was not synced as a whole.
            let Ok(kept) = std::fs::read(path) else { continue };
            if kept.len() >= written.len() || !written.starts_with(&kept) {
                continue;
            }
            let mut torn = written.clone();
            let loss = [0.1, 0.5, 0.9][dice.random_range(0..3)];
            for sector in kept.len() / SECTOR..written.len().div_ceil(SECTOR) {
                let (from, to) = ((sector * SECTOR).max(kept.len()), ((sector + 1) * SECTOR).min(torn.len()));
                if dice.random_bool(loss) {
                    zeroed += torn[from..to].iter().filter(|byte| **byte != 0).count() as u64;
                    torn[from..to].fill(0);
                }
            }
            let file = OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&torn[kept.len()..], kept.len() as u64)?;
            file.sync_all()?;
        }
        Ok(zeroed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn what_was_kept_stays_and_the_rest_is_there_or_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000007.log");
        let written: Vec<u8> = (0..5000_u32).map(|i| (i % 255 + 1) as u8).collect();
        std::fs::write(&path, &written).unwrap();
        let picture = Written::below(dir.path()).unwrap();
        std::fs::write(&path, &written[..700]).unwrap();
        let zeroed = picture.tear(&mut StdRng::seed_from_u64(1)).unwrap();
        let torn = std::fs::read(&path).unwrap();
        assert_eq!((torn.len(), &torn[..700]), (written.len(), &written[..700]));
        let differ = torn.iter().zip(&written).filter(|(now, before)| now != before);
        assert_eq!(differ.clone().count() as u64, zeroed);
        assert!(zeroed > 0 && differ.into_iter().all(|(now, _)| *now == 0));
        // What was synced whole is left alone.
        std::fs::write(&path, &written).unwrap();
        assert_eq!(picture.tear(&mut StdRng::seed_from_u64(1)).unwrap(), 0);
    }
}
