//! Versions and cipher suites, by the names that Go and etcd give them.

use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    /// `TLS1.2` or `TLS1.3`.
    pub fn parse(text: &str) -> Result<Version, String> {
        match text {
            "TLS1.2" => Ok(Version::Tls12),
            "TLS1.3" => Ok(Version::Tls13),
            "TLS1.0" | "TLS1.1" => Err(format!("{text:?} is broken and not offered: TLS1.2 or TLS1.3")),
            _ => Err(format!("{text:?} is none of: TLS1.2, TLS1.3")),
        }
    }

    fn of(suite: &SupportedCipherSuite) -> Version {
        if suite.tls13().is_some() { Version::Tls13 } else { Version::Tls12 }
    }
}

/// Which versions and suites are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    versions: Vec<Version>,
    suites: Vec<CipherSuite>,
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol::new(Version::Tls12, Version::Tls13, &[]).expect("the default has suites")
    }
}

impl Protocol {
    /// `suites` by name; none are all. As in Go, a list without suites of TLS 1.3 says nothing
    /// about TLS 1.3.
    pub fn new(min: Version, max: Version, suites: &[String]) -> Result<Protocol, String> {
        let mut named = suites.iter().map(|name| parse_suite(name)).collect::<Result<Vec<_>, _>>()?;
        let all = NAMES.iter().map(|(_, suite)| *suite);
        if named.is_empty() {
            named.extend(all);
        } else if !named.iter().any(|suite| version_of(*suite) == Version::Tls13) {
            named.extend(all.filter(|suite| version_of(*suite) == Version::Tls13));
        }
        let versions: Vec<Version> = [Version::Tls12, Version::Tls13]
            .into_iter()
            .filter(|version| (min..=max).contains(version))
            .filter(|version| named.iter().any(|suite| version_of(*suite) == *version))
            .collect();
        if min > max {
            return Err("the lowest version is above the highest".to_owned());
        }
        if versions.is_empty() {
            return Err("none of the suites belongs to an allowed version".to_owned());
        }
        named.retain(|suite| versions.contains(&version_of(*suite)));
        Ok(Protocol { versions, suites: named })
    }

    /// The provider with these suites, in the order that was given.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let all = ring::default_provider();
        let suite = |wanted: &CipherSuite| all.cipher_suites.iter().find(|suite| suite.suite() == *wanted).copied();
        Arc::new(CryptoProvider { cipher_suites: self.suites.iter().filter_map(suite).collect(), ..all })
    }

    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let version = |version: &Version| match version {
            Version::Tls12 => &TLS12,
            Version::Tls13 => &TLS13,
        };
        self.versions.iter().map(version).collect()
    }
}

/// In the order of preference.
const NAMES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

fn parse_suite(name: &str) -> Result<CipherSuite, String> {
    // Go has two names for these.
    let full = match name {
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => format!("{name}_SHA256"),
        _ => name.to_owned(),
    };
    let known = NAMES.iter().find(|(known, _)| *known == full).map(|(_, suite)| *suite);
    known.ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        format!("the cipher suite {name:?} is not known here; there are {}", names.join(", "))
    })
}

fn version_of(suite: CipherSuite) -> Version {
    let all = ring::ALL_CIPHER_SUITES.iter().find(|known| known.suite() == suite);
    all.map_or(Version::Tls12, Version::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_is_a_suite_of_the_provider() {
        assert_eq!(Protocol::default().provider().cipher_suites.len(), NAMES.len());
        assert_eq!(Protocol::default().versions().len(), 2);
    }

    #[test]
    fn a_list_for_one_version_leaves_the_other_as_go_does() {
        let list = suites(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]);
        let both = Protocol::new(Version::Tls12, Version::Tls13, &list).unwrap();
        assert_eq!((both.versions.len(), both.suites.len()), (2, 4));
        let old = Protocol::new(Version::Tls12, Version::Tls12, &list).unwrap();
        assert_eq!(old.suites, [CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]);
        let new = Protocol::new(Version::Tls12, Version::Tls13, &suites(&["TLS_AES_128_GCM_SHA256"])).unwrap();
        assert_eq!((new.versions, new.suites.len()), (vec![Version::Tls13], 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let unknown = Protocol::new(Version::Tls12, Version::Tls13, &suites(&["TLS_RSA_WITH_AES_128_CBC_SHA"]));
        assert!(unknown.unwrap_err().contains("TLS_RSA_WITH_AES_128_CBC_SHA"));
        assert!(Protocol::new(Version::Tls13, Version::Tls12, &[]).is_err());
        let none = Protocol::new(Version::Tls12, Version::Tls12, &suites(&["TLS_AES_128_GCM_SHA256"]));
        assert!(none.unwrap_err().contains("none of the suites"));
        assert!(Version::parse("TLS1.1").unwrap_err().contains("broken"));
        assert!(Version::parse("1.2").is_err());
    }
}
