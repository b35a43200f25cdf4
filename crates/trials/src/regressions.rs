//! Runs that once showed a bug of the product. Each is kept with its whole plan, so that it stays
//! the same however plans are drawn.
//!
//! One file a bug, in `crates/trials/regressions`. The bug is mended and has a test of its own;
//! what is kept here are the circumstances that brought it out, in which others like it may hide.

use super::plan::Plan;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A bug and the run that found it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Regression {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// What was wrong.
    pub found: String,
    /// The property that found it.
    pub by: String,
    pub plan: Plan,
}

/// Where they are, as long as the sources are where the program was built.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

/// All of a folder, by name.
///
/// # Errors
/// One cannot be read.
pub fn load(folder: &Path) -> Result<Vec<Regression>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let regression: Regression = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(regression.plan.mutant.is_none(), "{name} is a planted bug");
        found.push(Regression { name, ..regression });
    }
    ensure!(!found.is_empty(), "{} has no regressions", folder.display());
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::PROPERTIES, run::OF_THE_ENVIRONMENT};

    #[test]
    fn all_can_be_read_and_name_a_property() {
        for regression in load(&folder()).unwrap() {
            let environment = OF_THE_ENVIRONMENT.map(|(name, _)| name);
            let mut properties = PROPERTIES.iter().map(|property| property.name).chain(environment);
            assert!(properties.any(|property| property == regression.by), "{regression:?}");
            assert!(!regression.found.is_empty() && !regression.plan.steps.is_empty(), "{regression:?}");
        }
    }
}
