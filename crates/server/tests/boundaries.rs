//! The boundaries inside this crate that docs/architecture.md states: which modules may name what.

use std::fs;
use std::path::Path;

/// Consensus, proposing, reading, deadlines and peers: nothing that a client sends or is sent.
const NODE: [&str; 22] = [
    "bootstrap",
    "clock",
    "compactor",
    "consensus",
    "defragment",
    "descriptors",
    "disk_space",
    "fatal",
    "keeper",
    "leadership",
    "lease_keeper",
    "peer",
    "pending",
    "proposer",
    "reader",
    "rollback",
    "sink",
    "stall",
    "timer_keeper",
    "trim",
    "turns",
    "wiring",
];

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
    assert!(all.len() > 100, "the sources were not found");
    let mut modules: Vec<String> =
        all.into_iter().filter(|(_, code)| code.contains(what)).map(|(top, _)| top).collect();
    modules.sort();
    modules.dedup();
    modules
}

#[test]
fn openraft_is_named_by_consensus_and_what_talks_to_it() {
    let named = naming("openraft::");
    assert_eq!(named, ["consensus", "leadership", "peer", "proposer", "reader", "trim"]);
}

#[test]
fn the_node_knows_no_messages_of_clients() {
    let named = naming("conclave_api");
    let wrong: Vec<&String> = named.iter().filter(|module| NODE.contains(&module.as_str())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_node_knows_no_statuses_of_grpc_but_between_peers() {
    let named = naming("tonic::");
    let wrong: Vec<&String> =
        named.iter().filter(|module| NODE.contains(&module.as_str()) && *module != "peer").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
