//! The boundaries that docs/architecture.md states: which crate may depend on what, which modules
//! of this crate may name what, and that no files of any crate import each other in a circle.

mod circles;
mod crates;
mod source;

use circles::Crate;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the repository.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn crate_dirs() -> Vec<PathBuf> {
    let crates = fs::read_dir(folder().join("crates")).expect("the crates can be listed");
    crates.map(|entry| entry.expect("the crates can be listed").path()).collect()
}

/// The source files of the crate: the module at the top that each belongs to, and its text without
/// comments.
fn sources(folder: &Path, module: Option<&str>, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        let name = path.file_stem().expect("a name").to_str().expect("a name in ASCII").to_owned();
        let top = module.unwrap_or(&name);
        if path.is_dir() {
            sources(&path, Some(top), found);
        } else {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            found.push((top.to_owned(), code));
        }
    }
}

fn naming(what: &str) -> Vec<String> {
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut all);
    assert!(all.len() > 50, "the sources were not found");
    let mut modules: Vec<String> =
        all.into_iter().filter(|(_, code)| code.contains(what)).map(|(top, _)| top).collect();
    modules.sort();
    modules.dedup();
    modules
}

#[test]
fn openraft_is_named_by_consensus_and_the_modules_that_call_it() {
    assert_eq!(
        naming("openraft::"),
        ["consensus", "leadership", "log_retention", "membership", "peer", "proposer", "reader"]
    );
}

#[test]
fn grpc_is_spoken_between_peers_alone() {
    assert_eq!(naming("tonic::"), ["peer"]);
    assert_eq!(naming("conclave_peer_api"), ["peer"]);
}

/// The circles that may stay, each with its reason.
const INHERENT: [(&str, &[&str], &str); 2] = [
    (
        "client",
        &["queue/campaign.rs", "queue/candidacy.rs", "queue/entry.rs", "queue/leadership.rs"],
        "states that turn into each other: a candidacy campaigns, a campaign leads, a leadership stands again",
    ),
    (
        "trials",
        &[
            "env/holding.rs",
            "env/inject/clock.rs",
            "env/inject/corrupt.rs",
            "env/inject/disk.rs",
            "env/inject/load.rs",
            "env/inject/mod.rs",
            "env/inject/network.rs",
            "env/inject/process.rs",
            "env/world.rs",
        ],
        "the world holds the faults that are installed in it, and each fault knows how to undo itself in the world",
    ),
];

#[test]
fn no_files_import_each_other() {
    let mut unknown = String::new();
    let mut known = BTreeSet::new();
    let mut files = 0;
    for path in crate_dirs() {
        let name = path.file_name().expect("a name").to_str().expect("a name in ASCII").to_owned();
        let read = Crate::read(&path.join("src"));
        files += read.files();
        for circle in read.circles() {
            match INHERENT.iter().position(|(of, files, _)| *of == name && *files == circle) {
                Some(at) => drop(known.insert(at)),
                None => unknown += &read.describe(&name, &circle),
            }
        }
    }
    assert!(files > 500, "the sources were not found");
    assert!(unknown.is_empty(), "files import each other:\n{unknown}");
    assert_eq!(known.len(), INHERENT.len(), "an exception is not needed any more");
}

/// The search finds what it is for.
#[test]
fn a_circle_is_found_through_nested_imports_re_exports_and_paths() {
    let file = |text: &str| text.to_owned();
    let read = Crate::from([
        ("lib.rs", file("mod a; mod b; mod c; mod d; pub use d::Shared;")),
        // By a tree of imports, and by a path in the code.
        ("a.rs", file("use crate::{b::{self, Name as Other}, Shared}; fn a(_: Other) { b::b() }")),
        ("b.rs", file("pub struct Name; pub fn b() { crate::c::c(\"crate::a\") }")),
        // By a re-export of `lib.rs`.
        ("c.rs", file("pub fn c(_: &str) { let _ = super::Shared; } #[cfg(test)] mod tests { use crate::b::Name; }")),
        ("d/mod.rs", file("mod inner; pub struct Shared; pub fn d() { inner::up() }")),
        ("d/inner.rs", file("// use crate::b::b;\nuse super::Shared; use crate::a::a; pub fn up() { a(Shared) }")),
    ]);
    assert_eq!(read.circles(), [["a.rs", "b.rs", "c.rs", "d/inner.rs", "d/mod.rs"]]);
    let words = read.describe("some", &["a.rs", "b.rs"]);
    assert!(words.contains("a.rs → b.rs: b::b, crate::b::Name"), "{words}");
    // Tests, comments, texts, and what a file takes from the `mod.rs` above it make none.
    let read = Crate::from([
        ("lib.rs", file("mod a; mod b; pub struct Top;")),
        ("a.rs", file("use crate::b::B; // use crate::b::\n#[cfg(test)] fn t() { crate::b::b() }")),
        (
            "b.rs",
            file("use crate::Top; pub struct B; const TEXT: &str = r#\"crate::a::A\"#; #[cfg(test)] use crate::a::A;"),
        ),
    ]);
    assert_eq!(read.circles(), Vec::<Vec<&str>>::new());
}
