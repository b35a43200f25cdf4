//! Tokens of somebody else: an identity provider, a Kubernetes API server. Its keys are a file, a
//! JSON Web Key Set.
//!
//! 1. Each key is good for one algorithm: the one that it names, or the usual one of its kind. A
//!    key that is a secret is none of an issuer's, and is left out, as are keys for other uses and
//!    of unknown kinds.
//! 2. A token is verified by the key that it names. It may name none if there is only one.
//! 3. It must have been made by this issuer, for this audience, and not be outdated or early; a
//!    critical extension is one that is not known here.
//! 4. It names a user of the cluster, whose roles count as they are now. Nothing else in it grants
//!    anything.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_node::config::Issuer;
use conclave_tls::{Contents, TlsError};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Keys of a file.
const MOST: usize = 64;

pub(super) struct Issued {
    config: Issuer,
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// The parts of a header that matter here.
#[derive(Deserialize)]
struct Head {
    kid: Option<String>,
    crit: Option<Value>,
}

impl Issued {
    pub(super) fn new(config: &Issuer, contents: &Contents) -> Result<Issued, TlsError> {
        let keys = parse(contents.of(&config.jwks)).map_err(|why| TlsError::of(&config.jwks, why))?;
        let keys =
            keys.into_iter().map(|(id, algorithm, key)| Key { id, key, validation: validation(config, algorithm) });
        Ok(Issued { config: config.clone(), keys: keys.collect() })
    }

    /// The user that a token names, if it is good.
    pub(super) fn user(&self, token: &str) -> Option<String> {
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        let head: Head = serde_json::from_slice(&head).ok()?;
        if head.crit.is_some() {
            return None;
        }
        let key = match (&head.kid, &self.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_ref() == Some(id))?,
            (None, [only]) => only,
            (None, _) => return None,
        };
        let claims = decode::<Map<String, Value>>(token, &key.key, &key.validation).ok()?.claims;
        // The library takes a time that is no number for none.
        if !claims.get("nbf").is_none_or(Value::is_number) {
            return None;
        }
        let name = claims.get(&self.config.user_claim)?.as_str().filter(|name| !name.is_empty())?;
        Some(format!("{}{name}", self.config.user_prefix))
    }
}

fn validation(config: &Issuer, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = config.leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&config.name]);
    validation.set_audience(&[&config.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

type Parsed = (Option<String>, Algorithm, DecodingKey);

/// The keys of a set that can be used here: at least one, no two of the same name.
fn parse(bytes: &[u8]) -> Result<Vec<Parsed>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
    if set.keys.len() > MOST {
        return Err(format!("{} keys are more than {MOST}", set.keys.len()));
    }
    let mut keys: Vec<Parsed> = Vec::new();
    for value in set.keys {
        // A kind of key that is not known here does not make the others useless.
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let Some(algorithm) = algorithm(&jwk) else { continue };
        let id = jwk.common.key_id.clone();
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| format!("the key {id:?}: {error}"))?;
        if keys.iter().any(|(known, ..)| *known == id) {
            return Err(format!("two keys are named {id:?}"));
        }
        keys.push((id, algorithm, key));
    }
    if keys.is_empty() { Err("it has no key that verifies signatures".to_owned()) } else { Ok(keys) }
}

/// The one algorithm that a key is good for; `None` if it is none of an issuer's.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let named = jwk.common.key_algorithm;
    match (&jwk.algorithm, named) {
        (AlgorithmParameters::RSA(_), named) => match named {
            None | Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
            Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
            Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
            Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
            Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
            Some(_) => None,
        },
        (AlgorithmParameters::EllipticCurve(curve), named) => match (&curve.curve, named) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        (AlgorithmParameters::OctetKeyPair(pair), None | Some(KeyAlgorithm::EdDSA)) => {
            matches!(pair.curve, EllipticCurve::Ed25519).then_some(Algorithm::EdDSA)
        }
        // A secret, which somebody else would know as well.
        _ => None,
    }
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
