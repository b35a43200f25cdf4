//! The JSON gateway with stock curl: what etcd answered is answered here, streams, errors, and
//! calls that are given up.

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{
    client::{count, present, put},
    cluster::Cluster,
    wait::{SOON, eventually},
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async};

/// What one call of curl got.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lower case, one a line.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--no-buffer", "--max-time", "60"]).args(arguments).arg(url);
    command.kill_on_drop(true);
    command
}

async fn curl(url: &str, arguments: &[&str]) -> Result<Answer> {
    let output = command(url, &[&["--dump-header", "/dev/stderr"], arguments].concat()).output().await?;
    let head = String::from_utf8(output.stderr)?.to_ascii_lowercase();
    ensure!(output.status.success(), "curl {url}: {head}");
    // The last of them: `100 Continue` comes before.
    let status = head.lines().rfind(|line| line.starts_with("http/")).and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).with_context(|| format!("no status: {head}"))?;
    Ok(Answer { status, head, body: String::from_utf8(output.stdout)? })
}

async fn post(cluster: &Cluster, path: &str, body: &str) -> Result<Answer> {
    curl(&format!("{}{path}", cluster.endpoint(0)), &["--data-binary", body]).await
}

/// The JSON of an answer that must be a good one.
async fn good(cluster: &Cluster, path: &str, body: &str) -> Result<Value> {
    let answer = post(cluster, path, body).await?;
    ensure!(answer.status == 200, "{path} {body}: {answer:?}");
    answer.json()
}

/// A call whose answers are read while they come.
struct Stream {
    curl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stream {
    fn open(cluster: &Cluster, path: &str, body: &str) -> Result<Stream> {
        let url = format!("{}{path}", cluster.endpoint(0));
        let mut curl = command(&url, &["--data-binary", body]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(curl.stdout.take().context("it is piped")?).lines();
        Ok(Stream { curl, lines })
    }

    async fn next(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.context("no line")??;
        let line = line.context("the stream ended")?;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    async fn ends(mut self) -> Result<()> {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.context("it does not end")??;
        ensure!(line.is_none(), "one more line: {line:?}");
        ensure!(self.curl.wait().await?.success(), "curl failed");
        Ok(())
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.curl.kill().await?)
    }
}

const TRANSCRIPT: &str = include_str!("../testdata/etcd-3.7.1-gateway.txt");

/// Values that differ between two clusters that did the same.
const DIFFERENT: [&str; 18] = [
    "ID",
    "TTL",
    "clientURLs",
    "cluster_id",
    "dbSize",
    "dbSizeInUse",
    "hash",
    "key",
    "leader",
    "lease",
    "member_id",
    "name",
    "peerURLs",
    "raftAppliedIndex",
    "raftIndex",
    "raftTerm",
    "raft_term",
    "version",
];

/// The same JSON with the values of other clusters in it replaced by their types.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => (name.clone(), comparable(value)),
                _ if DIFFERENT.contains(&name.as_str()) => (name.clone(), json!("…")),
                _ => (name.clone(), comparable(value)),
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(elements) => elements.iter().map(comparable).collect(),
        other => other.clone(),
    }
}

/// Everything that etcd 3.7.1 was asked, in the same order: the same statuses, headers and JSON.
#[tokio::test]
async fn what_etcd_answers() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut compared = 0;
    for call in TRANSCRIPT.split("--- POST ").skip(1) {
        let call = call.split("\n--- ").next().context("a split has a first part")?;
        let (request, answer) = call.split_once('\n').context("an answer follows")?;
        let (path, body) = request.split_once(' ').unwrap_or((request, ""));
        let ours = post(&cluster, path, body.trim()).await?;
        let (status, mut ours_json) = (answer.split(' ').nth(1).context("a status")?, ours.json().unwrap_or_default());
        let Some(theirs) = answer.lines().find(|line| line.starts_with('{')) else {
            ensure!((path, ours.status) == ("/v3alpha/kv/put", 404), "{path}: {ours:?}");
            continue;
        };
        // Go writes another blank in some builds, so that nobody compares its texts.
        let mut theirs: Value = serde_json::from_str(&theirs.replace('\u{a0}', " "))?;
        compared += 1;
        if (path, theirs["code"].as_i64()) == ("/v3/election/leader", Some(2)) {
            // docs/errors.md: the code that fits.
            ensure!((ours.status, &ours_json["code"]) == (404, &json!(5)), "{ours:?}");
            continue;
        }
        ensure!(ours.status.to_string() == status, "{path} {body}: {status} expected, {ours:?}");
        for header in answer.lines().filter(|line| line.starts_with("Access-Control") || line.starts_with("Grpc-Meta"))
        {
            ensure!(ours.head.contains(&header.trim().to_ascii_lowercase()), "{path}: {header} is missing: {ours:?}");
        }
        ensure!(ours.head.contains("content-type: application/json"), "{path}: {ours:?}");
        if path == "/v3/maintenance/status" {
            // What a member tells of its own version and size.
            for field in ["storageVersion", "downgradeInfo", "dbSizeQuota"] {
                theirs.as_object_mut().context("an object")?.remove(field);
                ours_json.as_object_mut().context("an object")?.remove(field);
            }
        }
        if path == "/v3/cluster/member/list" {
            // Every header here has the revision; etcd leaves it out of this one.
            ours_json["header"].as_object_mut().context("an object")?.remove("revision");
        }
        if status != "200" {
            // Clients of 3.4 and 3.5 look there.
            let error = ours_json.as_object_mut().context("an object")?.remove("error");
            ensure!(error.as_ref() == Some(&ours_json["message"]), "{path}: {ours:?}");
        }
        let (theirs, ours) = (comparable(&theirs), comparable(&ours_json));
        ensure!(theirs == ours, "{path} {body}\n etcd     {theirs}\n conclave {ours}");
    }
    ensure!(compared == 39, "{compared} calls in the transcript");
    let get = curl(&format!("{}/v3/kv/put", cluster.endpoint(0)), &[]).await?;
    ensure!(get.status == 501 && get.json()?["message"] == "Method Not Allowed", "{get:?}");
    for page in ["/health", "/version", "/metrics", "/nosuch"] {
        let page = curl(&format!("{}{page}", cluster.endpoint(0)), &[]).await?;
        ensure!(page.head.contains("access-control-allow-origin: *"), "{page:?}");
    }
    let preflight = curl(&format!("{}/v3/kv/put", cluster.endpoint(0)), &["--request", "OPTIONS"]).await?;
    ensure!(preflight.status == 200 && preflight.body.is_empty(), "{preflight:?}");
    ensure!(preflight.head.contains("access-control-allow-methods: post, get, options, put, delete"), "{preflight:?}");
    Ok(())
}

#[tokio::test]
async fn streams_are_lines() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(1)?;
    let mut watch = Stream::open(&cluster, "/v3/watch", r#"{"create_request":{"key":"dw==","filters":[]}}"#)?;
    ensure!(watch.next().await?["result"]["created"] == true);
    put(&client, "w", "1").await?;
    let event = watch.next().await?;
    let event = &event["result"]["events"][0];
    ensure!((&event["kv"]["value"], &event["type"]) == (&json!("MQ=="), &Value::Null), "{event}");
    good(&cluster, "/v3/kv/deleterange", r#"{"key":"dw=="}"#).await?;
    ensure!(watch.next().await?["result"]["events"][0]["type"] == "DELETE");
    watch.kill().await?;

    let at = present(&client).await?;
    good(&cluster, "/v3/kv/compaction", &format!("{{\"revision\":\"{at}\"}}")).await?;
    let mut watch = Stream::open(&cluster, "/v3/watch", r#"{"create_request":{"key":"dw==","start_revision":"1"}}"#)?;
    ensure!(watch.next().await?["result"]["created"] == true);
    let canceled = watch.next().await?;
    ensure!(canceled["result"]["canceled"] == true, "{canceled}");
    ensure!(canceled["result"]["compact_revision"].as_str() == Some(at.to_string().as_str()), "{canceled}");

    // A stream that is used as one call: it answers, and ends.
    let granted = good(&cluster, "/v3/lease/grant", r#"{"TTL":60}"#).await?;
    let id = granted["ID"].as_str().context("a string")?;
    let mut kept = Stream::open(&cluster, "/v3/lease/keepalive", &format!("{{\"ID\":{id}}}"))?;
    ensure!(kept.next().await?["result"]["TTL"] == "60");
    kept.ends().await?;
    // A lease that is gone has no TTL.
    let mut kept = Stream::open(&cluster, "/v3/lease/keepalive", r#"{"ID":"1"}"#)?;
    let gone = kept.next().await?;
    ensure!((&gone["result"]["ID"], &gone["result"]["TTL"]) == (&json!("1"), &Value::Null), "{gone}");
    kept.ends().await?;

    let mut observed = Stream::open(&cluster, "/v3/election/observe", r#"{"name":"ZQ=="}"#)?;
    let campaign = format!("{{\"name\":\"ZQ==\",\"value\":\"dg==\",\"lease\":\"{id}\"}}");
    let leader = good(&cluster, "/v3/election/campaign", &campaign).await?["leader"].take();
    ensure!(observed.next().await?["result"]["kv"]["value"] == "dg==");
    good(&cluster, "/v3/election/proclaim", &json!({ "leader": leader, "value": "bmV3" }).to_string()).await?;
    ensure!(observed.next().await?["result"]["kv"]["value"] == "bmV3");
    good(&cluster, "/v3/election/resign", &json!({ "leader": leader }).to_string()).await?;

    // A stream that is refused before it began says so with its status.
    let refused = post(&cluster, "/v3/maintenance/snapshot", "{}").await?;
    if refused.status != 200 {
        let error = refused.json()?["error"].take();
        ensure!(error["message"].is_string() && error["http_code"] == refused.status, "{refused:?}");
    }
    Ok(())
}

/// A waiting call that is given up leaves nothing in the line.
#[tokio::test]
async fn a_connection_that_ends_gives_back_what_it_asked_for() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(2)?;
    for (path, name, prefix) in [("/v3/lock/lock", "bA==", "l/"), ("/v3/election/campaign", "ZQ==", "e/")] {
        let body = format!("{{\"name\":\"{name}\"}}");
        good(&cluster, path, &body).await?;
        let waiting = Stream::open(&cluster, path, &body)?;
        let places = async |expected: i64| {
            let places = count(&client, prefix).await?;
            ensure!(places == expected, "{places} in the line of {prefix}");
            Ok(())
        };
        eventually("it waits", SOON, async || places(2).await).await?;
        waiting.kill().await?;
        eventually("its place is given back", SOON, async || places(1).await).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_request() -> Result<()> {
    let mut cluster = Cluster::start_with(1, &["--max-request-bytes", "50000"]).await?;
    let long = format!("{{\"key\":\"{}\"}}", "A".repeat(100_000));
    let deep = format!("{{\"success\":[{}", "{\"requestTxn\":{\"success\":[".repeat(2_000));
    for (path, body) in [
        ("/v3/kv/put", "{"),
        ("/v3/kv/put", "[]"),
        ("/v3/kv/put", "{\"key\":\"YQ==\"} and more"),
        ("/v3/kv/put", "{\"key\":\"YQ==\",\"key\":\"Yg==\"}"),
        ("/v3/kv/put", "{\"key\":\"!\"}"),
        ("/v3/kv/put", "{\"key\":7}"),
        ("/v3/kv/put", long.as_str()),
        ("/v3/kv/range", "{\"key\":\"YQ==\",\"limit\":\"9223372036854775808\"}"),
        ("/v3/kv/range", "{\"key\":\"YQ==\",\"sort_order\":\"DESC\"}"),
        ("/v3/kv/txn", deep.as_str()),
        ("/v3/kv/txn", "{\"success\":{}}"),
        ("/v3/watch", "{\"create_request\":{},\"cancel_request\":{}}"),
        ("/v3/watch", ""),
        ("/v3/lease/keepalive", "nothing"),
        ("/v3/lease/grant", "{\"TTL\":1.5}"),
    ] {
        let answer = post(&cluster, path, body).await?;
        let body = body.get(..100).unwrap_or(body);
        ensure!(answer.status == 400, "{path} {body}: {answer:?}");
        let json = answer.json()?;
        ensure!(json["code"] == 3 && json["error"] == json["message"], "{path} {body}: {answer:?}");
    }
    // More than any request may have: the rest is not read.
    let file = cluster.dir().join("huge");
    std::fs::write(&file, vec![b'['; 20_000_000])?;
    let url = format!("{}/v3/kv/put", cluster.endpoint(0));
    let huge = curl(&url, &["--data-binary", &format!("@{}", file.display())]).await?;
    ensure!(huge.status == 429 && huge.json()?["code"] == 8, "{huge:?}");
    // A client that goes while it sends.
    let address = cluster.endpoint(0).trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address).await?;
    connection.write_all(b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"key\":").await?;
    drop(connection);
    // The member serves on, on a connection that had an error too.
    let mut connection = TcpStream::connect(&address).await?;
    for body in ["{", "{\"key\":\"YQ==\"}"] {
        let request = format!("POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.write_all(request.as_bytes()).await?;
        let mut answer = vec![0; 4_096];
        let length = connection.read(&mut answer).await?;
        let expected = if body == "{" { "HTTP/1.1 400" } else { "HTTP/1.1 200" };
        ensure!(answer[..length].starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&answer[..length]));
    }
    ensure!(cluster.node(0).running()?);
    Ok(())
}

#[tokio::test]
async fn who_may_ask() -> Result<()> {
    let flags = ["--host-whitelist", "127.0.0.1,etcd.example", "--cors", "https://page.example"];
    let cluster = Cluster::start_with(1, &flags).await?;
    let url = format!("{}/v3/kv/range", cluster.endpoint(0));
    let body = ["--data-binary", r#"{"key":"YQ=="}"#];
    for (header, status) in [("Host: etcd.example:2379", 200), ("Host: evil.example", 421), ("Host:", 400)] {
        let answer = curl(&url, &[&body[..], &["--header", header]].concat()).await?;
        ensure!(answer.status == status || (status == 400 && answer.status == 421), "{header}: {answer:?}");
    }
    let page = curl(&format!("{}/health", cluster.endpoint(0)), &["--header", "Host: evil.example"]).await?;
    ensure!(page.status == 421, "{page:?}");
    for (origin, allowed) in [("https://page.example", true), ("https://other.example", false)] {
        let header = format!("Origin: {origin}");
        let answer = curl(&url, &[&body[..], &["--header", &header]].concat()).await?;
        let says = answer.head.contains(&format!("access-control-allow-origin: {origin}"));
        ensure!(says == allowed && answer.head.contains("access-control-allow-origin") == allowed, "{answer:?}");
    }
    // Neither concerns gRPC.
    put(&cluster.client(0)?, "a", "b").await?;

    let off = Cluster::start_with(1, &["--enable-grpc-gateway=false"]).await?;
    let answer = curl(&format!("{}/v3/kv/range", off.endpoint(0)), &body).await?;
    ensure!(answer.status == 404 || answer.status == 405, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn text_and_own_services() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    good(&cluster, "/v3/kv/put?utf8=true", r#"{"key":"grüße","value":"a b"}"#).await?;
    good(&cluster, "/v3/kv/put?utf8=true", r#"{"key":"bin","value_base64":"/w=="}"#).await?;
    let range = good(&cluster, "/v3/kv/range?utf8=true", r#"{"key":"\u0000","range_end":"\u0000"}"#).await?;
    let kvs = range["kvs"].as_array().context("a list")?;
    ensure!((&kvs[0]["key"], &kvs[0]["value_base64"]) == (&json!("bin"), &json!("/w==")), "{range}");
    ensure!((&kvs[1]["key"], &kvs[1]["value"]) == (&json!("grüße"), &json!("a b")), "{range}");

    let session = good(&cluster, "/conclave/v1/sessions/open", r#"{"ttl_ms":"60000"}"#).await?;
    ensure!(session["header"]["revision"].is_string(), "{session}");
    let unknown = post(&cluster, "/conclave/v1/sessions/nosuch", "{}").await?;
    ensure!(unknown.status == 404, "{unknown:?}");
    Ok(())
}

/// A socket on a stream, opened by a page of this origin.
async fn socket(cluster: &Cluster, path: &str, origin: Option<&str>) -> Result<WebSocketStream<TcpStream>> {
    let address = cluster.endpoint(0).trim_start_matches("http://").to_owned();
    let mut request = format!("ws://{address}{path}").into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse()?);
    }
    Ok(client_async(request, TcpStream::connect(&address).await?).await?.0)
}

async fn received(socket: &mut WebSocketStream<TcpStream>) -> Result<Value> {
    let message = tokio::time::timeout(SOON, socket.next()).await.context("no message")?;
    match message.context("the socket ended")?? {
        Message::Text(text) => Ok(serde_json::from_str(&text)?),
        other => bail!("{other:?}"),
    }
}

#[tokio::test]
async fn watches_over_a_websocket() -> Result<()> {
    let cluster = Cluster::start_with(1, &["--cors", "https://page.example"]).await?;
    let client = cluster.client(0)?;
    let mut watch = socket(&cluster, "/v3/watch", Some("https://page.example")).await?;
    watch.send(Message::text(r#"{"create_request":{"key":"dw==","watch_id":"7"}}"#)).await?;
    ensure!(received(&mut watch).await?["result"]["created"] == true);
    put(&client, "w", "1").await?;
    ensure!(received(&mut watch).await?["result"]["events"][0]["kv"]["value"] == "MQ==");
    watch.send(Message::text(r#"{"cancel_request":{"watch_id":7}}"#)).await?;
    ensure!(received(&mut watch).await?["result"]["canceled"] == true);
    // What is no request ends the call, and the socket after it.
    watch.send(Message::text("{\"create_request\":1}")).await?;
    let error = received(&mut watch).await?;
    ensure!(error["error"]["code"] == 3, "{error}");
    let end = tokio::time::timeout(SOON, watch.next()).await.context("it does not end")?;
    ensure!(matches!(end, None | Some(Ok(Message::Close(_)) | Err(_))), "{end:?}");

    // One request, and then the answers alone.
    let mut observed = socket(&cluster, "/v3/election/observe?utf8=true", None).await?;
    observed.send(Message::text(r#"{"name":"e"}"#)).await?;
    good(&cluster, "/v3/election/campaign?utf8=true", r#"{"name":"e","value":"v"}"#).await?;
    ensure!(received(&mut observed).await?["result"]["kv"]["value"] == "v");
    drop(observed);

    ensure!(socket(&cluster, "/v3/watch", Some("https://other.example")).await.is_err(), "any page may watch");
    ensure!(socket(&cluster, "/v3/kv/put", None).await.is_err(), "a unary call has no socket");
    put(&client, "w", "2").await?;
    Ok(())
}
