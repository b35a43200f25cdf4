//! What a real etcd 3.7.1 answered to a hundred requests, asked again here. `observed.txt` is its transcript.

use anyhow::{Context, Result, ensure};
use cluster_tests::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::process::Command;

const TRANSCRIPT: &str = include_str!("observed.txt");

struct Asked<'a> {
    path: &'a str,
    body: &'a str,
    token: Option<&'a str>,
    status: u16,
    answer: Value,
}

/// `--- POST path body [token X]`, and on the next line status and answer.
fn transcript() -> Result<Vec<Asked<'static>>> {
    let mut lines = TRANSCRIPT.lines();
    let mut asked = Vec::new();
    while let Some(line) = lines.next() {
        let request = line.strip_prefix("--- POST ").with_context(|| format!("a request: {line}"))?;
        let (request, token) = match request.rsplit_once(" [token ") {
            Some((request, token)) => (request, Some(token.trim_end_matches(']'))),
            None => (request, None),
        };
        let (path, body) = request.split_once(' ').context("a path and a body")?;
        let (status, answer) = lines.next().context("an answer")?.split_once(' ').context("a status")?;
        let answer = serde_json::from_str(answer).with_context(|| answer.to_owned())?;
        asked.push(Asked { path, body: body.trim(), token, status: status.parse()?, answer });
    }
    Ok(asked)
}

async fn post(endpoint: &str, path: &str, body: &str, token: Option<&str>) -> Result<(u16, Value)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--data-binary", body]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: {token}")]);
    }
    let output = command.arg(format!("{endpoint}{path}")).kill_on_drop(true).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let (answer, status) = text.rsplit_once('\n').context("an answer and a status")?;
    let answer = serde_json::from_str(answer.lines().next().unwrap_or_default());
    Ok((status.parse()?, answer.with_context(|| format!("{path}: {text}"))?))
}

/// Code and text of a refusal, wherever they stand.
fn refusal(answer: &Value) -> (Option<i64>, Option<&str>) {
    let inner = answer.get("error").filter(|error| error.is_object()).unwrap_or(answer);
    (inner["code"].as_i64(), inner["message"].as_str())
}

/// What differs on purpose: the answer here, and why.
fn differs(asked: &Asked<'_>) -> Option<(u16, &'static str)> {
    match (asked.path, asked.body) {
        // A user whose password is empty is a user that anybody is.
        ("/v3/auth/user/add", r#"{"name":"nul","password":""}"# | r#"{"name":"empty"}"#) => {
            Some((400, "conclave: the password is empty; a user without one is added with no_password"))
        }
        ("/v3/auth/authenticate", r#"{"name":"nul","password":""}"# | r#"{"name":"empty","password":""}"#) => {
            Some((400, "etcdserver: authentication failed, invalid user ID or password"))
        }
        // etcd loses the code of what its own client library refuses.
        ("/v3/lock/lock", r#"{"name":"L3g="}"#) => Some((403, "etcdserver: permission denied")),
        _ => None,
    }
}

/// Takes out what no two servers have in common.
fn comparable(asked: &Asked<'_>, answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(object) = answer.as_object_mut() {
        for name in ["header", "token", "TTL", "ID"] {
            object.remove(name);
        }
        // Two users fewer, for the reason above.
        object.remove("authRevision");
        if let Some(users) = object.get_mut("users").and_then(Value::as_array_mut) {
            users.retain(|user| user != "nul" && user != "empty");
        }
        for kv in object.get_mut("kvs").and_then(Value::as_array_mut).into_iter().flatten() {
            kv.as_object_mut().map(|kv| kv.remove("mod_revision"));
        }
        if matches!(asked.path, "/v3/lock/lock" | "/v3/maintenance/status" | "/v3/cluster/member/list") {
            return Value::Null;
        }
    }
    answer
}

#[tokio::test]
async fn etcds_answers_line_by_line() -> Result<()> {
    let cluster = Cluster::start_with(1, &["--bcrypt-cost=4"]).await?;
    let endpoint = cluster.endpoint(0);
    let mut tokens: BTreeMap<&str, String> = BTreeMap::from([("BAD", "bad.1".to_owned())]);
    let (mut compared, mut wrong) = (0, Vec::new());
    for asked in transcript()? {
        let token = asked.token.map(|name| tokens.get(name).with_context(|| format!("a token of {name}")).cloned());
        let (status, answer) = post(&endpoint, asked.path, asked.body, token.transpose()?.as_deref()).await?;
        if let (200, Some(token)) = (status, answer["token"].as_str()) {
            let name = if asked.body.contains("root") { "RT" } else { "AL" };
            tokens.insert(name, token.to_owned());
        }
        compared += 1;
        let (same, expected) = match differs(&asked) {
            Some((expected, text)) => (expected == status && refusal(&answer).1 == Some(text), text.to_owned()),
            None if asked.status == 200 => {
                let (ours, theirs) = (comparable(&asked, &answer), comparable(&asked, &asked.answer));
                (status == 200 && ours == theirs, theirs.to_string())
            }
            None => {
                let (ours, theirs) = (refusal(&answer), refusal(&asked.answer));
                (status == asked.status && ours == theirs, format!("{} {theirs:?}", asked.status))
            }
        };
        if !same {
            wrong.push(format!(
                "{} {} [{:?}]\n  etcd: {expected}\n  here: {status} {answer}",
                asked.path, asked.body, asked.token
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(compared == 100, "the transcript has 100 requests, not {compared}");
    Ok(())
}
