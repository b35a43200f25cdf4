//! A certificate of one's own making, for encryption without identity.

use crate::contents::Contents;
use crate::set::seconds_now;
use crate::{KeyPair, TlsError, identity, pem};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair as Generated, KeyUsagePurpose};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use time::{OffsetDateTime, PrimitiveDateTime};

/// The certificate in `directory`, or a new one if there is none or it has expired: signed by
/// itself, for `hosts`, valid for `years`.
///
/// # Errors
/// The directory cannot be written, or holds files that are no certificate and key.
pub fn self_signed(directory: &Path, hosts: &[String], years: u32) -> Result<KeyPair, TlsError> {
    let pair = KeyPair { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
    if pair.cert.exists() && pair.key.exists() {
        let contents = Contents::read([&pair.cert, &pair.key])?;
        let (chain, _) = pem::own(&pair, &contents)?;
        let (_, end) = identity::validity(&chain[0]).map_err(|reason| TlsError::of(&pair.cert, reason))?;
        if seconds_now() < end {
            return Ok(pair);
        }
        tracing::warn!(file = %pair.cert.display(), "the certificate of this member's own has expired: it is replaced");
    }
    let (cert, key) = generate(hosts, years).map_err(|error| TlsError::of(&pair.cert, error))?;
    let written = fs::create_dir_all(directory)
        .and_then(|()| write(&pair.key, key.as_bytes(), 0o600))
        .and_then(|()| write(&pair.cert, cert.as_bytes(), 0o644));
    written.map_err(|error| TlsError::of(directory, error))?;
    Ok(pair)
}

fn generate(hosts: &[String], years: u32) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name.push(DnType::OrganizationName, "conclave");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A clock that is slow by a little still takes it for valid.
    let now = seconds_now();
    let end = now.saturating_add(i64::from(years) * 365 * 86_400);
    // No certificate lasts beyond the year 9999.
    let date = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    params.not_before = date(now - 86_400);
    params.not_after = date(end);
    let key = Generated::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// All of it or nothing, under its name.
fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    let _ = fs::remove_file(&unfinished);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = self_signed(&directory.path().join("fixtures/client"), &hosts, 1).unwrap();
        let first = fs::read(&made.cert).unwrap();
        assert_eq!(fs::metadata(&made.key).unwrap().permissions().mode() & 0o777, 0o600);
        let again = self_signed(&directory.path().join("fixtures/client"), &hosts, 1).unwrap();
        assert_eq!(fs::read(&again.cert).unwrap(), first);
        let contents = Contents::read([&made.cert, &made.key]).unwrap();
        let (_, end) = identity::validity(&pem::own(&made, &contents).unwrap().0[0]).unwrap();
        assert!((364..=366).contains(&((end - seconds_now()) / 86_400)));
    }

    #[test]
    fn one_that_has_expired_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let made = self_signed(directory.path(), &["a".to_owned()], 0).unwrap();
        let first = fs::read(&made.cert).unwrap();
        self_signed(directory.path(), &["a".to_owned()], 1).unwrap();
        assert_ne!(fs::read(&made.cert).unwrap(), first);
    }
}
