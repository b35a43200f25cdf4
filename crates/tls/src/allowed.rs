//! Which certificates are let in, of those that the authorities vouch for.

use crate::connector::server_name;
use crate::identity::Identity;
use rustls::client::verify_server_name;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

const SPIFFE: &str = "spiffe://";

/// Nothing in either list: all of them. One match is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The common name of the subject.
    pub common_names: Vec<String>,
    /// A name or address among the certificate's alternative names, as a client would check a
    /// server's; or a SPIFFE id.
    pub hostnames: Vec<String>,
}

impl Allowed {
    /// Why this cannot be checked.
    pub fn check(&self) -> Result<(), String> {
        if !self.common_names.is_empty() && !self.hostnames.is_empty() {
            return Err("common names and host names exclude each other".to_owned());
        }
        let mut names = self.hostnames.iter().filter(|name| !name.starts_with(SPIFFE));
        names.try_for_each(|name| server_name(name).map(drop))
    }

    pub(crate) fn permits(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.common_names.is_empty() && self.hostnames.is_empty() {
            return true;
        }
        let Ok(identity) = Identity::of(certificate) else { return false };
        if identity.common_name.is_some_and(|name| self.common_names.contains(&name)) {
            return true;
        }
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
        self.hostnames.iter().any(|allowed| match allowed.starts_with(SPIFFE) {
            true => identity.uris.contains(allowed),
            false => server_name(allowed).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok()),
        })
    }
}
