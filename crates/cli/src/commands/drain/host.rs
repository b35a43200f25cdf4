//! Whose clients are meant: by the names that they give themselves.

use std::collections::HashMap;

/// The label of a candidate that names its host.
const LABEL: &str = "host";

/// A host, and patterns of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    name: Option<String>,
    patterns: Vec<String>,
}

impl Host {
    pub(super) fn new(name: Option<String>, patterns: Vec<String>) -> Host {
        Host { name, patterns }
    }

    /// Whether a candidate, holder or owner of this name is meant.
    pub(super) fn has(&self, client: &str) -> bool {
        let here = |host: &String| {
            // `user@host/process`; a user's name may hold anything.
            let tail = client.rsplit_once('@').map_or(client, |(_, tail)| tail);
            [client, tail].iter().any(|text| text.strip_prefix(host.as_str()).is_some_and(ends))
        };
        self.name.as_ref().is_some_and(here) || self.patterns.iter().any(|pattern| matches(pattern, client))
    }

    /// The same of a candidate with these labels.
    pub(super) fn has_candidate(&self, id: &str, labels: &HashMap<String, String>) -> bool {
        self.has(id) || (self.name.is_some() && labels.get(LABEL) == self.name.as_ref())
    }
}

/// Whether the name of the host ends before this.
fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// `*` stands for any text, also none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_host() {
        let host = Host::new(Some("host-7".into()), vec![]);
        for client in ["host-7", "host-7/4711", "root@host-7/4711", "a@b@host-7/1"] {
            assert!(host.has(client), "{client}");
        }
        for client in ["host-70", "host-70/1", "root@host-70/1", "other/host-7", "", "host-7@other/1"] {
            assert!(!host.has(client), "{client}");
        }
        let labels = HashMap::from([("host".to_owned(), "host-7".to_owned())]);
        assert!(host.has_candidate("web", &labels) && !host.has_candidate("web", &HashMap::new()));
        assert!(!Host::new(None, vec![]).has_candidate("web", &HashMap::new()));
    }

    #[test]
    fn patterns() {
        let host = Host::new(None, vec!["web-7*".into(), "db".into()]);
        assert!(host.has("web-7") && host.has("web-7/1") && host.has("db"));
        assert!(!host.has("web-6") && !host.has("db2") && !host.has("xdb"));
        for (pattern, text, same) in [
            ("*", "", true),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("*x", "xyx", true),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, text), same, "{pattern} {text}");
        }
    }
}
