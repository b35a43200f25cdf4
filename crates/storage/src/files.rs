//! Durable changes to files and directories: a name counts as written only when its directory is synced too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory (and its parents) and makes its name durable.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    sync_dir(dir)?;
    dir.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

/// Writes `name` in `dir` so that a crash leaves either the old content or the new. `before_rename` is a crash point.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8], before_rename: impl FnOnce()) -> io::Result<()> {
    let draft = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    before_rename();
    fs::rename(&draft, dir.join(name))?;
    sync_dir(dir)
}

/// What this process can still write to the disk of this directory.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(dir)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Whether files in this directory can be written past the system's memory. Some file systems cannot.
pub(crate) fn take_direct(dir: &Path) -> bool {
    /// As RocksDB will align what it writes.
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let probe = dir.join("direct.tmp");
    let written = write_direct(&probe, &Block([0; 4096]).0);
    let _ = fs::remove_file(&probe);
    written.is_ok()
}

#[cfg(target_os = "linux")]
fn write_direct(path: &Path, block: &[u8]) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?).write_all(block)
}

#[cfg(not(target_os = "linux"))]
fn write_direct(_: &Path, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes a directory with everything in it; one that is not there is fine.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
