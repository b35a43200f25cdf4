//! Durable changes to files and directories. A new name is durable only when its directory is
//! synced too.

use crate::error::OpenError;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// New files can be read by their owner only, because they hold all client data.
const OWNERS_DIR: u32 = 0o700;
pub(crate) const OWNERS_FILE: u32 = 0o600;

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory that only its owner can read, and its parents, and makes all their names
/// durable.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    create(dir, DirBuilder::new().mode(OWNERS_DIR))
}

fn create(dir: &Path, builder: &DirBuilder) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    if let Some(parent) = parent {
        create(parent, &DirBuilder::new())?;
    }
    match builder.create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    sync_dir(dir)?;
    parent.map_or(Ok(()), sync_dir)
}

/// Writes `name` in `dir` so that a crash leaves either the old content or the new. `before_rename`
/// is a crash point.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8], before_rename: impl FnOnce()) -> io::Result<()> {
    let draft = dir.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNERS_FILE).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    before_rename();
    fs::rename(&draft, dir.join(name))?;
    sync_dir(dir)
}

/// Removes the permissions of other users from a directory or file.
pub(crate) fn owners_only(path: &Path) -> io::Result<()> {
    /// The sticky bit, as `/tmp` has it.
    const SHARED: u32 = 0o1000;
    let found = fs::metadata(path)?;
    let mode = found.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if mode & SHARED != 0 {
        return Err(io::Error::other("it is a directory for all users"));
    }
    fs::set_permissions(path, Permissions::from_mode(if found.is_dir() { OWNERS_DIR } else { OWNERS_FILE }))
}

/// Whether the path exists. If that cannot be found out, it is an error and not `false`.
pub(crate) fn is_there(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(OpenError::io("look for", path))
}

/// Locks a file against other processes, as RocksDB does, until it is dropped; `None` if another
/// process has the lock. `alone` makes the lock exclusive.
pub(crate) fn lock(path: &Path, alone: bool) -> io::Result<Option<File>> {
    let (file, how) = if alone {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        (file, FlockOperation::NonBlockingLockExclusive)
    } else {
        (File::open(path)?, FlockOperation::NonBlockingLockShared)
    };
    match fcntl_lock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The free bytes that this process can use on the disk of this directory.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    Ok(disk_room(dir)?.free)
}

/// The bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoom {
    /// That this process can use.
    pub free: u64,
    pub total: u64,
}

/// The room on the disk of this directory.
pub fn disk_room(dir: &Path) -> io::Result<DiskRoom> {
    let room = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
    Ok(DiskRoom { free: bytes(room.f_bavail), total: bytes(room.f_blocks) })
}

/// Whether files in this directory can bypass the page cache. Some file systems cannot do that.
pub(crate) fn take_direct(dir: &Path) -> bool {
    /// Aligned as RocksDB aligns its writes.
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

/// Removes a directory with its contents. A missing directory is no error.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
