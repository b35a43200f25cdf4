//! The settings of logins.

use super::duration;
use super::problems::Problems;
use super::settings::Settings;
use std::path::PathBuf;
use std::time::Duration;

/// Which tokens are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthToken {
    /// Letters that the members remember.
    Simple,
    Jwt(JwtConfig),
}

/// Signed tokens. The files are read at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// As etcd names it: RS256, PS384, ES256, HS512, EdDSA, …
    pub method: String,
    pub pub_key: Option<PathBuf>,
    pub priv_key: Option<PathBuf>,
    pub ttl: Duration,
}

pub(super) struct Checked {
    pub(super) token: AuthToken,
    pub(super) ttl: Duration,
    pub(super) bcrypt_cost: u32,
}

const METHODS: [&str; 12] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "HS256", "HS384", "HS512", "EdDSA"];

pub(super) fn check(s: &Settings, p: &mut Problems) -> Checked {
    let token = token(s.auth_token.as_deref().unwrap_or("simple"));
    let ttl = p.number("auth-token-ttl", s.auth_token_ttl.as_ref(), 300_u64, "seconds");
    p.require(ttl >= 1, "auth-token-ttl", || "at least 1 second".to_owned());
    let bcrypt_cost = p.number("bcrypt-cost", s.bcrypt_cost.as_ref(), 10_u32, "a power of two");
    p.require((4..=31).contains(&bcrypt_cost), "bcrypt-cost", || "from 4 to 31".to_owned());
    Checked { token: p.take("auth-token", token, AuthToken::Simple), ttl: Duration::from_secs(ttl), bcrypt_cost }
}

/// `simple`, or `jwt,pub-key=PATH,priv-key=PATH,sign-method=NAME,ttl=DURATION`.
fn token(text: &str) -> Result<AuthToken, String> {
    let mut parts = text.split(',');
    match parts.next() {
        Some("simple") if parts.clone().next().is_none() => return Ok(AuthToken::Simple),
        Some("jwt") => {}
        _ => return Err(format!("{text:?} is neither simple nor jwt with its options")),
    }
    let mut jwt = JwtConfig { method: String::new(), pub_key: None, priv_key: None, ttl: Duration::from_secs(300) };
    for part in parts {
        match part.split_once('=') {
            Some(("pub-key", path)) => jwt.pub_key = Some(path.into()),
            Some(("priv-key", path)) => jwt.priv_key = Some(path.into()),
            Some(("sign-method", method)) => method.clone_into(&mut jwt.method),
            Some(("ttl", ttl)) => {
                jwt.ttl = duration::parse(ttl)?;
                if jwt.ttl < Duration::from_secs(1) {
                    return Err(format!("ttl={ttl}: at least 1s"));
                }
            }
            _ => return Err(format!("{part:?} is no option of jwt: pub-key, priv-key, sign-method, ttl")),
        }
    }
    if !METHODS.contains(&jwt.method.as_str()) {
        return Err(format!("sign-method={} is none of {}", jwt.method, METHODS.join(", ")));
    }
    if jwt.pub_key.is_none() && jwt.priv_key.is_none() {
        return Err("jwt needs pub-key or priv-key".to_owned());
    }
    Ok(AuthToken::Jwt(jwt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_simple_or_signed() {
        assert_eq!(token("simple"), Ok(AuthToken::Simple));
        let Ok(AuthToken::Jwt(jwt)) = token("jwt,pub-key=/p,priv-key=/k,sign-method=RS256,ttl=10m") else {
            panic!("it is signed")
        };
        assert_eq!((jwt.method.as_str(), jwt.ttl), ("RS256", Duration::from_secs(600)));
        for wrong in ["", "other", "simple,ttl=1m", "jwt", "jwt,sign-method=RS256", "jwt,priv-key=/k,sign-method=none"]
        {
            assert!(token(wrong).is_err(), "{wrong}");
        }
        assert!(token("jwt,priv-key=/k,sign-method=RS256,ttl=0s").is_err());
    }
}
