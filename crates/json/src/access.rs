//! Which web pages may read the answers (`--cors`), and under which names the server may be asked
//! (`--host-whitelist`), as in etcd.
//!
//! The names are etcd's answer to DNS rebinding: a page whose host name is made to point to this
//! server still has its own name in the `Host` header. They do not concern gRPC, which no page can
//! send.

use std::collections::BTreeSet;

/// Both lists. One that is empty, or has `*` in it, allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    origins: BTreeSet<String>,
    hosts: BTreeSet<String>,
}

impl Access {
    #[must_use]
    pub fn new(origins: &[String], hosts: &[String]) -> Access {
        Access { origins: origins.iter().cloned().collect(), hosts: hosts.iter().cloned().collect() }
    }

    /// The origin to allow in an answer to a page from `origin`.
    #[must_use]
    pub fn origin<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        if allows_all(&self.origins) { Some("*") } else { origin.filter(|origin| self.origins.contains(*origin)) }
    }

    /// Whether the server may be asked under this name: `host` as the header has it, with its port.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        allows_all(&self.hosts) || self.hosts.contains(without_port(host))
    }
}

fn allows_all(list: &BTreeSet<String>) -> bool {
    list.is_empty() || list.contains("*")
}

/// The name in `name:port`, `[address]:port`, or either without a port.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The answer to a request under another name.
#[must_use]
pub fn host_refused(host: &str) -> String {
    let host = without_port(host);
    format!(
        "conclave received your request, but the Host header was unrecognized.\n\n\
         To fix this, add the hostname that you want to use to the whitelist:\n  conclave --host-whitelist {host:?}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(origins: &[&str], hosts: &[&str]) -> Access {
        let list = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
        Access::new(&list(origins), &list(hosts))
    }

    #[test]
    fn origins() {
        for all in [Access::default(), access(&["*"], &["*"]), access(&["https://a.example", "*"], &[])] {
            assert_eq!(all.origin(None), Some("*"));
            assert!(all.serves("anything:1"));
        }
        let some = access(&["https://a.example", "http://b.example:8080"], &[]);
        assert_eq!(some.origin(Some("http://b.example:8080")), Some("http://b.example:8080"));
        assert_eq!((some.origin(Some("http://b.example")), some.origin(None)), (None, None));
    }

    #[test]
    fn hosts() {
        let some = access(&[], &["etcd.local", "127.0.0.1", "::1"]);
        for host in ["etcd.local", "etcd.local:2379", "127.0.0.1:2379", "[::1]:2379", "::1"] {
            assert!(some.serves(host), "{host}");
        }
        for host in ["evil.example", "evil.example:2379", "etcd.local.evil.example", "", ":2379", "[::2]:2379"] {
            assert!(!some.serves(host), "{host}");
        }
        assert!(host_refused("evil.example:2379").contains("--host-whitelist \"evil.example\""));
    }
}
