//! Sessions: leases to the millisecond.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster_tests::kit::{LATE, Node, claims::start};
use conclave_api::conclave::v1::{CloseSessionRequest, KeepSessionRequest, KeepSessionResponse, OpenSessionRequest};
use conclave_api::etcdserverpb::{PutRequest, RangeRequest};
use futures::{StreamExt, stream};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

async fn attach(node: &Node, key: &'static str, lease: i64) -> Result<(), Status> {
    let put = PutRequest { key: Bytes::from_static(key.as_bytes()), lease, ..Default::default() };
    node.kv().put(put).await.map(drop)
}

async fn is_there(node: &Node, key: &'static str) -> Result<bool, Status> {
    let get = RangeRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() };
    Ok(node.kv().range(get).await?.into_inner().count == 1)
}

/// Keeps a session, once for each pause.
async fn keep(node: &Node, session: i64, pauses: Vec<Duration>) -> Result<Vec<KeepSessionResponse>> {
    let requests = stream::iter(pauses).then(move |pause| async move {
        tokio::time::sleep(pause).await;
        KeepSessionRequest { session }
    });
    let answers = node.sessions().keep_alive(requests).await?.into_inner();
    Ok(answers.collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn less_than_a_second_is_kept_without_an_entry_and_ends_in_time() -> Result<()> {
    let (_cluster, nodes) = start(3).await?;
    let session = nodes[1].open(600).await?;
    attach(&nodes[1], "k", session).await?;
    let index = nodes[0].index().await?;
    let before_last = Instant::now() + Duration::from_millis(200) * 10;
    let kept = keep(&nodes[2], session, vec![Duration::from_millis(200); 10]).await?;
    ensure!(kept.len() == 10 && kept.iter().all(|kept| kept.ttl_ms == 600 && kept.session == session), "{kept:?}");
    ensure!(nodes[0].index().await? == index, "keep-alives write no entry");
    ensure!(is_there(&nodes[0], "k").await?, "two seconds are more than the TTL");
    while is_there(&nodes[0], "k").await? {
        ensure!(before_last.elapsed() < LATE + Duration::from_millis(612), "it should be gone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(before_last.elapsed() >= Duration::from_millis(600), "gone after {:?}", before_last.elapsed());
    let gone = keep(&nodes[0], session, vec![Duration::ZERO]).await?;
    ensure!(gone[0].ttl_ms == 0, "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn it_is_raised_to_the_minimum_and_a_lease_like_any_other() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let open = async |session, ttl_ms| node.sessions().open(OpenSessionRequest { session, ttl_ms }).await;
    let raised = open(0, 1).await?.into_inner();
    ensure!(raised.ttl_ms == 450 && raised.session > 0, "three election time-outs: {raised:?}");
    let chosen = open(-77, 60_000).await?.into_inner();
    ensure!(chosen.session == -77 && chosen.ttl_ms == 60_000, "{chosen:?}");
    let again = open(-77, 60_000).await.err().context("it is there")?;
    ensure!(again.code() == Code::AlreadyExists, "{again}");
    let absurd = open(0, u64::MAX).await.err().context("an absurd TTL")?;
    ensure!(absurd.code() == Code::InvalidArgument && absurd.message().contains("ttl_ms"), "{absurd}");
    attach(node, "k", -77).await?;
    node.sessions().close(CloseSessionRequest { session: -77 }).await?;
    ensure!(!is_there(node, "k").await?, "what depends on it goes with it");
    let closed = node.sessions().close(CloseSessionRequest { session: -77 }).await.err().context("it is gone")?;
    ensure!(closed.code() == Code::NotFound, "{closed}");
    Ok(())
}
