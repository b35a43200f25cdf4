//! One node on real sockets, asked as no gRPC library would, or for more than one expects.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

use bytes::Bytes;
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::kv_client::KvClient;
use conclave_api::etcdserverpb::request_op::Request as OpRequest;
use conclave_api::etcdserverpb::response_op::Response as OpResponse;
use conclave_api::etcdserverpb::watch_client::WatchClient;
use conclave_node::config::Config;
use conclave_server::server::Server;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;

/// A machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start() -> (Server, SocketAddr, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Server::start(Config::single("solo", dir.path(), any, any)).await.unwrap();
    node.ready().await;
    let address = node.addresses().clients[0];
    (node, address, dir)
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    frame.extend_from_slice(payload);
    frame
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    block.push(u8::try_from(text.len()).unwrap());
    block.extend_from_slice(text);
}

/// The header block of a call, its authority entering the table of the connection; afterwards it is
/// there to be referred to.
fn call(authority: Option<&[u8]>) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04];
    literal(&mut block, b"/etcdserverpb.Maintenance/Status");
    match authority {
        Some(authority) => {
            block.push(0x41);
            literal(&mut block, authority);
        }
        // The first entry after those that every connection begins with.
        None => block.push(0x80 | 62),
    }
    block.extend_from_slice(&[0x0f, 0x10]);
    literal(&mut block, b"application/grpc");
    block
}

/// Two calls on a connection of its own; what the first byte of each answer's head is.
async fn heads(address: SocketAddr, authority: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    for (stream, block) in [(1, call(Some(authority))), (3, call(None))] {
        sent.extend(frame(1, 0x4, stream, &block));
        sent.extend(frame(0, 0x1, stream, &[0; 5]));
    }
    socket.write_all(&sent).await.unwrap();
    let mut heads = vec![];
    let mut ended = 0;
    while ended < 2 {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; size];
        socket.read_exact(&mut payload).await.unwrap();
        match head[3] {
            1 => {
                ended += usize::from(head[4] & 0x1 != 0);
                heads.push(payload[0]);
            }
            3 | 7 => panic!("{:?} was refused", String::from_utf8_lossy(authority)),
            _ => {}
        }
    }
    heads
}

/// etcd takes them all, since it does not use the value. No client library sends most of them; so
/// these are bare frames.
#[tokio::test]
async fn whatever_the_authority_is() {
    let (node, address, _dir) = start().await;
    let forms: [&[u8]; 14] = [
        b"127.0.0.1:2379",
        b"localhost",
        b"[::1]:2379",
        b"http://127.0.0.1:2379",
        b"https://127.0.0.1:2379",
        b"#initially=[127.0.0.1:2379;127.0.0.1:22379]",
        b"unix:///tmp/etcd.sock",
        b"/tmp/etcd.sock",
        b"%2Ftmp%2Fetcd.sock",
        b"etcd-endpoints://0xc000/127.0.0.1:2379",
        b"a b",
        b"host:1:2",
        b"\xff\xfe",
        b"",
    ];
    for form in forms {
        let heads = tokio::time::timeout(PATIENCE, heads(address, form)).await.unwrap();
        // Status 200 comes first, in the heads that are no trailers.
        assert_eq!(heads.iter().filter(|first| **first == 0x88).count(), 2, "{:?}", String::from_utf8_lossy(form));
    }
    node.stop().await.unwrap();
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// Sends a head with that field, and the message of a get unless the client keeps it back.
async fn ask(
    requests: &SendRequest<Bytes>,
    path: &str,
    field: (&'static str, String),
    message: bool,
) -> ResponseFuture {
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header(field.0, field.1)
        .body(())
        .unwrap();
    let mut requests = requests.clone().ready().await.unwrap();
    let (answer, mut body) = requests.send_request(request, false).unwrap();
    if message {
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 3, 0x0a, 1, b'a']), true).unwrap();
    } else {
        // Dropped, it would be a reset.
        std::mem::forget(body);
    }
    answer
}

/// The status of an answer, wherever it is.
async fn status(answer: ResponseFuture) -> (String, String) {
    let read = async {
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut fields = head.headers;
        if !fields.contains_key("grpc-status") {
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data.unwrap().len()).unwrap();
            }
            fields = body.trailers().await.unwrap().unwrap();
        }
        let text = |fields: &HeaderMap, name| fields.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        (text(&fields, "grpc-status"), text(&fields, "grpc-message"))
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn a_deadline_that_passes_is_called_so() {
    let (node, address, _dir) = start().await;
    let requests = connect(address).await;
    for path in ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status"] {
        let answer = ask(&requests, path, ("grpc-timeout", "50m".into()), false).await;
        let expected = ("4".to_owned(), "context%20deadline%20exceeded".to_owned());
        assert_eq!(status(answer).await, expected, "{path}");
    }
    let mut page = String::new();
    prometheus_page(address, &mut page).await;
    for method in ["Range", "Status"] {
        let counted = page.lines().any(|line| {
            line.contains(&format!("grpc_method=\"{method}\""))
                && line.contains("DeadlineExceeded")
                && line.ends_with(" 1")
        });
        assert!(counted || method == "Status", "{page}");
    }
    node.stop().await.unwrap();
}

/// On the way past the router and through it.
#[tokio::test]
async fn a_message_that_is_too_large_is_refused_as_etcd_does() {
    let (node, address, _dir) = start().await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let limit = node.node.config.max_message();
    let check = |status: tonic::Status| {
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().starts_with("grpc: received message larger than max ("), "{status}");
        assert!(status.message().ends_with(&format!(" vs. {limit})")), "{status}");
    };
    let large = Bytes::from(vec![7; limit]);
    let put = pb::PutRequest { key: "a".into(), value: large.clone(), ..Default::default() };
    check(KvClient::new(channel.clone()).put(put).await.unwrap_err());
    let stream = pb::RangeRequest { key: large.clone(), ..Default::default() };
    check(KvClient::new(channel.clone()).range_stream(stream).await.unwrap_err());
    let create = pb::WatchCreateRequest { key: large, ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let watched = WatchClient::new(channel).watch(futures::stream::iter([create])).await;
    let ended = match watched {
        Ok(answers) => answers.into_inner().message().await.map(|_| ()),
        Err(status) => Err(status),
    };
    check(ended.unwrap_err());
    node.stop().await.unwrap();
}

async fn prometheus_page(address: SocketAddr, page: &mut String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    socket.read_to_string(page).await.unwrap();
}

/// etcd took 900 KiB. There is a bound here; beyond it a call is refused, not its connection.
#[tokio::test]
async fn a_lot_of_metadata() {
    let (node, address, _dir) = start().await;
    let requests = connect(address).await;
    let range = |bytes: usize| ask(&requests, "/etcdserverpb.KV/Range", ("x-tracing", "v".repeat(bytes)), true);
    for bytes in [10, 20_000, 900 << 10] {
        assert_eq!(status(range(bytes).await).await.0, "0", "{bytes}");
    }
    let refused = tokio::time::timeout(PATIENCE, range(1_200_000).await).await.unwrap();
    assert!(refused.map_or(true, |answer| answer.status() != 200));
    assert_eq!(status(range(10).await).await.0, "0");
    node.stop().await.unwrap();
}

fn get_all() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}

fn op(request: OpRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// What is made beside the event loop and sent in pieces is the same as what is not.
#[tokio::test]
async fn large_answers_arrive_whole() {
    const VALUE: usize = 700_000;
    let (node, address, _dir) = start().await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);
    for i in 0..20_u8 {
        let put = pb::PutRequest { key: format!("k{i:02}").into(), value: vec![i; VALUE].into(), ..Default::default() };
        kv.put(put).await.unwrap();
    }
    let whole = |response: &pb::RangeResponse| {
        let value = |i: usize| response.kvs[i].value.len() == VALUE && usize::from(response.kvs[i].value[0]) == i;
        assert_eq!((response.kvs.len(), response.count, response.more), (20, 20, false));
        assert_eq!(response.header.unwrap().revision, 21);
        assert!((0..20).all(value));
    };
    let ranges = (0..8).map(|_| {
        let mut kv = kv.clone();
        async move { kv.range(get_all()).await.unwrap().into_inner() }
    });
    futures::future::join_all(ranges).await.iter().for_each(whole);

    let txn = pb::TxnRequest { success: vec![op(OpRequest::RequestRange(get_all())); 2], ..Default::default() };
    let answer = kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded && answer.responses.len() == 2);
    for response in &answer.responses {
        let Some(OpResponse::ResponseRange(range)) = &response.response else { panic!("not a range") };
        whole(range);
    }
    let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: true };
    let deleted = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.header.unwrap().revision), (20, 22));
    assert!(deleted.prev_kvs.iter().all(|kv| kv.value.len() == VALUE));
    node.stop().await.unwrap();
}
