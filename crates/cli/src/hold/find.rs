//! Where a command is, looked up before anything is waited for.

use crate::{
    exit::Exit,
    failure::{Failure, Result},
};
use rustix::fs::{Access, access};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Makes sure that there is such a command.
///
/// # Errors
/// There is none (127), or it cannot be run (126).
pub(crate) fn find(command: &OsStr) -> Result<PathBuf> {
    find_in(command, std::env::var_os("PATH").as_deref())
}

fn find_in(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf> {
    let name = Path::new(command);
    let missing = || {
        Failure::new(Exit::CommandMissing, format!("there is no command {command:?}"))
            .hint("nothing was done. For shell syntax write: -- sh -c '...'")
    };
    let candidates: Vec<PathBuf> = if name.components().count() > 1 {
        vec![name.to_owned()]
    } else {
        std::env::split_paths(path.unwrap_or_default()).map(|dir| dir.join(name)).collect()
    };
    let files: Vec<PathBuf> = candidates.into_iter().filter(|file| file.is_file()).collect();
    match files.iter().find(|file| access(file.as_path(), Access::EXEC_OK).is_ok()) {
        Some(file) => Ok(file.clone()),
        None if files.is_empty() => Err(missing()),
        None => Err(Failure::new(Exit::CommandUnusable, format!("{} is not executable", files[0].display()))
            .hint("nothing was done. chmod +x makes a file executable")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_missing_and_not_executable() {
        let of = |name: &str, path: &str| find_in(OsStr::new(name), Some(OsStr::new(path)));
        assert!(of("sh", "/nowhere:/bin").is_ok_and(|file| file.ends_with("sh")));
        assert!(of("/bin/sh", "").is_ok());
        assert_eq!(of("no-such-command", "/bin").expect_err("missing").exit, Exit::CommandMissing);
        assert_eq!(of("/etc/passwd", "").expect_err("a text").exit, Exit::CommandUnusable);
        assert_eq!(of("/bin", "").expect_err("a directory").exit, Exit::CommandMissing);
    }
}
