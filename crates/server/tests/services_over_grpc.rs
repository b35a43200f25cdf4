//! One node on real sockets, asked as any gRPC client would: what each service answers, and each
//! error's code and text.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use conclave_api::etcdserverpb::auth_client::AuthClient;
use conclave_api::etcdserverpb::cluster_client::ClusterClient;
use conclave_api::etcdserverpb::kv_client::KvClient;
use conclave_api::etcdserverpb::maintenance_client::MaintenanceClient;
use conclave_api::etcdserverpb::request_op::Request as OpRequest;
use conclave_api::etcdserverpb::response_op::Response as OpResponse;
use conclave_api::etcdserverpb::{self as pb, RequestOp};
use conclave_node::config::Config;
use conclave_server::server;
use std::net::SocketAddr;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};

struct Server {
    node: server::Server,
    channel: Channel,
    _dir: TempDir,
}

impl Server {
    async fn start(adjust: impl FnOnce(&mut Config)) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::single("solo", dir.path(), any, any);
        adjust(&mut config);
        let node = server::Server::start(config).await.unwrap();
        node.ready().await;
        let uri = format!("http://{}", node.addresses().clients[0]);
        let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
        Server { node, channel, _dir: dir }
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    async fn put(&self, key: &str, value: &str) -> i64 {
        let reply = self.kv().put(put(key, value)).await.unwrap().into_inner();
        reply.header.unwrap().revision
    }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn prefix(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { range_end: end.to_owned().into(), ..get(key) }
}

fn op(request: OpRequest) -> RequestOp {
    RequestOp { request: Some(request) }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.expect_err("should be refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn kv_round_trip() {
    let server = Server::start(|_| {}).await;
    let mut kv = server.kv();
    assert_eq!(kv.range(get("a")).await.unwrap().into_inner().header.unwrap().revision, 1);
    assert_eq!(server.put("a", "1").await, 2);
    assert_eq!(server.put("a", "2").await, 3);

    let reply = kv.put(pb::PutRequest { prev_kv: true, ..put("a", "3") }).await.unwrap().into_inner();
    assert_eq!(&reply.prev_kv.unwrap().value[..], b"2");
    let header = reply.header.unwrap();
    assert_eq!((header.member_id, header.revision), (server.node.node.identity.member_id, 4));
    assert!(header.raft_term > 0 && header.cluster_id != 0);

    let old = kv.range(pb::RangeRequest { revision: 3, ..get("a") }).await.unwrap().into_inner();
    assert_eq!((&old.kvs[0].value[..], old.header.unwrap().revision), (&b"2"[..], 4));
    // Outside a transaction a negative revision is now.
    let now = kv.range(pb::RangeRequest { revision: -5, ..get("a") }).await.unwrap().into_inner();
    assert_eq!(&now.kvs[0].value[..], b"3");

    let gone = pb::DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: true };
    let gone = kv.delete_range(gone).await.unwrap().into_inner();
    assert_eq!((gone.deleted, &gone.prev_kvs[0].value[..], gone.header.unwrap().revision), (1, &b"3"[..], 5));
    server.node.stop().await.unwrap();
}

#[tokio::test]
async fn kv_errors() {
    let server = Server::start(|config| config.max_request_bytes = 1000).await;
    let mut kv = server.kv();
    server.put("a", "1").await;
    server.put("a", "2").await;
    kv.compact(pb::CompactionRequest { revision: 3, physical: true }).await.unwrap();

    let invalid = Code::InvalidArgument;
    refused(kv.range(get("")).await, invalid, "etcdserver: key is not provided");
    refused(kv.put(put("", "x")).await, invalid, "etcdserver: key is not provided");
    refused(kv.delete_range(pb::DeleteRangeRequest::default()).await, invalid, "etcdserver: key is not provided");
    let sorted = pb::RangeRequest { sort_order: 7, ..get("a") };
    refused(kv.range(sorted).await, invalid, "etcdserver: invalid sort option");
    let keeping = |key, value| pb::PutRequest { ignore_value: true, ..put(key, value) };
    refused(kv.put(keeping("a", "x")).await, invalid, "etcdserver: value is provided");
    refused(kv.put(keeping("none", "")).await, invalid, "etcdserver: key not found");
    let kept = pb::PutRequest { ignore_lease: true, lease: 4, ..put("a", "x") };
    refused(kv.put(kept).await, invalid, "etcdserver: lease is provided");
    refused(kv.put(put("a", &"x".repeat(1000))).await, invalid, "etcdserver: request is too large");
    let leased = pb::PutRequest { lease: 4, ..put("a", "x") };
    refused(kv.put(leased).await, Code::NotFound, "etcdserver: requested lease not found");

    let twice = [put("a", "1"), put("a", "2")].map(|put| op(OpRequest::RequestPut(put))).to_vec();
    let txn = |success| pb::TxnRequest { success, ..Default::default() };
    refused(kv.txn(txn(twice)).await, invalid, "etcdserver: duplicate key given in txn request");
    refused(kv.txn(txn(vec![RequestOp::default()])).await, invalid, "etcdserver: key not found");
    let many = vec![op(OpRequest::RequestRange(get("a"))); 129];
    refused(kv.txn(txn(many)).await, invalid, "etcdserver: too many operations in txn request");

    let (compacted, future) = (
        "etcdserver: mvcc: required revision has been compacted",
        "etcdserver: mvcc: required revision is a future revision",
    );
    let at = |revision| pb::RangeRequest { revision, ..get("a") };
    refused(kv.range(at(2)).await, Code::OutOfRange, compacted);
    refused(kv.range(at(99)).await, Code::OutOfRange, future);
    for revision in [2, -1] {
        let read = vec![op(OpRequest::RequestRange(at(revision)))];
        refused(kv.txn(txn(read)).await, Code::OutOfRange, compacted);
    }
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    refused(kv.compact(compact(3)).await, Code::OutOfRange, compacted);
    refused(kv.compact(compact(99)).await, Code::OutOfRange, future);
    // The connection and the node outlive all that.
    assert_eq!(server.put("a", "3").await, 4);
    server.node.stop().await.unwrap();
}

#[tokio::test]
async fn transactions_that_only_read() {
    let server = Server::start(|_| {}).await;
    let mut kv = server.kv();
    let revision = server.put("a", "1").await;
    let compare = |value: &str| pb::Compare {
        key: "a".into(),
        target: pb::compare::CompareTarget::Value as i32,
        target_union: Some(pb::compare::TargetUnion::Value(value.to_owned().into())),
        ..Default::default()
    };
    // What a member does by itself at its start is over.
    while server.node.node.versions.now().decided.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let before = server.node.node.state.applied_index();
    for (value, serializable, expected) in [("1", false, true), ("2", false, false), ("1", true, true)] {
        let read = op(OpRequest::RequestRange(pb::RangeRequest { serializable, ..get("a") }));
        let txn = pb::TxnRequest { compare: vec![compare(value)], success: vec![read.clone()], failure: vec![read] };
        let reply = kv.txn(txn).await.unwrap().into_inner();
        assert_eq!((reply.succeeded, reply.header.unwrap().revision), (expected, revision));
        let Some(OpResponse::ResponseRange(range)) = &reply.responses[0].response else { panic!("not a range") };
        assert_eq!(
            (&range.kvs[0].value[..], range.header.unwrap()),
            (&b"1"[..], pb::ResponseHeader { revision, ..Default::default() })
        );
    }
    assert_eq!(server.node.node.state.applied_index(), before, "nothing went through the log");
    server.node.stop().await.unwrap();
}

#[tokio::test]
async fn a_range_in_pieces() {
    let server = Server::start(|config| config.max_request_bytes = 2000).await;
    let mut kv = server.kv();
    for i in 0..50 {
        server.put(&format!("k{i:02}"), &"v".repeat(97)).await;
    }
    let whole = kv.range(prefix("k", "l")).await.unwrap().into_inner();
    let mut stream = kv.range_stream(prefix("k", "l")).await.unwrap().into_inner();
    let mut pieces = vec![];
    while let Some(piece) = stream.message().await.unwrap() {
        pieces.push(piece.range_response.unwrap());
    }
    assert_eq!(pieces.iter().map(|piece| piece.kvs.len()).collect::<Vec<_>>(), [10, 20, 20]);
    let last = pieces.last().unwrap();
    assert_eq!((last.header, last.count, last.more), (whole.header, 50, false));
    assert!(pieces[..2].iter().all(|piece| piece.header.is_none() && piece.count == 0));
    assert_eq!(pieces.concat_kvs(), whole.kvs);

    let sorted = pb::RangeRequest { sort_order: 2, ..prefix("k", "l") };
    assert_eq!(kv.range_stream(sorted).await.unwrap_err().code(), Code::Unimplemented);
    refused(kv.range_stream(get("")).await.map(|_| ()), Code::InvalidArgument, "etcdserver: key is not provided");
    server.node.stop().await.unwrap();
}

trait ConcatKvs {
    fn concat_kvs(self) -> Vec<conclave_api::mvccpb::KeyValue>;
}

impl ConcatKvs for Vec<pb::RangeResponse> {
    fn concat_kvs(self) -> Vec<conclave_api::mvccpb::KeyValue> {
        self.into_iter().flat_map(|piece| piece.kvs).collect()
    }
}

#[tokio::test]
async fn a_full_store_refuses_until_the_alarm_is_disarmed() {
    let server = Server::start(|config| config.quota_backend_bytes = Some(1)).await;
    let (mut kv, mut maintenance) = (server.kv(), server.maintenance());
    let full = "etcdserver: mvcc: database space exceeded";
    refused(kv.put(put("a", "1")).await, Code::ResourceExhausted, full);
    let puts = vec![op(OpRequest::RequestPut(put("a", "1")))];
    let txn = pb::TxnRequest { success: puts, ..Default::default() };
    refused(kv.txn(txn).await, Code::ResourceExhausted, full);
    kv.range(get("a")).await.unwrap();
    kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() }).await.unwrap();

    let alarm = |action: pb::alarm_request::AlarmAction, member_id, alarm: pb::AlarmType| pb::AlarmRequest {
        action: action as i32,
        member_id,
        alarm: alarm as i32,
    };
    let list = || alarm(pb::alarm_request::AlarmAction::Get, 0, pb::AlarmType::None);
    let raised = maintenance.alarm(list()).await.unwrap().into_inner().alarms;
    let me = server.node.node.identity.member_id;
    assert_eq!(raised, [pb::AlarmMember { member_id: me, alarm: pb::AlarmType::Nospace as i32 }]);
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, [format!("memberID:{me} alarm:NOSPACE ")]);

    let disarm = alarm(pb::alarm_request::AlarmAction::Deactivate, me, pb::AlarmType::Nospace);
    assert_eq!(maintenance.alarm(disarm).await.unwrap().into_inner().alarms, raised);
    assert!(maintenance.alarm(list()).await.unwrap().into_inner().alarms.is_empty());
    let unknown = alarm(pb::alarm_request::AlarmAction::Activate, me ^ 1, pb::AlarmType::Nospace);
    refused(maintenance.alarm(unknown).await, Code::NotFound, "etcdserver: member not found");
    let corrupt = alarm(pb::alarm_request::AlarmAction::Activate, me, pb::AlarmType::Corrupt);
    maintenance.alarm(corrupt).await.unwrap();
    let deleted = kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() }).await;
    refused(deleted, Code::DataLoss, "etcdserver: corrupt cluster");
    server.node.stop().await.unwrap();
}

#[tokio::test]
async fn maintenance_and_cluster() {
    let server = Server::start(|_| {}).await;
    let mut maintenance = server.maintenance();
    let revision = server.put("a", "1").await;
    let me = server.node.node.identity.member_id;
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.is_learner, &status.errors[..]), (me, false, &[][..]));
    assert_eq!(status.version, conclave_gateway::ETCD_VERSION);
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0 && status.raft_term > 0);

    let hash = |revision| pb::HashKvRequest { revision };
    let now = maintenance.hash_kv(hash(0)).await.unwrap().into_inner();
    assert_eq!((now.hash_revision, now.compact_revision, now.header.unwrap().revision), (revision, -1, revision));
    assert_eq!(maintenance.hash_kv(hash(revision)).await.unwrap().into_inner().hash, now.hash);
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(maintenance.hash_kv(hash(99)).await, Code::OutOfRange, future);
    maintenance.hash(pb::HashRequest {}).await.unwrap();
    maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    let elsewhere = pb::MoveLeaderRequest { target_id: 7 };
    refused(maintenance.move_leader(elsewhere).await, Code::FailedPrecondition, "etcdserver: bad leader transferee");

    let mut cluster = ClusterClient::new(server.channel.clone());
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!(list.members.iter().map(|member| member.id).collect::<Vec<_>>(), [me]);
    let remove = cluster.member_remove(pb::MemberRemoveRequest { id: me }).await;
    let last = "etcdserver: re-configuration failed due to not enough started members";
    refused(remove, Code::Unknown, last);

    let mut auth = AuthClient::new(server.channel.clone());
    let login = pb::AuthenticateRequest { name: "root".into(), password: "x".into() };
    let not_enabled = "etcdserver: authentication is not enabled";
    refused(auth.authenticate(login).await, Code::FailedPrecondition, not_enabled);
    let user = pb::AuthUserAddRequest { name: String::new(), ..Default::default() };
    refused(auth.user_add(user).await, Code::InvalidArgument, "etcdserver: user name is empty");
    let role = pb::AuthRoleGetRequest { role: "root".into() };
    refused(auth.role_get(role).await, Code::FailedPrecondition, "etcdserver: role name not found");
    assert!(auth.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner().users.is_empty());
    assert!(auth.role_list(pb::AuthRoleListRequest {}).await.unwrap().into_inner().roles.is_empty());
    let disabled = auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap().into_inner();
    assert_eq!(disabled.header.unwrap().revision, revision);
    assert!(!auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner().enabled);
    let no_root = "etcdserver: root user does not exist";
    refused(auth.auth_enable(pb::AuthEnableRequest {}).await, Code::FailedPrecondition, no_root);
    server.node.stop().await.unwrap();
}

/// One state however long the client takes, whatever is written meanwhile; the hash is of what
/// came; what remains is told.
#[tokio::test]
async fn a_snapshot_is_of_one_moment() {
    let server = Server::start(|_| {}).await;
    for n in 0..20 {
        server.put(&format!("k{n}"), &"v".repeat(100_000)).await;
    }
    let mut stream = server.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.header.unwrap().revision, 21);
    assert_eq!(first.version, "3.6.0");
    let size = first.remaining_bytes + first.blob.len() as u64;
    let mut file = first.blob.to_vec();
    server.put("later", "v").await;
    while let Some(message) = stream.message().await.unwrap() {
        file.extend(&message.blob);
        assert_eq!(message.remaining_bytes, size.saturating_sub(file.len() as u64));
    }
    assert_eq!(file.len() as u64, size + 32);
    let snapshot = conclave_backup::Snapshot::new(&file[..]);
    assert_eq!(snapshot.check_hash().unwrap(), conclave_backup::Hash::Sound);
    let counts = snapshot.verify().unwrap();
    assert_eq!((counts.revision, counts.living_keys), (21, 20));
}

/// Those who go away make room for others.
#[tokio::test]
async fn snapshots_that_nobody_takes_hold_up_nobody() {
    let server = Server::start(|_| {}).await;
    for n in 0..30 {
        server.put(&format!("k{n}"), &"v".repeat(200_000)).await;
    }
    for _ in 0..5 {
        let mut stream = server.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        drop(stream);
    }
    let mut stream = server.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        last = Some(message);
    }
    assert_eq!(last.unwrap().blob.len(), 32);
}
