//! One set of files, put together: what accepts, what connects, who judges, and when it all
//! expires.

use crate::allowed::Allowed;
use crate::contents::Contents;
use crate::protocol::Protocol;
use crate::verify::{Clients, Servers};
use crate::{KeyPair, TlsError, identity, outbound, pem};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The TLS of one kind of port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What this side shows.
    pub own: KeyPair,
    /// What it shows where it connects itself, if that is not the same.
    pub own_as_client: Option<KeyPair>,
    /// The authorities that the other side is judged by. None: who connects needs no certificate,
    /// and where this side connects, it accepts any.
    pub ca: Option<PathBuf>,
    /// Revoked certificates.
    pub crl: Option<PathBuf>,
    pub allowed: Allowed,
    pub protocol: Protocol,
    /// What is spoken inside, in the order of preference.
    pub alpn: Vec<Vec<u8>>,
}

impl Settings {
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = [Some(&self.own), self.own_as_client.as_ref()].into_iter().flatten();
        pairs.flat_map(|pair| [&pair.cert, &pair.key]).chain(&self.ca).chain(&self.crl)
    }
}

/// When a certificate of a file expires: for a file of authorities, that of them which expires
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `cert`, `client-cert` or `ca`.
    pub file: &'static str,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
}

/// What is in force.
pub(crate) struct Set {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: ClientConfig,
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) servers: Option<Arc<dyn ServerCertVerifier>>,
    pub(crate) expiries: Vec<Expiry>,
}

impl Set {
    pub(crate) fn build(settings: &Settings, contents: &Contents) -> Result<Set, TlsError> {
        let (clients, servers) = judges(settings, contents)?;
        let own = &settings.own;
        let as_client = settings.own_as_client.as_ref().unwrap_or(own);
        let client = outbound::config(&settings.protocol, servers.clone(), Some(pem::own(as_client, contents)?));
        let client = client.map_err(|error| mismatch(as_client, &error))?;
        Ok(Set {
            server: Arc::new(accepting(settings, contents, clients.clone())?),
            client,
            clients,
            servers,
            expiries: expiries(settings, contents)?,
        })
    }

    /// Whether a certificate of this side's own is outside of its time.
    pub(crate) fn outdated(&self, now: i64) -> Option<&Expiry> {
        let mut own = self.expiries.iter().filter(|expiry| expiry.file != CA);
        own.find(|expiry| !(expiry.not_before..=expiry.not_after).contains(&now))
    }
}

type Judges = (Option<Arc<dyn ClientCertVerifier>>, Option<Arc<dyn ServerCertVerifier>>);

fn judges(settings: &Settings, contents: &Contents) -> Result<Judges, TlsError> {
    let Some(ca) = &settings.ca else { return Ok((None, None)) };
    let roots = pem::roots(ca, contents)?;
    let crls = settings.crl.as_ref().map(|crl| pem::crls(crl, contents)).transpose()?.unwrap_or_default();
    let provider = settings.protocol.provider();
    // An error here is one of the lists: the authorities were accepted above.
    let file = settings.crl.as_ref().unwrap_or(ca);
    let servers = outbound::verifier(roots.clone(), crls.clone(), &provider);
    let servers = servers.map_err(|reason| TlsError::of(file, reason))?;
    // The whole chain is looked up. That a list is missing for one of its issuers is no reason to
    // refuse, as in etcd.
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .with_crls(crls)
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| TlsError::of(file, error))?;
    let allowed = &settings.allowed;
    Ok((
        Some(Arc::new(Clients { authorities: clients, allowed: allowed.clone() })),
        Some(Arc::new(Servers { authorities: servers, allowed: allowed.clone() })),
    ))
}

fn accepting(
    settings: &Settings,
    contents: &Contents,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let (chain, key) = pem::own(&settings.own, contents)?;
    let builder = ServerConfig::builder_with_provider(settings.protocol.provider())
        .with_protocol_versions(&settings.protocol.versions())
        .map_err(|error| mismatch(&settings.own, &error))?;
    let builder = match clients.clone() {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| mismatch(&settings.own, &error))?;
    config.alpn_protocols.clone_from(&settings.alpn);
    if clients.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn mismatch(own: &KeyPair, error: &rustls::Error) -> TlsError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key {} is not the one of this certificate", own.key.display())
        }
        other => format!("with the key {}: {other}", own.key.display()),
    };
    TlsError::of(&own.cert, reason)
}

const CA: &str = "ca";

fn expiries(settings: &Settings, contents: &Contents) -> Result<Vec<Expiry>, TlsError> {
    let mut expiries = vec![leaf("cert", &settings.own.cert, contents)?];
    if let Some(pair) = &settings.own_as_client {
        expiries.push(leaf("client-cert", &pair.cert, contents)?);
    }
    if let Some(ca) = &settings.ca {
        let dates = pem::certificates(ca, contents)?.iter().map(|it| dates(ca, it)).collect::<Result<Vec<_>, _>>()?;
        if let Some((not_before, not_after)) = dates.into_iter().min_by_key(|(_, end)| *end) {
            expiries.push(Expiry { file: CA, not_before, not_after });
        }
    }
    Ok(expiries)
}

fn leaf(file: &'static str, path: &Path, contents: &Contents) -> Result<Expiry, TlsError> {
    let (not_before, not_after) = dates(path, &pem::certificates(path, contents)?[0])?;
    Ok(Expiry { file, not_before, not_after })
}

fn dates(path: &Path, certificate: &CertificateDer<'_>) -> Result<(i64, i64), TlsError> {
    identity::validity(certificate).map_err(|reason| TlsError::of(path, reason))
}

pub(crate) fn seconds_now() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto::self_signed;

    #[test]
    fn sessions_are_resumed_only_where_no_certificate_is_demanded() {
        let directory = tempfile::tempdir().unwrap();
        let own = self_signed(directory.path(), &["localhost".to_owned()], 1).unwrap();
        for demanded in [false, true] {
            let settings = Settings {
                own: own.clone(),
                own_as_client: None,
                ca: demanded.then(|| own.cert.clone()),
                crl: None,
                allowed: Allowed::default(),
                protocol: Protocol::default(),
                alpn: Vec::new(),
            };
            let contents = Contents::read(settings.paths()).unwrap();
            let server = Set::build(&settings, &contents).unwrap().server;
            assert_eq!(server.send_tls13_tickets > 0, !demanded);
            assert_eq!(server.session_storage.can_cache(), !demanded);
        }
    }
}
