//! A certificate of one's own making, for encryption without identity.

use crate::contents::Contents;
use crate::set::seconds_now;
use crate::{KeyPair, TlsError, identity, pem};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair as Generated, KeyUsagePurpose};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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
    let date = |seconds: i64| {
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        rcgen::date_time_ymd(year, month, day)
    };
    params.not_before = date(now - 86_400);
    params.not_after = date(end);
    let key = Generated::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The date of a day counted from 1970, by the Gregorian calendar.
fn civil(days: i64) -> (i32, u8, u8) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (i32::try_from(year).unwrap_or(9999).min(9999), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
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

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_787), (2026, 11, 30));
    }
}
