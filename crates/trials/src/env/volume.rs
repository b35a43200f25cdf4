//! A node's disk: an ext4 of its own in a file, mounted through a loop device, whose power can be
//! cut.
//!
//! The journal is committed only every five minutes (`commit=300`), so what nobody synced is lost
//! with the power, as on a machine that goes down at the worst time. A canary in the volume shows
//! that: it is synced when the volume is mounted and overwritten, but not synced, just before the
//! cut.
//!
//! 1. After a cut the volume holds what was synced and may hold less than what was written.
//! 2. A cut that did not lose the canary's unsynced bytes had no effect.

use super::{
    native::Native,
    picture::Picture,
    tools::{run, wait_until},
    torn::Written,
};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

const CANARY: &str = "canary";
const FILLER: &str = "filler";
const SYNCED: &[u8] = b"synced\n";
/// Unsynced bytes that a cut must lose.
const UNSYNCED: usize = 64 * 1024;

/// A volume, mounted unless its power is off.
#[derive(Debug)]
pub(crate) struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

/// What was on a volume before its power was cut.
#[derive(Debug)]
pub(crate) struct Before {
    files: Picture,
    logs: Written,
}

/// What a power cut took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The harness's own unsynced bytes that were lost: proof that the cut was one.
    pub canary_bytes: u64,
    /// Whether what the harness had synced was still there: proof that it was no more than a cut.
    pub canary_kept: bool,
    /// Bytes of the node's files that had been written and were gone.
    pub data_bytes: u64,
    /// Of those, bytes at the ends of write-ahead logs that were zero afterwards, where others
    /// around them were there.
    #[serde(default)]
    pub torn_bytes: u64,
    /// Files of the node that changed or vanished.
    pub files: Vec<String>,
}

impl Volume {
    /// Makes, formats and mounts a volume.
    pub(crate) fn create(dir: &Path, megabytes: u64) -> Result<Self> {
        let volume = Self { image: dir.join("image"), mount: dir.join("volume") };
        std::fs::create_dir_all(&volume.mount)?;
        File::create(&volume.image)?.set_len(megabytes << 20)?;
        let image = volume.image.display().to_string();
        run(
            "mkfs.ext4",
            ["-q", "-F", "-m", "0", "-b", "4096", "-E", "lazy_itable_init=1,lazy_journal_init=1", &image],
        )?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where files are.
    pub(crate) fn root(&self) -> &Path {
        &self.mount
    }

    /// Cuts the power. Nothing may run on the volume that could see the difference.
    pub(crate) fn cut(&self, native: &Native) -> Result<Before> {
        let before = Before { files: Picture::of(&self.mount)?, logs: Written::below(&self.mount)? };
        let mut canary = OpenOptions::new().write(true).open(self.mount.join(CANARY))?;
        canary.write_all(&vec![b'u'; UNSYNCED])?;
        native.cut(&self.mount)?;
        Ok(before)
    }

    /// Gives the power back to a volume that no process has open; tells what is missing.
    pub(crate) fn recover(&self, before: &Before) -> Result<Loss> {
        self.unmount()?;
        let image = self.image.display().to_string();
        self.attach(&image)?;
        let canary = std::fs::read(self.mount.join(CANARY)).unwrap_or_default();
        let (data_bytes, files) = before.files.lost(&Picture::of(&self.mount)?);
        let loss = Loss {
            canary_bytes: if canary.get(..UNSYNCED).is_some_and(|bytes| bytes.iter().all(|byte| *byte == b'u')) {
                0
            } else {
                UNSYNCED as u64
            },
            canary_kept: canary == SYNCED,
            data_bytes,
            torn_bytes: 0,
            files,
        };
        self.write_canary()?;
        Ok(loss)
    }

    /// After [`Volume::recover`]: makes torn writes of those that were lost. Returns how many bytes
    /// are zero.
    pub(crate) fn tear(before: &Before) -> Result<u64> {
        before.logs.tear(&mut rand::make_rng())
    }

    /// Takes all the room there is; returns the bytes free before and after.
    pub(crate) fn fill(&self) -> Result<(u64, u64)> {
        let filler = OpenOptions::new().create(true).append(true).open(self.mount.join(FILLER))?;
        let before = self.free()?;
        let mut step = before;
        // Large pieces first: the file system needs some of the room for its own account of them.
        while step >= 4096 {
            let length = filler.metadata()?.len();
            let taken = rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), length, step & !4095);
            step = if taken.is_ok() { self.free()? } else { step / 2 };
        }
        filler.sync_all()?;
        Ok((before, self.free()?))
    }

    /// Gives the room back, for good: a power cut would bring the filler back, and until the
    /// journal is written its room is not free.
    pub(crate) fn drain(&self) -> Result<()> {
        let filler = self.mount.join(FILLER);
        if filler.exists() {
            std::fs::remove_file(filler)?;
            File::open(&self.mount)?.sync_all()?;
        }
        Ok(())
    }

    pub(crate) fn free(&self) -> Result<u64> {
        let room = rustix::fs::statvfs(&self.mount)?;
        Ok(room.f_bavail * room.f_frsize)
    }

    fn mount(&self) -> Result<()> {
        self.attach(&self.image.display().to_string())?;
        self.write_canary()
    }

    fn attach(&self, image: &str) -> Result<()> {
        let mount = self.mount.display().to_string();
        run("mount", ["-t", "ext4", "-o", "loop,commit=300,noatime,errors=continue", image, &mount]).map(drop)
    }

    fn unmount(&self) -> Result<()> {
        let mut last = None;
        let done = wait_until(Duration::from_secs(10), || {
            last = run("umount", [&self.mount]).err();
            last.is_none()
        });
        if !done {
            bail!("{}: {last:?}", self.mount.display());
        }
        Ok(())
    }

    fn write_canary(&self) -> Result<()> {
        let path = self.mount.join(CANARY);
        let mut canary = File::create(&path).with_context(|| path.display().to_string())?;
        canary.write_all(SYNCED)?;
        canary.sync_all()?;
        File::open(&self.mount)?.sync_all()?;
        ensure!(std::fs::read(&path)? == SYNCED, "the canary is not what was written");
        Ok(())
    }
}
