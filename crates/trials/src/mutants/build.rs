//! Builds servers with planted bugs: from a copy of the source, one after the other, with one
//! target directory.
//!
//! 1. The source itself is never changed. In the copy a file is written only if its text differs,
//!    so cargo compiles again what a patch changes and what depends on it, and nothing else.
//! 2. A patch that does not fit is an error before anything is compiled.

use super::Mutant;
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// What of a repository a build does not read.
const LEFT_OUT: [&str; 2] = [".git", "target"];

/// The source that this program was built from.
#[must_use]
pub fn own_source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A place where servers with planted bugs are built.
#[derive(Clone, Debug)]
pub struct Workshop {
    source: PathBuf,
    dir: PathBuf,
}

impl Workshop {
    /// Builds from `source` in `dir`, which is kept: the next time costs less.
    ///
    /// # Errors
    /// One of the patches does not fit.
    pub fn new(source: &Path, dir: &Path, mutants: &[&Mutant]) -> Result<Self> {
        for mutant in mutants {
            mutant.patched(source)?;
        }
        std::fs::create_dir_all(dir)?;
        Ok(Self { source: source.canonicalize()?, dir: dir.canonicalize()? })
    }

    /// The server with this bug; its file's name says which.
    ///
    /// # Errors
    /// It does not compile.
    pub fn server(&self, mutant: &Mutant) -> Result<PathBuf> {
        let copy = self.dir.join("source");
        copy_tree(&self.source, &copy, &mutant.patched(&self.source)?)?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--locked",
            "--quiet",
            "--profile",
            "checked",
            "-p",
            "conclave-server",
            "--bin",
            "conclave",
        ]);
        cargo.env("CARGO_TARGET_DIR", self.dir.join("target"));
        let built = cargo.current_dir(&copy).output().context("cargo cannot be started")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "the server with {} does not compile:\n{said}", mutant.name);
        let server = self.dir.join(mutant.file_name());
        std::fs::copy(self.dir.join("target/checked/conclave"), &server)?;
        Ok(server)
    }
}

/// Makes `to` a copy of `from`, but for the files that are given.
fn copy_tree(from: &Path, to: &Path, changed: &BTreeMap<PathBuf, String>) -> Result<()> {
    let mut kept = BTreeSet::new();
    for path in files(from)? {
        let text = match changed.get(&path) {
            Some(text) => text.clone().into_bytes(),
            None => std::fs::read(from.join(&path))?,
        };
        let target = to.join(&path);
        if std::fs::read(&target).ok().as_ref() != Some(&text) {
            std::fs::create_dir_all(target.parent().context("a file is in a folder")?)?;
            std::fs::write(&target, text)?;
        }
        kept.insert(path);
    }
    for path in files(to)?.into_iter().filter(|path| !kept.contains(path)) {
        std::fs::remove_file(to.join(path))?;
    }
    Ok(())
}

/// All files below a folder, by their paths in it.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).with_context(|| root.display().to_string())? {
            let entry = entry?;
            if folder.as_os_str().is_empty() && LEFT_OUT.map(OsStr::new).contains(&entry.file_name().as_os_str()) {
                continue;
            }
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_the_source_has_and_touches_what_differs() {
        let root = tempfile::tempdir().expect("a directory");
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(from.join(path).parent().expect("a folder")).expect("a folder");
            std::fs::write(from.join(path), text).expect("written");
        };
        for path in ["Cargo.toml", "src/a.rs", "src/b/c.rs", "target/x", ".git/HEAD"] {
            write(path, path);
        }
        std::fs::create_dir(&to).expect("a folder");
        let planted = BTreeMap::from([(PathBuf::from("src/a.rs"), "planted".to_owned())]);
        copy_tree(&from, &to, &planted).expect("copied");
        let of = |path: &str| std::fs::read_to_string(to.join(path)).ok();
        assert_eq!(of("src/a.rs").as_deref(), Some("planted"));
        assert_eq!(of("src/b/c.rs").as_deref(), Some("src/b/c.rs"));
        assert!(of("target/x").is_none() && of(".git/HEAD").is_none());

        let written = |path: &str| std::fs::metadata(to.join(path)).and_then(|meta| meta.modified()).expect("a time");
        let before = (written("src/a.rs"), written("src/b/c.rs"));
        std::fs::remove_file(from.join("Cargo.toml")).expect("removed");
        copy_tree(&from, &to, &BTreeMap::new()).expect("copied again");
        assert_eq!(of("src/a.rs").as_deref(), Some("src/a.rs"), "the source's own text is back");
        assert!(written("src/a.rs") >= before.0 && written("src/b/c.rs") == before.1 && of("Cargo.toml").is_none());
    }
}
