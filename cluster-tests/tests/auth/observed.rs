//! What a real etcd 3.7.1 answered to a hundred requests, asked again here. `observed.txt` is its
//! transcript.

use crate::post;
use anyhow::{Context, Result, ensure};
use cluster_tests::cluster::Cluster;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const TRANSCRIPT: &str = include_str!("observed.txt");
/// What it answered about members, of which it was the only one.
const MEMBERS: &str = include_str!("members.txt");

struct Asked<'a> {
    path: &'a str,
    body: &'a str,
    token: Option<&'a str>,
    status: u16,
    answer: Value,
}

/// `--- POST path body [token X]`, and on the next line status and answer.
fn transcript(text: &'static str) -> Result<Vec<Asked<'static>>> {
    let mut lines = text.lines();
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
    for asked in transcript(TRANSCRIPT)? {
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

/// Ids and addresses of that etcd, and what stands for them here.
struct Names(BTreeMap<String, String>);

impl Names {
    fn here(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// An answer about members as etcd would give it, whatever the order of their ids.
    fn there(&self, answer: &Value) -> Result<Value> {
        let text = self.0.iter().fold(answer.to_string(), |text, (theirs, ours)| text.replace(ours, theirs));
        let mut answer: Value = serde_json::from_str(&text)?;
        if let Some(members) = answer["members"].as_array_mut() {
            members.sort_by_key(|member| member["peerURLs"].to_string());
        }
        // Of etcd's header only these two belong to no server alone: it has no revision, and there
        // is one.
        let revision = answer["header"]["revision"].clone();
        let object = answer.as_object_mut().context("an object")?;
        object.remove("header").context("a header")?;
        object.insert("revision".into(), revision);
        Ok(answer)
    }
}

#[tokio::test]
async fn etcds_answers_about_members_line_by_line() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let endpoint = cluster.endpoint(0);
    let (_, list) = post(&endpoint, "/v3/cluster/member/list", "{}", None).await?;
    let own = list["members"][0]["ID"].as_str().context("an id")?.to_owned();
    let mut names = Names(BTreeMap::from([
        ("7492453620553618272".to_owned(), own),
        ("http://127.0.0.1:19380".to_owned(), cluster.address(0).peer_url()),
        ("http://127.0.0.1:19379".to_owned(), endpoint.clone()),
        ("\"m1\"".to_owned(), "\"n1\"".to_owned()),
    ]));
    let (mut compared, mut wrong) = (0, Vec::new());
    // The last two are about a voter that nobody starts beside the only member: etcd adds it, and
    // never writes again. See below.
    let all = transcript(MEMBERS)?;
    let (same, other) = all.split_at(all.len() - 2);
    let mut added = Instant::now();
    for asked in same {
        let (status, answer) = post(&endpoint, asked.path, &names.here(asked.body), None).await?;
        if let (Some(theirs), Some(ours)) = (asked.answer["member"]["ID"].as_str(), answer["member"]["ID"].as_str()) {
            names.0.insert(theirs.to_owned(), ours.to_owned());
            added = Instant::now();
        }
        // Ids are made of URLs and the second there: a busy machine may have come to the next one.
        let late = refusal(&asked.answer).1 == Some("etcdserver: member ID already exist")
            && refusal(&answer) == (Some(9), Some("etcdserver: Peer URLs already exists"))
            && added.elapsed() >= Duration::from_secs(1);
        let equal = match asked.status {
            _ if late => true,
            200 => status == 200 && names.there(&answer)? == names.there(&asked.answer)?,
            _ => status == asked.status && refusal(&answer) == refusal(&asked.answer),
        };
        compared += 1;
        if !equal {
            wrong.push(format!(
                "{} {}\n  etcd: {} {}\n  here: {status} {answer}",
                asked.path, asked.body, asked.status, asked.answer
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(compared == 15, "there are 15 requests, not {compared}");
    let (status, answer) = post(&endpoint, other[0].path, other[0].body, None).await?;
    let said = refusal(&answer).1.unwrap_or_default();
    ensure!(status == 400 && said.contains("add it as a learner"), "{status} {answer}");
    Ok(())
}
