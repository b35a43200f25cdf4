//! The settings of logins.

use super::duration;
use super::problems::Problems;
use super::settings::Settings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Which tokens are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthToken {
    /// Letters that the members remember.
    Simple,
    Jwt(Box<JwtConfig>),
}

/// Signed tokens. The files are read at the start, and when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// Those that members sign. Without it logins get letters.
    pub own: Option<OwnTokens>,
    /// Those of somebody else.
    pub issuer: Option<Issuer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTokens {
    /// As etcd names it: RS256, PS384, ES256, HS512, EdDSA, …
    pub method: String,
    /// The first belongs to the private key in use; all verify.
    pub pub_keys: Vec<PathBuf>,
    /// The first signs.
    pub priv_keys: Vec<PathBuf>,
    pub ttl: Duration,
}

/// An issuer of tokens, whose keys are a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// A JSON Web Key Set.
    pub jwks: PathBuf,
    /// What the claim `iss` is.
    pub name: String,
    /// What the claim `aud` is, or has in it.
    pub audience: String,
    /// The claim that names the user, and what is put before it.
    pub user_claim: String,
    pub user_prefix: String,
    /// By how much clocks may differ.
    pub leeway: Duration,
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

/// Keys of one kind that are good at a time: two while one replaces the other.
const MOST_KEYS: usize = 4;
const MOST_LEEWAY: Duration = Duration::from_secs(300);

const OPTIONS: &str =
    "pub-key, priv-key, sign-method, ttl; jwks-file, issuer, audience, user-claim, user-prefix, leeway";

/// The options of `jwt`, as they were given.
#[derive(Default)]
struct Options<'a> {
    pub_keys: Vec<PathBuf>,
    priv_keys: Vec<PathBuf>,
    others: BTreeMap<&'static str, &'a str>,
}

impl<'a> Options<'a> {
    fn read(parts: impl Iterator<Item = &'a str>) -> Result<Options<'a>, String> {
        let mut options = Options::default();
        for part in parts {
            let (name, value) = part.split_once('=').filter(|(_, value)| !value.is_empty()).unwrap_or((part, ""));
            let known = OPTIONS.split([',', ';', ' ']).find(|known| *known == name && !value.is_empty());
            match known {
                Some("pub-key") => options.pub_keys.push(value.into()),
                Some("priv-key") => options.priv_keys.push(value.into()),
                Some(known) => {
                    if options.others.insert(known, value).is_some() {
                        return Err(format!("{known} stands twice"));
                    }
                }
                None => return Err(format!("{part:?} is no option of jwt: {OPTIONS}")),
            }
        }
        Ok(options)
    }

    fn duration(&self, name: &str, default: Duration) -> Result<Duration, String> {
        self.others.get(name).map_or(Ok(default), |text| duration::parse(text))
    }

    fn own(&self) -> Result<Option<OwnTokens>, String> {
        let method = self.others.get("sign-method").copied();
        if self.pub_keys.is_empty() && self.priv_keys.is_empty() {
            let idle = ["sign-method", "ttl"].into_iter().find(|name| self.others.contains_key(name));
            return idle.map_or(Ok(None), |name| Err(format!("{name}: jwt needs pub-key or priv-key for it")));
        }
        let method = method.unwrap_or_default();
        if !METHODS.contains(&method) {
            return Err(format!("sign-method={method} is none of {}", METHODS.join(", ")));
        }
        if self.pub_keys.len().max(self.priv_keys.len()) > MOST_KEYS {
            return Err(format!("at most {MOST_KEYS} keys of a kind"));
        }
        let ttl = self.duration("ttl", Duration::from_secs(300))?;
        if ttl < Duration::from_secs(1) {
            return Err("ttl: at least 1s".to_owned());
        }
        let (pub_keys, priv_keys) = (self.pub_keys.clone(), self.priv_keys.clone());
        Ok(Some(OwnTokens { method: method.to_owned(), pub_keys, priv_keys, ttl }))
    }

    fn issuer(&self) -> Result<Option<Issuer>, String> {
        let text = |name| self.others.get(name).map(|text| (*text).to_owned());
        let Some(jwks) = text("jwks-file") else {
            let about = ["issuer", "audience", "user-claim", "user-prefix", "leeway"];
            let idle = about.into_iter().find(|name| self.others.contains_key(name));
            return idle.map_or(Ok(None), |name| Err(format!("{name} needs jwks-file")));
        };
        // Else a token that was made for another service would do here, too.
        let needed = |name| text(name).ok_or_else(|| format!("jwks-file needs {name}, which tokens must name"));
        let leeway = self.duration("leeway", Duration::from_secs(10))?;
        if leeway > MOST_LEEWAY {
            return Err("leeway: at most 5m".to_owned());
        }
        Ok(Some(Issuer {
            jwks: jwks.into(),
            name: needed("issuer")?,
            audience: needed("audience")?,
            user_claim: text("user-claim").unwrap_or_else(|| "username".to_owned()),
            user_prefix: text("user-prefix").unwrap_or_default(),
            leeway,
        }))
    }
}

/// `simple`, or `jwt` with its options.
fn token(text: &str) -> Result<AuthToken, String> {
    let mut parts = text.split(',');
    match parts.next() {
        Some("simple") if parts.clone().next().is_none() => return Ok(AuthToken::Simple),
        Some("jwt") => {}
        _ => return Err(format!("{text:?} is neither simple nor jwt with its options")),
    }
    let options = Options::read(parts)?;
    let jwt = JwtConfig { own: options.own()?, issuer: options.issuer()? };
    match &jwt {
        JwtConfig { own: None, issuer: None } => {
            Err("jwt needs sign-method with pub-key or priv-key, or jwks-file".to_owned())
        }
        _ => Ok(AuthToken::Jwt(Box::new(jwt))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(text: &str) -> JwtConfig {
        match token(text) {
            Ok(AuthToken::Jwt(jwt)) => *jwt,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn tokens_are_simple_or_signed() {
        assert_eq!(token("simple"), Ok(AuthToken::Simple));
        let own = jwt("jwt,pub-key=/p,priv-key=/k,sign-method=RS256,ttl=10m,pub-key=/old").own.unwrap();
        assert_eq!((own.method.as_str(), own.ttl), ("RS256", Duration::from_secs(600)));
        assert_eq!((own.pub_keys.len(), own.priv_keys.len()), (2, 1));
        for wrong in ["", "other", "simple,ttl=1m", "jwt", "jwt,sign-method=RS256", "jwt,priv-key=/k,sign-method=none"]
        {
            assert!(token(wrong).is_err(), "{wrong}");
        }
        assert!(token("jwt,priv-key=/k,sign-method=RS256,ttl=0s").is_err());
        assert!(token("jwt,priv-key=/k,sign-method=RS256,ttl=1s,ttl=2s").is_err());
        let many = "jwt,sign-method=RS256".to_owned() + &",pub-key=/k".repeat(5);
        assert!(token(&many).is_err());
    }

    #[test]
    fn an_issuer_is_named_with_its_audience() {
        let jwt = jwt("jwt,jwks-file=/j,issuer=https://id.example,audience=conclave,user-claim=sub");
        let issuer = jwt.issuer.unwrap();
        assert!(jwt.own.is_none() && issuer.name == "https://id.example" && issuer.audience == "conclave");
        assert_eq!((issuer.user_claim.as_str(), issuer.leeway), ("sub", Duration::from_secs(10)));
        for (wrong, why) in [
            ("jwt,jwks-file=/j,issuer=i", "audience"),
            ("jwt,jwks-file=/j,audience=a", "issuer"),
            ("jwt,issuer=i,audience=a", "needs jwks-file"),
            ("jwt,jwks-file=/j,issuer=i,audience=a,ttl=1m", "ttl"),
            ("jwt,jwks-file=/j,issuer=i,audience=a,leeway=1h", "5m"),
            ("jwt,jwks-file=/j,issuer=i,audience=a,roles-claim=r", "no option"),
            ("jwt,jwks-file=,issuer=i,audience=a", "no option"),
        ] {
            assert!(token(wrong).unwrap_err().contains(why), "{wrong}: {:?}", token(wrong));
        }
    }
}
