//! The boundaries between crates: which depends on which, and which library is one crate's own.

use crate::circles::Crate;
use crate::{crate_dirs, folder};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Which crates of the project each one is built on. `api` stands for `conclave-api`.
const STANDS_ON: [(&str, &[&str]); 20] = [
    ("api", &[]),
    ("backup", &["bolt", "state"]),
    ("bench", &["cli", "client"]),
    ("bolt", &[]),
    ("cli", &["backup", "client", "dns"]),
    ("client", &["api", "tls"]),
    ("cluster-tests", &["api", "client", "trials"]),
    ("console", &[]),
    ("dns", &[]),
    ("fuzz", &[]),
    ("gateway", &["api", "backup", "console", "json", "net", "node", "state", "storage", "tls"]),
    ("json", &["api"]),
    ("net", &[]),
    ("node", &["dns", "net", "peer-api", "state", "storage", "tls"]),
    ("peer-api", &["api"]),
    ("server", &["backup", "gateway", "net", "node", "state", "storage", "tls"]),
    ("state", &[]),
    ("storage", &["state"]),
    ("tls", &[]),
    ("trials", &["api"]),
];

/// Libraries that only these crates know.
const OWN: [(&str, &[&str]); 7] = [
    ("bincode", &["storage"]),
    ("maud", &["console"]),
    ("openraft", &["node", "storage"]),
    ("prometheus-client", &["gateway"]),
    ("rocksdb", &["storage"]),
    ("rustls", &["tls"]),
    ("tokio-rustls", &["tls"]),
];

/// The dependencies of a crate, those of its tests left out.
fn dependencies(dir: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).expect("a manifest");
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if let (true, Some(end)) = (inside, line.find(['.', ' ', '='])) {
            found.push(line[..end].to_owned());
        }
    }
    found
}

fn all() -> BTreeMap<String, Vec<String>> {
    let cluster_tests = folder().join("cluster-tests");
    let dirs = crate_dirs().into_iter().chain([cluster_tests]);
    dirs.map(|dir| (dir.file_name().expect("a name").to_string_lossy().into_owned(), dependencies(&dir))).collect()
}

#[test]
fn each_crate_stands_on_those_that_the_architecture_names() {
    let found: BTreeMap<String, Vec<String>> = all()
        .into_iter()
        .map(|(name, all)| {
            let own = all.iter().filter_map(|one| one.strip_prefix("conclave-")).map(str::to_owned);
            (name, own.collect())
        })
        .collect();
    let stated = STANDS_ON.map(|(name, on)| (name.to_owned(), on.iter().map(|one| (*one).to_owned()).collect()));
    assert_eq!(found, BTreeMap::from(stated));
}

#[test]
fn a_library_with_one_owner_is_known_to_no_other_crate() {
    let all = all();
    for (library, owners) in OWN {
        let found: Vec<&str> =
            all.iter().filter(|(_, own)| own.iter().any(|one| one == library)).map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, owners, "{library}");
    }
}

/// The files of a crate whose code names any of these paths, tests left out.
fn naming(name: &str, paths: &[&[&str]]) -> Vec<String> {
    let read = Crate::read(&folder().join("crates").join(name).join("src"));
    paths.iter().flat_map(|path| read.naming(path)).collect()
}

/// What a command does depends on the log alone. (`clippy.toml` there forbids clocks and
/// collections without an order, too.)
#[test]
fn the_state_machine_names_nothing_of_the_world_outside() {
    let outside = ["env", "fs", "io", "net", "process", "thread", "time"].map(|module| ["std", module]);
    let outside: Vec<&[&str]> = outside.iter().map(<[&str; 2]>::as_slice).collect();
    assert_eq!(naming("state", &outside), Vec::<String>::new());
    // That this is found where it is.
    assert!(naming("storage", &outside).contains(&"files.rs".to_owned()));
}

#[test]
fn conclavectl_decides_its_exit_code_in_one_place() {
    let mut found = naming("cli", &[&["std", "process", "exit"]]);
    found.sort();
    // The shim that `hold` puts between itself and a command is not conclavectl.
    assert_eq!(found, ["lib.rs", "program.rs"]);
}
