//! The configuration file: YAML, with etcd's keys where they mean the same.

use super::ConfigError;
use super::etcd::{self, Foreign};
use super::settings::Settings;
use serde_norway::{Mapping, Value};
use std::path::Path;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) settings: Settings,
    pub(super) foreign: Foreign,
}

pub(super) fn read(path: &Path) -> Result<Read, ConfigError> {
    let failed = |why: String| ConfigError::File { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

/// The keys are Conclave's settings and etcd's, so that a file made from etcd's sample works. An
/// unknown key is an error.
pub(super) fn parse(text: &str) -> Result<Read, String> {
    let mapping = match serde_norway::from_str(text).map_err(|error| error.to_string())? {
        Value::Null => return Ok(Read::default()),
        Value::Mapping(mapping) => mapping,
        _ => return Err("it must hold `key: value` lines".to_owned()),
    };
    let mut read = Read::default();
    for (key, value) in flatten(mapping)? {
        let Some(name) = key.as_str() else { return Err(format!("the key {key:?} is not text")) };
        let value = scalar(&value).ok_or_else(|| format!("{name}: a value must be one text, number or truth value"))?;
        if !etcd::set(&mut read.settings, &mut read.foreign, name, value) {
            return Err(format!("unknown key {name:?}; the keys are {}", Settings::keys().join(", ")));
        }
    }
    Ok(read)
}

/// Text, a number, a truth value, nothing, or nothing but such: YAML writes `3`, `true` and `a`
/// alike without quotes.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        _ => None,
    }
}

/// etcd's sections as its flags have them: TLS for clients; TLS between members, with `peer-`
/// before each name; sockets. Lists become text.
fn flatten(mapping: Mapping) -> Result<Vec<(Value, Value)>, String> {
    let mut flat = Vec::new();
    for (key, value) in mapping {
        let prefix = match key.as_str() {
            Some("client-transport-security") => "",
            Some("peer-transport-security") => "peer-",
            Some("socket-options") => "socket-",
            _ => {
                flat.push((key, joined(value)));
                continue;
            }
        };
        let section = match value {
            Value::Null => continue,
            Value::Mapping(section) => section,
            _ => return Err(format!("{key:?} must hold `key: value` lines")),
        };
        for (name, value) in section {
            let Some(name) = name.as_str() else { return Err(format!("the key {name:?} is not text")) };
            let name = match (prefix, name) {
                ("socket-", name) => format!("socket-{}", name.trim_end_matches("-enabled")),
                ("", "crl-file") => "client-crl-file".to_owned(),
                ("", "allowed-hostname" | "allowed-hostnames") => "client-cert-allowed-hostname".to_owned(),
                (_, "allowed-cn" | "allowed-cns") => "peer-cert-allowed-cn".to_owned(),
                (_, "allowed-hostname" | "allowed-hostnames") => "peer-cert-allowed-hostname".to_owned(),
                _ => format!("{prefix}{name}"),
            };
            flat.push((Value::String(name), joined(value)));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    match flat.iter().find_map(|(key, _)| key.as_str().filter(|name| !seen.insert(name.to_string()))) {
        Some(twice) => Err(format!("duplicate key {twice:?}")),
        None => Ok(flat),
    }
}

/// A list of texts as one text; gates by name as `name=value`.
fn joined(value: Value) -> Value {
    let parts: Option<Vec<String>> = match &value {
        Value::Sequence(parts) => parts.iter().map(|part| part.as_str().map(str::to_owned)).collect(),
        Value::Mapping(gates) => {
            gates.iter().map(|(name, on)| Some(format!("{}={}", name.as_str()?, on.as_bool()?))).collect()
        }
        _ => None,
    };
    let text = parts.map(|parts| parts.join(","));
    text.map_or(value, Value::String)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_keys_and_scalars() {
        let settings =
            parse("name: a\nheartbeat-interval: 100\nsnapshot-count: \"5\"\ndata-dir:\nunsafe-no-fsync: true\n");
        let settings = settings.expect("valid").settings;
        assert_eq!(settings.name.as_deref(), Some("a"));
        assert_eq!(settings.heartbeat_interval.as_deref(), Some("100"));
        assert_eq!(settings.snapshot_count.as_deref(), Some("5"));
        assert_eq!(settings.data_dir.as_deref(), Some(""));
        assert_eq!(settings.unsafe_no_fsync.as_deref(), Some("true"));
        assert_eq!(parse("# nothing\n").expect("valid"), Read::default());
    }

    #[test]
    fn keys_without_counterpart() {
        assert!(parse("wal-dir: ''\nclient-transport-security:\n  cert-file: ''\n  auto-tls: false\n").is_ok());
        let tls = "client-transport-security:\n  cert-file: /x\n  client-cert-auth: true\n\
                   peer-transport-security:\n  trusted-ca-file: /y\n  allowed-cn: [a, b]\ncipher-suites: [c, d]\n";
        let tls = parse(tls).expect("valid").settings;
        assert_eq!((tls.cert_file.as_deref(), tls.client_cert_auth.as_deref()), (Some("/x"), Some("true")));
        assert_eq!(
            (tls.peer_trusted_ca_file.as_deref(), tls.peer_cert_allowed_cn.as_deref()),
            (Some("/y"), Some("a,b"))
        );
        assert_eq!(tls.cipher_suites.as_deref(), Some("c,d"));
        let twice = parse("cert-file: /x\nclient-transport-security:\n  cert-file: /x\n").expect_err("twice");
        assert!(twice.contains("duplicate"), "{twice}");
        assert!(parse("client-transport-security:\n  unheard-of: /x\n").expect_err("unknown").contains("unheard-of"));
        let unknown = parse("nmae: a\n").expect_err("unknown");
        assert!(unknown.contains("unknown key \"nmae\""), "{unknown}");
        assert!(parse("name: [1]\n").is_err());
        assert!(parse("name: {a: [b]}\n").is_err());
        assert!(parse("- a\n").is_err());
        assert!(parse("name: a\nname: b\n").expect_err("twice").contains("duplicate"));
    }
}
