//! The boundaries of this crate that docs/architecture.md states and Cargo.toml cannot: which
//! modules may name what.

use std::fs;
use std::path::Path;

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
