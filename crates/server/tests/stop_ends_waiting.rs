//! What clients that wait are told when their node stops: an error that says so, never an end that
//! looks like success; and their places stay in the queue.

use conclave_node::config::Config;
use conclave_server::server::Server;
use etcd_client::{Client, Error, LockOptions};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(dir: &std::path::Path) -> (Server, Client) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Server::start(Config::single("alone", dir.to_path_buf(), any, any)).await.expect("the node starts");
    node.ready().await;
    let address = node.addresses().clients[0];
    let client = Client::connect([format!("http://{address}")], None).await.expect("the node is there");
    (node, client)
}

fn stopped<T: std::fmt::Debug>(answer: Result<T, Error>) {
    match answer {
        Err(Error::GRpcStatus(status)) => {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            assert_eq!(status.message(), "etcdserver: server stopped");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_told_and_keeps_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (node, mut client) = start(dir.path()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(client.lease_grant(60, None).await.expect("granted").id());
    }
    client.lock("n", Some(LockOptions::new().with_lease(ids[0]))).await.expect("nobody else wants it");
    let mut waiting = client.clone();
    let second = ids[1];
    let waiting = tokio::spawn(async move { waiting.lock("n", Some(LockOptions::new().with_lease(second))).await });
    let mut observed = client.observe("n").await.expect("observing");
    let first = observed.message().await.expect("an answer").expect("a leader");
    assert_eq!(first.kv().expect("its key").lease(), ids[0]);
    let (mut keeper, mut kept) = client.lease_keep_alive(ids[0]).await.expect("a stream");
    keeper.keep_alive().await.expect("sent");
    assert_eq!(kept.message().await.expect("an answer").expect("renewed").ttl(), 60);
    let second_key = format!("n/{second:x}");
    while client.get(second_key.clone(), None).await.expect("read").count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let told = tokio::join!(node.stop(), waiting, observed.message(), kept.message());
    told.0.expect("a clean stop");
    stopped(told.1.expect("no panic"));
    stopped(told.2);
    stopped(told.3);

    let (node, mut client) = start(dir.path()).await;
    let places = client.get("n/", Some(etcd_client::GetOptions::new().with_prefix())).await.expect("read");
    assert_eq!(places.count(), 2, "nobody lost a place");
    client.lease_revoke(ids[0]).await.expect("revoked");
    let again = client.lock("n", Some(LockOptions::new().with_lease(second)));
    let again = tokio::time::timeout(PATIENCE, again).await.expect("in time").expect("its turn");
    assert_eq!(again.key(), second_key.as_bytes());
    node.stop().await.expect("a clean stop");
}
