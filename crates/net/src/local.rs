//! Sockets in the file system, for clients on the same machine.
//!
//! 1. The file appears under its name with its permissions set: nobody connects in between.
//! 2. A file that a process left behind is replaced. A socket that somebody listens on, and
//!    anything that is no socket, is not touched.
//! 3. The file is removed when its listener is dropped, if it is still the listener's.

use crate::source::Source;
use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// Owner and group.
const MODE: u32 = 0o660;

/// A listener on a socket in the file system.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

/// One listener for each path. `flag` is the setting that an error names.
pub fn bind_local(flag: &str, paths: &[PathBuf]) -> anyhow::Result<Vec<LocalListener>> {
    let bound = paths.iter().map(|path| {
        LocalListener::bind(path)
            .map_err(|error| anyhow::anyhow!("cannot listen on unix://{} ({flag}): {error}", path.display()))
    });
    bound.collect()
}

impl LocalListener {
    fn bind(path: &Path) -> io::Result<LocalListener> {
        make_way(path)?;
        let mut early = path.as_os_str().to_owned();
        early.push(".new");
        let early = PathBuf::from(early);
        // Of a process that ended in between.
        if fs::symlink_metadata(&early).is_ok_and(|it| it.file_type().is_socket()) {
            fs::remove_file(&early)?;
        }
        let listener = UnixListener::bind(&early)?;
        let placed = fs::set_permissions(&early, Permissions::from_mode(MODE))
            .and_then(|()| fs::symlink_metadata(&early))
            .and_then(|file| fs::rename(&early, path).map(|()| identity(&file)));
        match placed {
            Ok(file) => Ok(LocalListener { listener, path: path.to_owned(), file }),
            Err(error) => {
                let _ = fs::remove_file(&early);
                Err(error)
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Fails if something is there that is not to be replaced.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "there is something else of this name, which is no socket",
            ));
        }
        Ok(_) => {}
    }
    match Probe::connect(path) {
        Ok(_) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens on it; stop that, or choose another path",
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Source for LocalListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path, why: &str) {
        let error = bind_local("--flag", &[path.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("--flag") && error.contains("unix:///"), "{error}");
    }

    #[tokio::test]
    async fn the_file_is_there_while_somebody_listens_and_only_for_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = LocalListener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let (near, far) = tokio::join!(UnixStream::connect(&path), listener.next());
        assert!(near.is_ok() && far.is_ok());
        refused(&path, "another process listens");
        drop(listener);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_process_left_behind_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("socket.new")).unwrap());
        let listener = LocalListener::bind(&path).unwrap();
        // Another one took its place: it is that one's.
        fs::remove_file(&path).unwrap();
        let other = LocalListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        fs::write(&path, "data").unwrap();
        refused(&path, "no socket");
        assert_eq!(fs::read(&path).unwrap(), b"data");
        refused(&dir.path().join("no-such-directory/socket"), "No such file");
    }
}
