//! Golden transcripts: each file of `testscripts/` is a story told in commands, with what the state
//! machine made of it.
//!
//! A file is blocks of `commands`, a line `---`, and the recorded output, parted by blank lines;
//! `#` begins a comment. The file names are the table of contents of what is covered.
//! `UPDATE_GOLDEN=1 cargo test -p conclave-state --test scripts` records anew: read the difference
//! before keeping it, the transcript is the specification.

mod script;

use script::Session;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn transcripts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let files = files(&root);
    assert!(files.len() > 20, "the transcripts are missing under {}", root.display());
    let failed: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of transcripts can be read") {
        let path = entry.expect("the folder of transcripts can be read").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn check(file: &Path) -> Result<(), String> {
    let recorded = std::fs::read_to_string(file).expect("a transcript can be read");
    let actual = replay(&recorded).map_err(|error| format!("{}: {error}", file.display()))?;
    if actual == recorded {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "asks the developer who runs the test, not the state machine")]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(file, actual).expect("a transcript can be written");
        return Ok(());
    }
    let line = actual.lines().zip(recorded.lines()).take_while(|(actual, recorded)| actual == recorded).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    Err(format!("{}:{}\n  recorded: {}\n  actual:   {}", file.display(), line + 1, at(&recorded), at(&actual)))
}

/// The transcript with its outputs made anew.
fn replay(recorded: &str) -> Result<String, String> {
    let mut session = Session::new();
    let mut actual = String::new();
    let mut commands: Vec<&str> = Vec::new();
    let mut in_output = false;
    for line in recorded.lines().chain([""]) {
        match (line, in_output) {
            ("---", false) => {
                let output = session.run(&commands)?;
                let _ = writeln!(actual, "---\n{output}");
                commands.clear();
                in_output = true;
            }
            ("", true) => in_output = false,
            (_, true) => {}
            (line, false) => {
                commands.push(line);
                if !(line.is_empty() && actual.ends_with("\n\n")) {
                    let _ = writeln!(actual, "{line}");
                }
            }
        }
    }
    if commands.iter().any(|line| !line.is_empty()) {
        return Err("commands without `---` at the end".into());
    }
    Ok(format!("{}\n", actual.trim_end()))
}
