//! The page that a process with the shim shares with the harness: what its clocks and syncs shall
//! do, and what they did.
//!
//! The page is a file that the process maps; this side writes it with plain file operations, which
//! the kernel keeps coherent.
//!
//! 1. The monotonic map continues the one before: a new rate starts where the old one is.
//! 2. The layout is that of `struct page` in `native/shim.c`.

use super::{clock::now_ns, tools::lock};
use anyhow::{Result, ensure};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{Ordering, fence},
    },
};

const SIZE: usize = 4096;

/// What a sync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    AsUsual,
    Slow { nanos: u64 },
    Fail,
    Lie,
}

#[derive(Clone, Copy, Debug)]
struct Map {
    sequence: u64,
    real_base: i64,
    fake_base: i64,
    rate: f64,
    wall_offset: i64,
}

/// One process's page, kept over its lives.
#[derive(Debug)]
pub(crate) struct Page {
    path: PathBuf,
    file: File,
    map: Mutex<Map>,
}

/// What the process did with its page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The last process that mapped it, 0 for none: a static program never does.
    pub(crate) attached: i64,
    /// Readings of a clock that was wrong.
    pub(crate) monotonic_reads: i64,
    pub(crate) wall_reads: i64,
    /// How far the last wrong monotonic reading was ahead.
    pub(crate) ahead: i64,
    /// Syncs that came through the shim: none, though it is mapped, if the program makes system
    /// calls by itself, as Go's do.
    pub(crate) syncs: i64,
    /// Syncs that were slow, failed or lied.
    pub(crate) syncs_changed: i64,
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

impl Page {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        file.set_len(SIZE as u64)?;
        let map = Map { sequence: 0, real_base: 0, fake_base: 0, rate: 1.0, wall_offset: 0 };
        let page = Self { path, file, map: Mutex::new(map) };
        page.write(&mut lock(&page.map))?;
        Ok(page)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the monotonic clock runs at this rate.
    pub(crate) fn set_rate(&self, rate: f64) -> Result<()> {
        ensure!(rate > 0.0 && rate.is_finite(), "a clock cannot run at the rate {rate}");
        let mut map = lock(&self.map);
        (map.real_base, map.fake_base) = map.now();
        map.rate = rate;
        self.write(&mut map)
    }

    /// The monotonic clock jumps forward.
    pub(crate) fn jump(&self, nanos: u64) -> Result<()> {
        let mut map = lock(&self.map);
        (map.real_base, map.fake_base) = map.now();
        map.fake_base += signed(nanos);
        self.write(&mut map)
    }

    /// The wall clock is this far off, ahead or behind.
    pub(crate) fn set_wall(&self, nanos: i64) -> Result<()> {
        let mut map = lock(&self.map);
        map.wall_offset = nanos;
        self.write(&mut map)
    }

    pub(crate) fn set_sync(&self, sync: Sync) -> Result<()> {
        let (mode, delay): (i64, i64) = match sync {
            Sync::AsUsual => (0, 0),
            Sync::Slow { nanos } => (1, signed(nanos)),
            Sync::Fail => (2, 0),
            Sync::Lie => (3, 0),
        };
        // The mode last: a slow sync never reads the delay of the fault before.
        self.file.write_all_at(&delay.to_le_bytes(), 48)?;
        fence(Ordering::SeqCst);
        Ok(self.file.write_all_at(&mode.to_le_bytes(), 40)?)
    }

    pub(crate) fn seen(&self) -> Result<Seen> {
        let mut bytes = [0; 8 * 8];
        self.file.read_exact_at(&mut bytes, 64)?;
        let field = |i: usize| i64::from_le_bytes(bytes[i * 8..][..8].try_into().expect("eight bytes"));
        Ok(Seen {
            attached: field(0),
            monotonic_reads: field(1),
            wall_reads: field(2),
            ahead: field(4) - field(3),
            syncs: field(5),
            syncs_changed: field(6),
        })
    }

    fn write(&self, map: &mut Map) -> Result<()> {
        let sequence = |value: u64| self.file.write_all_at(&value.to_le_bytes(), 0);
        sequence(map.sequence + 1)?;
        let mut bytes = Vec::with_capacity(32);
        bytes.extend(map.real_base.to_le_bytes());
        bytes.extend(map.fake_base.to_le_bytes());
        bytes.extend(map.rate.to_le_bytes());
        bytes.extend(map.wall_offset.to_le_bytes());
        self.file.write_all_at(&bytes, 8)?;
        map.sequence += 2;
        Ok(sequence(map.sequence)?)
    }
}

impl Map {
    fn now(&self) -> (i64, i64) {
        let real = signed(now_ns());
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as the shim computes it")]
        let gone = ((real - self.real_base) as f64 * self.rate) as i64;
        (real, self.fake_base + gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_map_continues_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let page = Page::create(dir.path().join("page")).unwrap();
        let (real, fake) = lock(&page.map).now();
        assert_eq!(real, fake);
        page.jump(1_000_000_000).unwrap();
        page.set_rate(2.0).unwrap();
        let (real, fake) = lock(&page.map).now();
        assert!((1_000_000_000..1_900_000_000).contains(&(fake - real)), "{}", fake - real);
        page.set_rate(1.0).unwrap();
        let (real, fake_later) = lock(&page.map).now();
        assert!(fake_later >= fake && fake_later - real >= 1_000_000_000);
        assert_eq!(page.seen().unwrap().attached, 0);
    }
}
