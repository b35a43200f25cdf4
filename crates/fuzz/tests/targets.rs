//! Every decoder of what comes from outside has a fuzz target, and a new one cannot be forgotten.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files with decoders, and the targets that reach them. From clients, peers, the disk, the
/// configuration, the command line.
const DECODERS: &[(&str, &[&str])] = &[
    ("backup/src/read.rs", &["snapshot_file", "contents_of_a_snapshot"]),
    ("backup/src/schema.rs", &["snapshot_file"]),
    ("backup/src/users.rs", &["contents_of_a_snapshot"]),
    ("bolt/src/page.rs", &["bolt_file"]),
    ("cli/src/parse/mod.rs", &["txn_compare", "words", "numbers_and_times"]),
    ("dns/src/lib.rs", &["dns_answer"]),
    ("gateway/src/auth/issuer.rs", &["key_set", "issued_token"]),
    ("gateway/src/auth/jwt.rs", &["token"]),
    ("gateway/src/auth/own.rs", &["token"]),
    ("gateway/src/auth/tokens.rs", &["token"]),
    ("gateway/src/console/query.rs", &["console_query"]),
    ("gateway/src/convert/mod.rs", &["client_requests"]),
    ("gateway/src/deadline.rs", &["grpc_timeout"]),
    ("gateway/src/serve/authority.rs", &["authority"]),
    ("json/src/decode.rs", &["json_requests", "json_values"]),
    ("node/src/config/client_limits.rs", &["config_flags"]),
    ("node/src/config/duration.rs", &["config_duration"]),
    ("node/src/config/file.rs", &["config_file"]),
    ("node/src/config/flags.rs", &["config_flags"]),
    ("node/src/config/url.rs", &["config_url"]),
    ("node/src/peer/convert.rs", &["peer_append", "peer_vote", "peer_transfer", "peer_forward", "peer_replies"]),
    ("node/src/peer/log.rs", &["log_connection", "conversation"]),
    ("node/src/peer/proof/handshake.rs", &["peer_proof", "peer_proof_reply"]),
    ("node/src/peer/proof/records.rs", &["peer_proof", "peer_proof_reply"]),
    ("node/src/peer/proof/secret.rs", &["peer_secret"]),
    ("node/src/peer/snapshot.rs", &["peer_snapshot"]),
    ("node/src/peer/validate.rs", &["peer_append", "peer_keep_alive", "peer_small_requests", "peer_replies"]),
    ("state/src/attempt.rs", &["small_row"]),
    ("state/src/auth/rows.rs", &["small_row"]),
    ("state/src/cluster_version.rs", &["small_row"]),
    ("state/src/coord/field.rs", &["coordination_row"]),
    ("state/src/coord/keys.rs", &["coordination_row"]),
    ("state/src/keys.rs", &["row_key"]),
    ("state/src/lease/row.rs", &["small_row"]),
    ("state/src/member.rs", &["small_row"]),
    ("state/src/meta.rs", &["small_row"]),
    ("state/src/placement/policy.rs", &["config_flags"]),
    ("state/src/placement/row.rs", &["small_row"]),
    ("state/src/record.rs", &["kv_row"]),
    ("storage/src/codec/mod.rs", &["record", "raw_record"]),
    ("storage/src/codec/records.rs", &["record", "raw_record"]),
    ("storage/src/log/mark.rs", &["synced_mark"]),
    ("storage/src/log/found.rs", &["record"]),
    ("storage/src/proposal.rs", &["pack", "apply"]),
];

/// Functions with the name of a decoder that see nothing from outside, or only hand it on.
const OTHERS: &[&str] = &[
    // Hands the bytes to prost, too.
    "api/src/codec.rs",
    // Hands the bytes to prost: the messages are converted (`client_requests`).
    "gateway/src/serve/unary.rs",
    // Three flags of a page, for which any text is good.
    "gateway/src/http/pages.rs",
    // Keys that the state machine has made.
    "state/src/coord/shown.rs",
    // These hand a row to a decoder above.
    "state/src/view.rs",
    "state/src/overlay.rs",
    "storage/src/state/view.rs",
    // The parser of certificates is rustls' and x509-parser's, which have targets of their own; the
    // other is of the configuration.
    "tls/src/identity.rs",
    "tls/src/protocol.rs",
    // Command lines, by clap.
    "server/src/offline.rs",
];

/// Where input comes in.
const CRATES: [&str; 14] = [
    "backup", "bolt", "cli", "dns", "gateway", "json", "net", "node", "peer-api", "server", "state", "storage", "tls",
    "api",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All sources, by their path below `crates`.
fn all() -> BTreeMap<String, String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut found = Vec::new();
    for name in CRATES {
        sources(&crates.join(name), &mut found);
    }
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&crates).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// Whether a line begins a function that decodes, by its name.
fn decodes(line: &str) -> bool {
    let Some((before, after)) = line.split_once("fn ") else { return false };
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let begins = ["decode", "parse", "unseal", "split_row", "split_id", "take_text"];
    !before.contains("//") && begins.iter().any(|word| name.starts_with(word)) && name != "parse_from_args"
}

#[test]
fn every_decoder_has_a_target() {
    let sources = all();
    let listed: BTreeSet<&str> = DECODERS.iter().map(|(file, _)| *file).chain(OTHERS.iter().copied()).collect();
    let missing: Vec<&String> = sources
        .iter()
        .filter(|(name, _)| name.contains("/src/") && !name.contains("fuzz") && !name.contains("tests"))
        .filter(|(name, _)| !name.starts_with("cli/src/") || name.starts_with("cli/src/parse/"))
        .filter(|(_, text)| {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            code.lines().any(decodes)
        })
        .map(|(name, _)| name)
        .filter(|name| !listed.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "decoders without a fuzz target; list each in {}: {missing:?}", file!());
}

#[test]
fn every_target_that_is_listed_exists() {
    let sources = all();
    let text: String = sources.values().map(String::as_str).collect();
    for (file, targets) in DECODERS {
        assert!(sources.contains_key(*file), "{file} is not there any more");
        for target in *targets {
            assert!(text.contains(&format!("target!(\"{target}\")")), "there is no target {target}, for {file}");
        }
    }
    for file in OTHERS {
        assert!(sources.contains_key(*file), "{file} is not there any more");
    }
}
