//! The settings of TLS: what etcd's flags mean, and which go together.

use super::problems::Problems;
use super::settings::Settings;
use conclave_tls::{Allowed, KeyPair, Protocol, TlsError, Version};
use std::path::{Path, PathBuf};

/// TLS of one kind of port. Its files are read when it is [opened](TlsConfig::open).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    pub own: Certificate,
    pub own_as_client: Option<KeyPair>,
    pub ca: Option<PathBuf>,
    pub crl: Option<PathBuf>,
    pub allowed: Allowed,
    pub protocol: Protocol,
}

/// Where this member's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    Files(KeyPair),
    /// Made by this member, for these hosts, in this directory.
    SelfSigned {
        directory: PathBuf,
        hosts: Vec<String>,
        years: u32,
    },
}

impl TlsConfig {
    /// Reads the files, or makes the certificate. `port` is for logs and metrics.
    ///
    /// # Errors
    /// A file cannot be read, used, or written.
    pub fn open(&self, port: &'static str, alpn: &[&[u8]]) -> Result<conclave_tls::Tls, TlsError> {
        let own = match &self.own {
            Certificate::Files(pair) => pair.clone(),
            Certificate::SelfSigned { directory, hosts, years } => {
                tracing::warn!(port, "TLS with a certificate of this member's own: encryption, but no identity");
                conclave_tls::self_signed(directory, hosts, *years)?
            }
        };
        let settings = conclave_tls::Settings {
            own,
            own_as_client: self.own_as_client.clone(),
            ca: self.ca.clone(),
            crl: self.crl.clone(),
            allowed: self.allowed.clone(),
            protocol: self.protocol.clone(),
            alpn: alpn.iter().map(|name| name.to_vec()).collect(),
        };
        conclave_tls::Tls::new(port, settings)
    }
}

/// Secrets by which members without TLS know each other. The file is read when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSecretConfig {
    pub file: PathBuf,
    /// Members that know no secret take part as well.
    pub optional: bool,
}

/// What asks for TLS.
pub(super) struct Uses {
    /// Addresses with TLS for clients and metrics.
    pub(super) client: Vec<String>,
    /// Whether an address for clients is without TLS.
    pub(super) plain_clients: bool,
    /// Addresses with TLS for peers.
    pub(super) peer: Vec<String>,
    /// Whether a member is to be connected to with TLS.
    pub(super) peers_are_secure: bool,
    /// Whether an address of peers, this member's or another's, is without TLS.
    pub(super) plain_peers: bool,
    /// Names that others reach this member by.
    pub(super) client_names: Vec<String>,
    pub(super) peer_names: Vec<String>,
}

#[derive(Default)]
pub(super) struct Checked {
    pub(super) client: Option<TlsConfig>,
    pub(super) peer: Option<TlsConfig>,
    pub(super) peer_allow_plaintext: bool,
    pub(super) peer_secret: Option<PeerSecretConfig>,
}

/// The settings of one kind of port, with their names.
struct Side<'a> {
    urls: &'static str,
    cert: (&'static str, Option<&'a String>),
    key: (&'static str, Option<&'a String>),
    as_client: (&'static str, Option<&'a String>, Option<&'a String>),
    ca: (&'static str, Option<&'a String>),
    auth: (&'static str, bool),
    crl: (&'static str, Option<&'a String>),
    common_names: (&'static str, Option<&'a String>),
    hostnames: (&'static str, Option<&'a String>),
    auto: (&'static str, bool),
    /// Under the data directory.
    fixtures: &'static str,
    hosts: Vec<String>,
    needs_ca: bool,
}

pub(super) fn check(
    s: &Settings,
    uses: &Uses,
    data_dir: &Path,
    p: &mut Problems,
    warnings: &mut Vec<String>,
) -> Checked {
    let mut flag = |name, text| p.switch(name, text, false);
    let client_auth = flag("client-cert-auth", s.client_cert_auth.as_ref());
    let peer_auth = flag("peer-client-cert-auth", s.peer_client_cert_auth.as_ref());
    let auto = flag("auto-tls", s.auto_tls.as_ref());
    let peer_auto = flag("peer-auto-tls", s.peer_auto_tls.as_ref());
    let peer_allow_plaintext = flag("peer-allow-plaintext", s.peer_allow_plaintext.as_ref());
    let common = common(s, data_dir, p);
    if client_auth && uses.plain_clients {
        warnings.push(
            "--client-cert-auth has no effect on the http:// addresses in --listen-client-urls: their clients show no certificate"
                .to_owned(),
        );
    }
    let client = Side {
        urls: "listen-client-urls",
        cert: ("cert-file", s.cert_file.as_ref()),
        key: ("key-file", s.key_file.as_ref()),
        as_client: ("", None, None),
        ca: ("trusted-ca-file", s.trusted_ca_file.as_ref()),
        auth: ("client-cert-auth", client_auth),
        crl: ("client-crl-file", s.client_crl_file.as_ref()),
        common_names: ("", None),
        hostnames: ("client-cert-allowed-hostname", s.client_cert_allowed_hostname.as_ref()),
        auto: ("auto-tls", auto),
        fixtures: "client",
        hosts: hosts(&uses.client, &uses.client_names),
        needs_ca: false,
    };
    let peer = Side {
        urls: "listen-peer-urls",
        cert: ("peer-cert-file", s.peer_cert_file.as_ref()),
        key: ("peer-key-file", s.peer_key_file.as_ref()),
        as_client: ("peer-client-cert-file", s.peer_client_cert_file.as_ref(), s.peer_client_key_file.as_ref()),
        ca: ("peer-trusted-ca-file", s.peer_trusted_ca_file.as_ref()),
        auth: ("peer-client-cert-auth", peer_auth),
        crl: ("peer-crl-file", s.peer_crl_file.as_ref()),
        common_names: ("peer-cert-allowed-cn", s.peer_cert_allowed_cn.as_ref()),
        hostnames: ("peer-cert-allowed-hostname", s.peer_cert_allowed_hostname.as_ref()),
        auto: ("peer-auto-tls", peer_auto),
        fixtures: "peer",
        hosts: hosts(&uses.peer, &uses.peer_names),
        needs_ca: true,
    };
    Checked {
        client: client.check(!uses.client.is_empty(), &common, p, warnings),
        peer: peer.check(!uses.peer.is_empty() || uses.peers_are_secure, &common, p, warnings),
        peer_allow_plaintext,
        peer_secret: secret(s, uses.plain_peers || peer_allow_plaintext, p, warnings),
    }
}

fn secret(s: &Settings, used: bool, p: &mut Problems, warnings: &mut Vec<String>) -> Option<PeerSecretConfig> {
    let optional = p.switch("peer-secret-optional", s.peer_secret_optional.as_ref(), false);
    let Some(file) = &s.peer_secret_file else {
        p.require(!optional, "peer-secret-optional", || "it needs --peer-secret-file".to_owned());
        return None;
    };
    if !used {
        warnings.push("--peer-secret-file has no effect: all members have https:// URLs".to_owned());
    }
    Some(PeerSecretConfig { file: file.into(), optional })
}

/// What both kinds of ports share.
struct Common {
    protocol: Protocol,
    years: u32,
    data_dir: PathBuf,
}

fn common(s: &Settings, data_dir: &Path, p: &mut Problems) -> Common {
    let years = p.number("self-signed-cert-validity", s.self_signed_cert_validity.as_ref(), 1, "years");
    p.require((1..=100).contains(&years), "self-signed-cert-validity", || "from 1 to 100 years".to_owned());
    let version = |text: Option<&String>, default| text.map_or(Ok(default), |text| Version::parse(text));
    let min = p.take("tls-min-version", version(s.tls_min_version.as_ref(), Version::Tls12), Version::Tls12);
    let max = p.take("tls-max-version", version(s.tls_max_version.as_ref(), Version::Tls13), Version::Tls13);
    p.require(min <= max, "tls-max-version", || "it is below --tls-min-version".to_owned());
    let protocol = Protocol::new(min, max.max(min), &list(s.cipher_suites.as_ref()));
    Common { protocol: p.take("cipher-suites", protocol, Protocol::default()), years, data_dir: data_dir.to_owned() }
}

impl Side<'_> {
    /// `needed`: an address asks for TLS.
    fn check(&self, needed: bool, common: &Common, p: &mut Problems, warnings: &mut Vec<String>) -> Option<TlsConfig> {
        let path = |text: Option<&String>| text.map(PathBuf::from);
        let given = self.cert.1.is_some() || self.key.1.is_some();
        if !needed {
            if given || self.auto.1 {
                warnings.push(format!(
                    "--{} and the other settings of its TLS have no effect: no address in --{} is https://",
                    if given { self.cert.0 } else { self.auto.0 },
                    self.urls
                ));
            }
            return None;
        }
        self.require_ca(p);
        let own = match (path(self.cert.1), path(self.key.1)) {
            (Some(cert), Some(key)) => Certificate::Files(KeyPair { cert, key }),
            (None, None) if self.auto.1 => Certificate::SelfSigned {
                directory: common.data_dir.join("fixtures").join(self.fixtures),
                hosts: self.hosts.clone(),
                years: common.years,
            },
            (Some(_), None) => return missing(p, self.key.0, "it is needed with the certificate"),
            (None, Some(_)) => return missing(p, self.cert.0, "it is needed with the private key"),
            (None, None) => {
                let why = format!(
                    "an https:// address needs a certificate: --{}, --{} or --{}",
                    self.cert.0, self.key.0, self.auto.0
                );
                return missing(p, self.urls, &why);
            }
        };
        if given && self.auto.1 {
            warnings.push(format!("--{} has no effect beside --{}", self.auto.0, self.cert.0));
        }
        let allowed = Allowed { common_names: list(self.common_names.1), hostnames: list(self.hostnames.1) };
        if let Err(why) = allowed.check() {
            p.add(self.hostnames.0, why);
        }
        let as_client = match (path(self.as_client.1), path(self.as_client.2)) {
            (Some(cert), Some(key)) => Some(KeyPair { cert, key }),
            (None, None) => None,
            _ => return missing(p, self.as_client.0, "certificate and private key go together"),
        };
        let (ca, crl) = (path(self.ca.1), path(self.crl.1));
        Some(TlsConfig { own, own_as_client: as_client, ca, crl, allowed, protocol: common.protocol.clone() })
    }

    /// What cannot be decided without authorities.
    fn require_ca(&self, p: &mut Problems) {
        if self.ca.1.is_some() {
            return;
        }
        let (name, _) = self.ca;
        for (flag, given) in [
            (self.auth.0, self.auth.1),
            (self.crl.0, self.crl.1.is_some()),
            (self.common_names.0, self.common_names.1.is_some()),
            (self.hostnames.0, self.hostnames.1.is_some()),
        ] {
            p.require(!given, flag, || format!("it needs --{name}, by which certificates are verified"));
        }
        let self_signed = self.auto.1 && self.cert.1.is_none();
        p.require(!self.needs_ca || self_signed, name, || {
            format!("members with https:// URLs verify each other: name their authorities (or use --{})", self.auto.0)
        });
    }
}

fn missing(p: &mut Problems, name: &'static str, why: &str) -> Option<TlsConfig> {
    p.add(name, why);
    None
}

fn list(text: Option<&String>) -> Vec<String> {
    let parts = text.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn hosts(addresses: &[String], names: &[String]) -> Vec<String> {
    let mut all = [addresses, names, &["localhost".to_owned()]].concat();
    all.sort();
    all.dedup();
    all
}
