//! Unified diffs, applied strictly: a patch fits only if it can mean one place alone.
//!
//! 1. The lines of a hunk that stand in the file before it (context and removed lines) are in the
//!    file exactly once, and without a gap. Line numbers count for nothing, so changes elsewhere in
//!    the file do not matter.
//! 2. A patch that does not fit is an error that names the patch, the file and the first line of
//!    the hunk. Nothing is applied in part.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// The changes of some files.
#[derive(Clone, Debug)]
pub struct Patch {
    files: BTreeMap<PathBuf, Vec<Hunk>>,
}

/// Lines that are replaced by others; both hold the context.
#[derive(Clone, Debug, Default)]
struct Hunk {
    before: Vec<String>,
    after: Vec<String>,
}

impl Patch {
    /// Parses a diff. Lines before the first file are its comment.
    ///
    /// # Errors
    /// It has no hunk, or something that is not understood.
    pub fn parse(text: &str) -> Result<Self> {
        let mut files: BTreeMap<PathBuf, Vec<Hunk>> = BTreeMap::new();
        let mut file: Option<PathBuf> = None;
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("+++ ") {
                let path = path.split('\t').next().and_then(|path| path.strip_prefix("b/")).map(Path::new);
                let below = |path: &&Path| path.components().all(|part| matches!(part, Component::Normal(_)));
                let path = path.filter(below).with_context(|| format!("{line}: no path below b/"))?;
                files.insert(path.to_owned(), Vec::new());
                file = Some(path.to_owned());
            } else if line.starts_with("--- ") || line.starts_with("diff ") || line.starts_with("index ") {
                file = None;
            } else if let Some(hunks) = file.as_ref().and_then(|file| files.get_mut(file)) {
                if line.starts_with("@@") {
                    hunks.push(Hunk::default());
                } else {
                    hunks.last_mut().context("a line before the first hunk")?.add(line)?;
                }
            }
        }
        let hunks = || files.values().flatten();
        ensure!(files.values().all(|hunks| !hunks.is_empty()) && hunks().count() > 0, "a patch without a hunk");
        ensure!(hunks().all(|hunk| hunk.before != hunk.after), "a hunk that changes nothing");
        ensure!(hunks().all(|hunk| !hunk.before.is_empty()), "a hunk without context");
        Ok(Self { files })
    }

    /// The changed files with their new text, by their paths below the root of the source.
    ///
    /// # Errors
    /// A file is not there, or a hunk does not fit.
    pub fn applied_to(&self, source: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let apply = |(path, hunks): (&PathBuf, &Vec<Hunk>)| {
            let text = std::fs::read_to_string(source.join(path)).with_context(|| path.display().to_string())?;
            let text = hunks.iter().try_fold(text, |text, hunk| hunk.apply(&text));
            Ok((path.clone(), text.with_context(|| path.display().to_string())?))
        };
        self.files.iter().map(apply).collect()
    }
}

impl Hunk {
    fn add(&mut self, line: &str) -> Result<()> {
        // Some editors take the blank off an empty line of context.
        let (sort, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
        match sort {
            " " => {
                self.before.push(rest.to_owned());
                self.after.push(rest.to_owned());
            }
            "-" => self.before.push(rest.to_owned()),
            "+" => self.after.push(rest.to_owned()),
            _ => bail!("{line:?} is no line of a hunk"),
        }
        Ok(())
    }

    fn apply(&self, text: &str) -> Result<String> {
        let lines: Vec<&str> = text.lines().collect();
        let places = lines.windows(self.before.len()).enumerate().filter(|(_, window)| *window == self.before);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        let has_words = |line: &&String| line.contains(char::is_alphanumeric);
        let shown = || self.before.iter().find(has_words).map_or("", |line| line.trim());
        let at = match places[..] {
            [at] => at,
            [] => bail!("the lines from {:?} on are not there", shown()),
            _ => bail!("the lines from {:?} on are there {} times", shown(), places.len()),
        };
        let after = self.after.iter().map(String::as_str);
        let all = lines[..at].iter().copied().chain(after).chain(lines[at + self.before.len()..].iter().copied());
        Ok(all.collect::<Vec<_>>().join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
A comment.
--- a/src/x.rs
+++ b/src/x.rs
@@ -1,3 +1,3 @@
 one
-two
+2
 three
";

    fn applied(patch: &str, text: &str) -> Result<String> {
        let source = tempfile::tempdir()?;
        std::fs::create_dir(source.path().join("src"))?;
        std::fs::write(source.path().join("src/x.rs"), text)?;
        let mut files = Patch::parse(patch)?.applied_to(source.path())?;
        files.remove(Path::new("src/x.rs")).context("the file is changed")
    }

    #[test]
    fn a_hunk_is_applied_wherever_its_lines_stand() {
        assert_eq!(
            applied(PATCH, "zero\n\none\ntwo\nthree\nfour\n").expect("it fits"),
            "zero\n\none\n2\nthree\nfour\n"
        );
        let second = format!("{PATCH}@@ -9 +9,2 @@\n five\n+six\n");
        assert_eq!(applied(&second, "one\ntwo\nthree\nfive\n").expect("it fits"), "one\n2\nthree\nfive\nsix\n");
    }

    #[test]
    fn a_patch_that_does_not_fit_says_where() {
        for (text, says) in [
            ("one\n2\nthree\n", "from \"one\" on are not there"),
            ("one\n two\nthree\n", "are not there"),
            ("one\ntwo\nfour\n", "are not there"),
            ("one\ntwo\nthree\none\ntwo\nthree\n", "are there 2 times"),
            ("", "are not there"),
        ] {
            let error = format!("{:#}", applied(PATCH, text).expect_err(says));
            assert!(error.contains(says) && error.contains("src/x.rs"), "{text:?}: {error}");
        }
        let elsewhere = PATCH.replace("x.rs", "y.rs");
        assert!(format!("{:#}", applied(&elsewhere, "one\n").expect_err("no file")).contains("y.rs"));
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        let head = "--- a/x\n+++ b/x\n";
        for text in ["", "words", head, &format!("{head}@@ @@\n one\n"), &format!("{head}@@ @@\n+one\n")] {
            assert!(Patch::parse(text).is_err(), "{text:?}");
        }
        assert!(
            Patch::parse(&format!("{head} one\n")).is_err() && Patch::parse(&format!("{head}@@ @@\n*one\n")).is_err()
        );
        for path in ["/etc/passwd", "b/../x", "x"] {
            assert!(Patch::parse(&format!("--- a/x\n+++ {path}\n@@ @@\n-one\n+two\n")).is_err(), "{path}");
        }
    }
}
