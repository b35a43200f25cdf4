//! What the audit log says of calls of a real client, and what it does not say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use conclave_api::conclave::v1 as own;
use conclave_api::conclave::v1::elections_client::ElectionsClient;
use conclave_api::conclave::v1::sessions_client::SessionsClient;
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::auth_client::AuthClient;
use conclave_api::etcdserverpb::kv_client::KvClient;
use conclave_api::etcdserverpb::maintenance_client::MaintenanceClient;
use conclave_api::etcdserverpb::watch_client::WatchClient;
use conclave_node::config::{AuditConfig, AuditOutput, Config};
use conclave_server::server::Server;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tonic::Request;
use tonic::transport::Channel;

const PASSWORD: &str = "a-password-of-root";

struct Audited {
    server: Server,
    channel: Channel,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Audited {
    async fn start() -> Audited {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let path = dir.path().join("audit.log");
        let mut config = Config::single("solo", dir.path().join("data"), any, any);
        let output = AuditOutput::File { path: path.clone(), max_bytes: None, files: 1 };
        config.audit = Some(AuditConfig { output, values: false });
        config.bcrypt_cost = 4;
        let server = Server::start(config).await.unwrap();
        server.ready().await;
        let uri = format!("http://{}", server.addresses().clients[0]);
        let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
        Audited { server, channel, path, _dir: dir }
    }

    /// The records since the last look.
    async fn records(&self, seen: &mut usize) -> Vec<Value> {
        self.server.gateway.audit.flush().await;
        let lines = lines(&self.path);
        let new = lines[*seen..].to_vec();
        *seen = lines.len();
        new
    }

    async fn with_users(&self) {
        let mut auth = AuthClient::new(self.channel.clone());
        for name in ["root", "alice"] {
            let password = if name == "root" { PASSWORD } else { "alices" };
            let user = pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() };
            auth.user_add(user).await.unwrap();
        }
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() }).await.unwrap();
        auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    }

    async fn token(&self, name: &str, password: &str) -> Result<String, tonic::Status> {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let answer = AuthClient::new(self.channel.clone()).authenticate(request).await?;
        Ok(answer.into_inner().token)
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: "a-value".into(), ..Default::default() }
}

fn shown(record: &Value, fields: &[&str]) -> String {
    fields.iter().map(|field| record[*field].to_string()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one record after the other")]
async fn changes_and_denials_are_recorded_once_each_without_secrets() {
    let audited = Audited::start().await;
    let (mut kv, mut seen) = (KvClient::new(audited.channel.clone()), 0);
    // Without users: where from, and with which revision. A read is none of it.
    kv.put(put("k")).await.unwrap();
    kv.range(pb::RangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    let records = audited.records(&mut seen).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(shown(&records[0], &["member", "kind", "code", "revision", "user"]), r#""solo" "kv.put" "OK" 2 null"#);
    assert_eq!(records[0]["ops"].to_string(), r#"[{"key":"k","op":"put"}]"#);
    assert!(records[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{records:?}");

    audited.with_users().await;
    let records = audited.records(&mut seen).await;
    let told: Vec<String> = records.iter().map(|record| shown(record, &["kind", "target", "code"])).collect();
    let expected = [
        r#""auth.user_add" "root" "OK""#,
        r#""auth.user_add" "alice" "OK""#,
        r#""auth.user_grant_role" "root" "OK""#,
        r#""auth.enable" null "OK""#,
    ];
    assert_eq!(told, expected);

    // Logins that fail and succeed, calls without and with a token that is none, denied reads and
    // writes.
    audited.token("alice", "wrong").await.unwrap_err();
    let alice = audited.token("alice", "alices").await.unwrap();
    kv.put(put("k")).await.unwrap_err();
    kv.put(by("no-such-token.3", put("k"))).await.unwrap_err();
    kv.put(by(&alice, put("secret"))).await.unwrap_err();
    let range = pb::RangeRequest { key: "s".into(), range_end: "t".into(), ..Default::default() };
    kv.range(by(&alice, range)).await.unwrap_err();
    let compact = pb::CompactionRequest { revision: 1, ..Default::default() };
    kv.compact(by(&alice, compact)).await.unwrap_err();
    let records = audited.records(&mut seen).await;
    let told: Vec<String> = records.iter().map(|record| shown(record, &["kind", "user", "code", "denied"])).collect();
    let expected = [
        r#""auth.authenticate" null "InvalidArgument" true"#,
        r#""auth.authenticate" null "OK" null"#,
        r#""kv.put" null "InvalidArgument" true"#,
        r#""kv.put" null "Unauthenticated" true"#,
        r#""kv.put" "alice" "PermissionDenied" true"#,
        r#""kv.range" "alice" "PermissionDenied" true"#,
        r#""kv.compact" "alice" "PermissionDenied" true"#,
    ];
    assert_eq!(told, expected, "{records:#?}");
    assert_eq!(records[0]["target"], "alice");
    assert_eq!(records[4]["ops"].to_string(), r#"[{"key":"secret","op":"put"}]"#);
    assert_eq!(records[5]["ops"].to_string(), r#"[{"end":"t","key":"s","op":"get"}]"#);

    // Inside of a stream, and what has no command.
    let create = pb::WatchCreateRequest { key: "w".into(), ..Default::default() };
    let request = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let requests = futures::stream::iter([request]);
    let mut watch = WatchClient::new(audited.channel.clone());
    let mut answers = watch.watch(by(&alice, requests)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().canceled);
    let root = audited.token("root", PASSWORD).await.unwrap();
    let mut maintenance = MaintenanceClient::new(audited.channel.clone());
    maintenance.defragment(by(&root, pb::DefragmentRequest {})).await.unwrap();
    let mut download = maintenance.snapshot(by(&root, pb::SnapshotRequest {})).await.unwrap().into_inner();
    while download.message().await.unwrap().is_some() {}
    let records = audited.records(&mut seen).await;
    let told: Vec<String> = records.iter().map(|record| shown(record, &["kind", "user", "code"])).collect();
    let expected = [
        r#""watch.watch" "alice" "PermissionDenied""#,
        r#""auth.authenticate" null "OK""#,
        r#""maintenance.defragment" "root" "OK""#,
        r#""maintenance.snapshot" "root" "OK""#,
    ];
    assert_eq!(told, expected);
    assert_eq!(records[0]["ops"].to_string(), r#"[{"key":"w","op":"get"}]"#);

    // An election.
    let open = own::OpenSessionRequest { ttl_ms: 60_000, ..Default::default() };
    let session =
        SessionsClient::new(audited.channel.clone()).open(by(&root, open)).await.unwrap().into_inner().session;
    let election = Some(own::Name { namespace: String::new(), name: "e".into() });
    let caller = Some(own::Caller { session, ..Default::default() });
    let enter = own::EnterRequest { caller, election, candidate: "c".into(), ..Default::default() };
    ElectionsClient::new(audited.channel.clone()).enter(by(&root, enter)).await.unwrap();
    let records = audited.records(&mut seen).await;
    let told: Vec<String> =
        records.iter().map(|record| shown(record, &["kind", "user", "names", "target", "code"])).collect();
    let expected = [r#""sessions.open" "root" null null "OK""#, r#""elections.enter" "root" ["default/e"] "c" "OK""#];
    assert_eq!(told, expected);
    assert_eq!(records[1]["lease"].as_str(), Some(&*format!("{session:x}")));

    let page = audited.server.gateway.metrics.audit.clone();
    audited.server.stop().await.unwrap();
    let text = std::fs::read_to_string(&audited.path).unwrap();
    assert_eq!((page.written.get(), page.dropped.get()), (text.lines().count() as u64, 0));
    assert_eq!(page.bytes.get(), text.len() as u64);
    for secret in [PASSWORD, "alices", "a-value", "$2b$", &alice, &root] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// The same over JSON, and for a place that is given back for a call that went away.
#[tokio::test]
async fn json_and_calls_that_go_away_are_recorded_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (audited, mut seen) = (Audited::start().await, 0);
    let address = audited.server.addresses().clients[0];
    let ask = async |path: &str, body: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("/v3/kv/put", r#"{"key":"aw==","value":"dg=="}"#).await;
    assert!(answer.contains("200 OK"), "{answer}");
    let records = audited.records(&mut seen).await;
    assert_eq!(shown(&records[0], &["kind", "code", "revision"]), r#""kv.put" "OK" 2"#);
    assert!(records[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"));

    let lock = |lease| conclave_api::v3lockpb::LockRequest { name: "l".into(), lease };
    let mut leases = conclave_api::etcdserverpb::lease_client::LeaseClient::new(audited.channel.clone());
    let mut grant =
        async || leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().into_inner().id;
    let (first, second) = (grant().await, grant().await);
    let locks = conclave_api::v3lockpb::lock_client::LockClient::new(audited.channel.clone());
    locks.clone().lock(lock(first)).await.unwrap();
    let waiting = tokio::spawn(async move { locks.clone().lock(lock(second)).await });
    let mut records = audited.records(&mut seen).await;
    let count = |records: &[Value], kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    while count(&records, "lock.lock") < 2 {
        tokio::task::yield_now().await;
        records.extend(audited.records(&mut seen).await);
    }
    waiting.abort();
    let mut records = Vec::new();
    while count(&records, "member.release") < 1 {
        tokio::task::yield_now().await;
        records.extend(audited.records(&mut seen).await);
    }
    let released = records.iter().find(|record| record["kind"] == "member.release").unwrap();
    assert_eq!(shown(released, &["code", "lease"]), format!("\"OK\" \"{second:x}\""));
    assert!(released["user"].is_null() && released["from"].is_null());
    audited.server.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::single("solo", dir.path().join("data"), any, any);
    let output = AuditOutput::File { path: dir.path().join("no/such"), max_bytes: None, files: 1 };
    config.audit = Some(AuditConfig { output, values: false });
    let error = Server::start(config).await.err().unwrap().to_string();
    assert!(error.contains("--audit-log") && error.contains("no/such"), "{error}");
}
