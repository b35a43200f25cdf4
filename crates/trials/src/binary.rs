//! The server under test.

use std::path::{Path, PathBuf};

/// `$CONCLAVE_BIN`, or `checked/conclave` in the target directory.
#[must_use]
pub fn server() -> PathBuf {
    if let Some(path) = std::env::var_os("CONCLAVE_BIN") {
        return path.into();
    }
    // …/target/<profile>/deps/<test>: the server is built in `checked`, or in the tests' own
    // profile.
    let test = std::env::current_exe().unwrap_or_default();
    let profile = test.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let checked = profile.with_file_name("checked").join("conclave");
    if checked.exists() { checked } else { profile.join("conclave") }
}
