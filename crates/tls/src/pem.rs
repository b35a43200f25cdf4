//! From PEM to certificates, keys, trust anchors and revocation lists. Every error names the file.

use crate::contents::Contents;
use crate::{KeyPair, TlsError};
use rustls::RootCertStore;
#[cfg(feature = "member")]
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// A certificate with its chain, and its private key.
pub(crate) type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(crate) fn own(files: &KeyPair, contents: &Contents) -> Result<Own, TlsError> {
    let chain = certificates(&files.cert, contents)?;
    let key = key(&files.key, contents)?;
    Ok((chain, key))
}

pub(crate) fn certificates(file: &Path, contents: &Contents) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(contents.of(file)).collect();
    let found = found.map_err(|error| TlsError::of(file, format_args!("it is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(TlsError::of(file, "it holds no certificate (a PEM section BEGIN CERTIFICATE)"));
    }
    Ok(found)
}

fn key(file: &Path, contents: &Contents) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = contents.of(file);
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) if !encrypted(bytes) => Ok(key),
        _ if encrypted(bytes) => {
            Err(TlsError::of(file, "the private key is encrypted; it must be without a passphrase"))
        }
        _ => Err(TlsError::of(file, "it holds no private key (a PEM section BEGIN PRIVATE KEY)")),
    }
}

fn encrypted(bytes: &[u8]) -> bool {
    ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"].iter().any(|mark| contains(bytes, mark))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The authorities of a file.
pub(crate) fn roots(file: &Path, contents: &Contents) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in certificates(file, contents)?.into_iter().enumerate() {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::of(file, format_args!("certificate {}: {error}", number + 1)))?;
    }
    Ok(roots)
}

/// The revocation lists of a file: any number in PEM, or one in DER.
#[cfg(feature = "member")]
pub(crate) fn crls(file: &Path, contents: &Contents) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = contents.of(file);
    if !contains(bytes, "-----BEGIN ") {
        return match bytes.is_empty() {
            true => Err(TlsError::of(file, "it is empty")),
            false => Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]),
        };
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| TlsError::of(file, format_args!("it is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(TlsError::of(file, "it holds no revocation list (a PEM section BEGIN X509 CRL)"));
    }
    Ok(found)
}
