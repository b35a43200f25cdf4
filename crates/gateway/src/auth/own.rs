//! Tokens that members sign, as etcd's: `username` and `revision` are who and as of which users and
//! roles, `exp` is when it ends.
//!
//! The first key signs. All verify, so that keys are exchanged without a moment at which a member
//! refuses tokens of another: first the new one is added behind the old one everywhere, then it is
//! put first, then the old one is taken out.

use conclave_node::config::OwnTokens;
use conclave_tls::{Contents, TlsError};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto, decode, encode};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Status;

#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) username: String,
    pub(super) revision: u64,
    pub(super) exp: u64,
}

pub(super) struct Own {
    algorithm: Algorithm,
    verify: Vec<DecodingKey>,
    /// Without it, tokens of others are verified and none is made.
    sign: Option<EncodingKey>,
    ttl: Duration,
}

type Key<K> = jsonwebtoken::errors::Result<K>;

/// How keys of one kind are read.
struct Kind {
    public: fn(&[u8]) -> Key<DecodingKey>,
    private: fn(&[u8]) -> Key<EncodingKey>,
}

/// `None`: one secret for both.
fn kind(algorithm: Algorithm) -> Option<Kind> {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
        Algorithm::ES256 | Algorithm::ES384 => {
            Some(Kind { public: DecodingKey::from_ec_pem, private: EncodingKey::from_ec_pem })
        }
        Algorithm::EdDSA => Some(Kind { public: DecodingKey::from_ed_pem, private: EncodingKey::from_ed_pem }),
        _ => Some(Kind { public: DecodingKey::from_rsa_pem, private: EncodingKey::from_rsa_pem }),
    }
}

impl Own {
    pub(super) fn new(config: &OwnTokens, contents: &Contents) -> Result<Own, TlsError> {
        let algorithm: Algorithm = config.method.parse().map_err(|_| TlsError {
            subject: format!("sign-method={}", config.method),
            reason: "it is not known here".to_owned(),
        })?;
        let (public, private) = (&config.pub_keys, &config.priv_keys);
        let (verify, sign) = match kind(algorithm) {
            None => {
                let secrets = if private.is_empty() { public } else { private };
                let used: Vec<&[u8]> = secrets.iter().map(|path| secret(path, contents)).collect::<Result<_, _>>()?;
                let verify = used.iter().map(|secret| DecodingKey::from_secret(secret)).collect();
                (verify, used.first().map(|secret| EncodingKey::from_secret(secret)))
            }
            Some(kind) => {
                let verify = read(if public.is_empty() { private } else { public }, contents, kind.public)?;
                (verify, read(private, contents, kind.private)?.into_iter().next())
            }
        };
        let own = Own { algorithm, verify, sign, ttl: config.ttl };
        if !own.fits() {
            let why = "it does not belong to the first pub-key";
            return Err(private.first().map_or_else(
                || TlsError { subject: "pub-key".to_owned(), reason: why.to_owned() },
                |path| TlsError::of(path, why),
            ));
        }
        Ok(own)
    }

    /// Whether what the private key signs is good by the first public key: one of them may have
    /// been replaced before the other.
    fn fits(&self) -> bool {
        let (Some(sign), Some(verify)) = (&self.sign, self.verify.first()) else { return true };
        let message = b"do they belong together?";
        let signed = crypto::sign(message, sign, self.algorithm);
        signed.and_then(|signed| crypto::verify(&signed, message, verify, self.algorithm)).unwrap_or(false)
    }

    pub(super) fn issue(&self, user: &str, revision: u64) -> Result<String, Status> {
        let sign =
            self.sign.as_ref().ok_or_else(|| Status::unknown("auth: cannot sign tokens with a public key only"))?;
        let exp = SystemTime::now() + self.ttl;
        let exp = exp.duration_since(UNIX_EPOCH).map_err(crate::status::internal)?.as_secs();
        let claims = Claims { username: user.to_owned(), revision, exp };
        encode(&Header::new(self.algorithm), &claims, sign).map_err(crate::status::internal)
    }

    /// User and auth revision of a token that is good. Only the configured algorithm counts,
    /// whatever the token says.
    pub(super) fn user(&self, token: &str) -> Option<(String, u64)> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let claims = self.verify.iter().find_map(|key| decode::<Claims>(token, key, &validation).ok())?.claims;
        (!claims.username.is_empty() && claims.revision != 0).then_some((claims.username, claims.revision))
    }
}

fn secret<'a>(path: &Path, contents: &'a Contents) -> Result<&'a [u8], TlsError> {
    let bytes = contents.of(path);
    if bytes.is_empty() { Err(TlsError::of(path, "the key is empty")) } else { Ok(bytes) }
}

fn read<K>(paths: &[PathBuf], contents: &Contents, as_key: fn(&[u8]) -> Key<K>) -> Result<Vec<K>, TlsError> {
    let one = |path: &PathBuf| as_key(contents.of(path)).map_err(|error| TlsError::of(path, error));
    paths.iter().map(one).collect()
}
