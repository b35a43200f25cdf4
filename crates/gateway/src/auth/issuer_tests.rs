use super::*;
use crate::auth::jwt::{Jwt, Verified};
use conclave_node::config::JwtConfig;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A key of an issuer, and its entry in the set.
struct Signer {
    sign: EncodingKey,
    algorithm: Algorithm,
    jwk: Value,
    id: &'static str,
}

impl Signer {
    fn ed(id: &'static str) -> Signer {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id, "use": "sig"});
        let sign = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
        Signer { sign, algorithm: Algorithm::EdDSA, jwk, id }
    }

    fn ec(id: &'static str) -> Signer {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let point = &pair.public_key_raw()[1..];
        let (x, y) = point.split_at(32);
        let text = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": id, "alg": "ES256"});
        let sign = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Signer { sign, algorithm: Algorithm::ES256, jwk, id }
    }

    fn head(&self) -> Header {
        Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) }
    }

    fn token(&self, claims: &Value) -> String {
        encode(&self.head(), claims, &self.sign).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": ["other", "conclave"], "exp": now() + 600, "username": "al"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn write(dir: &Path, keys: &[&Value]) -> std::path::PathBuf {
    let path = dir.join("jwks.json");
    std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    path
}

fn open(path: &Path, user_claim: &str, user_prefix: &str) -> Jwt {
    let issuer = Issuer {
        jwks: path.into(),
        name: "https://id.example".into(),
        audience: "conclave".into(),
        user_claim: user_claim.into(),
        user_prefix: user_prefix.into(),
        leeway: Duration::from_secs(10),
    };
    Jwt::open(&JwtConfig { own: None, issuer: Some(issuer) }).unwrap()
}

fn user(jwt: &Jwt, token: &str) -> Option<String> {
    jwt.user(token).map(|verified| match verified {
        Verified::Issued { user } => user,
        Verified::Own { .. } => panic!("members sign nothing here"),
    })
}

#[test]
fn a_token_of_the_issuer_names_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec) = (Signer::ed("ed"), Signer::ec("ec"));
    let path = write(dir.path(), &[&ed.jwk, &ec.jwk]);
    let jwt = open(&path, "username", "");
    assert_eq!(user(&jwt, &ed.token(&claims())).as_deref(), Some("al"));
    assert_eq!(user(&jwt, &ec.token(&with("aud", json!("conclave")))).as_deref(), Some("al"));
    let service = ec.token(&with("sub", json!("system:serviceaccount:a:b")));
    assert_eq!(user(&open(&path, "sub", "k8s:"), &service).as_deref(), Some("k8s:system:serviceaccount:a:b"));
    // A clock that is a little off.
    for close in [with("exp", json!(now() - 5)), with("nbf", json!(now() + 5))] {
        assert_eq!(user(&jwt, &ed.token(&close)).as_deref(), Some("al"), "{close}");
    }
    assert!(jwt.issue("al", 1).is_none(), "members sign none");
    assert!(jwt.may_be(&ed.token(&claims())) && !jwt.may_be("aBcDeFgHiJkLmNoP.41"));
}

#[test]
fn what_the_issuer_has_not_said_for_this_cluster_and_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec) = (Signer::ed("ed"), Signer::ec("ec"));
    let jwt = open(&write(dir.path(), &[&ed.jwk, &ec.jwk]), "username", "");
    let wrong = [
        with("iss", json!("https://evil.example")),
        without("iss"),
        with("aud", json!("another")),
        with("aud", json!([])),
        without("aud"),
        with("exp", json!(now() - 11)),
        with("exp", json!("tomorrow")),
        without("exp"),
        with("nbf", json!(now() + 60)),
        // jsonwebtoken takes this for none (CVE-2026-25537).
        with("nbf", json!((now() + 60).to_string())),
        with("username", json!("")),
        with("username", json!(["root"])),
        without("username"),
    ];
    for claims in wrong {
        assert_eq!(user(&jwt, &ed.token(&claims)), None, "{claims}");
    }
    // Claims of members' tokens make none of it.
    assert!(matches!(jwt.user(&ed.token(&with("revision", json!(7)))), Some(Verified::Issued { .. })));
}

#[test]
fn a_key_is_good_for_one_algorithm_and_its_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec, stranger) = (Signer::ed("ed"), Signer::ec("ec"), Signer::ed("ed"));
    let jwt = open(&write(dir.path(), &[&ed.jwk, &ec.jwk]), "username", "");
    assert_eq!(user(&jwt, &stranger.token(&claims())), None, "another key of the same name");
    for kid in [None, Some("ec".to_owned()), Some("unknown".to_owned())] {
        let head = Header { kid: kid.clone(), ..ed.head() };
        assert_eq!(user(&jwt, &encode(&head, &claims(), &ed.sign).unwrap()), None, "{kid:?}");
    }
    // The public key, which everybody knows, as a secret.
    let x = URL_SAFE_NO_PAD.decode(ed.jwk["x"].as_str().unwrap()).unwrap();
    for secret in [x, ed.jwk["x"].as_str().unwrap().as_bytes().to_vec(), Vec::new()] {
        let head = Header { kid: Some("ed".into()), ..Header::new(Algorithm::HS256) };
        assert_eq!(user(&jwt, &encode(&head, &claims(), &EncodingKey::from_secret(&secret)).unwrap()), None);
    }
    let token = ed.token(&claims());
    let (_, rest) = token.split_once('.').unwrap();
    let body = rest.split('.').next().unwrap();
    for head in [json!({"alg": "none", "kid": "ed"}), json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"]})] {
        let head = URL_SAFE_NO_PAD.encode(head.to_string());
        assert_eq!(user(&jwt, &format!("{head}.{body}.")), None);
        assert_eq!(user(&jwt, &format!("{head}.{rest}")), None);
    }
    // Signed as it stands, with an extension that must be understood.
    let head = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1}).to_string());
    let message = format!("{head}.{body}");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &ed.sign, Algorithm::EdDSA).unwrap();
    assert_eq!(user(&jwt, &format!("{message}.{signature}")), None);
    // With one key, a token need not name it.
    let only = open(&write(dir.path(), &[&ed.jwk]), "username", "");
    let head = Header::new(Algorithm::EdDSA);
    assert_eq!(user(&only, &encode(&head, &claims(), &ed.sign).unwrap()).as_deref(), Some("al"));
}

#[test]
fn a_set_has_keys_of_an_issuer_each_with_its_name() {
    let (ed, ec) = (Signer::ed("ed"), Signer::ec("ec"));
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "secret"});
    let mut encrypting = Signer::ed("enc").jwk;
    encrypting["use"] = json!("enc");
    let mut wrong = Signer::ec("wrong").jwk;
    wrong["alg"] = json!("ES384");
    let unknown = json!({"kty": "LATTICE", "kid": "new"});
    let set = |keys: &[&Value]| parse(json!({"keys": keys}).to_string().as_bytes());
    let mixed = set(&[&secret, &ed.jwk, &encrypting, &wrong, &unknown, &ec.jwk]).unwrap();
    let names: Vec<_> = mixed.iter().map(|(id, algorithm, _)| (id.as_deref(), *algorithm)).collect();
    assert_eq!(names, [(Some("ed"), Algorithm::EdDSA), (Some("ec"), Algorithm::ES256)]);
    assert!(set(&[&secret, &encrypting]).err().unwrap().contains("no key that verifies"));
    assert!(set(&[&ed.jwk, &ed.jwk]).err().unwrap().contains("two keys are named"));
    assert!(parse(b"not json").err().unwrap().contains("no JSON Web Key Set"));
    assert!(set(&[&unknown; 65]).is_err());
}

#[test]
fn a_changed_set_is_taken_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Signer::ed("old"), Signer::ed("new"));
    let jwt = open(&write(dir.path(), &[&old.jwk]), "username", "");
    write(dir.path(), &[]);
    jwt.reload();
    assert!(jwt.figures().rejected && user(&jwt, &old.token(&claims())).is_some());
    write(dir.path(), &[&new.jwk]);
    jwt.reload();
    assert!(user(&jwt, &old.token(&claims())).is_none() && user(&jwt, &new.token(&claims())).is_some());
}

#[test]
fn fuzz_key_set() {
    let set = json!({"keys": [Signer::ed("ed").jwk, Signer::ec("ec").jwk]}).to_string();
    conclave_fuzz::target!("key_set").seed(set).run(|bytes| match parse(bytes) {
        Ok(keys) => format!("{:?}", keys.iter().map(|(_, algorithm, _)| *algorithm).collect::<Vec<_>>()),
        Err(why) => why.split(':').next().unwrap_or_default().chars().take(24).collect(),
    });
}

#[test]
fn fuzz_issued_token() {
    let dir = tempfile::tempdir().unwrap();
    let ed = Signer::ed("ed");
    let jwt = open(&write(dir.path(), &[&ed.jwk]), "username", "");
    let token = ed.token(&claims());
    conclave_fuzz::target!("issued_token").seed(token.clone()).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let named = user(&jwt, &text);
        assert!(named.is_none() || text == token, "a token that nobody signed");
        format!("{} {}", text.split('.').count() == 3, named.is_some())
    });
}
