//! What a client is told that has used up what its connection, or its user, may use.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::auth_client::AuthClient;
use conclave_api::etcdserverpb::kv_client::KvClient;
use conclave_api::etcdserverpb::lease_client::LeaseClient;
use conclave_api::etcdserverpb::watch_client::WatchClient;
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::v3lockpb::LockRequest;
use conclave_api::v3lockpb::lock_client::LockClient;
use conclave_node::config::{ClientLimits, Config};
use conclave_server::server::Server;
use futures::future::join_all;
use std::net::SocketAddr;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

async fn start(adjust: impl FnOnce(&mut Config)) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::single("solo", dir.path(), any, any);
    config.bcrypt_cost = 4;
    adjust(&mut config);
    let server = Server::start(config).await.unwrap();
    server.ready().await;
    (server, dir)
}

async fn connect(server: &Server) -> Channel {
    let uri = format!("http://{}", server.addresses().clients[0]);
    Channel::from_shared(uri).unwrap().connect().await.unwrap()
}

#[track_caller]
fn limited(status: &Status, words: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains(words), "{status}");
}

fn put(bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), value: vec![b'v'; bytes].into(), ..Default::default() }
}

#[tokio::test]
async fn what_a_connection_holds_is_limited_and_comes_back() {
    let some =
        ClientLimits { watchers: Some(1), leases: Some(1), waiting: Some(1), bytes: Some(1_000), requests: None };
    let (server, _dir) = start(|config| config.connection_limits = some).await;

    // Leases: a second one only when the first has ended.
    let (one, other) = (connect(&server).await, connect(&server).await);
    let grant = async |channel: &Channel, id| {
        let granted = LeaseClient::new(channel.clone()).lease_grant(pb::LeaseGrantRequest { ttl: 60, id }).await;
        granted.map(|granted| granted.into_inner().id)
    };
    let first = grant(&one, 7).await.unwrap();
    limited(&grant(&one, 0).await.unwrap_err(), "leases (connection-limits, leases=1); end some of them first");
    let second = grant(&other, 0).await.unwrap();
    LeaseClient::new(other.clone()).lease_revoke(pb::LeaseRevokeRequest { id: first }).await.unwrap();
    let again = grant(&one, 0).await.unwrap();

    // Waiting calls: the one that holds the lock does not wait any more.
    let lock = |lease| LockRequest { name: "l".into(), lease };
    LockClient::new(one.clone()).lock(lock(again)).await.unwrap();
    let mut waiting = LockClient::new(one.clone());
    let waiting = tokio::spawn(async move { waiting.lock(lock(second)).await });
    let mut kv = KvClient::new(other.clone());
    let line = pb::RangeRequest { key: "l/".into(), range_end: "l0".into(), count_only: true, ..Default::default() };
    while kv.range(line.clone()).await.unwrap().into_inner().count < 2 {}
    let refused = LockClient::new(one.clone()).lock(lock(second)).await.unwrap_err();
    limited(&refused, "waiting calls (connection-limits, waiting=1)");
    waiting.abort();

    // Watchers: cancelled with the reason; one that ends makes room.
    let (requests, from) = futures::channel::mpsc::unbounded();
    let mut answers = WatchClient::new(connect(&server).await).watch(from).await.unwrap().into_inner();
    let create = || RequestUnion::CreateRequest(pb::WatchCreateRequest { key: "w".into(), ..Default::default() });
    let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
    let mut ask = async |request| {
        requests.unbounded_send(pb::WatchRequest { request_union: Some(request) }).unwrap();
        answers.message().await.unwrap().unwrap()
    };
    let created = ask(create()).await;
    assert!(created.created && !created.canceled);
    let refused = ask(create()).await;
    assert!(refused.canceled && refused.cancel_reason.contains("ResourceExhausted"), "{refused:?}");
    assert!(ask(cancel(created.watch_id)).await.canceled);
    assert!(!ask(create()).await.canceled);

    // Bytes: a large one passes, and what follows waits.
    let mut kv = KvClient::new(connect(&server).await);
    kv.put(put(100_000)).await.unwrap();
    limited(&kv.put(put(1)).await.unwrap_err(), "bytes a second (connection-limits, bytes=1000); try again in ");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_user_is_limited_over_all_its_connections_and_no_other_is() {
    let some = ClientLimits { requests: Some(1), ..ClientLimits::default() };
    let (server, _dir) = start(|config| config.user_limits = some).await;
    let channels = [connect(&server).await, connect(&server).await];
    let mut auth = AuthClient::new(channels[0].clone());
    for name in ["root", "alice"] {
        let user = pb::AuthUserAddRequest { name: name.into(), password: name.into(), ..Default::default() };
        auth.user_add(user).await.unwrap();
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: name.into(), role: "root".into() }).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let mut log_in = async |name: &str| {
        let login = pb::AuthenticateRequest { name: name.into(), password: name.into() };
        auth.authenticate(login).await.unwrap().into_inner().token
    };
    let (alice, root) = (log_in("alice").await, log_in("root").await);
    let by = |token: &str| {
        let mut request = Request::new(put(1));
        request.metadata_mut().insert("token", token.parse().unwrap());
        request
    };
    let calls = (0..20).map(|n| {
        let (mut kv, request) = (KvClient::new(channels[n % 2].clone()), by(&alice));
        async move { kv.put(request).await }
    });
    let answers = join_all(calls).await;
    assert!(answers[0].is_ok(), "{answers:?}");
    let refused: Vec<&Status> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!refused.is_empty());
    refused
        .iter()
        .for_each(|status| limited(status, "this user has used its 1 requests a second (user-limits, requests=1)"));
    KvClient::new(channels[0].clone()).put(by(&root)).await.unwrap();
    server.stop().await.unwrap();
}
