//! Strangers on a peer port whose members prove a secret: whatever they say, nobody hears it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use conclave_node::config::{Config, PeerSecretConfig};
use conclave_node::peer::grpc::GrpcTransport;
use conclave_node::peer::pb;
use conclave_node::peer::proof::PeerSecret;
use conclave_node::peer::transport::{Link, PeerError, Transport};
use conclave_server::server::Server;
use conclave_state::read;
use conclave_storage::types::MemberNode;
use futures::StreamExt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const RIGHT: &str = "the secret of this cluster, which is long enough\n";
const WRONG: &str = "a guess at it, which is as long as the other one\n";

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn member(dir: &Path, optional: bool) -> Server {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::single("solo", dir.join("data"), any, any);
    config.peer_secret = Some(PeerSecretConfig { file: file(dir, "secret", RIGHT), optional });
    let server = Server::start(config).await.unwrap();
    server.ready().await;
    // It makes itself known and decides on a version by itself; from here on only the test writes.
    let node = &server.node;
    let settled = async {
        let known = || read::members(&node.state.view()).is_ok_and(|members| members.len() == 1);
        while !(known() && node.versions.now().decided == Some(node.versions.own().newest)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("it settles");
    server
}

/// Whether the protocol was spoken: a reply, or a refusal in its words. In this cluster nobody else
/// is a member.
fn heard(answer: &Result<String, PeerError>) -> bool {
    matches!(answer, Ok(_) | Err(PeerError::Refused(_) | PeerError::NotLeader))
}

/// Who knows a secret, or none, and all else that a member knows.
fn link(server: &Server, at: SocketAddr, secret: Option<PathBuf>) -> Arc<dyn Link> {
    let identity = &server.node.identity;
    let secret = secret.map(|path| PeerSecret::open(path, false).unwrap());
    let transport = GrpcTransport { cluster: identity.cluster_id, me: identity.member_id, tls: None, secret };
    transport.link(identity.member_id, &MemberNode { name: "solo".into(), peer_urls: vec![format!("http://{at}")] })
}

/// What every message of the peer protocol gets for an answer.
async fn all_messages(server: &Server, link: &dyn Link) -> Vec<(&'static str, Result<String, PeerError>)> {
    let me = server.node.identity.member_id;
    let term = server.node.leadership.current().term + 1;
    let vote = |committed| Some(pb::BallotVote { term, node: me, committed });
    let last = Some(pb::LogId { term, index: 1 << 30 });
    let append = || pb::AppendRequest { vote: vote(true), previous: last, ..Default::default() };
    let heads = pb::snapshot_part::Head { vote: vote(true), last, ..Default::default() };
    let parts = futures::stream::iter([pb::SnapshotPart { part: Some(pb::snapshot_part::Part::Head(heads)) }]).boxed();
    let log = async {
        let mut replies = link.append(futures::stream::iter([append()]).boxed()).await?;
        replies.next().await.unwrap_or(Err(PeerError::Unknown))
    };
    let vote_request = pb::VoteRequest { vote: vote(false), last, leadership_transfer: true, pre_vote: false };
    vec![
        ("append", told(log).await),
        ("heartbeat", told(link.heartbeat(append())).await),
        ("vote", told(link.vote(vote_request)).await),
        ("transfer", told(link.transfer_leader(pb::TransferRequest { from: vote(true), to: me, last })).await),
        ("snapshot", told(link.snapshot(parts)).await),
        ("forward", told(link.forward(pb::ForwardRequest { term: term - 1, segments: vec![] })).await),
        ("read_index", told(link.read_index(pb::ReadIndexRequest {})).await),
        ("keep_alive", told(link.keep_alive(pb::KeepAliveRequest::default())).await),
        ("remaining", told(link.remaining(pb::RemainingRequest::default())).await),
        ("register", told(link.register(pb::RegisterRequest { member: me, incarnation: 77 })).await),
        ("members", told(link.members(pb::MembersRequest { peer_urls: vec!["http://127.0.0.1:1".into()] })).await),
        ("join", told(link.join(pb::JoinRequest { member: 5, incarnation: 5, supports: None })).await),
        ("change", told(link.change(pb::ChangeRequest::default())).await),
    ]
}

async fn told<T: std::fmt::Debug>(call: impl Future<Output = Result<T, PeerError>>) -> Result<String, PeerError> {
    timeout(PATIENCE, call).await.expect("an answer in time").map(|reply| format!("{reply:?}"))
}

/// What a stranger could change.
fn condition(server: &Server) -> (u64, u64, u64) {
    let leadership = &server.node.leadership;
    (leadership.current().term, leadership.last_log_index(), server.node.state.applied_index())
}

/// Passes connections on to the member, and keeps what was sent to it, for each connection.
async fn recorder(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let all = kept.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mine = {
                let mut all = all.lock().unwrap();
                all.push(Vec::new());
                all.len() - 1
            };
            let all = all.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.unwrap();
                let ((mut from, mut back), (mut answers, mut on)) = (near.into_split(), far.into_split());
                let up = async {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        all.lock().unwrap()[mine].extend_from_slice(&buffer[..n]);
                        if on.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    () = up => {}
                    _ = tokio::io::copy(&mut answers, &mut back) => {}
                }
            });
        }
    });
    (address, kept)
}

/// All that is answered to these bytes.
async fn say(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end in time");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_not_heard() {
    let dir = tempfile::tempdir().unwrap();
    let server = member(dir.path(), false).await;
    let port = server.addresses().peers[0];
    let before = condition(&server);
    // Without a secret, and with a wrong one.
    for secret in [None, Some(file(dir.path(), "wrong", WRONG))] {
        for (what, answer) in all_messages(&server, &*link(&server, port, secret.clone())).await {
            // Nothing of the protocol is said, not even a refusal.
            assert!(matches!(answer, Err(PeerError::Unreachable | PeerError::Unknown)), "{what}: {answer:?}");
        }
    }
    assert_eq!(condition(&server), before);

    // Who knows it is heard: each message has an answer of the protocol.
    let (on_the_way, kept) = recorder(port).await;
    let right = link(&server, on_the_way, Some(file(dir.path(), "right", RIGHT)));
    let answers = all_messages(&server, &*right).await;
    for (what, answer) in &answers {
        assert!(heard(answer), "{what}: {answer:?}");
    }
    drop(right);

    // What was recorded of that, said again, is answered with no more than the challenge and a
    // refusal.
    let before = condition(&server);
    let recorded = kept.lock().unwrap().clone();
    assert!(recorded.len() >= 3 && recorded.iter().all(|bytes| bytes.len() > 100), "{}", recorded.len());
    for bytes in recorded {
        let answer = say(port, &bytes).await;
        assert_eq!((answer.len(), answer.last()), (18 + 32 + 1, Some(&0xff)));
    }
    assert_eq!(condition(&server), before);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_secret_is_optional_both_kinds_are_heard_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = member(dir.path(), true).await;
    let port = server.addresses().peers[0];
    for (secret, expected) in [(None, true), (Some(RIGHT), true), (Some(WRONG), false)] {
        let secret = secret.map(|text| file(dir.path(), "theirs", text));
        let answer = told(link(&server, port, secret).read_index(pb::ReadIndexRequest {})).await;
        assert_eq!(heard(&answer), expected, "{answer:?}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_one_reaches_those_that_have_none_only_while_it_is_optional() {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    // As an older program.
    let server = Server::start(Config::single("solo", dir.path().join("data"), any, any)).await.unwrap();
    server.ready().await;
    let port = server.addresses().peers[0];
    let identity = &server.node.identity;
    let node = MemberNode { name: "solo".into(), peer_urls: vec![format!("http://{port}")] };
    for optional in [true, false] {
        let secret = Some(PeerSecret::open(file(dir.path(), "secret", RIGHT), optional).unwrap());
        let transport = GrpcTransport { cluster: identity.cluster_id, me: identity.member_id, tls: None, secret };
        let link = transport.link(identity.member_id, &node);
        assert_eq!(heard(&told(link.read_index(pb::ReadIndexRequest {})).await), optional);
        let append = pb::AppendRequest::default();
        let log = async {
            let mut replies = link.append(futures::stream::iter([append]).boxed()).await?;
            replies.next().await.unwrap_or(Err(PeerError::Unknown))
        };
        assert_eq!(heard(&told(log).await), optional);
    }
    server.stop().await.unwrap();
}
