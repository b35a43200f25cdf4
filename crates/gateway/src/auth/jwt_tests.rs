use super::*;
use crate::auth::own::Claims;
use conclave_node::config::OwnTokens;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use std::path::Path;
use std::slice::from_ref;
use std::time::Duration;
use tempfile::TempDir;

fn own(method: &str, public: &[PathBuf], private: &[PathBuf]) -> JwtConfig {
    let ttl = Duration::from_secs(3_600);
    let own = OwnTokens { method: method.into(), pub_keys: public.to_vec(), priv_keys: private.to_vec(), ttl };
    JwtConfig { own: Some(own), issuer: None }
}

const SECRET: &str = "a secret of some length";

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn secret(dir: &TempDir, method: &str) -> JwtConfig {
    own(method, &[], &[write(dir.path(), "key", SECRET)])
}

/// `NAME.pub` and `NAME.key`.
fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let public = write(dir, &format!("{name}.pub"), &pair.public_key_pem());
    (public, write(dir, &format!("{name}.key"), &pair.serialize_pem()))
}

fn issue(jwt: &Jwt) -> String {
    jwt.issue("al", 7).expect("members sign").expect("it is made")
}

fn al() -> Option<Verified> {
    Some(Verified::Own { user: "al".into(), revision: 7 })
}

#[test]
fn fuzz_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let jwt = Jwt::open(&secret(&dir, "HS256")).expect("it opens");
    let token = issue(&jwt);
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
    let jwt = Jwt::open(&secret(&dir, "HS256")).expect("it opens");
    let token = issue(&jwt);
    assert_eq!(jwt.user(&token), al());
    let other = Jwt::open(&secret(&dir, "HS512")).expect("it opens");
    assert_eq!(other.user(&token), None, "another algorithm");
    let mut forged = token.clone();
    forged.pop();
    assert!(jwt.user(&forged).is_none() && jwt.user("").is_none() && jwt.user("a.b.c").is_none());
    // {"alg":"none"}
    let body = token.split('.').nth(1).expect("three parts");
    assert_eq!(jwt.user(&format!("eyJhbGciOiJub25lIn0.{body}.")), None);
    let late = Claims { username: "al".into(), revision: 7, exp: 1 };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    assert_eq!(jwt.user(&encode(&Header::new(Algorithm::HS256), &late, &key).expect("signed")), None);
    assert!(Jwt::open(&secret(&dir, "none")).is_err());
}

#[test]
fn a_public_key_is_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let (public, private) = pair(dir.path(), "one");
    let jwt = Jwt::open(&own("ES256", std::slice::from_ref(&public), &[private])).expect("it opens");
    assert_eq!(jwt.user(&issue(&jwt)), al());
    let claims = Claims { username: "al".into(), revision: 7, exp: u64::from(u32::MAX) };
    for known in [std::fs::read(&public).expect("a file"), Vec::new()] {
        let key = EncodingKey::from_secret(&known);
        assert_eq!(jwt.user(&encode(&Header::new(Algorithm::HS256), &claims, &key).expect("signed")), None);
    }
}

#[test]
fn keys_are_exchanged_without_a_moment_at_which_a_token_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let ((old_pub, old), (new_pub, new)) = (pair(dir.path(), "old"), pair(dir.path(), "new"));
    let stages = [
        own("ES256", from_ref(&old_pub), from_ref(&old)),
        own("ES256", &[old_pub.clone(), new_pub.clone()], &[old]),
        own("ES256", &[new_pub.clone(), old_pub], from_ref(&new)),
        own("ES256", &[new_pub], &[new]),
    ]
    .map(|config| Jwt::open(&config).expect("it opens"));
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)] {
        assert_eq!(stages[to].user(&issue(&stages[from])), al(), "from {from} to {to}");
    }
    assert_eq!(stages[3].user(&issue(&stages[0])), None);
}

#[test]
fn changed_files_count_only_if_they_fit() {
    let dir = tempfile::tempdir().expect("a directory");
    let (public, private) = pair(dir.path(), "used");
    let jwt = Jwt::open(&own("ES256", std::slice::from_ref(&public), std::slice::from_ref(&private))).expect("opens");
    let before = issue(&jwt);
    let (other_pub, other) = pair(dir.path(), "other");
    // The private key is new, the public key not yet.
    std::fs::copy(&other, &private).expect("a copy");
    jwt.reload();
    assert_eq!(jwt.figures(), Reloads { reloads: 0, failures: 1, rejected: true });
    assert!(jwt.user(&before) == al() && jwt.user(&issue(&jwt)) == al());
    std::fs::copy(&other_pub, &public).expect("a copy");
    assert!(jwt.changed());
    jwt.reload();
    assert_eq!(jwt.figures(), Reloads { reloads: 1, failures: 1, rejected: false });
    assert!(jwt.user(&before).is_none() && jwt.user(&issue(&jwt)) == al());
    std::fs::write(&public, "garbage").expect("a file");
    jwt.reload();
    assert!(jwt.figures().rejected && jwt.user(&issue(&jwt)) == al());
    let apart = own("ES256", &[dir.path().join("other.pub")], &[dir.path().join("old.key")]);
    assert!(Jwt::open(&apart).is_err(), "a file that is not there");
}
