//! Certificates for tests.

#![allow(clippy::unwrap_used, reason = "certificates for tests: a test that cannot make them should end")]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use std::path::{Path, PathBuf};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate is made of.
pub(crate) struct Wanted<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) hosts: &'a [&'a str],
    pub(crate) uri: Option<&'a str>,
    pub(crate) serial: u64,
    pub(crate) last_year: i32,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Wanted { common_name: "someone", hosts: &["127.0.0.1"], uri: None, serial: 1, last_year: 4000 }
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes `name.pem` and `name.key`.
    pub(crate) fn issue(&self, directory: &Path, name: &str, wanted: &Wanted<'_>) -> crate::KeyPair {
        let mut params =
            CertificateParams::new(wanted.hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        if let Some(uri) = wanted.uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(wanted.last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        crate::KeyPair {
            cert: put(directory, &format!("{name}.pem"), &certificate.pem()),
            key: put(directory, &format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// A list of revoked serial numbers.
    pub(crate) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2021, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub(crate) fn put(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
