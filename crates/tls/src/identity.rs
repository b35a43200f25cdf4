//! What a certificate says of its owner.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub common_name: Option<String>,
    /// Host names of the subject's alternative names.
    pub dns: Vec<String>,
    /// URIs of the subject's alternative names: SPIFFE ids are such.
    pub uris: Vec<String>,
}

impl Identity {
    /// Believable only for a certificate that was verified.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Identity, String> {
        let certificate = parse(certificate)?;
        let common_name = certificate.subject().iter_common_name().next();
        let mut identity = Identity {
            common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
            ..Identity::default()
        };
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => identity.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Ok(identity)
    }
}

/// From when and until when a certificate is valid, in seconds since 1970.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Result<(i64, i64), String> {
    let validity = parse(certificate)?.validity().clone();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    let parsed = X509Certificate::from_der(certificate.as_ref());
    parsed.map(|(_, certificate)| certificate).map_err(|error| format!("it is no certificate: {error}"))
}
