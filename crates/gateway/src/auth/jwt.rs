//! JSON Web Tokens: `username` and `revision` are who and as of which users and roles, `exp` is when it ends.
//!
//! A token holds for the auth revision at which it was made: any later change makes it old, and clients log in again.

use conclave_node::config::JwtConfig;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Status;

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    exp: u64,
}

pub(super) struct Jwt {
    algorithm: Algorithm,
    verify: DecodingKey,
    /// Without it, tokens of others are verified and none is made.
    sign: Option<EncodingKey>,
    ttl: Duration,
}

impl Jwt {
    pub(super) fn open(config: &JwtConfig) -> Result<Jwt, String> {
        let read =
            |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let public = config.pub_key.as_ref().map(read).transpose()?;
        let private = config.priv_key.as_ref().map(read).transpose()?;
        let key = private.as_deref();
        let public = public.as_deref().or(key).ok_or("a public or a private key is missing")?;
        let wrong = |error: jsonwebtoken::errors::Error| error.to_string();
        let (algorithm, verify, sign) = match config.method.as_str() {
            "HS256" | "HS384" | "HS512" => {
                let secret = key.unwrap_or(public);
                if secret.is_empty() {
                    return Err("the key is empty".to_owned());
                }
                (None, DecodingKey::from_secret(secret), Some(EncodingKey::from_secret(secret)))
            }
            "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => {
                let sign = key.map(EncodingKey::from_rsa_pem).transpose().map_err(wrong)?;
                (None, DecodingKey::from_rsa_pem(public).map_err(wrong)?, sign)
            }
            "ES256" | "ES384" => {
                let sign = key.map(EncodingKey::from_ec_pem).transpose().map_err(wrong)?;
                (None, DecodingKey::from_ec_pem(public).map_err(wrong)?, sign)
            }
            "EdDSA" => {
                let sign = key.map(EncodingKey::from_ed_pem).transpose().map_err(wrong)?;
                (Some(Algorithm::EdDSA), DecodingKey::from_ed_pem(public).map_err(wrong)?, sign)
            }
            other => return Err(format!("the sign-method {other:?} is not known here")),
        };
        let algorithm = match algorithm {
            Some(algorithm) => algorithm,
            None => config.method.parse().map_err(wrong)?,
        };
        Ok(Jwt { algorithm, verify, sign, ttl: config.ttl })
    }

    pub(super) fn issue(&self, user: &str, revision: u64) -> Result<String, Status> {
        let sign =
            self.sign.as_ref().ok_or_else(|| Status::unknown("auth: cannot sign tokens with a public key only"))?;
        let exp = SystemTime::now() + self.ttl;
        let exp = exp.duration_since(UNIX_EPOCH).map_err(crate::status::internal)?.as_secs();
        let claims = Claims { username: user.to_owned(), revision, exp };
        encode(&Header::new(self.algorithm), &claims, sign).map_err(crate::status::internal)
    }

    /// User and auth revision of a token that is good. Only the configured algorithm counts, whatever the token says.
    pub(super) fn user(&self, token: &str) -> Option<(String, u64)> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = 0;
        validation.validate_aud = false;
        let claims = decode::<Claims>(token, &self.verify, &validation).ok()?.claims;
        (!claims.username.is_empty() && claims.revision != 0).then_some((claims.username, claims.revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &tempfile::TempDir, method: &str, ttl: Duration) -> JwtConfig {
        let key = dir.path().join("key");
        std::fs::write(&key, "a secret of some length").expect("a file");
        JwtConfig { method: method.into(), pub_key: None, priv_key: Some(key), ttl }
    }

    #[test]
    fn fuzz_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let jwt = Jwt::open(&config(&dir, "HS256", Duration::from_secs(3_600))).expect("it opens");
        let token = jwt.issue("al", 7).expect("it is made");
        let seeds = [token.clone(), "aBcDeFgHiJkLmNoP.41".to_owned(), "eyJhbGciOiJub25lIn0.e30.".to_owned()];
        conclave_fuzz::target!("token").seeds(seeds).run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let user = jwt.user(&text);
            assert!(user.is_none() || text == token, "a token that nobody signed");
            format!("{:?} {}", crate::auth::tokens::split(&text).is_some(), user.is_some())
        });
    }

    #[test]
    fn a_token_comes_back_only_unchanged_and_in_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let jwt = Jwt::open(&config(&dir, "HS256", Duration::from_secs(60))).expect("it opens");
        let token = jwt.issue("al", 7).expect("it is made");
        assert_eq!(jwt.user(&token), Some(("al".into(), 7)));
        let other = Jwt::open(&config(&dir, "HS512", Duration::from_secs(60))).expect("it opens");
        assert_eq!(other.user(&token), None, "another algorithm");
        let mut forged = token.clone();
        forged.pop();
        assert!(jwt.user(&forged).is_none() && jwt.user("").is_none() && jwt.user("a.b.c").is_none());
        // {"alg":"none"}
        let body = token.split('.').nth(1).expect("three parts");
        assert_eq!(jwt.user(&format!("eyJhbGciOiJub25lIn0.{body}.")), None);
        let late = Claims { username: "al".into(), revision: 7, exp: 1 };
        let late = encode(&Header::new(Algorithm::HS256), &late, jwt.sign.as_ref().expect("a key")).expect("signed");
        assert_eq!(jwt.user(&late), None);
        assert!(Jwt::open(&config(&dir, "none", Duration::ZERO)).is_err());
    }
}
