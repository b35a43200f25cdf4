//! etcd 3.7 and its tools, where Go is installed.

use crate::report;
use anyhow::{Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where etcd 3.7 and its tools are; `None` without Go, which is reported.
///
/// # Errors
/// They cannot be built.
pub fn tools() -> Result<Option<PathBuf>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/etcd-tools");
    let built = Command::new(script).output()?;
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    match built.status.code() {
        Some(0) => Ok(Some(PathBuf::from(String::from_utf8(built.stdout)?.trim_end()))),
        Some(3) => {
            report(&format!("NOT TESTED: {said}"));
            Ok(None)
        }
        _ => Err(anyhow::anyhow!("scripts/etcd-tools: {said}")),
    }
}

/// What a tool printed.
///
/// # Errors
/// It fails.
pub fn run(tool: &Path, args: &[&str]) -> Result<String> {
    let ran = Command::new(tool).args(args).output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{} {args:?}: {said}", tool.display());
    Ok(String::from_utf8(ran.stdout)?.trim_end().to_owned())
}
