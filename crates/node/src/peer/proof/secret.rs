//! Secrets, as they stand in their file: one a line, blank lines and comments (`#`) left out.

use ring::{digest, hkdf, hmac};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Characters of a secret: recorded traffic can be tried against guesses.
const LEAST: usize = 32;
const LONGEST: usize = 1024;
/// Secrets of a file: two while one replaces the other.
pub(super) const MOST: usize = 4;

/// One secret, and the connections that stand on it.
pub(super) struct Secret {
    root: hkdf::Prk,
    fingerprint: [u8; 32],
    removed: CancellationToken,
}

impl Secret {
    fn new(text: &str) -> Secret {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"conclave peer secret 1").extract(text.as_bytes());
        Secret { root, fingerprint, removed: CancellationToken::new() }
    }

    /// The key of this name for one connection.
    pub(super) fn key(&self, name: &str, connection: &[u8]) -> hmac::Key {
        let info = [name.as_bytes(), &[0], connection];
        // It fails only for more bytes than 255 hashes have.
        self.root.expand(&info, hmac::HMAC_SHA256).expect("one hash is not too much").into()
    }

    /// It is in the file no more.
    pub(super) fn remove(&self) {
        self.removed.cancel();
    }

    pub(super) fn removed(&self) -> &CancellationToken {
        &self.removed
    }

    pub(super) fn is(&self, other: &Secret) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// The secrets of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Arc<Secret>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let lines = text.lines().map(str::trim).enumerate();
    let mut secrets: Vec<Arc<Secret>> = Vec::new();
    for (n, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if !(LEAST..=LONGEST).contains(&line.len()) {
            return Err(format!("line {} has {} characters; a secret has {LEAST} to {LONGEST}", n + 1, line.len()));
        }
        let secret = Secret::new(line);
        if !secrets.iter().any(|known| known.is(&secret)) {
            secrets.push(Arc::new(secret));
        }
    }
    match secrets.len() {
        0 => Err("there is no secret in it".to_owned()),
        1..=MOST => Ok(secrets),
        more => Err(format!("{more} secrets are more than {MOST}")),
    }
}
