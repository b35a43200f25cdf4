//! Signed tokens (JWT) from outside: each kind of key, every member, a restart; and no secret in a
//! log.

use crate::post;
use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    etcdctl::Etcdctl,
    wait::{SOON, eventually, within},
};
use std::{fs, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

const PASSWORD: &str = "correct-horse-battery";

/// Changed files are in force after this, on a busy machine too.
const RELOADED: Duration = Duration::from_secs(60);

/// Writes `NAME.key` and `NAME.pub`.
async fn key(dir: &Path, name: &str, algorithm: &str) -> Result<()> {
    let script = format!(
        "openssl genpkey -algorithm {algorithm} -out {name}.key && openssl pkey -in {name}.key -pubout -out {name}.pub"
    );
    let made = Command::new("sh").args(["-ec", &script]).current_dir(dir).stdin(Stdio::null()).output();
    let made = within("openssl", SOON, made).await??;
    ensure!(made.status.success(), "{script}: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// Members whose tokens are signed with `key`, and who write down everything they do.
async fn cluster(size: usize, method: &str, algorithm: &str) -> Result<Cluster> {
    let mut cluster = Cluster::plan(size, &["--bcrypt-cost=4", "--log-level=debug"])?;
    let dir = cluster.dir().to_owned();
    key(&dir, "jwt", algorithm).await?;
    let file = |end: &str| dir.join(format!("jwt.{end}")).display().to_string();
    let (public, private) = (file("pub"), file("key"));
    let flag = format!("--auth-token=jwt,pub-key={public},priv-key={private},sign-method={method},ttl=10m");
    for i in 0..size {
        let args = [cluster.node(i).args(), std::slice::from_ref(&flag)].concat();
        cluster.node(i).set_args(args);
    }
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    for command in [&format!("user add root:{PASSWORD}"), "user grant-role root root", "auth enable"] {
        etcdctl.ok(&command.split(' ').collect::<Vec<_>>()).await?;
    }
    Ok(cluster)
}

async fn login(endpoint: &str) -> Result<String> {
    let body = format!(r#"{{"name":"root","password":"{PASSWORD}"}}"#);
    let (status, answer) = post(endpoint, "/v3/auth/authenticate", &body, None).await?;
    ensure!(status == 200, "{answer}");
    Ok(answer["token"].as_str().context("a token")?.to_owned())
}

async fn put(endpoint: &str, token: &str) -> Result<u16> {
    Ok(post(endpoint, "/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#, Some(token)).await?.0)
}

/// Files below `dir` that contain one of `secrets`.
fn containing(dir: &Path, secrets: &[&str], found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            containing(&path, secrets, found)?;
            continue;
        }
        let contents = fs::read(&path)?;
        for secret in secrets {
            if contents.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                found.push(format!("{} contains {secret}", path.display()));
            }
        }
    }
    Ok(())
}

/// CVE-2021-28235 is a password that stayed in a request and was shown by a debugging page.
#[tokio::test]
async fn a_signed_token_holds_at_every_member_and_no_secret_is_written_down() -> Result<()> {
    let mut cluster = cluster(3, "ES256", "EC -pkeyopt ec_paramgen_curve:P-256").await?;
    let token = login(&cluster.endpoint(0)).await?;
    ensure!(token.split('.').count() == 3, "{token}");
    for endpoint in cluster.endpoints() {
        ensure!(put(&endpoint, &token).await? == 200, "{endpoint} made no such token, and knows the key");
    }
    // Simple tokens are in the memory of members; this one is not.
    cluster.restart(1).await?;
    ensure!(put(&cluster.endpoint(1), &token).await? == 200);
    let (rest, signature) = token.rsplit_once('.').context("a signature")?;
    let forged = format!("{rest}.{}", signature.chars().rev().collect::<String>());
    ensure!(put(&cluster.endpoint(1), &forged).await? == 401);
    // `{"alg":"none"}`: a token that claims to need no signature.
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", rest.split_once('.').context("claims")?.1);
    ensure!(put(&cluster.endpoint(1), &unsigned).await? == 401);
    cluster.terminate_all().await?;
    let mut found = Vec::new();
    containing(cluster.dir(), &[PASSWORD, &token, signature], &mut found)?;
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

#[tokio::test]
async fn every_kind_of_key_signs() -> Result<()> {
    for (method, algorithm) in [
        ("RS256", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("PS384", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("EdDSA", "ED25519"),
    ] {
        let cluster = cluster(1, method, algorithm).await.with_context(|| method.to_owned())?;
        let token = login(&cluster.endpoint(0)).await.with_context(|| method.to_owned())?;
        let status = put(&cluster.endpoint(0), &token).await?;
        ensure!(status == 200, "{method}: {status}");
    }
    Ok(())
}

const BASE64URL: &str = "openssl base64 -A | tr '+/' '-_' | tr -d '='";

/// Signs claims with `NAME.key`, of the kind ED25519, as an issuer would.
async fn issued(dir: &Path, name: &str, kid: &str, claims: &str) -> Result<String> {
    let script = format!(
        r#"head=$(printf '%s' '{{"alg":"EdDSA","kid":"{kid}"}}' | {BASE64URL})
           body=$(printf '%s' '{claims}' | {BASE64URL})
           printf '%s' "$head.$body" > said
           mark=$(openssl pkeyutl -sign -inkey {name}.key -rawin -in said | {BASE64URL})
           printf '%s' "$head.$body.$mark""#
    );
    shell(dir, &script).await
}

/// The public half of `NAME.key` in a key set, replaced as a whole.
async fn publish(dir: &Path, name: &str, kid: &str) -> Result<()> {
    let script = format!(
        r#"x=$(openssl pkey -in {name}.key -pubout -outform DER | tail -c 32 | {BASE64URL})
           printf '{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"%s"}}]}}' "$x" > jwks.new
           mv jwks.new jwks.json"#
    );
    shell(dir, &script).await.map(drop)
}

async fn shell(dir: &Path, script: &str) -> Result<String> {
    let ran = Command::new("bash").args(["-euc", script]).current_dir(dir).stdin(Stdio::null()).output();
    let ran = within("a script", SOON, ran).await??;
    ensure!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

#[tokio::test]
async fn tokens_of_an_issuer_name_users_and_its_keys_are_followed() -> Result<()> {
    let mut cluster = Cluster::plan(1, &["--bcrypt-cost=4"])?;
    let dir = cluster.dir().to_owned();
    for name in ["first", "second"] {
        key(&dir, name, "ED25519").await?;
    }
    publish(&dir, "first", "a").await?;
    let jwks = dir.join("jwks.json").display().to_string();
    let flag = format!("--auth-token=jwt,jwks-file={jwks},issuer=https://id.example,audience=conclave,user-claim=sub");
    let args = [cluster.node(0).args(), std::slice::from_ref(&flag)].concat();
    cluster.node(0).set_args(args);
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let endpoint = cluster.endpoint(0);
    let etcdctl = Etcdctl::new(std::slice::from_ref(&endpoint));
    for command in [
        &format!("user add root:{PASSWORD}"),
        "user grant-role root root",
        "role add app",
        "role grant-permission app readwrite a",
        "user add billing --no-password",
        "user grant-role billing app",
        "auth enable",
    ] {
        etcdctl.ok(&command.split(' ').collect::<Vec<_>>()).await?;
    }
    let claims = |user: &str, audience: &str| {
        format!(r#"{{"iss":"https://id.example","aud":"{audience}","sub":"{user}","exp":9999999999}}"#)
    };
    let good = issued(&dir, "first", "a", &claims("billing", "conclave")).await?;
    ensure!(put(&endpoint, &good).await? == 200, "a token of the issuer");
    // Its roles are those of the cluster; another key, audience or user is nobody's.
    let other = post(&endpoint, "/v3/kv/put", r#"{"key":"Yg==","value":"Yg=="}"#, Some(&good)).await?;
    ensure!(other.0 == 403, "{other:?}");
    for (name, kid, user, audience) in [
        ("second", "a", "billing", "conclave"),
        ("first", "a", "billing", "other"),
        ("first", "b", "billing", "conclave"),
    ] {
        let token = issued(&dir, name, kid, &claims(user, audience)).await?;
        ensure!(put(&endpoint, &token).await? == 401, "{name} {kid} {user} {audience}");
    }
    // Logins get letters beside it.
    let letters = login(&endpoint).await?;
    ensure!(letters.split('.').count() == 2 && put(&endpoint, &letters).await? == 200);
    // Another set replaces the first.
    publish(&dir, "second", "b").await?;
    let next = issued(&dir, "second", "b", &claims("billing", "conclave")).await?;
    eventually("the new key is in force", RELOADED, async || {
        ensure!(put(&endpoint, &next).await? == 200, "not yet");
        Ok(())
    })
    .await?;
    ensure!(put(&endpoint, &good).await? == 401, "the old key is good no more");
    Ok(())
}
