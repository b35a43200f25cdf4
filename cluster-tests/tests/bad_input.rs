//! What must be refused: a clear error each, and the process and the connection live on where they
//! should.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    client::{
        bytes, compact, connect, count, delete, get, get_request, grant, present, put, put_leased, put_request, revoke,
    },
    cluster::{Address, Cluster, arguments, initial_cluster},
    process::Process,
    wait::{SOON, eventually, within},
};
use conclave_client::{
    Error,
    api::etcdserverpb::{
        AlarmRequest, AlarmType, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseTimeToLiveRequest,
        RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, request_op,
    },
    wire::Client,
};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, code: Code, text: &str) -> Result<()> {
    let error = answer.err().with_context(|| format!("accepted what should be refused with: {text}"))?;
    ensure!(error.code() == code && error.message() == text, "{error}, expected {text} ({code:?})");
    ensure!(!error.outcome_unknown(), "{error}: a refusal must be a sure one");
    Ok(())
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn puts(count: usize) -> Vec<RequestOp> {
    (0..count).map(|i| op(request_op::Request::RequestPut(put_request(&format!("k{i}"), "v")))).collect()
}

#[tokio::test]
async fn limits() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    for i in 0..3 {
        let client = cluster.client(i)?;
        let kv = client.kv();
        put(&client, "large", &"x".repeat(1_400_000)).await.context("a large request within the limit")?;
        let answer = kv.put(put_request("k", &"x".repeat(1_700_000))).await;
        refused(answer, Code::InvalidArgument, "etcdserver: request is too large")?;
        let error = kv.put(put_request("k", &"x".repeat(4_000_000))).await.err().context("4 MB were accepted")?;
        ensure!(matches!(error.code(), Code::ResourceExhausted | Code::OutOfRange | Code::InvalidArgument), "{error}");
        kv.txn(TxnRequest { success: puts(128), ..Default::default() }).await.context("128 operations")?;
        let answer = kv.txn(TxnRequest { success: puts(129), ..Default::default() }).await;
        refused(answer, Code::InvalidArgument, "etcdserver: too many operations in txn request")?;
        // A nested transaction gets what its parent left.
        let nested = TxnRequest { success: puts(70), ..Default::default() };
        let outer = [puts(60).split_off(1), vec![op(request_op::Request::RequestTxn(nested))]].concat();
        let answer = kv.txn(TxnRequest { failure: outer, ..Default::default() }).await;
        refused(answer, Code::InvalidArgument, "etcdserver: too many operations in txn request")?;
        let answer = client.lease().grant(LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await;
        refused(answer, Code::OutOfRange, "etcdserver: too large lease TTL")?;
        // The connection and the node live on.
        put(&client, "k", "v").await?;
    }
    Ok(())
}

#[tokio::test]
async fn limits_by_flag() -> Result<()> {
    let cluster = Cluster::start_with(1, &["--max-request-bytes", "10000", "--max-txn-ops", "3"]).await?;
    let client = cluster.client(0)?;
    put(&client, "k", &"x".repeat(9_000)).await?;
    let answer = client.kv().put(put_request("k", &"x".repeat(11_000))).await;
    refused(answer, Code::InvalidArgument, "etcdserver: request is too large")?;
    let answer = client.kv().txn(TxnRequest { success: puts(4), ..Default::default() }).await;
    refused(answer, Code::InvalidArgument, "etcdserver: too many operations in txn request")
}

/// A full store refuses what makes it larger, and only that.
#[tokio::test]
async fn the_space_quota() -> Result<()> {
    let cluster = Cluster::start_with(3, &["--quota-backend-bytes", "16777216"]).await?;
    let client = cluster.client(1)?;
    put(&client, "k", "v").await?;
    let value = "x".repeat(500_000);
    let mut full = None;
    for i in 0..400 {
        if let Err(error) = client.kv().put(put_request(&format!("fill/{i}"), &value)).await {
            full = Some(error);
            break;
        }
    }
    let error = full.context("200 MB fit into a quota of 16 MiB")?;
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"));
    let answer = client.lease().grant(LeaseGrantRequest { ttl: 60, id: 0 }).await;
    refused(answer, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")?;
    ensure!(get(&client, "k").await?.is_some(), "reads go on");
    assert_eq!(delete(&client, b"k").await?, 1, "deletes go on");
    let at = present(&client).await?;
    compact(&client, at).await.context("compaction goes on")?;
    let raised = async || {
        let alarms = client.maintenance().alarm(AlarmRequest::default()).await?.alarms;
        ensure!(alarms.iter().any(|alarm| alarm.alarm() == AlarmType::Nospace), "alarms: {alarms:?}");
        Ok(())
    };
    eventually("the alarm", SOON, raised).await
}

#[tokio::test]
async fn keys_and_ranges() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(0)?;
    let kv = client.kv();
    let no_key = "etcdserver: key is not provided";
    refused(kv.put(put_request("", "v")).await, Code::InvalidArgument, no_key)?;
    refused(kv.range(get_request("")).await, Code::InvalidArgument, no_key)?;
    refused(kv.delete_range(DeleteRangeRequest::default()).await, Code::InvalidArgument, no_key)?;
    let empty_op = vec![op(request_op::Request::RequestPut(put_request("", "v")))];
    refused(kv.txn(TxnRequest { success: empty_op, ..Default::default() }).await, Code::InvalidArgument, no_key)?;
    let compare = vec![Compare::default()];
    refused(kv.txn(TxnRequest { compare, ..Default::default() }).await, Code::InvalidArgument, no_key)?;
    let nothing = vec![RequestOp { request: None }];
    let answer = kv.txn(TxnRequest { success: nothing, ..Default::default() }).await;
    refused(answer, Code::InvalidArgument, "etcdserver: key not found")?;

    put(&client, "b", "v").await?;
    let inverted = RangeRequest { range_end: bytes("a"), ..get_request("b") };
    assert_eq!(kv.range(inverted).await?.count, 0, "an inverted range is an empty one");
    let inverted = DeleteRangeRequest { key: bytes("b"), range_end: bytes("a"), ..Default::default() };
    assert_eq!(kv.delete_range(inverted).await?.deleted, 0, "an inverted range is an empty one");
    let unsorted = RangeRequest { sort_order: 99, ..get_request("b") };
    refused(kv.range(unsorted).await, Code::InvalidArgument, "etcdserver: invalid sort option")?;
    let future = RangeRequest { revision: 1_000_000, ..get_request("b") };
    refused(kv.range(future).await, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")?;
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(compact(&client, 1_000_000).await, Code::OutOfRange, future)?;
    refused(client.maintenance().hash_kv(HashKvRequest { revision: 1_000_000 }).await, Code::OutOfRange, future)?;
    let mut stream = client.watch().open();
    stream.create(WatchCreateRequest { key: bytes("b"), range_end: bytes("a"), ..Default::default() }).await?;
    let told = within("an answer", SOON, stream.next()).await??.context("the stream ended")?;
    ensure!(told.canceled && told.watch_id == -1, "an inverted watch: {told:?}");
    // The stream lives on.
    stream.create(WatchCreateRequest { key: bytes("b"), ..Default::default() }).await?;
    let told = within("an answer", SOON, stream.next()).await??.context("the stream ended")?;
    ensure!(told.created && !told.canceled, "{told:?}");
    assert_eq!(count(&client, "k").await?, 0, "a refused request left something");
    Ok(())
}

#[tokio::test]
async fn unknown_leases() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client(2)?;
    let gone = "etcdserver: requested lease not found";
    refused(revoke(&client, 4711).await, Code::NotFound, gone)?;
    let error = put_leased(&client, "k", "v", 4711).await.err().context("a put with an unknown lease")?;
    ensure!(error.to_string().contains(gone), "{error}");
    let left = client.lease().time_to_live(LeaseTimeToLiveRequest { id: 4711, keys: true }).await?;
    assert_eq!((left.ttl, left.granted_ttl), (-1, 0));
    let mut kept = client.lease().keep_alives();
    kept.send(4711).await?;
    let answer = within("a keep-alive", SOON, kept.next()).await??.context("the stream ended")?;
    assert_eq!((answer.id, answer.ttl), (4711, 0));
    let known = grant(&client, 60).await?;
    kept.send(known).await?;
    let answer = within("a keep-alive", SOON, kept.next()).await??.context("the stream ended")?;
    assert_eq!((answer.id, answer.ttl), (known, 60));
    let answer = client.lease().grant(LeaseGrantRequest { ttl: 60, id: known }).await;
    refused(answer, Code::FailedPrecondition, "etcdserver: lease already exists")
}

/// A node that must not run: it ends by itself, not with 0, and says all of `words`.
async fn does_not_run(args: Vec<String>, dir: &Path, words: &[&str]) -> Result<()> {
    let log = dir.join("refused.log");
    let mut node = Process::new(args, log);
    node.spawn()?;
    let status = node.exit(SOON).await?;
    let said = node.life()?;
    ensure!(!status.success() && status.code().is_some(), "ended with {status}: {said}");
    for word in words {
        ensure!(said.to_lowercase().contains(&word.to_lowercase()), "it does not say {word:?}: {said}");
    }
    ensure!(!said.contains("panicked"), "a panic is no clear error: {said}");
    Ok(())
}

/// A command line with some values changed.
fn with(args: &[String], changes: &[(&str, String)]) -> Result<Vec<String>> {
    let mut args = args.to_vec();
    for (flag, value) in changes {
        let at = args.iter().position(|arg| arg == flag).with_context(|| format!("no {flag}"))?;
        args[at + 1].clone_from(value);
    }
    Ok(args)
}

async fn alive(client: &Client, key: &str) -> Result<()> {
    eventually("a write", SOON, async || put(client, key, "v").await).await.map(drop)
}

#[tokio::test]
async fn flags() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Address::new("n1")?;
    let args = |flags: &[&str]| {
        arguments(&node, &dir.path().join("data"), &initial_cluster(std::slice::from_ref(&node)), "t", flags)
    };
    does_not_run(args(&["--no-such-flag", "1"]), dir.path(), &["--no-such-flag"]).await?;
    does_not_run(args(&["--heartbeat-interval", "soon"]), dir.path(), &["heartbeat-interval", "soon"]).await?;
    let too_short = ["--heartbeat-interval", "500", "--election-timeout", "100"];
    does_not_run(args(&too_short), dir.path(), &["election-timeout"]).await?;
    does_not_run(args(&["--snapshot-count=-5"]), dir.path(), &["snapshot-count"]).await?;
    let stranger = Address { name: "stranger".into(), ..node.clone() };
    let args = arguments(&stranger, &dir.path().join("data"), &initial_cluster(std::slice::from_ref(&node)), "t", &[]);
    does_not_run(args, dir.path(), &["stranger", "initial-cluster"]).await?;
    let twice = [node.clone(), Address::new("n1")?];
    let args = arguments(&node, &dir.path().join("data"), &initial_cluster(&twice), "t", &[]);
    does_not_run(args, dir.path(), &["n1"]).await?;
    let garbled = arguments(&node, &dir.path().join("data"), "n1=not a url", "t", &[]);
    does_not_run(garbled, dir.path(), &["initial-cluster"]).await
}

#[tokio::test]
async fn data_directories() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    let dir = tempfile::tempdir()?;
    let node = Address::new("n1")?;
    let args = |data: &Path| arguments(&node, data, &initial_cluster(std::slice::from_ref(&node)), "t", &[]);
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory")?;
    does_not_run(args(&file), dir.path(), &[&file.display().to_string()]).await?;
    does_not_run(args(Path::new("/proc/data")), dir.path(), &["/proc/data"]).await?;
    // In use by another process.
    let used = cluster.data_dir(0);
    does_not_run(args(&used), dir.path(), &[&used.display().to_string()]).await?;
    alive(&cluster.client(0)?, "k").await?;
    // Belongs to another member.
    cluster.node(0).terminate(SOON).await?;
    does_not_run(args(&used), dir.path(), &[&used.display().to_string(), "belongs to"]).await?;
    cluster.restart(0).await?;
    ensure!(get(&cluster.client(0)?, "k").await?.is_some(), "the data is gone");
    Ok(())
}

#[tokio::test]
async fn ports_that_are_taken() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let dir = tempfile::tempdir()?;
    let taken = cluster.address(0);
    for (client, peer) in [(Some(taken.client), None), (None, Some(taken.peer))] {
        let free = Address::new("n1")?;
        let node =
            Address { name: "n1".into(), client: client.unwrap_or(free.client), peer: peer.unwrap_or(free.peer) };
        let port = client.or(peer).unwrap_or_default().to_string();
        let data = dir.path().join(&port);
        let args = arguments(&node, &data, &initial_cluster(std::slice::from_ref(&node)), "t", &[]);
        does_not_run(args, dir.path(), &[&port, "in use"]).await?;
    }
    alive(&cluster.client(0)?, "k").await
}

/// A second process under the name of a member that runs: it has no part in what the first
/// promised.
#[tokio::test]
async fn two_members_with_one_name() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let dir = tempfile::tempdir()?;
    let second = Address::new("n1")?;
    let data = dir.path().join("data").display().to_string();
    let own =
        [("--data-dir", data), ("--listen-client-urls", second.endpoint()), ("--listen-peer-urls", second.peer_url())];
    let args = with(cluster.node(0).args(), &own)?;
    does_not_run(args, dir.path(), &["n1", "started before"]).await?;
    for i in 0..3 {
        alive(&cluster.client(i)?, "k").await?;
    }
    Ok(())
}

/// A node of another cluster that comes up at a member's address is told so and ends; nobody takes
/// part in the wrong cluster.
#[tokio::test]
async fn a_foreign_cluster() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    alive(&cluster.client(0)?, "k").await?;
    cluster.node(2).kill()?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data").display().to_string();
    let foreign = with(cluster.node(2).args(), &[("--data-dir", data), ("--initial-cluster-token", "foreign".into())])?;
    does_not_run(foreign, dir.path(), &["refuses this member", "cluster"]).await?;
    for i in 0..2 {
        alive(&cluster.client(i)?, "k").await?;
    }
    cluster.restart(2).await?;
    ensure!(get(&cluster.client(2)?, "k").await?.is_some(), "the right member is back with its data");
    Ok(())
}

/// Sends bytes, and reads for a moment whatever comes back.
async fn throw(port: u16, garbage: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // The node may hang up at any time: that is an answer.
    let _ = stream.write_all(garbage).await;
    let mut answer = vec![0; 4096];
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut answer)).await;
    Ok(())
}

#[tokio::test]
async fn garbage_on_every_port() -> Result<()> {
    use rand::RngExt;
    let mut cluster = Cluster::start(3).await?;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut random = vec![0; 20_000];
    rand::rng().fill(&mut random[..]);
    // How members begin a connection for their log.
    let log = b"conclave log 1\n";
    let garbage: Vec<Vec<u8>> = vec![
        vec![],
        b"\0".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"POST /etcdserverpb.KV/Put HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        preface.to_vec(),
        [&preface[..], &random[..]].concat(),
        // A frame that claims 16 MB.
        [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        random.clone(),
        "A".repeat(200_000).into_bytes(),
        log[..5].to_vec(),
        b"conclave log 2\n".to_vec(),
        log.to_vec(),
        [&log[..], &random[..]].concat(),
        // A frame that claims 4 GB; an introduction of nobody, of another cluster, and one that is
        // much too long.
        [&log[..], &[0xff; 4]].concat(),
        [&log[..], &[0; 4]].concat(),
        [&log[..], &[0, 0, 0, 6, 8, 1, 16, 2, 24, 3]].concat(),
        [&log[..], &[0, 0, 1, 0], &[8; 256]].concat(),
    ];
    for i in 0..3 {
        for port in [cluster.address(i).client, cluster.address(i).peer] {
            for one in &garbage {
                throw(port, one).await?;
            }
        }
    }
    for i in 0..3 {
        ensure!(cluster.node(i).running()?, "n{} has ended", i + 1);
        ensure!(!cluster.node(i).life()?.contains("panicked"), "n{} panicked", i + 1);
        alive(&cluster.client(i)?, "k").await?;
    }
    Ok(())
}

/// Messages that are no messages, to methods that exist and to some that do not.
#[tokio::test]
async fn garbage_in_calls() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let methods = [
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.KV/Txn",
        "/etcdserverpb.Watch/Watch",
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "/v3lockpb.Lock/Lock",
        "/v3electionpb.Election/Campaign",
        "/no.such.Service/Method",
    ];
    for i in 0..3 {
        let (client, peer) = (cluster.endpoint(i), cluster.address(i).peer_url());
        for endpoint in [&client, &peer] {
            for method in methods {
                let answer = raw::call(endpoint, method, b"\xff\xff\xff\xff\xff garbage").await;
                ensure!(answer.is_err(), "{endpoint}{method} accepted garbage");
            }
        }
        // Clients have no business at the peers' port.
        let answer = connect(std::slice::from_ref(&peer))?.kv().put(put_request("k", "v")).await;
        let error = answer.err().context("a put through the peer port")?;
        assert_eq!(error.code(), Code::Unimplemented);
        alive(&cluster.client(i)?, "k").await?;
        ensure!(!cluster.node(i).life()?.contains("panicked"), "n{} panicked", i + 1);
    }
    Ok(())
}

/// Calls without messages: bytes in, bytes out.
mod raw {
    use anyhow::Result;
    use bytes::{Buf, BufMut};
    use cluster_tests::wait::{SOON, within};
    use tonic::{
        Request, Status,
        client::Grpc,
        codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
        transport::Endpoint,
    };

    struct Bytes;

    impl Codec for Bytes {
        type Encode = Vec<u8>;
        type Decode = Vec<u8>;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Bytes {
        type Item = Vec<u8>;
        type Error = Status;

        fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            buffer.put_slice(&item);
            Ok(())
        }
    }

    impl Decoder for Bytes {
        type Item = Vec<u8>;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
            Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
        }
    }

    /// One message to a method; the first message of the answer, if any.
    pub(crate) async fn call(endpoint: &str, method: &'static str, message: &[u8]) -> Result<Option<Vec<u8>>> {
        let channel = Endpoint::from_shared(endpoint.to_owned())?.connect().await?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await?;
        let call = async {
            let request = Request::new(futures::stream::iter([message.to_vec()]));
            let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
            let mut answers = grpc.streaming(request, path, Bytes).await?.into_inner();
            Ok(answers.message().await?)
        };
        within("an answer to garbage", SOON, call).await?
    }
}
